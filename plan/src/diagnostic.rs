//! What a reader of a bad plan is told.

use std::fmt::{self, Write as _};

use crate::problem::push_escaped;
use crate::problem::quoted;

/// One error in a plan: where it stands, what was found, what was expected and the nearest valid thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file's name, as given.
    pub file: String,
    /// Line, from 1; 0 for what did not come with the text but with the command line.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// How many characters of the line are meant; at least 1.
    pub width: u32,
    /// The place in the plan, such as `scenarios[0].steps[2].expect`; empty for the whole plan.
    pub what: String,
    /// What stands there.
    pub found: String,
    /// What could have stood there.
    pub expected: String,
    /// The nearest thing that is valid.
    pub nearest: Option<String>,
    /// What to do about it, where that does not follow.
    pub help: Option<String>,
}

impl fmt::Display for Diagnostic {
    /// One line: `plan.yaml:12:9: scenarios[0].steps[2]: unknown key …; expected …; did you mean …?`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_argument() {
            return self.message().fmt(f);
        }
        let mut text = format!("{}:{}:{}: ", self.file, self.line, self.column);
        if !self.what.is_empty() {
            text.push_str(&self.what);
            text.push_str(": ");
        }
        text.push_str(&self.message());
        escaped(&text).fmt(f)
    }
}

impl std::error::Error for Diagnostic {}

impl Diagnostic {
    /// Whether it is about an argument of the command line and not about the plan's text.
    pub fn is_argument(&self) -> bool {
        self.line == 0
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> String {
        let mut text = format!("{}; expected {}", self.found, self.expected);
        if let Some(nearest) = &self.nearest {
            text.push_str("; did you mean ");
            text.push_str(&quoted(nearest));
            text.push('?');
        }
        if let Some(help) = &self.help {
            text.push_str("; ");
            text.push_str(help);
        }
        escaped(&text)
    }

    /// The message with the line it is about and carets under the place. `text` is the plan's text. No control
    /// character of the plan gets through.
    pub fn render(&self, text: &str) -> String {
        /// Characters of a long line shown on either side of the place.
        const AROUND: usize = 60;
        if self.is_argument() {
            return format!("error: {}\n", self.message());
        }
        let place = escaped(&format!("{}:{}:{}", self.file, self.line, self.column));
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let line = masked(text.lines().nth(self.line.saturating_sub(1) as usize).unwrap_or(""));
        let column = self.column.saturating_sub(1) as usize;
        let from = column.saturating_sub(AROUND);
        let mut shown = String::from(if from > 0 { "…" } else { "" });
        let mut pad = shown.chars().count();
        let mut carets = 0;
        for (n, c) in line.chars().enumerate().skip(from).take(column - from + AROUND) {
            let before = shown.chars().count();
            push_escaped(&mut shown, c);
            let wide = shown.chars().count() - before;
            if n < column {
                pad += wide;
            } else if n < column + self.width as usize {
                carets += wide;
            }
        }
        let what = if self.what.is_empty() {
            String::new()
        } else {
            escaped(&format!("{}: ", self.what))
        };
        let mut out = format!(
            "error: {what}{}; expected {}\n",
            escaped(&self.found),
            escaped(&self.expected)
        );
        write!(out, "{margin}--> {place}\n{margin} |\n{number} | {shown}\n").expect("writing to a string cannot fail");
        write!(out, "{margin} | {}{}", " ".repeat(pad), "^".repeat(carets.max(1)))
            .expect("writing to a string cannot fail");
        if let Some(nearest) = &self.nearest {
            write!(out, " did you mean {}?", quoted(nearest)).expect("writing to a string cannot fail");
        }
        out.push('\n');
        if let Some(help) = &self.help {
            writeln!(out, "{margin} = {}", escaped(help)).expect("writing to a string cannot fail");
        }
        out
    }
}

/// Everything that is wrong with a plan, in the order of its text; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Takes at least one error; sorts them by place.
    pub(crate) fn new(first: Diagnostic, others: impl IntoIterator<Item = Diagnostic>) -> Self {
        let mut all = vec![first];
        all.extend(others);
        all.sort_by_key(|one| (one.line, one.column));
        Self(all)
    }

    /// The first error in the text: the one to show, since later ones may follow from it.
    pub fn first(&self) -> &Diagnostic {
        &self.0[0]
    }

    /// All errors, at most 100.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    /// The first error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first().fmt(f)
    }
}

impl std::error::Error for Diagnostics {}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    masked(text).chars().for_each(|c| push_escaped(&mut out, c));
    out
}

/// The text with a `*` for each character of users and passwords in URLs (RFC 3986, section 3.2.1).
pub fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let ends = |c: char| matches!(c, '/' | '?' | '#' | '"' | '\'' | '`') || c.is_whitespace();
        let authority = &after[..after.find(ends).unwrap_or(after.len())];
        let secret = authority.rfind('@').map_or("", |at| &authority[..at]);
        out.extend(secret.chars().map(|c| if c == '…' { c } else { '*' }));
        rest = &after[secret.len()..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn credentials_of_urls_are_not_shown() {
        for (text, want) in [
            ("target: http://u:secret@h:80/p@q", "target: http://********@h:80/p@q"),
            (
                "\"https://tök@en@[::1]/\" # http://a@b",
                "\"https://******@[::1]/\" # http://*@b",
            ),
            ("http://u:p@", "http://***@"),
            ("http://…@h", "http://…@h"),
            ("http://h/a@b mail a@b ://", "http://h/a@b mail a@b ://"),
        ] {
            assert_eq!(masked(text), want);
        }
    }
}
