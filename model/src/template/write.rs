//! The canonical text of a template, which reads back to an equal one.

use std::fmt;

use super::{Filter, Function, Part, Source, Splice, Template};
use crate::syntax::{Quoted, is_name};

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, part) in self.parts.iter().enumerate() {
            match part {
                Part::Splice(splice) => write!(f, "${{{splice}}}")?,
                Part::Literal(text) => {
                    let before_splice = n + 1 < self.parts.len();
                    write_literal(f, text, before_splice)?;
                }
            }
        }
        Ok(())
    }
}

/// Doubles every run of dollar signs that a `{` follows, here or as the start of the next splice.
fn write_literal(f: &mut fmt::Formatter<'_>, text: &str, before_splice: bool) -> fmt::Result {
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        let after = rest[start..].trim_start_matches('$');
        let run = &rest[start..rest.len() - after.len()];
        f.write_str(&rest[..start])?;
        f.write_str(run)?;
        if after.starts_with('{') || (after.is_empty() && before_splice) {
            f.write_str(run)?;
        }
        rest = after;
    }
    f.write_str(rest)
}

impl fmt::Display for Splice {
    /// What stands between `${` and `}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)?;
        self.filters.iter().try_for_each(|filter| write!(f, " | {filter}"))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => f.write_str(name),
            Self::Column { data, column } if is_name(column) => write!(f, "{data}.{column}"),
            Self::Column { data, column } => write!(f, "{data}.{}", Quoted(column)),
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) if is_plain_path(path) => write!(f, "file:{path}"),
            Self::File(path) => write!(f, "file:{}", Quoted(path)),
            Self::Call(function) => function.fmt(f),
        }
    }
}

/// Whether a path can stand without quotes.
fn is_plain_path(path: &str) -> bool {
    !path.is_empty()
        && path.trim() == path
        && !path.contains(['"', '\'', '}', '|', '\\'])
        && !path.contains(char::is_control)
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.word())?;
        match self {
            Self::RandomInt { lo, hi } => write!(f, "{lo}, {hi}")?,
            Self::RandomFloat { lo, hi } => write!(f, "{lo}, {hi}")?,
            Self::RandomString { len } | Self::RandomHex { len } => len.fmt(f)?,
            Self::Counter(name) => Quoted(name).fmt(f)?,
            Self::Pick(choices) => {
                for (n, choice) in choices.iter().enumerate() {
                    write!(f, "{}{}", if n == 0 { "" } else { ", " }, Quoted(choice))?;
                }
            }
            _ => {}
        }
        f.write_str(")")
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default(text) => write!(f, "default({})", Quoted(text)),
            _ => f.write_str(self.word()),
        }
    }
}
