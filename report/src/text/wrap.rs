//! Text in columns of a terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    // A terminal that does not know a combined sequence shows its parts, so the larger of the two is taken.
    text.width().max(text.chars().map(char_width).sum())
}

fn char_width(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// Breaks a text at spaces into lines of at most `columns`, and inside words where it must. What does not fit on
/// `most` lines is cut with an ellipsis. There is always one line at least.
pub(super) fn wrap(text: &str, columns: usize, most: usize) -> Vec<String> {
    let columns = columns.max(2);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for (n, word) in text.split(' ').enumerate() {
        let long = width(word);
        if n > 0 && used + 1 + long <= columns {
            push(&mut lines, " ");
            used += 1;
        } else if n > 0 && used > 0 {
            lines.push(String::new());
            used = 0;
        }
        for c in word.chars() {
            let wide = char_width(c);
            if used + wide > columns {
                lines.push(String::new());
                used = 0;
            }
            push(&mut lines, c.encode_utf8(&mut [0; 4]));
            used += wide;
        }
        if lines.len() > most.max(1) {
            break;
        }
    }
    if lines.len() > most.max(1) {
        lines.truncate(most.max(1));
        if let Some(last) = lines.last_mut() {
            cut(last, columns);
        }
    }
    lines
}

fn push(lines: &mut [String], text: &str) {
    if let Some(last) = lines.last_mut() {
        last.push_str(text);
    }
}

/// Ends a line with an ellipsis within `columns`.
fn cut(line: &mut String, columns: usize) {
    while width(line) + 1 > columns {
        line.pop();
    }
    line.push('…');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_keep_their_width() {
        for (text, columns, most, want) in [
            ("", 10, 3, vec![""]),
            ("one two three", 20, 3, vec!["one two three"]),
            ("one two three", 8, 3, vec!["one two", "three"]),
            ("abcdefghij", 4, 3, vec!["abcd", "efgh", "ij"]),
            ("漢字漢字", 5, 3, vec!["漢字", "漢字"]),
            ("one two three four", 5, 2, vec!["one", "two…"]),
            ("abcdefghij", 4, 1, vec!["abc…"]),
        ] {
            assert_eq!(wrap(text, columns, most), want, "{text} in {columns}");
        }
    }
}
