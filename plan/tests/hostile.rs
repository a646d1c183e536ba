//! Whatever comes in, reading ends soon and does not panic.

use std::time::{Duration, Instant};

use barrage_plan::{Overrides, Source, read, text_of};
use proptest::prelude::*;

/// Ample for a slow machine and an unoptimised build; what this guards against takes minutes or for ever.
const LIMIT: Duration = Duration::from_secs(20);

#[expect(clippy::disallowed_methods, reason = "the test is about the time that reading takes")]
fn look(text: &str) {
    let begun = Instant::now();
    if let Err(errors) = read(
        Source {
            file: "plan.yaml",
            text,
        },
        &Overrides::default(),
    ) {
        for error in &errors {
            let shown = error.to_string() + &error.render(text);
            assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
        }
    }
    let took = begun.elapsed();
    assert!(took < LIMIT, "{took:?} for {} bytes", text.len());
}

#[test]
fn large_plans_end_soon() {
    let mib = 1024 * 1024;
    let bombs = [
        "a".repeat(mib + 1),
        "[".repeat(mib),
        "{".repeat(mib),
        "- ".repeat(mib / 2),
        "? ".repeat(mib / 2),
        "a: ".repeat(mib / 3),
        "&a ".repeat(mib / 3),
        "*a ".repeat(mib / 3),
        "!".repeat(mib),
        "\"".repeat(mib),
        "'".repeat(mib),
        "#".repeat(mib),
        "\n".repeat(mib),
        " ".repeat(mib),
        "%".repeat(mib),
        "---\n".repeat(mib / 4),
        format!("a: |\n{}", " x\n".repeat(mib / 3 - 10)),
        format!("name: \"{}", "\\u0041".repeat(mib / 6 - 10)),
        format!("x-a: [{}]", "a,".repeat(mib / 2 - 20)),
        format!("x-a: {{{}}}", "a: b, ".repeat(mib / 6 - 20)),
        format!("x-a: &a {}\nx-b: [{}]", "y".repeat(1000), "*a,".repeat(50_000)),
        format!("target: http://{}", "a.".repeat(mib / 2 - 20)),
        format!("variables: {{ a: \"{}\" }}", "${a".repeat(mib / 3 - 20)),
        format!("variables: {{ a: \"{}\" }}", "${".repeat(mib / 2 - 20)),
        format!("sla: [\"{}\"]", "(".repeat(mib - 20)),
        format!("steps: [if: {{ that: \"{}\", then: [] }}]", "not ".repeat(4_000)),
    ];
    for bomb in &bombs {
        look(bomb);
    }
    let keys: Vec<String> = (0..60_000).map(|n| format!("key{n}: 1")).collect();
    look(&keys.join("\n"));
}

#[test]
fn many_names_and_many_errors_end_soon() {
    let small = "target: http://127.0.0.1:1\nload: { rate: 1/s, for: 1s }\nsteps:\n";
    let mut text = small.to_owned();
    for step in 0..200 {
        let names = (0..100)
            .map(|n| format!("v{step}x{n}: 1"))
            .collect::<Vec<_>>()
            .join(", ");
        text.push_str("- set: { ");
        text.push_str(&names);
        text.push_str(" }\n");
    }
    look(&text);
    for step in 0..200 {
        let names = (0..100)
            .map(|n| format!("w{step}x{n}: \"${{u{n}x{step}}}\""))
            .collect::<Vec<_>>()
            .join(", ");
        text.push_str("- set: { ");
        text.push_str(&names);
        text.push_str(" }\n");
    }
    look(&text);
    let slas = "- p95 < 1s\n".repeat(1000);
    look(&format!("{small}- get: /\nsla:\n{slas}"));
}

