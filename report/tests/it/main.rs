//! The formats as a reader gets them.

mod fixture;
mod formats;
mod golden;
mod hostile;
mod schema;
