//! Expressions over what has been measured: `p99(service, "list tools") < 1s`.
//!
//! An expression is a metric (or the quotient of two counts), a comparison and a threshold in the metric's unit. A
//! metric may be narrowed in parentheses: a name in quotes is a step, group or scenario; `step:"…"` and `scenario:"…"`
//! say which; `tag="value"` is a tag of the plan; latencies also take a measure and `ok`.

mod compare;
mod hint;
mod metric;
mod parse;
mod phase;
mod predicate;
mod threshold;
mod write;

#[cfg(test)]
mod tests;

pub use compare::{Cmp, Observed};
pub use metric::{
    ByteCount, ByteRate, Count, Dimension, Metric, MetricKind, Named, Outcomes, Quantile, RateMetric, RatioMetric,
    Selector, Stat, TAGS_MAX,
};
pub use phase::PhaseSelector;
pub use predicate::Predicate;
pub use threshold::Threshold;

pub use crate::delta::Measure;
use crate::syntax::SyntaxError;

/// What must hold: a metric, a comparison and a threshold of the metric's dimension.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expr {
    /// What is measured.
    pub left: Operand,
    /// How it is compared.
    pub cmp: Cmp,
    /// With what; of the dimension of `left`.
    pub right: Threshold,
}

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// One metric.
    Metric(Metric),
    /// `failed / sent`: the quotient of two counts, which may exceed 1.
    Quotient {
        /// Above the line.
        part: Counted,
        /// Below the line.
        whole: Counted,
    },
}

/// A count of what the selector leaves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Counted {
    /// What is counted.
    pub count: Count,
    /// Where.
    pub select: Selector,
}

impl Operand {
    /// The dimension of the value.
    pub fn dimension(&self) -> Dimension {
        match self {
            Self::Metric(metric) => metric.dimension(),
            Self::Quotient { .. } => Dimension::Ratio,
        }
    }
}

impl Expr {
    /// Reads an expression of at most [`crate::syntax::TEXT_MAX`] bytes.
    ///
    /// # Errors
    /// The first place that leaves the grammar, or a threshold of another dimension than the metric.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        parse::expr(text)
    }

    /// Whether the expression holds for what was observed of [`Expr::left`]; see [`Observed::compare`].
    pub fn holds(&self, observed: &Observed) -> Option<bool> {
        observed.compare(self.cmp, &self.right)
    }
}
