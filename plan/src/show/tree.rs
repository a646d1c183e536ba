//! YAML on its way out.

use crate::read::escaped;

/// A value to be written.
#[derive(Clone, Debug)]
pub(crate) enum Tree {
    /// A scalar or a flow value, as it stands in YAML.
    Raw(String),
    /// Keys in order.
    Map(Vec<(String, Tree)>),
    /// Entries in order.
    List(Vec<Tree>),
}

impl Tree {
    /// A map of what is there.
    pub(crate) fn map(entries: impl IntoIterator<Item = (&'static str, Option<Tree>)>) -> Self {
        Self::Map(
            entries
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), value?)))
                .collect(),
        )
    }

    /// A map with one key.
    pub(crate) fn only(key: &str, value: Self) -> Self {
        Self::Map(vec![(key.to_owned(), value)])
    }

    /// A text, quoted where it would be read as something else.
    pub(crate) fn text(text: impl AsRef<str>) -> Self {
        Self::Raw(scalar(text.as_ref()))
    }

    /// A text that is quoted in any case.
    pub(crate) fn quoted(text: impl AsRef<str>) -> Self {
        Self::Raw(format!("\"{}\"", escaped(text.as_ref())))
    }

    /// A number, word or quantity, which needs no quotes.
    pub(crate) fn plain(value: impl std::fmt::Display) -> Self {
        Self::Raw(format!("{value}"))
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Raw(_) => false,
            Self::Map(entries) => entries.is_empty(),
            Self::List(items) => items.is_empty(),
        }
    }

    /// Nothing, if there is nothing in it.
    pub(crate) fn some(self) -> Option<Self> {
        (!self.is_empty()).then_some(self)
    }

    /// The text of the document.
    pub(crate) fn document(&self) -> String {
        let mut out = String::new();
        match self {
            Self::Raw(text) => {
                out.push_str(text);
                out.push('\n');
            }
            _ => self.write(&mut out, 0, false),
        }
        out
    }

    /// Writes the lines of a map or list; `inline` when the first line has been begun.
    fn write(&self, out: &mut String, indent: usize, inline: bool) {
        let pad = |out: &mut String, first: bool| {
            if !(first && inline) {
                out.push_str(&" ".repeat(indent));
            }
        };
        match self {
            Self::Raw(text) => {
                out.push_str(text);
                out.push('\n');
            }
            Self::Map(entries) => {
                for (n, (key, value)) in entries.iter().enumerate() {
                    pad(out, n == 0);
                    out.push_str(&scalar(key));
                    out.push(':');
                    value.write_after(out, indent + 2);
                }
            }
            Self::List(items) => {
                for (n, item) in items.iter().enumerate() {
                    pad(out, n == 0);
                    out.push('-');
                    if item.is_empty() {
                        item.write_after(out, indent + 2);
                    } else {
                        out.push(' ');
                        item.write(out, indent + 2, true);
                    }
                }
            }
        }
    }

    /// Writes a value behind `key:`.
    fn write_after(&self, out: &mut String, indent: usize) {
        match self {
            Self::Raw(text) => {
                out.push(' ');
                out.push_str(text);
                out.push('\n');
            }
            Self::Map(entries) if entries.is_empty() => out.push_str(" {}\n"),
            Self::List(items) if items.is_empty() => out.push_str(" []\n"),
            _ => {
                out.push('\n');
                self.write(out, indent, false);
            }
        }
    }
}

/// A text as a scalar: plain if it can only be read as this text, else in double quotes.
fn scalar(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '%');
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '/'));
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" | "present" | "absent"
    );
    if starts && !word && text.len() <= 200 && text.chars().all(safe) {
        text.to_owned()
    } else {
        format!("\"{}\"", escaped(text))
    }
}
