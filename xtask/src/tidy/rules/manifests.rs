//! Every crate takes its lints and all its dependencies from the workspace.

use crate::tidy::Violation;
use crate::tidy::tree::Tree;

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for manifest in tree.manifests.iter().filter(|manifest| manifest.broken.is_none()) {
        let mut say = |line, message: String| found.push(Violation::new(&manifest.path, line, message));
        let name = format!("barrage-{}", manifest.folder);
        if manifest.package.as_ref() != Some(&name) {
            say(1, format!("the package must be named {name}"));
        }
        if !manifest.takes_lints {
            say(1, "`[lints] workspace = true` is missing".to_owned());
        }
        for dependency in manifest
            .dependencies
            .iter()
            .filter(|dependency| !dependency.from_workspace)
        {
            let message = format!(
                "dependency {} must be `.workspace = true` and nothing else",
                dependency.name
            );
            say(dependency.line, message);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::apply;

    #[test]
    fn a_crate_that_follows_the_workspace_is_fine() {
        let text = "[package]\nname = \"barrage-a\"\n[lints]\nworkspace = true\n[dependencies]\nb.workspace = true\n";
        assert!(apply(check, &[("a/Cargo.toml", text)]).is_empty());
    }

    #[test]
    fn versions_features_lints_and_names_of_its_own_are_reported() {
        let text = "[package]\nname = \"a\"\n[dependencies]\nb = \"1\"\nc = { workspace = true, features = [\"d\"] }\n";
        assert_eq!(
            apply(check, &[("a/Cargo.toml", text)]),
            [
                "a/Cargo.toml:1: `[lints] workspace = true` is missing",
                "a/Cargo.toml:1: the package must be named barrage-a",
                "a/Cargo.toml:4: dependency b must be `.workspace = true` and nothing else",
                "a/Cargo.toml:5: dependency c must be `.workspace = true` and nothing else",
            ]
        );
    }
}
