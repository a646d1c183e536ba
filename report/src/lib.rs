//! Shows a finished run: text, JSON, HTML with charts, Markdown, `JUnit`, CSV and an HDR histogram log.
//!
//! [`render()`] turns a [`barrage_metrics::summary::Summary`] into one [`Format`]. [`document`] is `report.json` as types,
//! [`schema()`] its JSON Schema.
//!
//! # Invariants
//!
//! - A report decides nothing: verdicts and reasons are shown as they were judged. What it computes itself is sums for
//!   the two ledgers, which it prints with `≠` where they do not add up.
//! - A number is never cut to fit. An absent number is `—` or `null`, never zero; a lower bound carries `≥` and is
//!   rounded down.
//! - Names, messages and labels come from outside. They pass the module `clean` and the escaping of the format in
//!   one place each, so that no string can move a terminal's cursor, add a tag or become a formula.
//! - Output is bounded: a table that leaves rows out says how many.
//! - Nothing here reads a clock, draws a random number, prints or does I/O.

mod clean;
mod csv;
pub mod document;
mod format;
mod health;
mod hlog;
mod html;
mod json;
mod junit;
mod markdown;
mod number;
mod put;
mod render;
mod section;
mod text;

pub use document::schema::schema;
pub use format::Format;
pub use render::{RenderError, render};
