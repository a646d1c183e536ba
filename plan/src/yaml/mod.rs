//! YAML with a place for every node: one document, plain scalars as written, aliases laid out, everything bounded.
//!
//! What a plain scalar means (a number, `true`, nothing) is decided by whoever asks for it, so `no`, `0755` and `1_000`
//! stay the text that was written.

mod compose;
mod place;

pub(crate) use compose::compose;
pub(crate) use place::{Lines, offset_in_source, path_at};

use crate::problem::Problem;

/// The longest plan that is read, in bytes.
pub(crate) const TEXT_MAX: usize = 1024 * 1024;
/// How deep lists and maps may nest, aliases included.
pub(crate) const DEPTH_MAX: usize = 32;
/// The most nodes of a plan, counted after aliases have been laid out.
pub(crate) const NODES_MAX: usize = 100_000;
/// The most bytes of scalars of a plan, counted after aliases have been laid out.
pub(crate) const LAID_OUT_MAX: usize = 4 * 1024 * 1024;

/// A stretch of the plan's text, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// A problem and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Misplaced {
    pub(crate) span: Span,
    pub(crate) problem: Box<Problem>,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// Written without quotes and not as a block.
    pub(crate) plain: bool,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) value: Node,
}

impl Scalar {
    /// Whether it stands for nothing: an empty value, `~` or `null`.
    pub(crate) fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

impl Node {
    /// Whether nothing was written.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(scalar) if scalar.is_null())
    }

    /// The value under a key, if this is a map that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value),
            _ => None,
        }
    }

    /// What it is, for a message.
    pub(crate) fn describe(&self) -> String {
        match &self.kind {
            Kind::Scalar(scalar) if scalar.is_null() => "found nothing".to_owned(),
            Kind::Scalar(scalar) => format!("found {}", crate::problem::quoted(&scalar.text)),
            Kind::List(_) => "found a list".to_owned(),
            Kind::Map(_) => "found a map".to_owned(),
        }
    }
}
