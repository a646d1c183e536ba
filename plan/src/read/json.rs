//! JSON values: from YAML to JSON text with splices.

use std::fmt::Write as _;

use barrage_model::template::{Part, Splice, Template};

use super::request::Uses;
use super::{Got, Reader};
use crate::problem::{Problem, quoted};
use crate::yaml::{Kind, Node, Scalar};

impl Reader<'_> {
    /// A value as compact JSON text, keys in order.
    ///
    /// Texts are templates. A text that is one splice with `| json` goes in without quotes; anywhere else the worker
    /// escapes what it fills in, so `| json` inside a longer text is an error. Plain numbers stay as they are written.
    pub(crate) fn json<'n>(&self, node: &'n Node, uses: &mut Uses<'n>) -> Got<Template> {
        let mut parts = Vec::new();
        self.json_parts(node, &mut parts, uses)?;
        Ok(Template::from_parts(parts))
    }

    fn json_parts<'n>(&self, node: &'n Node, parts: &mut Vec<Part>, uses: &mut Uses<'n>) -> Got<()> {
        match &node.kind {
            Kind::Scalar(scalar) => self.json_scalar(node, scalar, parts, uses),
            Kind::List(items) => {
                parts.push(literal("["));
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        parts.push(literal(","));
                    }
                    self.json_parts(item, parts, uses)?;
                }
                parts.push(literal("]"));
                Ok(())
            }
            Kind::Map(entries) => {
                parts.push(literal("{"));
                for (n, entry) in entries.iter().enumerate() {
                    let comma = if n > 0 { "," } else { "" };
                    parts.push(literal(&format!("{comma}\"{}\":", escaped(&entry.key))));
                    self.json_parts(&entry.value, parts, uses)?;
                }
                parts.push(literal("}"));
                Ok(())
            }
        }
    }

    fn json_scalar<'n>(&self, node: &'n Node, scalar: &Scalar, parts: &mut Vec<Part>, uses: &mut Uses<'n>) -> Got<()> {
        if scalar.is_null() {
            parts.push(literal("null"));
            return Ok(());
        }
        if scalar.plain && (matches!(scalar.text.as_str(), "true" | "false") || is_number(&scalar.text)) {
            parts.push(literal(&scalar.text));
            return Ok(());
        }
        if scalar.plain && is_other_number(&scalar.text) {
            let problem = Problem::value(&scalar.text, "a value that JSON can express");
            return Err(self.fail(node.span, problem.help("put it in quotes if it is text")));
        }
        let template = Template::parse(&scalar.text).map_err(|error| self.fail_in(node, &scalar.text, error.into()))?;
        if let Some(splice) = template.as_splice().filter(|splice| splice.is_json()) {
            parts.push(Part::Splice(splice.clone()));
        } else {
            if let Some(splice) = template.splices().find(|splice| splice.is_json()) {
                return Err(self.fail(node.span, inner_json(splice)));
            }
            parts.push(literal("\""));
            parts.extend(template.parts().iter().map(|part| match part {
                Part::Literal(text) => literal(&escaped(text)),
                Part::Splice(splice) => Part::Splice(splice.clone()),
            }));
            parts.push(literal("\""));
        }
        uses.push((node, template));
        Ok(())
    }
}

fn inner_json(splice: &Splice) -> Problem {
    let found = format!("found {} inside a longer text", quoted(&format!("${{{splice}}}")));
    Problem::new(found, "`| json` only where the value is the whole text")
}

fn literal(text: &str) -> Part {
    Part::Literal(text.to_owned())
}

/// A text as it stands between the quotes of a JSON string.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                write!(out, "\\u{:04x}", u32::from(c)).expect("writing to a string cannot fail");
            }
            c => out.push(c),
        }
    }
    out
}

/// Whether a text is a number in the grammar of JSON.
pub(crate) fn is_number(text: &str) -> bool {
    let rest = text.strip_prefix('-').unwrap_or(text);
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest.starts_with('0')) {
        return false;
    }
    let mut rest = &rest[whole..];
    if let Some(part) = rest.strip_prefix('.') {
        let count = digits(part);
        if count == 0 {
            return false;
        }
        rest = &part[count..];
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let count = digits(exponent);
        if count == 0 {
            return false;
        }
        rest = &exponent[count..];
    }
    rest.is_empty()
}

/// Whether YAML takes a plain text for a number that JSON cannot write so.
fn is_other_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let radix = |prefix: &str, base: u32| {
        text.strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_digit(base)))
    };
    let lower = unsigned.to_ascii_lowercase();
    lower == ".inf"
        || text.eq_ignore_ascii_case(".nan")
        || radix("0x", 16)
        || radix("0o", 8)
        || (text.starts_with('+') && is_number(unsigned))
        || (unsigned.starts_with('.') && is_number(&format!("0{unsigned}")))
        || unsigned.strip_suffix('.').is_some_and(is_number)
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}
