//! What this program prints. A reader that went away is no reason to stop measuring, so failed writes are let go.

use std::io::Write;

/// Prints a result to the standard output.
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// Prints progress to the standard error.
pub(crate) fn progress(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
