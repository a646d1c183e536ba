//! The texts that the rules look at, read once.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::manifest::Manifest;
use super::source::Source;

/// Everything that the rules look at, with paths relative to the root and `/` between their parts.
pub(crate) struct Tree {
    /// Rust files, sorted by path.
    pub(crate) sources: Vec<Source>,
    /// The manifests of the crates, one folder below the root.
    pub(crate) manifests: Vec<Manifest>,
    /// Paths of the decision records.
    pub(crate) records: Vec<String>,
}

impl Tree {
    /// Reads the folders below `root`, without build output and hidden ones.
    ///
    /// # Errors
    /// The path that could not be read.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut texts = Vec::new();
        collect(root, "", &mut texts)?;
        Ok(Self::from_texts(texts))
    }

    /// Builds a tree from (path, text) pairs.
    pub(crate) fn from_texts(texts: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut tree = Self {
            sources: Vec::new(),
            manifests: Vec::new(),
            records: Vec::new(),
        };
        let mut texts: Vec<_> = texts.into_iter().collect();
        texts.sort_unstable();
        for (path, text) in texts {
            if is_source(&path) {
                tree.sources.push(Source::new(path, text));
            } else if let Some(folder) = crate_of_manifest(&path) {
                tree.manifests.push(Manifest::new(folder.to_owned(), &path, &text));
            } else if is_record(&path) {
                tree.records.push(path);
            }
        }
        tree.mark_test_modules();
        tree
    }

    /// Files behind a `#[cfg(test)] mod name;` are tests, whatever their name.
    fn mark_test_modules(&mut self) {
        let modules: BTreeSet<String> = self.sources.iter().flat_map(Source::test_module_stems).collect();
        for source in &mut self.sources {
            let inside = modules.iter().any(|stem| {
                source
                    .path
                    .strip_prefix(stem.as_str())
                    .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
            });
            if inside {
                source.is_test = true;
            }
        }
    }
}

fn collect(folder: &Path, prefix: &str, texts: &mut Vec<(String, String)>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("could not list {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("could not list {}", folder.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry
            .file_type()
            .with_context(|| format!("could not look at {}", entry.path().display()))?;
        if name.starts_with('.') || name == "target" {
            continue;
        }
        let path = format!("{prefix}{name}");
        if kind.is_dir() {
            collect(&entry.path(), &format!("{path}/"), texts)?;
        } else if kind.is_file() && is_wanted(&path) {
            let bytes = fs::read(entry.path()).with_context(|| format!("could not read {path}"))?;
            texts.push((path, String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    Ok(())
}

fn is_wanted(path: &str) -> bool {
    is_source(path) || crate_of_manifest(path).is_some() || is_record(path)
}

fn is_source(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

/// The folder of a crate's manifest; the root's own manifest belongs to no crate.
fn crate_of_manifest(path: &str) -> Option<&str> {
    path.strip_suffix("/Cargo.toml").filter(|folder| !folder.contains('/'))
}

fn is_record(path: &str) -> bool {
    path.starts_with("docs/adr/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_sorted_into_kinds() {
        let texts = [
            "a/src/lib.rs",
            "a/Cargo.toml",
            "Cargo.toml",
            "a/fuzz/Cargo.toml",
            "docs/adr/0001-x.md",
            "README.md",
        ];
        let tree = Tree::from_texts(texts.map(|path| (path.to_owned(), String::new())));
        let sources: Vec<&str> = tree.sources.iter().map(|source| source.path.as_str()).collect();
        assert_eq!(sources, ["a/src/lib.rs"]);
        assert_eq!(tree.manifests.len(), 1);
        assert_eq!(tree.manifests[0].folder, "a");
        assert_eq!(tree.records, ["docs/adr/0001-x.md"]);
    }

    #[test]
    fn a_module_declared_for_tests_makes_its_files_tests() {
        let files = [
            ("a/src/lib.rs", "#[cfg(test)]\nmod fixtures;\nmod code;\n"),
            ("a/src/fixtures.rs", ""),
            ("a/src/fixtures/deep.rs", ""),
            ("a/src/code.rs", "#[cfg(test)]\nmod samples;"),
            ("a/src/code/samples.rs", ""),
            ("a/src/samples.rs", ""),
        ];
        let tree = Tree::from_texts(files.map(|(path, text)| (path.to_owned(), text.to_owned())));
        let marked: Vec<&str> = tree
            .sources
            .iter()
            .filter(|source| source.is_test)
            .map(|source| source.path.as_str())
            .collect();
        assert_eq!(
            marked,
            ["a/src/code/samples.rs", "a/src/fixtures.rs", "a/src/fixtures/deep.rs"]
        );
    }
}
