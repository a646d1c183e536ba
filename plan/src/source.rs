//! What goes in: the text of a plan and what the command line changes in it.

use std::collections::BTreeMap;

use barrage_model::plan::Plan;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::yaml::{Lines, Span, TEXT_MAX};

/// The text of a plan and the name of its file.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// As shown in errors.
    pub file: &'a str,
    /// YAML, at most 1 MiB.
    pub text: &'a str,
}

/// What the command line changes in a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--target`: replaces the first target, or with `name=URL` the one of that name.
    pub target: Option<String>,
    /// `--seed`.
    pub seed: Option<u64>,
    /// `-e`: values of variables that are secret.
    pub env: BTreeMap<String, String>,
    /// `--set`: values of variables that are not.
    pub set: BTreeMap<String, String>,
    /// `--resolve`: `host:port:address`, before those of the plan.
    pub resolve: Vec<String>,
    /// `--min-workers`: in place of `workers.min`.
    pub min_workers: Option<u32>,
    /// `--name`: in place of the plan's name.
    pub name: Option<String>,
}

/// Reads a plan. Touches no file; see [`crate::edge::files`] for the files that it names.
///
/// # Errors
/// Everything that is wrong, in the order of the text; the first is the one to show.
pub fn read(source: Source<'_>, overrides: &Overrides) -> Result<Plan, Diagnostics> {
    crate::read::read(source, overrides)
}

/// Takes the bytes of a file as text, without a byte-order mark.
///
/// # Errors
/// More than 1 MiB, or bytes that are not UTF-8, with the place of the first one.
pub fn text_of<'b>(file: &str, bytes: &'b [u8]) -> Result<&'b str, Diagnostics> {
    if bytes.len() > TEXT_MAX {
        return Err(refused(
            file,
            (1, 1),
            format!("found {} bytes", bytes.len()),
            "a plan of at most 1MiB",
        ));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let valid = bytes
            .get(..error.valid_up_to())
            .and_then(|valid| std::str::from_utf8(valid).ok())
            .unwrap_or("");
        let place = Lines::new(valid).place(
            Span {
                start: valid.len(),
                end: valid.len(),
            }
            .start,
        );
        let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
        refused(
            file,
            place,
            format!("found the byte 0x{byte:02x}, which is not UTF-8"),
            "a text in UTF-8",
        )
    })
}

fn refused(file: &str, (line, column): (u32, u32), found: String, expected: &str) -> Diagnostics {
    let diagnostic = Diagnostic {
        file: file.to_owned(),
        line,
        column,
        width: 1,
        what: String::new(),
        found,
        expected: expected.to_owned(),
        nearest: None,
        help: None,
    };
    Diagnostics::new(diagnostic, [])
}
