//! The bans of `clippy.toml` are lifted only in the one file that a process has for the purpose.

use crate::tidy::Violation;
use crate::tidy::tree::Tree;

/// Lints whose exceptions have fixed places.
const LINTS: [&str; 2] = ["disallowed_methods", "disallowed_types"];
/// Names of the files that may lift a ban: the clock, the source of entropy and the exit of a process.
const PLACES: [&str; 3] = ["clock.rs", "entropy.rs", "exit.rs"];

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in tree.sources.iter().filter(|source| !PLACES.contains(&source.name())) {
        for token in source.code().filter(|token| LINTS.contains(&token.text.as_str())) {
            let places = PLACES.join(", ");
            let message = format!("a ban of clippy.toml is lifted outside tests only in {places}");
            found.push(Violation::new(&source.path, token.line, message));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::apply;

    #[test]
    fn a_ban_is_lifted_at_its_place_and_in_tests_only() {
        let lifted = "#[expect(clippy::disallowed_methods, reason = \"here\")]\nfn a() {}\n";
        let test = format!("#[cfg(test)]\nmod tests {{\n{lifted}}}\n");
        assert!(apply(check, &[("worker/src/clock.rs", lifted), ("worker/src/b.rs", &test)]).is_empty());
        assert_eq!(
            apply(check, &[("worker/src/b.rs", lifted)]),
            ["worker/src/b.rs:1: a ban of clippy.toml is lifted outside tests only in clock.rs, entropy.rs, exit.rs"]
        );
    }
}
