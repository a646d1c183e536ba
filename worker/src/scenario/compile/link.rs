//! Turns names into places: variables, columns, secrets and function calls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use barrage_model::plan::Plan;
use barrage_model::template::{Filter, Function, Part, Source, Splice, Template};

use super::super::context::RunContext;
use super::super::encode::Encoding;
use super::super::error::{PrepareError, StepProblem};
use super::super::files::Files;
use super::super::text::{Fill, Layout, Piece, Ref, Text};
use super::outside::Outside;

/// What is known of a variable before the run.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// No step writes it, so its value is the plan's.
    Constant(Arc<str>),
    /// Its value changes; it has this place in every user.
    Slot(u32),
}

/// A stretch of a template whose constants have been filled in.
#[derive(Clone, Debug)]
pub(super) enum Segment {
    /// As the plan's author wrote it.
    Literal(String),
    /// A constant value of the splice shown, whose filters have been applied.
    Value {
        text: String,
        filters: Box<[Filter]>,
        shown: Box<str>,
    },
    /// A value that is only known in the iteration.
    Fill {
        from: Ref,
        filters: Box<[Filter]>,
        shown: Box<str>,
    },
}

/// Everything that compiling needs to know, and what it finds out on the way.
pub(in crate::scenario) struct Linker<'a> {
    pub(super) plan: &'a Plan,
    pub(super) files: &'a Files,
    pub(super) context: &'a RunContext,
    pub(super) outside: Outside<'a>,
    pub(super) names: BTreeMap<String, Known>,
    /// The columns in use of each data set.
    pub(super) columns: Vec<Vec<String>>,
    /// Function calls met so far.
    pub(super) calls: u32,
    /// The scenario, `setup` or `teardown` at hand.
    pub(super) scenario: String,
    /// The target of the step at hand.
    pub(super) target: u16,
    /// Data sets used by the scenario at hand.
    pub(super) data: BTreeSet<u16>,
    /// Whether a condition of the scenario at hand asks for the last body.
    pub(super) uses_body: bool,
}

