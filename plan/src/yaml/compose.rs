//! From the parser's events to a tree.

use std::collections::{BTreeMap, BTreeSet};

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, StrInput};

use super::{DEPTH_MAX, Entry, Kind, LAID_OUT_MAX, Misplaced, NODES_MAX, Node, Scalar, Span, TEXT_MAX};
use crate::problem::{Problem, quoted};

/// Reads one YAML document.
///
/// Refused: more than [`TEXT_MAX`] bytes, [`DEPTH_MAX`] levels, [`NODES_MAX`] nodes or [`LAID_OUT_MAX`] bytes after
/// aliases have been laid out; a second document, directives, tags, merge keys, keys that are not text, duplicate keys.
pub(crate) fn compose(text: &str) -> Result<Node, Misplaced> {
    if text.len() > TEXT_MAX {
        let found = format!("found {} bytes", text.len());
        return Err(misplaced(
            Span::default(),
            Problem::new(found, "a plan of at most 1MiB"),
        ));
    }
    if let Some(at) = text.find('\0') {
        let span = Span { start: at, end: at + 1 };
        return Err(misplaced(span, Problem::new("found a NUL character", "text")));
    }
    let mut options = granit_parser::options! {
        disallow_directives: true,
        flow_nesting_limit: 4 * DEPTH_MAX,
        block_nesting_limit: 4 * DEPTH_MAX,
    };
    options.set_emit_comments(false);
    let mut composer = Composer {
        text,
        ..Composer::default()
    };
    for event in Parser::<StrInput<'_>>::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| broken(text, &error))?;
        let start = span.start.byte_offset().unwrap_or(0).min(text.len());
        let end = span.end.byte_offset().unwrap_or(start).clamp(start, text.len());
        composer.event(event, Span { start, end })?;
    }
    let end = Span {
        start: text.len(),
        end: text.len(),
    };
    composer
        .root
        .ok_or_else(|| misplaced(end, Problem::new("found an empty file", "a plan")))
}

/// A node that is not closed yet.
struct Open {
    node: Node,
    /// The key of a map that waits for its value.
    key: Option<(String, Span)>,
    keys: BTreeSet<String>,
    anchor: usize,
    weight: Weight,
}

/// What a node adds to the bounds.
#[derive(Clone, Copy, Default)]
struct Weight {
    nodes: usize,
    bytes: usize,
    /// Levels of lists and maps in it.
    height: usize,
}

#[derive(Default)]
struct Composer<'t> {
    text: &'t str,
    open: Vec<Open>,
    anchors: BTreeMap<usize, (Node, Weight)>,
    total: Weight,
    root: Option<Node>,
    documents: usize,
}