#[test]
fn patterns_and_paths_end_soon() {
    let small = |step: &str| format!("target: http://127.0.0.1:1\nload: {{ rate: 1/s, for: 1s }}\nsteps:\n{step}");
    for pattern in [
        "(a*)*".repeat(800),
        "a{1000}".repeat(500),
        "(".repeat(4000),
        "[a-z]".repeat(800),
        "\\p{L}{100}".repeat(300),
    ] {
        look(&small(&format!(
            "  - get: /\n    expect: {{ body_matches: '{pattern}' }}\n"
        )));
    }
    let paths = [
        format!("$[?{}@.a{}]", "(".repeat(7), ")".repeat(7)),
        format!("$[?{}@.a{}", "(".repeat(7), ")".repeat(6)),
        format!("$[?{}@.a]", "!".repeat(500)),
        format!("$[?{}]", "@.a==1||".repeat(120)),
        format!("$[?{}]", "@.a==1&&".repeat(120)),
        format!("${}", "..*".repeat(300)),
        format!("${}", "[*]".repeat(300)),
        format!("$[?{}1{}]", "length(".repeat(7), ")".repeat(7)),
        format!("$[?{}1{}]", "value($[?".repeat(3), "])".repeat(3)),
    ];
    for path in paths {
        look(&small(&format!(
            "  - get: /\n    extract: {{ a: {{ json: \"{path}\" }} }}\n"
        )));
    }
}

#[test]
fn bytes_that_are_no_text_have_a_place() {
    for (bytes, want) in [
        (
            &b"name: \xff"[..],
            "plan.yaml:1:7: found the byte 0xff, which is not UTF-8; expected a text in UTF-8",
        ),
        (
            b"a: \xc3\xa4\nb: \xc3",
            "plan.yaml:2:4: found the byte 0xc3, which is not UTF-8; expected a text in UTF-8",
        ),
        (
            b"\x80",
            "plan.yaml:1:1: found the byte 0x80, which is not UTF-8; expected a text in UTF-8",
        ),
    ] {
        assert_eq!(text_of("plan.yaml", bytes).unwrap_err().to_string(), want);
    }
    assert_eq!(text_of("plan.yaml", b"\xef\xbb\xbfname: a").unwrap(), "name: a");
    let long = vec![b'a'; 1024 * 1024 + 1];
    let want = "plan.yaml:1:1: found 1048577 bytes; expected a plan of at most 1MiB";
    assert_eq!(text_of("plan.yaml", &long).unwrap_err().to_string(), want);
    look("name: a\0b");
}

/// Pieces of which plans are made, so that chance gets past the first line.
fn pieces() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "target: http://127.0.0.1:1\n",
        "load: { rate: 1/s, for: 1s }\n",
        "steps:\n",
        "  - get: /\n",
        "  - get: ",
        "sla:\n",
        "  - p95 < 1s\n",
        "scenarios:\n",
        "expect: ",
        "{ ",
        " }",
        "[ ",
        " ]",
        ", ",
        ": ",
        "json: ",
        "status: ",
        "200",
        "\"",
        "'",
        "${",
        "}",
        "${uuid()}",
        " | json",
        "&a ",
        "*a",
        "- ",
        "\n",
        "  ",
        "    ",
        "name: ",
        "setup:\n",
        "if: ",
        "that: ",
        "users: ",
        "stages: ",
        "ramp: ",
        "hold: ",
        "0/s",
        "1s",
        "extract: ",
        "$.a",
        "\\u",
        "\t",
        "#",
        "|\n",
        ">\n",
        "x-a: ",
        "é",
    ]);
    let piece = prop_oneof![8 => words.prop_map(str::to_owned), 1 => "\\PC{0,4}"];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(text) = text_of("plan.yaml", &bytes) {
            look(text);
        }
    }

    #[test]
    fn text_never_panics(text in "\\PC{0,200}") {
        look(&text);
    }

    #[test]
    fn almost_plans_never_panic(text in pieces()) {
        look(&text);
    }

    #[test]
    fn cut_and_changed_plans_never_panic(from in 0_usize..9_000, length in 0_usize..40, with in "[ -~\\n]{0,12}") {
        let mut text = include_str!("../../examples/everything.yaml").to_owned();
        let from = text.floor_char_boundary(from.min(text.len()));
        let to = text.floor_char_boundary((from + length).min(text.len())).max(from);
        text.replace_range(from..to, &with);
        look(&text);
    }
}
