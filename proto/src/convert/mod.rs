//! Conversions between wire messages and the model. Outwards they cannot fail; inwards they check everything.

mod delta;
mod frame;
mod load;
mod network;
mod plan;
mod request;
mod schedule;
mod sketch;
pub use frame::{delta_in, delta_out};
pub use schedule::{epoch_in, epoch_out, marks_in, marks_out};
mod step;

use std::time::Duration;

use barrage_model::template::Template;

/// A message that does not say what its receiver needs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct BadMessage {
    /// The field, as the schema names it.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

pub(crate) type Result<T> = std::result::Result<T, BadMessage>;

pub(crate) fn bad(field: &'static str, problem: impl Into<String>) -> BadMessage {
    BadMessage {
        field,
        problem: problem.into(),
    }
}

pub(crate) fn missing(field: &'static str) -> BadMessage {
    bad(field, "is missing")
}

/// Longest time span that any field may carry: the longest curve.
const SPAN_MAX_US: u64 = 7 * 24 * 3_600 * 1_000_000;

pub(crate) fn span(field: &'static str, micros: u64) -> Result<Duration> {
    if micros > SPAN_MAX_US {
        return Err(bad(field, format!("{micros} µs is more than 7 days")));
    }
    Ok(Duration::from_micros(micros))
}

pub(crate) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

pub(crate) fn narrow<T: TryFrom<u32>>(field: &'static str, value: u32) -> Result<T> {
    T::try_from(value).map_err(|_| bad(field, format!("{value} is out of range")))
}

pub(crate) fn template(field: &'static str, text: &str) -> Result<Template> {
    Template::parse(text).map_err(|error| bad(field, error.to_string()))
}

/// Converts a whole list, stopping at the first bad element.
pub(crate) fn each<W, M>(list: Vec<W>, convert: impl Fn(W) -> Result<M>) -> Result<Vec<M>> {
    list.into_iter().map(convert).collect()
}