impl Composer<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Misplaced> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(misplaced(
                        span,
                        Problem::new("found a second document", "one plan in one file"),
                    ));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span)?;
                let span = self.tight(span, style);
                let weight = Weight {
                    nodes: 1,
                    bytes: text.len(),
                    height: 0,
                };
                let plain = style == ScalarStyle::Plain;
                let node = Node {
                    span,
                    kind: Kind::Scalar(Scalar {
                        text: text.into_owned(),
                        plain,
                    }),
                };
                self.grow(weight, span)?;
                self.place(node, weight, anchor)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span)?;
                self.begin(Kind::List(Vec::new()), span, anchor)?;
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span)?;
                self.begin(Kind::Map(Vec::new()), span, anchor)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span)?,
            Event::Alias(anchor) => self.alias(anchor, span)?,
            _ => {}
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Misplaced> {
        let Some((node, weight)) = self.anchors.get(&anchor) else {
            return Err(misplaced(
                span,
                Problem::new("found an alias inside its own anchor", "a value"),
            ));
        };
        let (node, weight) = (node, *weight);
        if self.open.len() + weight.height > DEPTH_MAX {
            return Err(too_deep(span));
        }
        // The bounds are checked before the copy is made.
        let total = self.total.plus(weight);
        if total.nodes > NODES_MAX || total.bytes > LAID_OUT_MAX {
            return Err(too_large(span));
        }
        let node = node.clone();
        self.total = total;
        self.place(node, weight, 0)
    }

    fn begin(&mut self, kind: Kind, span: Span, anchor: usize) -> Result<(), Misplaced> {
        if self.open.len() >= DEPTH_MAX {
            return Err(too_deep(span));
        }
        if self
            .open
            .last()
            .is_some_and(|open| matches!(open.node.kind, Kind::Map(_)) && open.key.is_none())
        {
            return Err(misplaced(
                span,
                Problem::new("found a list or map as a key", "a key that is text"),
            ));
        }
        let weight = Weight {
            nodes: 1,
            bytes: 0,
            height: 1,
        };
        self.grow(weight, span)?;
        self.open.push(Open {
            node: Node { span, kind },
            key: None,
            keys: BTreeSet::new(),
            anchor,
            weight,
        });
        Ok(())
    }

    fn close(&mut self, span: Span) -> Result<(), Misplaced> {
        let Some(mut closed) = self.open.pop() else {
            return Ok(());
        };
        let last = match &closed.node.kind {
            Kind::List(items) => items.last().map(|item| item.span.end),
            Kind::Map(entries) => entries.last().map(|entry| entry.value.span.end.max(entry.key_span.end)),
            Kind::Scalar(_) => None,
        };
        // The end event of a block collection stands where the next thing begins: the last child's end is meant.
        let bracket = self
            .text
            .as_bytes()
            .get(span.start)
            .is_some_and(|b| matches!(b, b']' | b'}'));
        let end = if bracket { span.end } else { last.unwrap_or(span.start) };
        closed.node.span.end = end.max(closed.node.span.start);
        self.place(closed.node, closed.weight, closed.anchor)
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, node: Node, weight: Weight, anchor: usize) -> Result<(), Misplaced> {
        if anchor != 0 {
            // Anchored copies are held beside the tree and count towards the same bounds.
            self.grow(Weight { height: 0, ..weight }, node.span)?;
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        parent.weight = parent.weight.plus(Weight { height: 0, ..weight });
        parent.weight.height = parent.weight.height.max(weight.height + 1);
        match &mut parent.node.kind {
            Kind::List(items) => items.push(node),
            Kind::Map(entries) => {
                if let Some((key, key_span)) = parent.key.take() {
                    entries.push(Entry {
                        key,
                        key_span,
                        value: node,
                    });
                    return Ok(());
                }
                let Kind::Scalar(scalar) = node.kind else {
                    let problem = Problem::new("found a list or map as a key", "a key that is text");
                    return Err(misplaced(node.span, problem));
                };
                check_key(&scalar, node.span, &mut parent.keys)?;
                parent.key = Some((scalar.text, node.span));
            }
            Kind::Scalar(_) => {}
        }
        Ok(())
    }

    fn grow(&mut self, weight: Weight, span: Span) -> Result<(), Misplaced> {
        self.total = self.total.plus(weight);
        if self.total.nodes > NODES_MAX || self.total.bytes > LAID_OUT_MAX {
            return Err(too_large(span));
        }
        Ok(())
    }

    fn refuse_tag(&self, tagged: bool, span: Span) -> Result<(), Misplaced> {
        if !tagged {
            return Ok(());
        }
        let before = self.text[..span.start].trim_end();
        let start = before.rfind('!').map_or(span.start, |at| {
            let word = before[..at].rfind(char::is_whitespace).map_or(0, |space| space + 1);
            word.max(before[..at].rfind('\n').map_or(0, |line| line + 1))
        });
        let tag = self.text[start..span.start].split_whitespace().next().unwrap_or("!");
        let span = Span {
            start,
            end: start + tag.len().max(1),
        };
        let problem = Problem::new(format!("found the tag {}", quoted(tag)), "a value without a tag");
        Err(misplaced(
            span,
            problem.help("put a text in quotes, write anything else plain"),
        ))
    }

    /// The span of a scalar without the white space that the parser counts in, and for a block its first line.
    fn tight(&self, span: Span, style: ScalarStyle) -> Span {
        let source = &self.text[span.start..span.end];
        let end = match style {
            ScalarStyle::Literal | ScalarStyle::Folded => source.find('\n').unwrap_or(source.len()),
            _ => source.len(),
        };
        Span {
            start: span.start,
            end: span.start + source[..end].trim_end().len(),
        }
    }
}

