//! Every task has an owner and no thread sleeps blindly. Clippy cannot let tests do both, so the rule is here.

use super::find;
use crate::tidy::Violation;
use crate::tidy::source::Token;
use crate::tidy::tree::Tree;

/// What is refused outside tests, and what to use instead.
const REFUSED: [(&str, &str); 3] = [
    (
        "tokio :: spawn",
        "spawn on a `JoinSet`, whose owner waits for the task and sees its failure",
    ),
    (
        "task :: spawn",
        "spawn on a `JoinSet`, whose owner waits for the task and sees its failure",
    ),
    (
        "thread :: sleep",
        "wait for the event with a limit, or use the runtime's timer",
    ),
];

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    // This crate waits for child processes, for which the standard library has no wait with a limit.
    for source in tree.sources.iter().filter(|source| source.folder() != "xtask") {
        let code: Vec<&Token> = source.code().collect();
        for (call, instead) in REFUSED {
            let shown = call.replace(' ', "");
            let say = |line| Violation::new(&source.path, line, format!("`{shown}`: {instead}"));
            found.extend(find(&code, call).into_iter().map(say));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::apply;

    #[test]
    fn bare_tasks_and_sleeps_are_refused_outside_tests() {
        let text = "fn a() {\n    tokio::spawn(b());\n    std::thread::sleep(LIMIT);\n    set.spawn(c());\n}\n";
        assert_eq!(
            apply(
                check,
                &[
                    ("worker/src/a.rs", text),
                    ("tests/src/a.rs", text),
                    ("worker/src/tests.rs", text)
                ]
            ),
            [
                "worker/src/a.rs:2: `tokio::spawn`: spawn on a `JoinSet`, whose owner waits for the task and sees its failure",
                "worker/src/a.rs:3: `thread::sleep`: wait for the event with a limit, or use the runtime's timer",
            ]
        );
    }
}
