//! Patterns, paths and conditions, compiled once.

use barrage_model::condition::Condition as PlanCondition;
use barrage_model::template::Source;
use regex::bytes::{Regex, RegexBuilder};
use serde_json_path::JsonPath;

use super::super::error::StepProblem;
use super::super::text::Ref;
use super::super::values::Scope;
use super::link::Linker;

/// Most memory of one compiled expression, in bytes.
const REGEX_MAX: usize = 2 * 1024 * 1024;

pub(in crate::scenario) fn regex(pattern: &str) -> Result<Regex, StepProblem> {
    let built = RegexBuilder::new(pattern)
        .size_limit(REGEX_MAX)
        .dfa_size_limit(REGEX_MAX)
        .build();
    built.map_err(|error| StepProblem::Regex(Box::new(error)))
}

pub(in crate::scenario) fn json_path(path: &str) -> Result<JsonPath, StepProblem> {
    JsonPath::parse(path).map_err(|_| StepProblem::JsonPath(path.to_owned()))
}

/// A condition whose names have been turned into places.
#[derive(Debug)]
pub(in crate::scenario) struct Condition {
    that: PlanCondition,
    places: Vec<(Source, Ref)>,
    patterns: Vec<(String, Regex)>,
}

impl Condition {
    pub(super) fn compile(linker: &mut Linker<'_>, condition: &PlanCondition) -> Result<Self, StepProblem> {
        let mut places: Vec<(Source, Ref)> = Vec::new();
        for source in condition.sources() {
            if places.iter().all(|(known, _)| known != source) {
                places.push((source.clone(), linker.condition_place(source)?));
            }
        }
        let mut patterns: Vec<(String, Regex)> = Vec::new();
        for pattern in condition.patterns() {
            patterns.push((pattern.to_owned(), regex(pattern)?));
        }
        Ok(Self {
            that: condition.clone(),
            places,
            patterns,
        })
    }

    /// Whether it holds now.
    pub(in crate::scenario) fn is_met(&self, scope: &Scope<'_>) -> bool {
        let lookup = |source: &Source| {
            let (_, place) = self.places.iter().find(|(known, _)| known == source)?;
            scope.value(place).map(|value| value.into_owned().into())
        };
        let matches = |pattern: &str, text: &str| {
            let pattern = self.patterns.iter().find(|(known, _)| known == pattern);
            pattern.is_some_and(|(_, regex)| regex.is_match(text.as_bytes()))
        };
        self.that.is_met(&lookup, &matches)
    }
}
