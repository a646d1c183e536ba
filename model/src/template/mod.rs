//! Text with splices: `/items/${accounts.id}?n=${random_int(1, 100)}`.
//!
//! `${…}` is a splice. In a run of dollar signs right before `{`, every pair stands for one dollar sign, so `$${` is a
//! literal `${`. All other text, a lone `$` included, stands for itself.
//!
//! A splice is a source and then filters: `${session}` (variable), `${accounts.id}` or `${accounts."e-mail 2"}` (column
//! of a data set), `${env:TOKEN}`, `${file:/run/secrets/x}`, `${uuid()}` (function), each with `| filter` any number of
//! times.

mod filter;
mod function;
mod parse;
mod write;

#[cfg(test)]
pub(crate) mod tests;

use std::borrow::Cow;

pub use filter::Filter;
pub use function::{Decimal, Function, RANDOM_LENGTH_MAX};

pub(crate) use parse::{source, splice};

use crate::syntax::SyntaxError;

/// The longest template that is read, in bytes; a longer one is refused unread.
pub const TEMPLATE_MAX: usize = 1024 * 1024;

/// The most filters on one splice.
pub const FILTERS_MAX: usize = 16;

/// A text with splices, in normal form: no empty literal and no two literals side by side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Template {
    parts: Vec<Part>,
}

/// A stretch of a template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Text that stands for itself.
    Literal(String),
    /// A value to be filled in.
    Splice(Splice),
}

/// A value to be filled in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Splice {
    /// Where the value comes from.
    pub source: Source,
    /// What is done to it, in order; at most [`FILTERS_MAX`].
    pub filters: Vec<Filter>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A variable: extracted by an earlier step, set by the plan or given with `-e`. A name as in
    /// [`crate::syntax::is_name`].
    Variable(String),
    /// A column of the data set's row that belongs to this iteration.
    Column {
        /// The data set, a name.
        data: String,
        /// The column, any text without control characters.
        column: String,
    },
    /// An environment variable of the worker; a secret.
    Env(String),
    /// The content of a file on the worker, without trailing line ends; a secret.
    File(String),
    /// A value that is made on the worker.
    Call(Function),
}

impl Source {
    /// Whether the value may never be shown or stored.
    pub fn is_secret(&self) -> bool {
        matches!(self, Self::Env(_) | Self::File(_))
    }
}

impl Splice {
    /// A splice without filters.
    pub fn plain(source: Source) -> Self {
        Self {
            source,
            filters: Vec::new(),
        }
    }

    /// The value after the filters; `None` if the source has none and no filter supplies a default.
    pub fn resolve<'v>(&self, lookup: &dyn Fn(&Source) -> Option<Cow<'v, str>>) -> Option<Cow<'v, str>> {
        self.filters
            .iter()
            .fold(lookup(&self.source), |value, filter| filter.apply(value))
    }

    /// Whether the value goes into a JSON document as it is (`| json`) and not as a quoted, escaped string.
    pub fn is_json(&self) -> bool {
        self.filters.contains(&Filter::Json)
    }
}

impl Template {
    /// Reads a template of at most [`TEMPLATE_MAX`] bytes.
    ///
    /// # Errors
    /// The first place that leaves the grammar, with the nearest known function or filter.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        parse::template(text)
    }

    /// A template that stands for exactly `text`, whatever it contains.
    pub fn literal(text: impl Into<String>) -> Self {
        Self::from_parts([Part::Literal(text.into())])
    }

    /// Puts parts together; empty literals vanish and neighbouring ones become one.
    pub fn from_parts(parts: impl IntoIterator<Item = Part>) -> Self {
        let mut joined: Vec<Part> = Vec::new();
        for part in parts {
            match (joined.last_mut(), part) {
                (_, Part::Literal(text)) if text.is_empty() => {}
                (Some(Part::Literal(before)), Part::Literal(text)) => before.push_str(&text),
                (_, part) => joined.push(part),
            }
        }
        Self { parts: joined }
    }

    /// The parts in order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether there is nothing to fill in.
    pub fn is_static(&self) -> bool {
        self.as_static().is_some()
    }

    /// The whole text, if there is nothing to fill in.
    pub fn as_static(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The one splice that is the whole template, if it is one.
    pub fn as_splice(&self) -> Option<&Splice> {
        match self.parts.as_slice() {
            [Part::Splice(splice)] => Some(splice),
            _ => None,
        }
    }

    /// The splices in order.
    pub fn splices(&self) -> impl Iterator<Item = &Splice> {
        self.parts.iter().filter_map(|part| match part {
            Part::Splice(splice) => Some(splice),
            Part::Literal(_) => None,
        })
    }

    /// The names of the variables used, in order, with repetitions.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.splices().filter_map(|splice| match &splice.source {
            Source::Variable(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether a secret of the worker goes in; such a text is never shown or stored once filled in.
    pub fn has_secret(&self) -> bool {
        self.splices().any(|splice| splice.source.is_secret())
    }
}
