//! The canonical text of a condition, which reads back to an equal one.

use std::fmt;

use super::{Term, Test, parse::is_keyword};
use crate::syntax::Quoted;
use crate::template::{Source, Splice};

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists(source) => {
                let splice = Splice::plain(source.clone());
                write!(f, "exists({})", Term::Splice(splice))
            }
            Self::Compare { left, cmp, right } => write!(f, "{left} {cmp} {right}"),
            Self::Contains { value, part } => write!(f, "{value} contains {part}"),
            Self::Matches { value, pattern } => write!(f, "{value} matches {}", Quoted(pattern)),
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Splice(splice) if is_bare(splice) => splice.fmt(f),
            Self::Splice(splice) => write!(f, "${{{splice}}}"),
            Self::Text(text) => Quoted(text).fmt(f),
            Self::Number(number) => f.write_str(number),
            Self::Bool(truth) => truth.fmt(f),
            Self::Null => f.write_str("null"),
        }
    }
}

/// Whether a splice can stand without `${…}`.
fn is_bare(splice: &Splice) -> bool {
    splice.filters.is_empty()
        && match &splice.source {
            Source::Variable(name) | Source::Column { data: name, .. } => !is_keyword(name),
            Source::Call(_) => true,
            Source::Env(_) | Source::File(_) => false,
        }
}
