//! Errors about plans that are valid by themselves: what only reading their files shows.

use crate::diagnostic::Diagnostic;
use crate::yaml::{self, Kind, Lines, Node};
use crate::{Problem, Source};

/// Where in a plan's text an error belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'p> {
    /// The value under these keys.
    Key(&'p [&'p str]),
    /// The first value that is this text.
    Value(&'p str),
}

/// An error at a place of a plan; at its beginning where there is no such place.
pub fn about(source: Source<'_>, place: Place<'_>, problem: Problem) -> Diagnostic {
    let root = yaml::compose(source.text).ok();
    let found = root.as_ref().and_then(|root| match place {
        Place::Key(keys) => keys.iter().try_fold(root, |node, key| node.get(key)),
        Place::Value(text) => find(root, text),
    });
    let span = found.or(root.as_ref()).map(|node| node.span).unwrap_or_default();
    let lines = Lines::new(source.text);
    let (line, column) = lines.place(span.start);
    Diagnostic {
        file: source.file.to_owned(),
        line,
        column,
        width: lines.width(span),
        what: root.map_or_else(String::new, |root| yaml::path_at(&root, span.start)),
        found: problem.found,
        expected: problem.expected,
        nearest: problem.nearest,
        help: problem.help,
    }
}

fn find<'n>(root: &'n Node, text: &str) -> Option<&'n Node> {
    match &root.kind {
        Kind::Scalar(scalar) => (scalar.text == text).then_some(root),
        Kind::List(items) => items.iter().find_map(|item| find(item, text)),
        Kind::Map(entries) => entries.iter().find_map(|entry| find(&entry.value, text)),
    }
}
