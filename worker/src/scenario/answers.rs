//! An answer as checks and extracts see it: its body is parsed as JSON at most once.

use std::cell::OnceCell;
use std::fmt::Write as _;

use serde_json::Value;

use crate::engine::Answer;

/// Largest body that is parsed as JSON, in bytes; a larger one counts as not being JSON.
const JSON_MAX: usize = 8 * 1024 * 1024;
/// Most bytes of a text that a message quotes.
const SHOWN_MAX: usize = 60;

/// One answer.
pub(super) struct Reading<'a> {
    pub(super) answer: &'a Answer,
    json: OnceCell<Option<Value>>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(answer: &'a Answer) -> Self {
        Self {
            answer,
            json: OnceCell::new(),
        }
    }

    /// The body as JSON, if it is that and not too large.
    pub(super) fn json(&self) -> Option<&Value> {
        let parse = || {
            let body = &self.answer.body;
            if body.len() > JSON_MAX {
                None
            } else {
                serde_json::from_slice(body).ok()
            }
        };
        self.json.get_or_init(parse).as_ref()
    }
}

/// A JSON value as text: strings as they are, others as JSON.
pub(super) fn json_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A text in quotes for a message: on one line, control characters escaped, cut after 60 bytes.
pub(super) fn shown(text: &str) -> String {
    let end = text.floor_char_boundary(SHOWN_MAX);
    let mut out = String::with_capacity(end + 8);
    out.push('"');
    for letter in text[..end].chars() {
        if letter == '"' || letter == '\\' || letter.is_control() || is_invisible(letter) {
            // Writing into a string cannot fail.
            let _ = write!(out, "{}", letter.escape_default());
        } else {
            out.push(letter);
        }
    }
    out.push('"');
    if end < text.len() {
        out.push('…');
    }
    out
}

/// Bytes as [`shown`], what is no text replaced.
pub(super) fn shown_bytes(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(SHOWN_MAX + 4)];
    shown(&String::from_utf8_lossy(cut))
}

/// Letters that change how the text around them is shown.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotations_are_short_and_on_one_line() {
        let long = format!("{}x", "\u{e4}".repeat(30));
        for (text, want) in [
            ("", "\"\"".to_owned()),
            ("a \u{e4}", "\"a \u{e4}\"".to_owned()),
            (
                "a\"b\\\r\n\0\u{1b}[2J\u{202e}",
                r#""a\"b\\\r\n\u{0}\u{1b}[2J\u{202e}""#.to_owned(),
            ),
            (long.as_str(), format!("\"{}\"…", "\u{e4}".repeat(30))),
        ] {
            assert_eq!(shown(text), want);
        }
        assert_eq!(shown_bytes(b"a\xff"), "\"a\u{fffd}\"");
        assert!(shown_bytes(&[b'\n'; 1_000]).ends_with('…'));
    }
}
