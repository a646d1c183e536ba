//! The raw engine against servers that send exact bytes.

mod answers;
mod connections;
mod parsing;
mod secure;
mod standstills;
mod waiting;
