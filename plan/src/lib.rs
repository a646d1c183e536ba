//! The front end: a plan in YAML becomes a [`barrage_model::plan::Plan`], or an error that says where, what was found,
//! what was expected and what was probably meant.
//!
//! # Invariants
//!
//! - Reading is pure: no file, no clock, no network. Files that a plan names are opened in [`edge`] alone, and only
//!   below the plan's folder.
//! - Input is hostile: text, depth, nodes, aliases, steps, stages, expressions and patterns are all bounded, and nothing
//!   that a plan contains reaches a terminal unescaped.
//! - One table per object drives the decoder, the JSON Schema and the reference; they cannot differ.
//! - [`show()`] reads back to an equal plan, and shows no value given with `-e`.

mod about;
mod diagnostic;
pub mod edge;
mod language;
mod problem;
pub mod quick;
mod read;
mod reference;
mod schema;
mod show;
mod source;
mod value;
mod warnings;
mod yaml;

pub use about::{Place, about};
pub use diagnostic::{Diagnostic, Diagnostics, masked};
pub use problem::Problem;
pub use reference::reference;
pub use schema::schema;
pub use show::show;
pub use source::{Overrides, Source, read, text_of};
pub use warnings::{memory_estimate_bytes, warnings};
