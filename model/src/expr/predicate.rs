//! Boolean combinations of expressions.

use super::{Expr, parse};
use crate::syntax::{Logic, SyntaxError};

/// Expressions joined by `and`, `or`, `not` and parentheses: `p95 < 1s and not (error_rate > 5%)`.
pub type Predicate = Logic<Expr>;

impl Predicate {
    /// Reads a predicate of at most [`crate::syntax::TEXT_MAX`] bytes and [`crate::syntax::DEPTH_MAX`] levels.
    ///
    /// # Errors
    /// The first place that leaves the grammar.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        parse::predicate(text)
    }
}
