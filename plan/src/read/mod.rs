//! From a tree of values to a plan: typed decoders over the tables of [`crate::language`].

mod body;
mod checks;
mod engines;
mod fields;
mod hosts;
mod json;
mod load;
mod network;
mod plan;
mod request;
mod scalars;
mod scope;
mod sla;
mod steps;

use std::cell::{Cell, RefCell};

use barrage_model::plan::Plan;
use barrage_model::template::Template;

pub(crate) use engines::is_full;
pub(crate) use fields::{Fields, Value};
pub(crate) use json::escaped;
use scope::Scope;
pub(crate) use steps::key_of;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::problem::Problem;
use crate::yaml::{self, Lines, Misplaced, Node, Span};
use crate::{Overrides, Source};

/// The place of what came with the command line.
const ARGUMENT: Span = Span {
    start: usize::MAX,
    end: usize::MAX,
};
/// The most errors that are collected from one plan.
const ERRORS_MAX: usize = 100;

/// Proof that an error has been recorded.
#[derive(Debug)]
pub(crate) struct Reported(());

/// A decoded value, or the knowledge that an error has been recorded.
pub(crate) type Got<T> = Result<T, Reported>;

/// What decoders share.
pub(crate) struct Reader<'a> {
    text: &'a str,
    lines: Lines<'a>,
    file: &'a str,
    overrides: &'a Overrides,
    errors: RefCell<Vec<Misplaced>>,
    scope: RefCell<Scope>,
    /// URLs with values in them.
    urls: RefCell<Vec<(Node, Template)>>,
    /// Workers that the run waits for, once that is known.
    least_workers: Cell<u32>,
}

/// Reads a plan.
pub(crate) fn read(source: Source<'_>, overrides: &Overrides) -> Result<Plan, Diagnostics> {
    let root = yaml::compose(source.text).map_err(|error| {
        let lines = Lines::new(source.text);
        Diagnostics::new(diagnostic(source, &lines, None, error), [])
    })?;
    let reader = Reader {
        text: source.text,
        lines: Lines::new(source.text),
        file: source.file,
        overrides,
        errors: RefCell::default(),
        scope: RefCell::new(Scope::new(&root)),
        urls: RefCell::default(),
        least_workers: Cell::new(1),
    };
    let plan = reader.plan(&root);
    let mut errors = reader.errors.into_inner().into_iter();
    match (plan, errors.next()) {
        (Ok(plan), None) => Ok(plan),
        (_, Some(first)) => {
            let lines = Lines::new(source.text);
            let shown = |error| diagnostic(source, &lines, Some(&root), error);
            Err(Diagnostics::new(shown(first), errors.map(shown)))
        }
        (Err(Reported(())), None) => {
            // `Reported` is only made where an error is recorded.
            let problem = Problem::new("this plan was refused without a reason", "a plan");
            let error = Misplaced {
                span: Span::default(),
                problem: Box::new(problem),
            };
            Err(Diagnostics::new(
                diagnostic(source, &Lines::new(source.text), None, error),
                [],
            ))
        }
    }
}

/// A problem with its place in words.
fn diagnostic(source: Source<'_>, lines: &Lines<'_>, root: Option<&Node>, error: Misplaced) -> Diagnostic {
    let in_text = error.span != ARGUMENT;
    let (line, column) = if in_text { lines.place(error.span.start) } else { (0, 0) };
    let root = root.filter(|_| in_text);
    let Problem {
        found,
        expected,
        nearest,
        help,
        ..
    } = *error.problem;
    Diagnostic {
        file: source.file.to_owned(),
        line,
        column,
        width: if in_text { lines.width(error.span) } else { 1 },
        what: root.map_or_else(String::new, |root| yaml::path_at(root, error.span.start)),
        found,
        expected,
        nearest,
        help,
    }
}

impl Reader<'_> {
    /// Records an error about a stretch of the text.
    pub(crate) fn fail(&self, span: Span, problem: Problem) -> Reported {
        let mut errors = self.errors.borrow_mut();
        let error = Misplaced {
            span,
            problem: Box::new(problem),
        };
        if errors.len() < ERRORS_MAX && !errors.contains(&error) {
            errors.push(error);
        }
        Reported(())
    }

    /// Records that a map lacks something, unless there is an error within it: what is missing is probably misspelt.
    pub(crate) fn lacks(&self, node: &Node, problem: Problem) -> Reported {
        let within = |error: &Misplaced| (node.span.start..node.span.end).contains(&error.span.start);
        if self.errors.borrow().iter().any(within) {
            return Reported(());
        }
        self.fail(fields::head(node), problem)
    }

    /// Records an error about a scalar, at the place inside it where that is known.
    pub(crate) fn fail_in(&self, node: &Node, value: &str, problem: Problem) -> Reported {
        let mut span = node.span;
        if let Some(at) = &problem.at {
            let source = &self.text[span.start..span.end];
            let start = yaml::offset_in_source(source, value, at.start);
            let end = yaml::offset_in_source(source, value, at.end);
            span = Span {
                start: span.start + start,
                end: span.start + end.max(start),
            };
            if start == 0 && end == 0 {
                span.end = node.span.end;
            }
        }
        self.fail(span, problem)
    }

    /// Whether an error has been recorded.
    pub(crate) fn has_failed(&self) -> bool {
        !self.errors.borrow().is_empty()
    }

    /// Whether so many errors have been recorded that no more are.
    pub(crate) fn is_full(&self) -> bool {
        self.errors.borrow().len() >= ERRORS_MAX
    }

    /// Line and column of a value, from 1.
    pub(crate) fn place(&self, node: &Node) -> (u32, u32) {
        self.lines.place(node.span.start)
    }
}
