//! A test that cannot run says so through one helper, so that the gate counts it.

use crate::tidy::Violation;
use crate::tidy::source::Source;
use crate::tidy::tree::Tree;

/// The variable with the log's path; the file that reads it is the helper.
const LOG_VARIABLE: &str = "BARRAGE_SKIPPED_LOG";

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    // This crate writes the summary; it is the other end of the log.
    let sources = || tree.sources.iter().filter(|source| source.folder() != "xtask");
    let helper = sources().find(|source| literal_line(source, |text| text.contains(LOG_VARIABLE)).is_some());
    let others = sources().filter(|source| helper.is_none_or(|helper| helper.path != source.path));
    let place = helper.map_or("a helper that tells the gate", |helper| helper.path.as_str());
    others
        .filter_map(|source| {
            let line = literal_line(source, |text| {
                text.starts_with("SKIPPED") || text.contains(LOG_VARIABLE)
            })?;
            Some(Violation::new(
                &source.path,
                line,
                format!("skipped tests are reported through {place} alone"),
            ))
        })
        .collect()
}

/// The line of the first string literal whose content is wanted.
fn literal_line(source: &Source, wanted: impl Fn(&str) -> bool) -> Option<usize> {
    let literal = source.tokens.iter().find(|token| {
        let content = token.text.trim_start_matches(['b', 'c', 'r', '#']);
        content.strip_prefix('"').is_some_and(&wanted)
    })?;
    Some(literal.line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::apply;

    const HELPER: (&str, &str) = (
        "tests/src/skip.rs",
        "fn skip() { let log = var(\"BARRAGE_SKIPPED_LOG\"); write(format!(\"SKIPPED {name}: {reason}\")); }",
    );

    #[test]
    fn one_helper_is_fine_and_a_second_voice_is_not() {
        assert!(apply(check, &[HELPER, ("xtask/src/check.rs", HELPER.1)]).is_empty());
        assert_eq!(
            apply(
                check,
                &[
                    HELPER,
                    (
                        "tests/tests/it.rs",
                        "fn a() {\n    eprintln!(\"SKIPPED it: no nginx\");\n}"
                    )
                ]
            ),
            ["tests/tests/it.rs:2: skipped tests are reported through tests/src/skip.rs alone"]
        );
        assert_eq!(
            apply(
                check,
                &[("worker/src/tests.rs", "fn a() { eprintln!(\"SKIPPED it\"); }")]
            ),
            ["worker/src/tests.rs:1: skipped tests are reported through a helper that tells the gate alone"]
        );
    }
}
