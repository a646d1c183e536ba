//! From bytes to places that people know: lines and columns, and the path through the plan.

use std::fmt::Write as _;

use super::{Kind, Node, Span};

/// Where the lines of a text begin.
pub(crate) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self { text, starts }
    }

    /// Line and column (in characters) of a byte, both from 1.
    pub(crate) fn place(&self, at: usize) -> (u32, u32) {
        let at = self.text.floor_char_boundary(at.min(self.text.len()));
        let line = self.starts.partition_point(|&start| start <= at).max(1);
        let column = self.text[self.starts[line - 1]..at].chars().count() + 1;
        (line as u32, column as u32)
    }

    /// Characters of the span on its first line; at least 1.
    pub(crate) fn width(&self, span: Span) -> u32 {
        let start = self.text.floor_char_boundary(span.start.min(self.text.len()));
        let end = self.text.floor_char_boundary(span.end.clamp(start, self.text.len()));
        let line = self.text[start..end].lines().next().unwrap_or("");
        line.chars().count().max(1) as u32
    }
}

/// The path of keys and positions that leads to a byte: `scenarios[0].steps[2].expect`. A byte of a key belongs to the
/// map that has the key.
pub(crate) fn path_at(root: &Node, at: usize) -> String {
    let mut path = String::new();
    let mut node = root;
    'down: loop {
        match &node.kind {
            Kind::Scalar(_) => return path,
            Kind::List(items) => {
                for (n, item) in items.iter().enumerate() {
                    if holds(item.span, at) {
                        write!(path, "[{n}]").expect("writing to a string cannot fail");
                        node = item;
                        continue 'down;
                    }
                }
            }
            Kind::Map(entries) => {
                for entry in entries {
                    let in_key = entry.key_span.start <= at && at < entry.key_span.end;
                    if holds(entry.value.span, at) && !in_key {
                        if !path.is_empty() {
                            path.push('.');
                        }
                        path.extend(entry.key.chars().take(100));
                        node = &entry.value;
                        continue 'down;
                    }
                }
            }
        }
        return path;
    }
}

/// Whether a byte belongs to a span; its end does, as errors about what is missing stand there.
fn holds(span: Span, at: usize) -> bool {
    span.start <= at && at <= span.end
}

/// Where byte `offset` of a scalar's value stands in its source: exact for plain and quoted scalars on one line,
/// otherwise the scalar's beginning.
pub(crate) fn offset_in_source(source: &str, value: &str, offset: usize) -> usize {
    if source == value {
        return offset.min(value.len());
    }
    if source.contains('\n') || offset > value.len() {
        return 0;
    }
    let single = source.strip_prefix('\'');
    let Some(inner) = single.or_else(|| source.strip_prefix('"')) else {
        return 0;
    };
    let (mut read, mut at) = (0, 1);
    let mut rest = inner;
    while read < offset {
        let Some(first) = rest.chars().next() else { return at };
        let (taken, gives) = match first {
            '\'' if single.is_some() => (2, 1),
            '\\' if single.is_none() => escape(rest, &value[read..]),
            other => (other.len_utf8(), other.len_utf8()),
        };
        read += gives;
        at += taken;
        rest = rest.get(taken..).unwrap_or("");
    }
    at.min(source.len())
}

/// Bytes of an escape in double quotes, and of the character it stands for.
fn escape(source: &str, value: &str) -> (usize, usize) {
    let digits = match source.as_bytes().get(1) {
        Some(b'x') => 2,
        Some(b'u') => 4,
        Some(b'U') => 8,
        _ => 0,
    };
    let gives = value.chars().next().map_or(0, char::len_utf8);
    let letter = source[1..].chars().next().map_or(0, char::len_utf8);
    // A pair of surrogate escapes stands for one character.
    let pair = digits == 4 && gives == 4;
    ((1 + letter + digits) * (1 + usize::from(pair)), gives.max(1))
}
