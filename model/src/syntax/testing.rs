//! What the tests of the languages share.

use std::fmt::{Debug, Display, Write as _};

use proptest::prelude::*;

use super::SyntaxError;

/// Every input with its error beneath it, marked by carets; panics on an input without an error.
#[track_caller]
pub(crate) fn errors<T: Debug>(inputs: &[&str], parse: fn(&str) -> Result<T, SyntaxError>) -> String {
    let mut out = String::new();
    for input in inputs {
        let error = parse(input).expect_err(input);
        let before = input[..error.at.start].chars().count();
        let width = input[error.at.clone()].chars().count().max(1);
        let line = input.replace(char::is_control, "\u{b7}");
        writeln!(out, "{line}\n{}{} {error}", " ".repeat(before), "^".repeat(width)).expect("strings take all text");
    }
    out
}

/// Checks what must hold for any text at all: no panic, a span on character borders inside the text, and whatever is
/// read has a canonical text that reads back to the same.
pub(crate) fn check_any<T: Debug + Display + PartialEq>(
    text: &str,
    parse: fn(&str) -> Result<T, SyntaxError>,
) -> Result<(), TestCaseError> {
    match parse(text) {
        Err(error) => {
            prop_assert!(text.get(error.at.clone()).is_some(), "{:?} of {:?}", error.at, text);
            prop_assert!(!error.to_string().contains(char::is_control), "{}", error);
        }
        Ok(value) => {
            let canonical = value.to_string();
            let again = parse(&canonical);
            prop_assert_eq!(again.as_ref(), Ok(&value), "canonical {:?} of {:?}", canonical, text);
        }
    }
    Ok(())
}

/// A text made of pieces of the grammar, most of them out of place.
pub(crate) fn jumble(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(
        (prop::sample::select(pieces), prop::sample::select(&["", "", " "][..])),
        0..24,
    )
    .prop_map(|parts| parts.into_iter().flat_map(|(piece, space)| [piece, space]).collect())
}

/// A name.
pub(crate) fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z_][a-zA-Z0-9_-]{0,8}"
}

/// Any text, with what needs quoting made likely.
pub(crate) fn any_text() -> impl Strategy<Value = String> {
    "([\\PC\n\t\"'\\\\${}|()]|[a-z ]){0,12}"
}
