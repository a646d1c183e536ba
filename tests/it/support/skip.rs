//! The one way to say that a test could not be done on this machine. The gate prints and counts these lines.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Says visibly that `test` was not done, and why.
#[expect(clippy::print_stderr, reason = "the one place where it is said")]
pub fn skipped(test: &str, reason: &str) {
    let line = format!("SKIPPED {test}: {reason}\n");
    eprint!("{line}");
    if let Some(log) = std::env::var_os("BARRAGE_SKIPPED_LOG") {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(log)
            .expect("the gate's log can be opened");
        file.write_all(line.as_bytes()).expect("the gate's log can be written");
    }
}