impl Weight {
    fn plus(self, other: Self) -> Self {
        let nodes = self.nodes.saturating_add(other.nodes);
        Self {
            nodes,
            bytes: self.bytes.saturating_add(other.bytes),
            height: self.height,
        }
    }
}

fn check_key(scalar: &Scalar, span: Span, keys: &mut BTreeSet<String>) -> Result<(), Misplaced> {
    if scalar.is_null() {
        return Err(misplaced(
            span,
            Problem::new("found nothing as a key", "a key that is text"),
        ));
    }
    if scalar.plain && scalar.text == "<<" {
        let problem = Problem::new("found the merge key `<<`", "a key of the plan");
        return Err(misplaced(
            span,
            problem.help("write the keys out, or use an alias for a whole value"),
        ));
    }
    if !keys.insert(scalar.text.clone()) {
        let problem = Problem::new(format!("duplicate key {}", quoted(&scalar.text)), "each key once");
        return Err(misplaced(span, problem));
    }
    Ok(())
}

fn too_deep(span: Span) -> Misplaced {
    let expected = format!("lists and maps at most {DEPTH_MAX} deep");
    misplaced(span, Problem::new("found one more level", expected))
}

fn too_large(span: Span) -> Misplaced {
    let expected = format!("at most {NODES_MAX} values and 4MiB of text, aliases laid out");
    misplaced(span, Problem::new("found more than that", expected))
}

fn misplaced(span: Span, problem: Problem) -> Misplaced {
    Misplaced {
        span,
        problem: Box::new(problem),
    }
}

/// The first tab after `at` that indents a line.
fn indenting_tab(text: &str, at: usize) -> Option<usize> {
    let breaks = text[at..].match_indices('\n').map(|(end, _)| at + end + 1);
    breaks
        .map(|line| line + text[line..].bytes().take_while(|byte| *byte == b' ').count())
        .find(|start| text.as_bytes().get(*start) == Some(&b'\t'))
}

/// A text that is not YAML.
fn broken(text: &str, error: &ScanError) -> Misplaced {
    let at = error.marker().byte_offset().unwrap_or(0).min(text.len());
    let at = text.floor_char_boundary(at);
    let span = Span {
        start: at,
        end: at + text[at..].chars().next().map_or(0, char::len_utf8),
    };
    let is_tab = matches!(
        error.kind(),
        ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabAtBlockScalarStart
    );
    let tab = if is_tab {
        let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
        Some(text[line..].find('\t').map_or(at, |tab| line + tab))
    } else if matches!(error.kind(), ErrorKind::TabInPlainScalar) {
        // The marker is at the begin of a text that seems to go on in the next line.
        indenting_tab(text, at)
    } else {
        None
    };
    if let Some(start) = tab {
        let span = Span { start, end: start + 1 };
        return misplaced(span, Problem::new("found a tab as indentation", "spaces"));
    }
    let problem = match error.kind() {
        ErrorKind::UnknownAnchor => Problem::new("found an alias without an anchor", "an anchor `&name` further up"),
        ErrorKind::RecursionLimitExceeded => return too_deep(span),
        ErrorKind::DirectiveDisallowed => Problem::new("found a YAML directive", "a plan without it"),
        kind => {
            let problem = Problem::new(format!("this is not YAML: {}", error.info()), "YAML");
            let line = text[..at].lines().last().unwrap_or("");
            if matches!(
                kind,
                ErrorKind::UnexpectedCharacter {
                    character: '@' | '`' | '%'
                }
            ) {
                problem.help("put the value in quotes")
            } else if line.contains('{') && line.contains('(') {
                problem.help("inside `{ }` a text with a comma needs single quotes around it")
            } else {
                problem
            }
        }
    };
    misplaced(span, problem)
}
