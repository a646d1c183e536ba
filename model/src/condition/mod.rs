//! Conditions of `if` and `until` steps: `status == 200 and exists(session)`.
//!
//! An operand is a variable (`session`), a column (`accounts.id`), a function call (`iteration()`), any splice
//! (`${env:MODE | lower}`), a text in quotes, a number, `true`, `false` or `null`. The variables `status` and `body`
//! are those of this iteration's last answer.

mod evaluate;
mod number;
mod parse;
mod write;

#[cfg(test)]
mod tests;

use crate::expr::Cmp;
use crate::syntax::{Logic, SyntaxError};
use crate::template::{Source, Splice};

/// Tests of values on the worker, joined by `and`, `or`, `not` and parentheses.
pub type Condition = Logic<Test>;

/// One test of values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// `exists(session)`: there is such a value, even an empty one.
    Exists(Source),
    /// `count >= 3`
    Compare {
        /// Left side.
        left: Term,
        /// How.
        cmp: Cmp,
        /// Right side.
        right: Term,
    },
    /// `body contains "done"`
    Contains {
        /// The text searched.
        value: Term,
        /// The text searched for.
        part: Term,
    },
    /// `name matches "^a.*"`
    Matches {
        /// The text searched.
        value: Term,
        /// A regular expression; its grammar is the caller's.
        pattern: String,
    },
}

/// An operand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Term {
    /// A value to be looked up.
    Splice(Splice),
    /// A text in quotes.
    Text(String),
    /// A number as it was written, in the grammar of JSON.
    Number(String),
    /// `true` or `false`, equal to the texts of the same letters.
    Bool(bool),
    /// `null`: equal to an absent value and to the text `null`; only for `==` and `!=`.
    Null,
}

impl Condition {
    /// Reads a condition of at most [`crate::syntax::TEXT_MAX`] bytes and [`crate::syntax::DEPTH_MAX`] levels.
    ///
    /// # Errors
    /// The first place that leaves the grammar.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        parse::condition(text)
    }

    /// The regular expressions used, from left to right.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.tests().into_iter().filter_map(|test| match test {
            Test::Matches { pattern, .. } => Some(pattern.as_str()),
            _ => None,
        })
    }

    /// The values looked up, from left to right.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.tests().into_iter().flat_map(Test::sources)
    }
}

impl Test {
    fn sources(&self) -> Vec<&Source> {
        let terms = match self {
            Self::Exists(source) => return vec![source],
            Self::Compare { left, right, .. } => vec![left, right],
            Self::Contains { value, part } => vec![value, part],
            Self::Matches { value, .. } => vec![value],
        };
        terms
            .into_iter()
            .filter_map(|term| match term {
                Term::Splice(splice) => Some(&splice.source),
                _ => None,
            })
            .collect()
    }
}
