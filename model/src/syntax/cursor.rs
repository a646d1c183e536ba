//! A scanner over a text that never leaves character borders.

use super::{DEPTH_MAX, SyntaxError, is_name_byte, is_name_start};

/// At most this much of the text is repeated in an error.
const SHOWN_MAX: usize = 32;

/// The place in the text up to which it has been read.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the beginning. Refuses a text of more than `limit` bytes.
    pub(crate) fn new(text: &'a str, limit: usize) -> Result<Self, SyntaxError> {
        if text.len() > limit {
            return Err(SyntaxError {
                at: text.floor_char_boundary(limit)..text.len(),
                found: format!("{} bytes", text.len()),
                expected: format!("a text of at most {limit} bytes"),
                nearest: None,
            });
        }
        Ok(Self { text, at: 0, depth: 0 })
    }

    /// Bytes read so far.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The text not read yet.
    pub(crate) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The text between two places that lie on character borders.
    pub(crate) fn slice(&self, from: usize, to: usize) -> &'a str {
        &self.text[from..to]
    }

    /// The next byte.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Whether everything has been read.
    pub(crate) fn is_done(&self) -> bool {
        self.at == self.text.len()
    }

    /// Steps over `length` bytes, which must end on a character border.
    pub(crate) fn advance(&mut self, length: usize) {
        self.at += length;
        debug_assert!(
            self.text.is_char_boundary(self.at),
            "the cursor stays on character borders"
        );
    }

    /// Steps over white space.
    pub(crate) fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    /// Steps over `token`, if it comes next.
    pub(crate) fn eat(&mut self, token: &str) -> bool {
        let next = self.rest().starts_with(token);
        if next {
            self.at += token.len();
        }
        next
    }

    /// Steps over white space and `token`, or says that it was expected.
    pub(crate) fn expect(&mut self, token: &str, expected: &str) -> Result<(), SyntaxError> {
        self.skip_space();
        if self.eat(token) {
            Ok(())
        } else {
            Err(self.error(expected))
        }
    }

    /// The longest stretch whose bytes all satisfy `wanted`; ASCII predicates keep to character borders.
    pub(crate) fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.bytes().take_while(|&b| b.is_ascii() && wanted(b)).count();
        self.at += length;
        &rest[..length]
    }

    /// The name that comes next, without reading it.
    pub(crate) fn peek_name(&self) -> Option<&'a str> {
        let mut ahead = self.clone();
        ahead.name()
    }

    /// Reads a name (see [`super::is_name`]).
    pub(crate) fn name(&mut self) -> Option<&'a str> {
        self.peek()
            .is_some_and(is_name_start)
            .then(|| self.take_while(is_name_byte))
    }

    /// Reads a text in double or single quotes with `\" \' \\ \n \r \t`; `None` if no quote comes next.
    pub(crate) fn quoted(&mut self) -> Result<Option<String>, SyntaxError> {
        let Some(quote @ (b'"' | b'\'')) = self.peek() else {
            return Ok(None);
        };
        let start = self.at;
        let mut value = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((offset, c)) = chars.next() {
            if c == char::from(quote) {
                self.at = start + offset + 1;
                return Ok(Some(value));
            }
            if c != '\\' {
                value.push(c);
                continue;
            }
            let Some((_, escaped)) = chars.next() else { break };
            value.push(match escaped {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '"' | '\'' | '\\' => escaped,
                _ => {
                    let from = start + offset;
                    let to = from + 1 + escaped.len_utf8();
                    return Err(self.error_at(from, to, r#"one of `\"`, `\'`, `\\`, `\n`, `\r`, `\t`"#));
                }
            });
        }
        Err(SyntaxError {
            at: start..self.text.len(),
            found: "the end of the text".to_owned(),
            expected: format!("a closing `{}`", char::from(quote)),
            nearest: None,
        })
    }

    /// Runs `read` one level deeper, or refuses at [`DEPTH_MAX`].
    pub(crate) fn nested<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<T, SyntaxError> {
        if self.depth == DEPTH_MAX {
            return Err(self.error(&format!("at most {DEPTH_MAX} levels of nesting")));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// An error about what comes next: a word, a text in quotes, or else one character.
    pub(crate) fn error(&self, expected: &str) -> SyntaxError {
        let rest = self.rest();
        let first = rest.chars().next();
        let word = rest
            .bytes()
            .take_while(|&b| is_name_byte(b) || matches!(b, b'.' | b'%'))
            .count();
        let quoted = first
            .filter(|c| matches!(c, '"' | '\''))
            .and_then(|quote| rest[1..].find(quote));
        let length = match (word, quoted) {
            (0, Some(inside)) => inside + 2,
            (0, None) => first.map_or(0, char::len_utf8),
            (word, _) => word,
        };
        self.error_at(self.at, self.at + length, expected)
    }

    /// An error about the given stretch of the text.
    pub(crate) fn error_at(&self, from: usize, to: usize, expected: &str) -> SyntaxError {
        let text = &self.text[from..to];
        let found = if text.is_empty() {
            "the end of the text".to_owned()
        } else {
            shown(text)
        };
        SyntaxError {
            at: from..to,
            found,
            expected: expected.to_owned(),
            nearest: None,
        }
    }
}

/// A stretch of text for an error: in backticks, shortened, control characters escaped.
pub(crate) fn shown(text: &str) -> String {
    let cut = text.floor_char_boundary(SHOWN_MAX);
    let mut shown = String::from("`");
    for c in text[..cut].chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown.push_str(if cut < text.len() { "…`" } else { "`" });
    shown
}
