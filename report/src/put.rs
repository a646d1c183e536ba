//! Appends formatted text to a `String`.

/// `put!(out, "…", …)` is `write!` without the error that a `String` cannot give.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => {{
        use std::fmt::Write as _;
        write!($out, $($arg)*).expect("a string takes every write");
    }};
}
pub(crate) use put;