impl Linker<'_> {
    /// Where the value of a source will be found. Unknown variables are absent.
    fn place(&mut self, source: &Source) -> Result<Ref, StepProblem> {
        Ok(match source {
            Source::Variable(name) => match self.names.get(name) {
                Some(Known::Constant(value)) => Ref::Constant(Arc::clone(value)),
                Some(Known::Slot(slot)) => Ref::Slot(*slot),
                None => Ref::Absent,
            },
            Source::Column { data, column } => self.column(data, column)?,
            Source::Env(name) => Ref::Constant(self.outside.env(name).map_err(Box::new)?),
            Source::File(path) => Ref::Constant(self.outside.file(path).map_err(Box::new)?),
            Source::Call(function) => self.call(function)?,
        })
    }

    /// As [`Linker::place`], with the two names that only conditions know.
    pub(super) fn condition_place(&mut self, source: &Source) -> Result<Ref, StepProblem> {
        match source {
            Source::Variable(name) if name == "status" => Ok(Ref::Status),
            Source::Variable(name) if name == "body" => {
                self.uses_body = true;
                Ok(Ref::Body)
            }
            other => self.place(other),
        }
    }

    fn column(&mut self, data: &str, column: &str) -> Result<Ref, StepProblem> {
        let place = self.plan.data.iter().position(|source| source.name == data);
        let place = place.ok_or_else(|| StepProblem::UnknownData(data.to_owned()))?;
        let source = u16::try_from(place).map_err(|_| StepProblem::TooMany("data sets"))?;
        self.data.insert(source);
        let columns = &mut self.columns[place];
        let at = columns.iter().position(|known| known == column).unwrap_or_else(|| {
            columns.push(column.to_owned());
            columns.len() - 1
        });
        let column = u16::try_from(at).map_err(|_| StepProblem::TooMany("columns"))?;
        Ok(Ref::Column { source, column })
    }

    fn call(&mut self, function: &Function) -> Result<Ref, StepProblem> {
        let constant = match function {
            Function::Worker => self.context.worker.to_string(),
            Function::Scenario => self.scenario.clone(),
            Function::RunId => self.context.run.to_string(),
            Function::Target => {
                let target = self.plan.targets.get(usize::from(self.target));
                target.ok_or(StepProblem::UnknownTarget(self.target))?.url()
            }
            _ => {
                let place = self.calls;
                self.calls = place.checked_add(1).ok_or(StepProblem::TooMany("function calls"))?;
                return Ok(Ref::Call {
                    function: function.clone(),
                    place,
                });
            }
        };
        Ok(Ref::Constant(constant.into()))
    }

    fn splice(&mut self, splice: &Splice) -> Result<Segment, StepProblem> {
        let from = self.place(&splice.source)?;
        let shown: Box<str> = Splice::plain(splice.source.clone()).to_string().into();
        let constant = match &from {
            Ref::Constant(text) => Some(text.as_ref().into()),
            Ref::Absent => None,
            _ => {
                return Ok(Segment::Fill {
                    from,
                    filters: splice.filters.clone().into(),
                    shown,
                });
            }
        };
        let value = splice
            .filters
            .iter()
            .fold(constant, |value, filter| filter.apply(value));
        let value = value.ok_or_else(|| StepProblem::UnknownVariable(shown.to_string()))?;
        Ok(Segment::Value {
            text: value.into_owned(),
            filters: splice.filters.clone().into(),
            shown,
        })
    }

    /// The template with its constants filled in.
    pub(super) fn segments(&mut self, template: &Template) -> Result<Vec<Segment>, StepProblem> {
        let parts = template.parts().iter().map(|part| match part {
            Part::Literal(text) => Ok(Segment::Literal(text.clone())),
            Part::Splice(splice) => self.splice(splice),
        });
        parts.collect()
    }

    /// Lays out a template whose literals stand as they are and whose values are all written in the same way.
    pub(in crate::scenario) fn text(&mut self, template: &Template, how: Encoding) -> Result<Text, StepProblem> {
        let mut layout = Layout::new();
        for segment in self.segments(template)? {
            match segment {
                Segment::Literal(text) => {
                    layout.bytes(text);
                }
                value => put(&mut layout, value, how)?,
            }
        }
        Ok(layout.finish())
    }

    /// Lays out a template of which the literals, too, are written in the given way.
    pub(super) fn encoded(&mut self, template: &Template, how: Encoding) -> Result<Text, StepProblem> {
        let mut layout = Layout::new();
        for segment in self.segments(template)? {
            put(&mut layout, segment, how)?;
        }
        Ok(layout.finish())
    }

    /// The place of a variable that steps write.
    pub(in crate::scenario) fn slot(&self, name: &str) -> Result<u32, StepProblem> {
        match self.names.get(name) {
            Some(Known::Slot(slot)) => Ok(*slot),
            _ => Err(StepProblem::UnknownVariable(name.to_owned())),
        }
    }

    /// The content of a file of the plan.
    pub(super) fn file(&self, file: &barrage_model::plan::FileRef) -> Result<Arc<[u8]>, StepProblem> {
        let content = self.files.get(file).cloned();
        content.ok_or_else(|| StepProblem::Outside(Box::new(PrepareError::NoFile(file.path.clone()))))
    }
}

/// Puts a segment in, encoded.
pub(super) fn put(layout: &mut Layout, segment: Segment, how: Encoding) -> Result<(), StepProblem> {
    match segment {
        Segment::Literal(text) => append(layout, &text, "a text of the plan", how),
        Segment::Value { text, filters, shown } => {
            append(layout, &text, &format!("`${{{shown}}}`"), after(&filters, how))
        }
        Segment::Fill { from, filters, shown } => {
            let how = after(&filters, how);
            layout.piece(Piece::Fill(Fill {
                from,
                filters,
                how,
                shown,
            }));
            Ok(())
        }
    }
}

/// How a value is written: what has just been percent-encoded by its author is not encoded again.
fn after(filters: &[Filter], how: Encoding) -> Encoding {
    let percent = matches!(how, Encoding::Percent | Encoding::Url | Encoding::Form);
    if percent && filters.last() == Some(&Filter::UrlEncode) {
        Encoding::Plain
    } else {
        how
    }
}

fn append(layout: &mut Layout, text: &str, shown: &str, how: Encoding) -> Result<(), StepProblem> {
    let mut bytes = Vec::new();
    how.append(text, &mut bytes).map_err(|problem| StepProblem::Value {
        shown: shown.to_owned(),
        problem: problem.to_string(),
    })?;
    layout.bytes(bytes);
    Ok(())
}
