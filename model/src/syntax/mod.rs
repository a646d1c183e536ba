//! What the small languages share: the error with its place, the scanner, quoting, and the nearest known word.

mod cursor;
pub(crate) mod logic;
mod nearest;
#[cfg(test)]
pub(crate) mod testing;

use std::fmt;
use std::ops::Range;

pub(crate) use cursor::{Cursor, shown};
pub use logic::Logic;
pub use nearest::nearest;

/// The longest expression or condition that is read, in bytes; a longer one is refused unread.
pub const TEXT_MAX: usize = 16 * 1024;

/// How deep parentheses and negations may nest.
pub const DEPTH_MAX: usize = 32;

/// A place where a text leaves its grammar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct SyntaxError {
    /// The bytes that do not fit, on character borders; empty at the end of the text.
    pub at: Range<usize>,
    /// What stands there, ready to be shown.
    pub found: String,
    /// What could have stood there.
    pub expected: String,
    /// What the author probably meant, as it would be written.
    pub nearest: Option<String>,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, found {}", self.expected, self.found)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
            None => Ok(()),
        }
    }
}

impl SyntaxError {
    /// Moves the error to where the text stands inside a larger one.
    #[must_use]
    pub fn shifted(mut self, by: usize) -> Self {
        self.at = self.at.start.saturating_add(by)..self.at.end.saturating_add(by);
        self
    }

    /// Adds a suggestion unless there is one already.
    #[must_use]
    pub(crate) fn suggest(mut self, nearest: Option<impl Into<String>>) -> Self {
        if self.nearest.is_none() {
            self.nearest = nearest.map(Into::into);
        }
        self
    }
}

/// Whether `text` is a name: a letter or underscore, then letters, digits, underscores and hyphens, all ASCII.
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(is_name_start) && bytes.all(is_name_byte)
}

pub(crate) fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

pub(crate) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// Shows a text in double quotes, as every one of the languages reads it back.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                _ => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}
