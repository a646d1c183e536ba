//! Crates depend on rows above their own, and never on what their row must not know.

use crate::tidy::Violation;
use crate::tidy::manifest::Manifest;
use crate::tidy::tree::Tree;

/// The crates by row, from the words down to the proof. A crate depends only on rows above its own.
const ROWS: [&[&str]; 8] = [
    &["model"],
    &["plan"],
    &["metrics", "breaker", "chaos", "rollout"],
    &["report"],
    &["proto"],
    &["worker", "gateway", "coordinator"],
    &["cli"],
    &["bench", "tests", "xtask"],
];

/// Crates that decide; they meet only in `model`.
const DECIDING: [&str; 5] = ["plan", "metrics", "breaker", "chaos", "rollout"];

/// Edges that point upwards and are refused all the same, with the reason.
const REFUSED: [(&str, &str, &str); 1] = [("worker", "plan", "a worker gets its plan compiled, over the wire")];

/// Crates of others that a crate must not use outside its tests.
const FOREIGN: [(&str, &[&str]); 4] = [
    (
        "model",
        &[
            "getrandom",
            "hyper",
            "reqwest",
            "rustix",
            "schemars",
            "serde",
            "serde_json",
            "tokio",
            "tonic",
        ],
    ),
    (
        "plan",
        &["getrandom", "hyper", "reqwest", "rustix", "socket2", "tokio", "tonic"],
    ),
    (
        "metrics",
        &["getrandom", "hyper", "reqwest", "rustix", "tokio", "tonic"],
    ),
    ("report", &["getrandom", "hyper", "reqwest", "rustix", "tokio", "tonic"]),
];

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    tree.manifests.iter().flat_map(check_manifest).collect()
}

fn check_manifest(manifest: &Manifest) -> Vec<Violation> {
    let from = manifest.folder.as_str();
    let say = |line, message: String| Violation::new(&manifest.path, line, message);
    if row(from).is_none() {
        return vec![say(1, format!("crate {from} stands in no row of `cargo xtask tidy`"))];
    }
    let mut found = Vec::new();
    for dependency in &manifest.dependencies {
        let reason = match dependency.name.strip_prefix("barrage-") {
            Some(to) => refuse(from, to),
            None if dependency.for_tests => None,
            None => refuse_foreign(from, &dependency.name),
        };
        found.extend(reason.map(|reason| say(dependency.line, reason)));
    }
    found
}

fn refuse(from: &str, to: &str) -> Option<String> {
    let Some(above) = row(to) else {
        return Some(format!("crate {to} stands in no row of `cargo xtask tidy`"));
    };
    if row(from).is_none_or(|own| above >= own) {
        return Some(format!(
            "{from} must not depend on {to}: only rows above its own may be used"
        ));
    }
    if DECIDING.contains(&from) && DECIDING.contains(&to) {
        return Some(format!(
            "{from} must not depend on {to}: crates that decide meet only in model"
        ));
    }
    let (.., reason) = REFUSED
        .iter()
        .find(|(refused, target, _)| *refused == from && *target == to)?;
    Some(format!("{from} must not depend on {to}: {reason}"))
}

fn refuse_foreign(from: &str, name: &str) -> Option<String> {
    let (_, names) = FOREIGN.iter().find(|(folder, _)| *folder == from)?;
    names
        .contains(&name)
        .then(|| format!("{from} must not depend on {name}: it stays free of I/O, clock and entropy"))
}

fn row(folder: &str) -> Option<usize> {
    ROWS.iter().position(|crates| crates.contains(&folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::apply;

    #[track_caller]
    fn one(folder: &str, dependencies: &str) -> Vec<String> {
        apply(check, &[(&format!("{folder}/Cargo.toml"), dependencies)])
    }

    #[test]
    fn rows_above_are_free() {
        let table = "[dependencies]\nbarrage-model.workspace = true\nbarrage-plan.workspace = true\n\
                     barrage-metrics.workspace = true\nbarrage-report.workspace = true\nbarrage-proto.workspace = true\n";
        assert!(one("coordinator", table).is_empty());
        assert!(one("cli", "[dependencies]\nbarrage-worker.workspace = true\n").is_empty());
        assert!(one("model", "[dev-dependencies]\nserde_json.workspace = true\n").is_empty());
    }

    #[test]
    fn every_planted_edge_is_refused() {
        let cases = [
            ("model", "barrage-plan", "only rows above its own may be used"),
            ("worker", "barrage-coordinator", "only rows above its own may be used"),
            ("gateway", "barrage-worker", "only rows above its own may be used"),
            ("metrics", "barrage-plan", "crates that decide meet only in model"),
            ("chaos", "barrage-breaker", "only rows above its own may be used"),
            (
                "worker",
                "barrage-plan",
                "a worker gets its plan compiled, over the wire",
            ),
            ("model", "serde", "it stays free of I/O, clock and entropy"),
            ("report", "tokio", "it stays free of I/O, clock and entropy"),
        ];
        for (from, to, reason) in cases {
            let name = to.trim_start_matches("barrage-");
            assert_eq!(
                one(from, &format!("[dependencies]\n{to}.workspace = true\n")),
                [format!(
                    "{from}/Cargo.toml:2: {from} must not depend on {name}: {reason}"
                )]
            );
        }
        let dev = one("worker", "[dev-dependencies]\nbarrage-coordinator.workspace = true\n");
        assert_eq!(dev.len(), 1);
    }

    #[test]
    fn an_unknown_crate_is_reported() {
        assert_eq!(
            one("misc", ""),
            ["misc/Cargo.toml:1: crate misc stands in no row of `cargo xtask tidy`"]
        );
        let found = one("cli", "[dependencies]\nbarrage-misc.workspace = true\n");
        assert_eq!(
            found,
            ["cli/Cargo.toml:2: crate misc stands in no row of `cargo xtask tidy`"]
        );
    }
}
