//! `report.json`: one line for each element of a list, so that it can be read, compared and searched by line.

use std::io::{self, Write};

use barrage_metrics::summary::Summary;
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use crate::clean::is_hidden;
use crate::document::Document;
use crate::render::RenderError;

pub(crate) fn render(summary: &Summary) -> Result<Vec<u8>, RenderError> {
    let mut out = Vec::new();
    let mut writer = Serializer::with_formatter(&mut out, Lines::default());
    Document::from(summary)
        .serialize(&mut writer)
        .map_err(RenderError::Json)?;
    out.push(b'\n');
    Ok(out)
}

/// How deep values stand on lines of their own; below, everything is on one line.
const DEPTH: usize = 2;

/// Breaks lines down to [`DEPTH`], and writes invisible characters as `\u` escapes: a report may be shown in a terminal.
#[derive(Default)]
struct Lines {
    depth: usize,
    filled: bool,
}

impl Lines {
    fn open<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.filled = false;
        writer.write_all(bracket)
    }

    fn close<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        let had = std::mem::replace(&mut self.filled, true);
        self.depth -= 1;
        if had && self.depth < DEPTH {
            self.break_line(writer)?;
        }
        writer.write_all(bracket)
    }

    fn next<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(b",")?;
        }
        if self.depth <= DEPTH {
            self.break_line(writer)
        } else if first {
            Ok(())
        } else {
            writer.write_all(b" ")
        }
    }

    fn break_line<W: ?Sized + Write>(&self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| writer.write_all(b"  "))
    }
}

impl Formatter for Lines {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.next(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.next(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, hidden)) = rest.char_indices().find(|(_, c)| is_hidden(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            let mut units = [0; 2];
            for unit in hidden.encode_utf16(&mut units) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + hidden.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_down_to_the_elements_of_lists() {
        let value = serde_json::json!({"a": 1, "b": [], "c": [{"d": [1, 2]}, {"d": {}}], "e": "x\u{202e}\u{9b}\u{e0041}\u{1b}"});
        let mut out = Vec::new();
        value
            .serialize(&mut Serializer::with_formatter(&mut out, Lines::default()))
            .unwrap();
        let text = String::from_utf8(out).unwrap();
        let want = r#"{
  "a": 1,
  "b": [],
  "c": [
    {"d": [1, 2]},
    {"d": {}}
  ],
  "e": "x\u202e\u009b\udb40\udc41\u001b"
}"#;
        assert_eq!(text, want);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
