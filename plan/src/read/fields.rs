//! Access to the keys of a map, checked against its table.

use std::cell::Cell;

use barrage_model::syntax::nearest;

use super::{Got, Reader, Reported};
use crate::language::{Object, STEP, Shape};
use crate::problem::{Problem, either, quoted};
use crate::yaml::{Entry, Kind, Node, Scalar, Span};

/// A value together with what it may be.
#[derive(Clone, Copy)]
pub(crate) struct Value<'n> {
    pub(crate) node: &'n Node,
    pub(crate) shape: &'static Shape,
}

/// The keys of one map. Every key of the table has to be asked for: one that nobody reads would be silently ignored.
pub(crate) struct Fields<'n, 'r> {
    reader: &'r Reader<'r>,
    object: &'static Object,
    pub(crate) node: &'n Node,
    entries: &'n [Entry],
    asked: Cell<u64>,
    /// A key was unknown or out of place, so that a missing one is probably that one.
    broken: bool,
}

impl Reader<'_> {
    /// Opens a map: unknown keys, and keys that exclude each other, are errors.
    pub(crate) fn object<'n, 'r>(&'r self, node: &'n Node, object: &'static Object) -> Got<Fields<'n, 'r>> {
        let Kind::Map(entries) = &node.kind else {
            return Err(self.fail(
                node.span,
                Problem::new(node.describe(), Shape::Object(object).expected()),
            ));
        };
        let mut broken = false;
        for entry in entries {
            let extension = object.name == "plan" && entry.key.starts_with("x-");
            if object.key(&entry.key).is_none() && !extension {
                broken = true;
                self.fail(entry.key_span, unknown_key(&entry.key, object));
            }
        }
        for choice in object.choices {
            let mut given = entries.iter().filter(|entry| choice.keys.contains(&entry.key.as_str()));
            match (given.next(), given.next()) {
                (Some(first), Some(second)) => {
                    broken = true;
                    let found = format!("found {} beside {}", quoted(&second.key), quoted(&first.key));
                    let expected = format!("only one of {}", either(choice.keys.iter().copied()));
                    self.fail(second.key_span, Problem::new(found, expected));
                }
                (None, _) if choice.required && !broken => {
                    let missing = format!("{} is missing", either(choice.keys.iter().copied()));
                    self.fail(head(node), Problem::new(missing, "exactly one of them"));
                }
                _ => {}
            }
        }
        Ok(Fields {
            reader: self,
            object,
            node,
            entries,
            asked: Cell::new(0),
            broken,
        })
    }
}

/// What other tools call a key, and its names here.
const ALIASES: [(&[&str], &[&str]); 12] = [
    (&["duration", "length", "time", "for", "over"], &["for", "over", "each"]),
    (&["rps", "requests_per_second", "qps"], &["rate"]),
    (&["vus", "threads", "connections", "concurrency"], &["users", "count"]),
    (&["path", "uri", "endpoint", "href"], &["url"]),
    (&["base_url", "url", "host", "server"], &["target"]),
    (&["assert", "check", "checks", "validate", "assertions"], &["expect"]),
    (&["capture", "save", "store"], &["extract"]),
    (&["sleep", "wait", "delay"], &["think", "every"]),
    (&["loop", "times", "count"], &["repeat", "times", "at_most"]),
    (&["thresholds", "slo", "slos", "slas"], &["sla"]),
    (&["vars", "environment", "env"], &["variables"]),
    (&["flow", "tasks", "requests"], &["steps"]),
];

fn unknown_key(key: &str, object: &'static Object) -> Problem {
    let expected = either(object.names());
    let expected = if object.keys.len() == 1 {
        expected
    } else {
        format!("one of {expected}")
    };
    let problem = Problem::new(format!("unknown key {}", quoted(key)), expected);
    if let Some(near) = nearest(key, object.names()) {
        return problem.nearest(Some(near));
    }
    if object.name == "request" && STEP.key(key).is_some() {
        return problem.help(format!("`{key}` stands beside the method, one level up"));
    }
    let meant = ALIASES
        .iter()
        .filter(|(others, _)| others.contains(&key))
        .flat_map(|(_, ours)| *ours);
    problem.nearest(meant.copied().find(|name| object.key(name).is_some()))
}

