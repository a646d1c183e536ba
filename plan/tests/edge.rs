//! Files, overrides, what is shown, and what is warned about.

use std::collections::BTreeMap;
use std::path::Path;

use barrage_model::plan::Plan;
use barrage_plan::edge::files::{FileError, load};
use barrage_plan::{Overrides, Source, read, show, warnings};
use expect_test::expect;

const SMALL: &str = "target: http://127.0.0.1:1\nload: { rate: 1/s, for: 1s }\nsteps:\n  - get: /\n";

fn plan(text: &str) -> Plan {
    read(
        Source {
            file: "plan.yaml",
            text,
        },
        &Overrides::default(),
    )
    .unwrap_or_else(|errors| panic!("{errors}"))
}

fn with_file(path: &str) -> Plan {
    plan(&format!(
        "{SMALL}  - put: {{ url: /a, file: {path} }}\ndata: {{ d: {{ csv: {path} }} }}\n"
    ))
}

#[test]
fn the_examples_find_their_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let text = std::fs::read_to_string(folder.join("everything.yaml")).unwrap();
    let mut plan = plan(&text);
    let contents = load(&mut plan, &folder).unwrap();
    assert_eq!(contents.len(), 3);
    assert!(
        plan.files()
            .iter()
            .all(|file| file.sha256.is_some_and(|hash| contents.contains_key(&hash)))
    );
}

#[test]
fn files_outside_are_never_read() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("plans");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(place.path().join("secret"), "x").unwrap();
    std::fs::write(folder.join("fine"), "x").unwrap();
    std::os::unix::fs::symlink("../secret", folder.join("out")).unwrap();
    std::os::unix::fs::symlink("fine", folder.join("in")).unwrap();
    std::os::unix::fs::symlink("/etc", folder.join("etc")).unwrap();
    std::fs::create_dir(folder.join("sub")).unwrap();
    assert!(load(&mut with_file("fine"), &folder).is_ok());
    assert!(load(&mut with_file("in"), &folder).is_ok());
    assert!(matches!(
        load(&mut with_file("out"), &folder),
        Err(FileError::Outside(_))
    ));
    assert!(matches!(
        load(&mut with_file("etc/passwd"), &folder),
        Err(FileError::Outside(_))
    ));
    assert!(matches!(
        load(&mut with_file("sub"), &folder),
        Err(FileError::NotAFile(_))
    ));
    assert!(matches!(
        load(&mut with_file("missing"), &folder),
        Err(FileError::Unreadable(..))
    ));
    let sparse = std::fs::File::create(folder.join("large")).unwrap();
    sparse.set_len(256 * 1024 * 1024 + 1).unwrap();
    assert!(matches!(
        load(&mut with_file("large"), &folder),
        Err(FileError::TooLarge(_))
    ));
}

#[test]
fn the_command_line_changes_the_plan() {
    let text = format!(
        "variables: {{ token: planned, region: north }}\n{SMALL}  - get: \"/${{token}}/${{region}}/${{extra}}\"\n"
    );
    let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    let overrides = Overrides {
        target: Some("http://127.0.0.1:9/base".into()),
        seed: Some(5),
        env: map(&[("token", "hidden${x}")]),
        set: map(&[("extra", "more")]),
        resolve: vec!["a.example:*:127.0.0.1".into()],
        min_workers: Some(3),
        name: Some("renamed".into()),
    };
    let plan = read(
        Source {
            file: "plan.yaml",
            text: &text,
        },
        &overrides,
    )
    .unwrap();
    assert_eq!(
        (plan.targets[0].url().as_str(), plan.seed),
        ("http://127.0.0.1:9/base", Some(5))
    );
    assert_eq!(
        (plan.name.as_str(), plan.workers.min, plan.network.resolve.len()),
        ("renamed", 3, 1)
    );
    let variables: Vec<_> = plan
        .variables
        .iter()
        .map(|one| (one.name.as_str(), one.secret))
        .collect();
    assert_eq!(variables, [("extra", false), ("token", true), ("region", false)]);
    assert_eq!(plan.variables[1].value.as_static(), Some("hidden${x}"));
    assert!(!show(&plan).contains("hidden"), "a secret is shown");
}

