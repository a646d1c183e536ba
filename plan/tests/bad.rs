//! Bad plans and the one line that each gets.
//!
//! `tests/bad/*.txt` hold cases: `== title @base`, the text, and `>> ` before the message. The base says what is put
//! around the text: `@step` makes it the steps of a small plan, `@top` adds the rest of a small plan behind it, `@sla`
//! makes it the SLAs of a small plan, `@group` those of one with a group, none leaves it alone. `UPDATE_EXPECT=1` rewrites the messages.

use std::fmt::Write as _;
use std::path::Path;

use barrage_plan::{Overrides, Source, read};

struct Case {
    head: String,
    text: String,
    message: String,
}

fn cases(text: &str) -> Vec<Case> {
    let mut found: Vec<Case> = Vec::new();
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("== ") {
            found.push(Case {
                head: head.to_owned(),
                text: String::new(),
                message: String::new(),
            });
        } else if let Some(case) = found.last_mut() {
            match line.strip_prefix(">> ") {
                Some(message) => message.clone_into(&mut case.message),
                None => writeln!(case.text, "{line}").expect("a string"),
            }
        }
    }
    found
}

/// The text of a case with what belongs around it; `<TAB>` and `<ESC>` stand for what no editor would keep.
fn whole(case: &Case) -> String {
    let text = case.text.replace("<TAB>", "\t").replace("<ESC>", "\u{1b}");
    let base = case.head.rsplit_once(" @").map_or("", |(_, base)| base);
    match base {
        "step" => format!("target: http://127.0.0.1:1\nload: {{ rate: 1/s, for: 1s }}\nsteps:\n{text}"),
        "sla" => format!("target: http://127.0.0.1:1\nload: {{ rate: 1/s, for: 1s }}\nsteps: [get: /]\nsla:\n{text}"),
        "group" => format!(
            "target: http://127.0.0.1:1\nload: {{ rate: 1/s, for: 1s }}\nsteps:\n  - group: {{ name: group, steps: [get: /] }}\nsla:\n{text}"
        ),
        "load" => format!("target: http://127.0.0.1:1\nsteps: [get: /]\n{text}"),
        "top" => format!("{text}target: http://127.0.0.1:1\nload: {{ rate: 1/s, for: 1s }}\nsteps: [get: /]\n"),
        "" => text,
        other => panic!("{}: no base {other}", case.head),
    }
}

fn message(text: &str) -> String {
    match read(
        Source {
            file: "plan.yaml",
            text,
        },
        &Overrides::default(),
    ) {
        Ok(_) => "ACCEPTED".to_owned(),
        Err(errors) => errors.to_string(),
    }
}

#[test]
fn every_bad_plan_gets_its_message() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let (mut count, mut wrong) = (0, Vec::new());
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for path in files {
        let mut rewritten = String::new();
        for case in cases(&std::fs::read_to_string(&path).unwrap()) {
            let got = message(&whole(&case));
            count += 1;
            write!(rewritten, "== {}\n{}>> {got}\n", case.head, case.text).unwrap();
            assert!(
                !got.chars().any(char::is_control),
                "{}: a control character got through",
                case.head
            );
            if got != case.message || got == "ACCEPTED" {
                wrong.push(format!("{}\n  want {}\n  got  {got}", case.head, case.message));
            }
        }
        if update {
            std::fs::write(&path, rewritten).unwrap();
        }
    }
    assert!(count >= 150, "only {count} bad plans");
    let shown = wrong.join("\n");
    assert!(
        wrong.is_empty() || (update && !shown.contains("got  ACCEPTED")),
        "{} of {count}:\n{shown}",
        wrong.len()
    );
}
