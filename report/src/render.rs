//! The one entrance.

use barrage_metrics::summary::Summary;

use crate::format::Format;
use crate::{csv, health, hlog, html, json, junit, markdown, text};

/// Why a report could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The JSON writer refused a value.
    #[error("could not write the report as json")]
    Json(#[source] serde_json::Error),
    /// The XML writer refused a value.
    #[error("could not write the report as junit xml")]
    Junit(#[source] quick_junit::SerializeError),
    /// A bucket lies outside the one histogram layout.
    #[error("{value_us} µs lies outside the histogram layout")]
    Bucket {
        /// Its highest value.
        value_us: u64,
    },
    /// The histogram log writer failed.
    #[error("could not write the histogram log")]
    Hlog(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Renders a run.
///
/// The result is UTF-8 in every format. The same summary gives the same bytes.
///
/// # Errors
/// Only for a summary that no run can have, such as a histogram bucket above the layout's end.
pub fn render(summary: &Summary, format: Format) -> Result<Vec<u8>, RenderError> {
    match format {
        Format::Text => Ok(text::render(summary).into_bytes()),
        Format::Json => json::render(summary),
        Format::Html => Ok(html::render(summary).into_bytes()),
        Format::Markdown => Ok(markdown::render(summary).into_bytes()),
        Format::Junit => junit::render(summary),
        Format::Csv => Ok(csv::render(summary).into_bytes()),
        Format::Health => Ok(health::render(summary).into_bytes()),
        Format::Hlog => hlog::render(summary),
    }
}