#[test]
fn bad_overrides_are_named() {
    let with = |overrides: Overrides| {
        read(
            Source {
                file: "plan.yaml",
                text: SMALL,
            },
            &overrides,
        )
        .expect_err("a bad override")
        .to_string()
    };
    let set = |name: &str| BTreeMap::from([(name.to_owned(), String::new())]);
    expect!["--target: found `127.0.0.1:1`; expected a URL such as http://127.0.0.1:8080; did you mean `http://127.0.0.1:1`?"]
        .assert_eq(&with(Overrides { target: Some("127.0.0.1:1".into()), ..Overrides::default() }));
    expect!["--resolve: found `a`; expected `host:port:address` such as example.com:443:127.0.0.1"].assert_eq(&with(
        Overrides {
            resolve: vec!["a".into()],
            ..Overrides::default()
        },
    ));
    expect!["-e or --set: found `a b`; expected a name: a letter or `_`, then letters, digits, `_` or `-`"].assert_eq(
        &with(Overrides {
            set: set("a b"),
            ..Overrides::default()
        }),
    );
}

#[test]
fn an_error_is_shown_with_its_line() {
    let text = "target: http://127.0.0.1:1\nload: { rate: 1/s, for: 1s }\nsteps:\n  - get: /health\n    expct: { status: 200 }\n";
    let errors = read(
        Source {
            file: "plan.yaml",
            text,
        },
        &Overrides::default(),
    )
    .unwrap_err();
    expect![[r"
        error: steps[0]: unknown key `expct`; expected one of `get`, `post`, `put`, `patch`, `delete`, `head`, `options`, `think`, `set`, `repeat`, `if`, `until`, `group`, `name`, `timeout`, `expect`, `extract` or `on_failure`
         --> plan.yaml:5:5
          |
        5 |     expct: { status: 200 }
          |     ^^^^^ did you mean `expect`?
    "]]
    .assert_eq(&errors.first().render(text));
}

#[test]
fn the_first_error_of_the_text_comes_first_and_all_are_kept() {
    let text =
        "sla: [p95 < 250]\nseed: x\ntarget: http://127.0.0.1:1\nload: { rate: 1, for: 1s }\nsteps: [get: health]\n";
    let errors = read(
        Source {
            file: "plan.yaml",
            text,
        },
        &Overrides::default(),
    )
    .unwrap_err();
    let lines: Vec<u32> = errors.iter().map(|error| error.line).collect();
    assert_eq!(lines, [2, 4]);
}

#[test]
fn a_stage_of_several_loads_is_warned_of_and_a_counted_load_is_one() {
    let plan = plan(
        "name: stages\ntarget: http://127.0.0.1:1\nscenarios:\n\
         - { name: a, load: { rate: 1/s, for: 2s }, steps: [ get: / ] }\n\
         - { name: b, load: { rate: 1/s, for: 2s }, steps: [ get: / ] }\n\
         - { name: c, iterations: { count: 5, users: 1 }, steps: [ get: / ] }\n\
         sla:\n\
         - { that: error_rate < 1%, during: 'stage(\"hold 1\")' }\n\
         - { that: p50 < 1s, during: 'stage(\"hold 1\")' }\n\
         - { that: p50 < 1s, during: stage(c) }\n",
    );
    let want = "2 loads have a stage `hold 1`: an SLA during it is about the requests of all of them";
    assert_eq!(warnings(&plan), [want]);
}

#[test]
fn warnings_name_what_is_odd() {
    let plan = plan(&format!(
        "{SMALL}  - get: http://127.0.0.1:2/\n  - get: /a/../b\n  - get: {{ url: /a/%2E./b, engine: reqwest }}\nwarm_up: 5s\ndata: {{ d: {{ csv: a.csv }} }}\nnetwork: {{ tls: {{ insecure: true }}, streams_per_connection: 2 }}\n"
    ));
    expect![[r"
        warm_up covers the whole load, so SLAs that do not name it have nothing to judge
        no sla: the run can only fail through min_started
        some requests use absolute URLs, which --target does not replace
        network.streams_per_connection has no effect: no step says `engine: http2`
        the step `GET /a/%2E./b` needs the full client, which takes `.` and `..` out of the path before it sends it
        network.tls.insecure accepts any certificate
        data `d` is not used"]]
    .assert_eq(&warnings(&plan).join("\n"));
}

#[test]
fn steps_are_numbered_in_reading_order() {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/everything.yaml")).unwrap();
    let plan = plan(&text);
    let ids: Vec<u32> = plan.named_steps().iter().map(|step| step.id.0).collect();
    assert_eq!(ids, (0..ids.len() as u32).collect::<Vec<_>>());
    assert!(ids.len() > 10);
}
