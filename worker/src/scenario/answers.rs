//! An answer as checks and extracts see it: its body is parsed as JSON at most once.

use std::cell::OnceCell;
use std::fmt::Write as _;

use serde_json::Value;

use super::redact::Redactor;
use crate::engine::Answer;

/// Largest body that is parsed as JSON, in bytes; a larger one counts as not being JSON.
const JSON_MAX: usize = 8 * 1024 * 1024;
/// Most bytes of a text that a message quotes.
const SHOWN_MAX: usize = 60;

/// One answer.
pub(super) struct Reading<'a> {
    pub(super) answer: &'a Answer,
    redactor: &'a Redactor,
    json: OnceCell<Option<Value>>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(answer: &'a Answer, redactor: &'a Redactor) -> Self {
        Self {
            answer,
            redactor,
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

    /// The beginning of the body for a message.
    pub(super) fn shown_body(&self) -> String {
        let body = &self.answer.body;
        let end = body.len().min(self.redactor.window(SHOWN_MAX));
        self.shown(&String::from_utf8_lossy(&body[..end]))
    }

    /// A text in quotes for a message: without secrets, on one line, control characters escaped, cut after 60 bytes.
    pub(super) fn shown(&self, text: &str) -> String {
        let (text, more) = self.redactor.beginning(text, SHOWN_MAX);
        let mut out = String::with_capacity(text.len() + 8);
        out.push('"');
        for letter in text.chars() {
            if letter == '"' || letter == '\\' || letter.is_control() || is_invisible(letter) {
                // Writing into a string cannot fail.
                let _ = write!(out, "{}", letter.escape_default());
            } else {
                out.push(letter);
            }
        }
        out.push('"');
        if more {
            out.push('…');
        }
        out
    }
}

/// A JSON value as text: strings as they are, others as JSON.
pub(super) fn json_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Letters that change how the text around them is shown.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotations_are_short_and_on_one_line_and_hold_no_part_of_a_secret() {
        let redactor = Redactor::new(&["0123456789".to_owned()]);
        let answer = Answer {
            body: b"a\xff".to_vec().into(),
            ..Answer::default()
        };
        let reading = Reading::new(&answer, &redactor);
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
            assert_eq!(reading.shown(text), want);
        }
        assert_eq!(reading.shown_body(), "\"a\u{fffd}\"");
        for before in 0..200 {
            let text = format!("{}0123456789{}", "-".repeat(before), "0123456789".repeat(50));
            let shown = reading.shown(&text);
            assert!(!shown.contains('0') && shown.len() < 80, "{shown}");
            let answer = Answer {
                body: text.into_bytes().into(),
                ..Answer::default()
            };
            let shown = Reading::new(&answer, &redactor).shown_body();
            assert!(!shown.contains('0') && shown.len() < 80, "{shown}");
        }
        let answer = Answer {
            body: vec![b'\n'; 1_000].into(),
            ..Answer::default()
        };
        assert!(Reading::new(&answer, &redactor).shown_body().ends_with('…'));
    }
}
