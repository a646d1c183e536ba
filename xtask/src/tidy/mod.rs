//! The house rules that no other tool checks. Each rule is a pure function from the tree's texts to violations.

mod manifest;
mod rules;
mod source;
mod tree;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use anyhow::Result;

use tree::Tree;

/// One broken rule at one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    path: String,
    /// From 1; 1 as well where the whole file is meant.
    line: usize,
    message: String,
}

impl Violation {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line: line.max(1),
            message: message.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Reads the tree below `root` and applies every rule; sorted by place, without repetition.
///
/// # Errors
/// A file or folder that cannot be read.
pub(crate) fn run(root: &Path) -> Result<BTreeSet<Violation>> {
    let tree = Tree::read(root)?;
    Ok(rules::ALL.iter().flat_map(|rule| rule(&tree)).collect())
}

/// Applies one rule to planted files and renders what it says, one violation per line.
#[cfg(test)]
fn apply(rule: rules::Rule, files: &[(&str, &str)]) -> Vec<String> {
    let tree = Tree::from_texts(
        files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned())),
    );
    let violations: BTreeSet<Violation> = rule(&tree).into_iter().collect();
    violations.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_prints_as_path_line_message() {
        assert_eq!(
            Violation::new("model/src/a.rs", 7, "too long").to_string(),
            "model/src/a.rs:7: too long"
        );
        assert_eq!(
            Violation::new("deny.toml", 0, "missing").to_string(),
            "deny.toml:1: missing"
        );
    }
}
