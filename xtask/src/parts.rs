//! The parts of the gate: their names, their order and how each one ended.

use anyhow::{Result, bail};

/// One part of the gate, in the order in which the parts run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// Installs the programs that tests drive.
    Tools,
    /// Formatting.
    Fmt,
    /// Lints of the compiler and of clippy.
    Clippy,
    /// The house rules.
    Tidy,
    /// Everything that the tests need, the `barrage` binary among it.
    Build,
    /// All tests.
    Test,
    /// The documentation, with warnings as errors.
    Doc,
    /// Licences, advisories and sources of dependencies.
    Deny,
}

impl Part {
    /// Every part, in order.
    pub(crate) const ALL: [Self; 8] = [
        Self::Tools,
        Self::Fmt,
        Self::Clippy,
        Self::Tidy,
        Self::Build,
        Self::Test,
        Self::Doc,
        Self::Deny,
    ];

    /// The name on the command line and in the summary.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Tidy => "tidy",
            Self::Build => "build",
            Self::Test => "test",
            Self::Doc => "doc",
            Self::Deny => "deny",
        }
    }
}

/// How a part ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It found nothing wrong.
    Passed,
    /// It found something wrong; the text says what in a few words.
    Failed(String),
    /// It could not run here; the text says why.
    Skipped(String),
}

/// Parses part names; none means all. The tests drive the built binary, so `test` brings `build` with it.
///
/// # Errors
/// An unknown name, with the list of known ones.
pub(crate) fn select(names: &[String]) -> Result<Vec<Part>> {
    if names.is_empty() {
        return Ok(Part::ALL.to_vec());
    }
    let mut chosen = Vec::new();
    for name in names {
        let Some(part) = Part::ALL.into_iter().find(|part| part.name() == name) else {
            let known = Part::ALL.map(Part::name).join(" ");
            bail!("unknown part: {name} (known: {known})");
        };
        chosen.push(part);
        if part == Part::Test {
            chosen.push(Part::Build);
        }
    }
    chosen.sort_unstable();
    chosen.dedup();
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn parts_run_in_gate_order_whatever_the_order_of_names() {
        assert_eq!(select(&[]).unwrap(), Part::ALL);
        assert_eq!(
            select(&names(&["tidy", "fmt", "tidy"])).unwrap(),
            [Part::Fmt, Part::Tidy]
        );
        assert_eq!(select(&names(&["test"])).unwrap(), [Part::Build, Part::Test]);
    }

    #[test]
    fn an_unknown_part_is_refused_with_the_known_ones() {
        let error = select(&names(&["tests"])).unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown part: tests (known: tools fmt clippy tidy build test doc deny)"
        );
    }
}