/// The first key of a map, or its beginning.
pub(crate) fn head(node: &Node) -> Span {
    match &node.kind {
        Kind::Map(entries) => match entries.first() {
            Some(first) => first.key_span,
            None => node.span,
        },
        _ => node.span,
    }
}

impl<'n> Fields<'n, '_> {
    /// The entry of a key of the table.
    pub(crate) fn entry(&self, name: &'static str) -> Option<&'n Entry> {
        let place = self.object.keys.iter().position(|key| key.name == name);
        debug_assert!(place.is_some(), "{} has no key {name}", self.object.name);
        self.asked.set(self.asked.get() | 1 << place.unwrap_or(63));
        self.entries.iter().find(|entry| entry.key == name)
    }

    /// The value of a key, if it is given.
    pub(crate) fn value(&self, name: &'static str) -> Option<Value<'n>> {
        let entry = self.entry(name)?;
        let shape = &self.object.key(name)?.shape;
        Some(Value {
            node: &entry.value,
            shape,
        })
    }

    /// Decodes a key that may be absent.
    pub(crate) fn opt<T>(&self, name: &'static str, read: impl FnOnce(Value<'n>) -> Got<T>) -> Got<Option<T>> {
        self.value(name).map(read).transpose()
    }

    /// Decodes a key, or takes what holds when it is absent.
    pub(crate) fn or<T>(&self, name: &'static str, absent: T, read: impl FnOnce(Value<'n>) -> Got<T>) -> Got<T> {
        Ok(self.opt(name, read)?.unwrap_or(absent))
    }

    /// Decodes a key, or the default that the table names.
    pub(crate) fn or_default<T>(&self, name: &'static str, read: impl for<'v> FnOnce(Value<'v>) -> Got<T>) -> Got<T> {
        if let Some(value) = self.value(name) {
            return read(value);
        }
        let key = self.object.key(name).expect("asked for a key of the table");
        let text = key.default.expect("the table names a default").to_owned();
        let kind = Kind::Scalar(Scalar { text, plain: true });
        read(Value {
            node: &Node {
                span: Span::default(),
                kind,
            },
            shape: &key.shape,
        })
    }

    /// Decodes a key that must be given.
    pub(crate) fn need<T>(&self, name: &'static str, read: impl FnOnce(Value<'n>) -> Got<T>) -> Got<T> {
        match self.value(name) {
            Some(value) => read(value),
            None => Err(self.missing(name)),
        }
    }

    /// Records that a key is missing, unless a key of the map was misspelt.
    pub(crate) fn missing(&self, name: &'static str) -> Reported {
        if self.broken {
            return Reported(());
        }
        let expected = self
            .object
            .key(name)
            .map_or_else(String::new, |key| key.shape.expected());
        let problem = Problem::new(format!("`{name}` is missing"), expected);
        self.reader.fail(head(self.node), problem)
    }

    /// Records that a key stands where it has no meaning.
    pub(crate) fn refuse(&self, name: &'static str, expected: &str) -> Got<()> {
        match self.entry(name) {
            Some(entry) => {
                let problem = Problem::new(format!("found `{name}`"), expected);
                Err(self.reader.fail(entry.key_span, problem))
            }
            None => Ok(()),
        }
    }
}

impl Drop for Fields<'_, '_> {
    /// In a debug build a key of the table that no decoder asked for is an error, so that no test passes without it.
    fn drop(&mut self) {
        let all = (1_u64 << self.object.keys.len()) - 1;
        let unread = all & !self.asked.get();
        if cfg!(debug_assertions) && unread != 0 && !self.reader.has_failed() {
            let name = self.object.names().nth(unread.trailing_zeros() as usize).unwrap_or("");
            let found = format!("the decoder of {} ignores {}", self.object.name, quoted(name));
            self.reader
                .fail(head(self.node), Problem::new(found, "every key to be read"));
        }
    }
}
