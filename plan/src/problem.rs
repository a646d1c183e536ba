//! What is wrong with one value, before it is known where in a file the value stands.

use std::ops::Range;

use barrage_model::syntax::SyntaxError;
use barrage_model::units::UnitError;

/// Longest stretch of a value that is quoted in a message, in characters.
const SHOWN_MAX: usize = 60;

/// Something that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The bytes of the value's text that are wrong; the whole value when absent.
    pub at: Option<Range<usize>>,
    /// What stands there, ready to be shown.
    pub found: String,
    /// What could have stood there.
    pub expected: String,
    /// The nearest thing that is valid, as it would be written.
    pub nearest: Option<String>,
    /// What to do about it, where that does not follow.
    pub help: Option<String>,
}

impl Problem {
    /// A problem with a whole value.
    pub fn new(found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            at: None,
            found: found.into(),
            expected: expected.into(),
            nearest: None,
            help: None,
        }
    }

    /// A value that is shown as it was written.
    pub fn value(text: &str, expected: impl Into<String>) -> Self {
        Self::new(format!("found {}", quoted(text)), expected)
    }

    /// Adds a suggestion.
    #[must_use]
    pub fn nearest(mut self, nearest: Option<impl Into<String>>) -> Self {
        self.nearest = nearest.map(Into::into);
        self
    }

    /// Adds advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl From<UnitError> for Problem {
    fn from(error: UnitError) -> Self {
        Self::value(&error.found, error.expected).nearest(error.hint)
    }
}

impl From<SyntaxError> for Problem {
    fn from(error: SyntaxError) -> Self {
        Self {
            at: Some(error.at),
            found: format!("found {}", error.found),
            expected: error.expected,
            nearest: error.nearest,
            help: None,
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; expected {}", self.found, self.expected)?;
        if let Some(nearest) = &self.nearest {
            write!(f, "; did you mean {}?", quoted(nearest))?;
        }
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

/// A text in backticks, shortened, with control characters escaped.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown = String::from("`");
    for (n, c) in crate::diagnostic::masked(text).chars().enumerate() {
        if n == SHOWN_MAX {
            shown.push('…');
            break;
        }
        push_escaped(&mut shown, c);
    }
    shown.push('`');
    shown
}

/// Adds a character, escaped when it would act on a terminal or be invisible there.
pub(crate) fn push_escaped(out: &mut String, c: char) {
    let acts = c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    if acts {
        out.extend(c.escape_default());
    } else {
        out.push(c);
    }
}

/// A list of words in backticks: "`a`, `b` or `c`".
pub(crate) fn either<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} or {last}", before.join(", ")),
    }
}
