//! Every Rust file and manifest can be read, so that no other rule passes by not looking.

use crate::tidy::Violation;
use crate::tidy::tree::Tree;

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let sources = tree.sources.iter().map(|source| (&source.path, &source.broken));
    let manifests = tree.manifests.iter().map(|manifest| (&manifest.path, &manifest.broken));
    sources
        .chain(manifests)
        .filter_map(|(path, broken)| {
            let (line, reason) = broken.as_ref()?;
            Some(Violation::new(path, *line, format!("could not be parsed: {reason}")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::apply;

    #[test]
    fn files_that_cannot_be_read_are_reported() {
        let found = apply(
            check,
            &[
                ("a/src/b.rs", "fn a() {}\nfn fn\n"),
                ("a/Cargo.toml", "[package\n"),
                ("c.rs", ""),
            ],
        );
        assert_eq!(found.len(), 2);
        assert!(
            found[0].starts_with("a/Cargo.toml:1: could not be parsed: "),
            "{found:?}"
        );
        assert!(found[1].starts_with("a/src/b.rs:2: could not be parsed: "), "{found:?}");
    }
}
