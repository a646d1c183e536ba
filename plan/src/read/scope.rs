//! Which names a template may use where.

use std::collections::BTreeSet;

use barrage_model::syntax::nearest;
use barrage_model::template::{Filter, Function, Source, Splice};

use super::{Got, Reader, Reported};
use crate::problem::{Problem, either, quoted};
use crate::yaml::{Kind, Node};

/// Where a template stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// In `variables`: the same for all iterations.
    #[default]
    Variables,
    /// In `setup` or `teardown`: no iteration, so no data row.
    Once,
    /// In a scenario.
    Scenario,
}

/// The names known so far, in reading order.
#[derive(Default)]
pub(crate) struct Scope {
    /// In the order in which they became known.
    names: Vec<String>,
    /// The same, to look them up.
    known: BTreeSet<String>,
    data: Vec<String>,
    /// Names that get a value anywhere in the plan.
    declared: BTreeSet<String>,
    place: Place,
}

impl Scope {
    /// Collects the names that get a value anywhere: the keys below `variables`, `set` and `extract`.
    pub(crate) fn new(root: &Node) -> Self {
        let mut scope = Self::default();
        let mut nodes = vec![root];
        while let Some(node) = nodes.pop() {
            match &node.kind {
                Kind::Scalar(_) => {}
                Kind::List(items) => nodes.extend(items),
                Kind::Map(entries) => {
                    for entry in entries {
                        nodes.push(&entry.value);
                        let gives = matches!(entry.key.as_str(), "variables" | "set" | "extract");
                        if let (true, Kind::Map(inner)) = (gives, &entry.value.kind) {
                            scope.declared.extend(inner.iter().map(|entry| entry.key.clone()));
                        }
                    }
                }
            }
        }
        scope
    }
}

impl Reader<'_> {
    /// Makes a name known from here on.
    pub(crate) fn declare(&self, name: &str) {
        let mut scope = self.scope.borrow_mut();
        if scope.known.insert(name.to_owned()) {
            scope.names.push(name.to_owned());
        }
        scope.declared.insert(name.to_owned());
    }

    /// Makes a data source known.
    pub(crate) fn declare_data(&self, name: &str) {
        self.scope.borrow_mut().data.push(name.to_owned());
    }

    /// Goes to another part of the plan.
    pub(crate) fn enter(&self, place: Place) {
        self.scope.borrow_mut().place = place;
    }

    /// The number of names known; [`Reader::forget`] goes back to it.
    pub(crate) fn known(&self) -> usize {
        self.scope.borrow().names.len()
    }

    /// Forgets all names but the first so many: those of a scenario are unknown in the next one.
    pub(crate) fn forget(&self, known: usize) {
        let mut scope = self.scope.borrow_mut();
        let forgotten = scope.names.split_off(known);
        for name in &forgotten {
            scope.known.remove(name);
        }
    }

    /// Checks the splices of a template.
    pub(crate) fn in_scope<'s>(&self, node: &Node, splices: impl Iterator<Item = &'s Splice>) -> Got<()> {
        for splice in splices {
            let has_default = splice.filters.iter().any(|filter| matches!(filter, Filter::Default(_)));
            self.check_source(node, &splice.source, has_default)?;
        }
        Ok(())
    }

    /// Checks the sources of a condition, which may be absent there.
    pub(crate) fn sources_in_scope<'s>(&self, node: &Node, sources: impl Iterator<Item = &'s Source>) -> Got<()> {
        for source in sources {
            self.check_source(node, source, true)?;
        }
        Ok(())
    }

    /// Checks one source. A value that may be absent need only be given somewhere in the plan.
    fn check_source(&self, node: &Node, source: &Source, may_be_absent: bool) -> Got<()> {
        let scope = self.scope.borrow();
        let problem = match source {
            Source::Variable(name) if scope.known.contains(name) => return Ok(()),
            Source::Variable(name) if may_be_absent && scope.declared.contains(name) => return Ok(()),
            // The search for the nearest name takes time, which a plan full of errors shall not multiply.
            Source::Variable(_) if self.is_full() => return Err(self.fail(node.span, Problem::new("", ""))),
            Source::Variable(name) => unknown_variable(name, &scope),
            Source::Column { .. } | Source::Call(_) if scope.place == Place::Variables => Problem::new(
                format!("found {}", spliced(source)),
                "a value that is the same for all iterations",
            )
            .help("use `set` in a step"),
            Source::Column { .. } if scope.place == Place::Once => Problem::new(
                format!("found {}", spliced(source)),
                "a value that does not need an iteration",
            )
            .help("rows of data belong to iterations"),
            Source::Column { data, .. } if !scope.data.contains(data) => {
                let known = scope.data.iter().map(String::as_str);
                let expected = if scope.data.is_empty() {
                    "`data` in the plan".to_owned()
                } else {
                    either(known.clone())
                };
                Problem::new(format!("unknown data {}", quoted(data)), expected).nearest(nearest(data, known))
            }
            _ => return Ok(()),
        };
        drop(scope);
        Err(self.fail_at_source(node, source, problem))
    }

    /// Records an error at the splice that uses a source, where it can be found.
    pub(super) fn fail_at_source(&self, node: &Node, source: &Source, mut problem: Problem) -> Reported {
        let Kind::Scalar(scalar) = &node.kind else {
            return self.fail(node.span, problem);
        };
        let name = match source {
            Source::Variable(name) => name.clone(),
            other => other.to_string(),
        };
        problem.at = places(&scalar.text, &name).next();
        self.fail_in(node, &scalar.text, problem)
    }
}

/// Where a name stands right behind `${` and blanks.
fn places<'t>(text: &'t str, name: &'t str) -> impl Iterator<Item = std::ops::Range<usize>> + 't {
    text.match_indices("${").filter_map(move |(at, open)| {
        let rest = &text[at + open.len()..];
        let start = at + open.len() + (rest.len() - rest.trim_start().len());
        let after = text[start..].strip_prefix(name)?;
        let ends = !after.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        ends.then_some(start..start + name.len())
    })
}

fn spliced(source: &Source) -> String {
    quoted(&format!("${{{source}}}"))
}

fn unknown_variable(name: &str, scope: &Scope) -> Problem {
    let found = format!("unknown variable {}", quoted(name));
    let problem = Problem::new(found, "a variable that has a value here");
    if scope.data.iter().any(|data| data == name) {
        return problem.nearest(Some(format!("{name}.column")));
    }
    if let Some(known) = nearest(name, scope.names.iter().map(String::as_str)) {
        return problem.nearest(Some(known));
    }
    if scope.declared.contains(name) {
        return problem.help("it gets its value later, or in another scenario");
    }
    if Function::WORDS.contains(&name) {
        return problem.nearest(Some(format!("{name}()")));
    }
    if name
        .chars()
        .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    {
        return problem.nearest(Some(format!("env:{name}")));
    }
    problem
}
