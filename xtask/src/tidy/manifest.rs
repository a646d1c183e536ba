//! Reads what the rules need from a crate's manifest.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The tables that list dependencies, here and below `[target.…]`.
const DEPENDENCY_TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// A crate's manifest.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// The crate's folder, right below the root.
    pub(crate) folder: String,
    /// The manifest's own path.
    pub(crate) path: String,
    /// The package's name, if it has one.
    pub(crate) package: Option<String>,
    /// Whether the crate takes the workspace's lints.
    pub(crate) takes_lints: bool,
    /// Every dependency of every kind.
    pub(crate) dependencies: Vec<Dependency>,
    /// Line and text of what is wrong, when the file is not TOML.
    pub(crate) broken: Option<(usize, String)>,
}

/// One dependency as the manifest states it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    /// Its name in the manifest.
    pub(crate) name: String,
    /// The line of the name.
    pub(crate) line: usize,
    /// Whether only tests use it.
    pub(crate) for_tests: bool,
    /// Whether version, features and source all come from the workspace.
    pub(crate) from_workspace: bool,
}

impl Manifest {
    /// Reads a manifest; one that is not TOML keeps only the reason.
    pub(crate) fn new(folder: String, path: &str, text: &str) -> Self {
        let mut manifest = Self {
            folder,
            path: path.to_owned(),
            package: None,
            takes_lints: false,
            dependencies: Vec::new(),
            broken: None,
        };
        match DeTable::parse(text) {
            Ok(table) => manifest.fill(table.get_ref(), text),
            Err(error) => {
                let line = error.span().map_or(1, |span| line_of(text, span.start));
                manifest.broken = Some((line, error.message().to_owned()));
            }
        }
        manifest
    }

    fn fill(&mut self, table: &DeTable<'_>, text: &str) {
        self.package = child(table, "package").and_then(|package| string(package, "name"));
        self.takes_lints = child(table, "lints").is_some_and(|lints| flag(lints, "workspace"));
        self.add_dependencies(table, text);
        for platform in child(table, "target").into_iter().flat_map(DeTable::values) {
            if let Some(platform) = platform.get_ref().as_table() {
                self.add_dependencies(platform, text);
            }
        }
    }

    fn add_dependencies(&mut self, table: &DeTable<'_>, text: &str) {
        for kind in DEPENDENCY_TABLES {
            for (name, value) in child(table, kind).into_iter().flatten() {
                self.dependencies.push(Dependency {
                    name: name.get_ref().to_string(),
                    line: line_of(text, name.span().start),
                    for_tests: kind == "dev-dependencies",
                    from_workspace: from_workspace(value),
                });
            }
        }
    }
}

/// `workspace = true`, and beside it at most `optional`.
fn from_workspace(value: &Spanned<DeValue<'_>>) -> bool {
    value.get_ref().as_table().is_some_and(|table| {
        flag(table, "workspace")
            && table
                .keys()
                .all(|key| matches!(key.get_ref().as_ref(), "workspace" | "optional"))
    })
}

fn child<'a, 'i>(table: &'a DeTable<'i>, key: &str) -> Option<&'a DeTable<'i>> {
    table.get(key)?.get_ref().as_table()
}

fn string(table: &DeTable<'_>, key: &str) -> Option<String> {
    Some(table.get(key)?.get_ref().as_str()?.to_owned())
}

fn flag(table: &DeTable<'_>, key: &str) -> bool {
    table
        .get(key)
        .is_some_and(|value| value.get_ref().as_bool() == Some(true))
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_of_every_kind_are_read_with_their_lines() {
        let text = "[package]\nname = \"barrage-a\"\n[lints]\nworkspace = true\n[dependencies]\nx.workspace = true\n\
                    y = { workspace = true, features = [\"z\"] }\n[dev-dependencies]\nv = \"1\"\n\
                    [target.'cfg(unix)'.build-dependencies.w]\nworkspace = true\noptional = true\n";
        let manifest = Manifest::new("a".to_owned(), "a/Cargo.toml", text);
        assert_eq!(manifest.package.as_deref(), Some("barrage-a"));
        assert!(manifest.takes_lints);
        let dependency = |name: &str, line, for_tests, from_workspace| Dependency {
            name: name.to_owned(),
            line,
            for_tests,
            from_workspace,
        };
        assert_eq!(
            manifest.dependencies,
            [
                dependency("x", 6, false, true),
                dependency("y", 7, false, false),
                dependency("v", 9, true, false),
                dependency("w", 10, false, true),
            ]
        );
    }

    #[test]
    fn a_broken_manifest_keeps_the_place() {
        let manifest = Manifest::new("a".to_owned(), "a/Cargo.toml", "[package]\nname = \n");
        assert!(manifest.broken.is_some_and(|(line, _)| line == 2));
    }
}
