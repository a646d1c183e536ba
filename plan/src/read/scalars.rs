//! Decoders of values that stand in one scalar, with the bounds of their shapes.

use std::time::Duration;

use barrage_model::condition::Condition;
use barrage_model::expr::{Expr, PhaseSelector};
use barrage_model::plan::{Delay, FileRef};
use barrage_model::syntax::{is_name, nearest};
use barrage_model::template::{Source, Template};
use barrage_model::units::{DURATION_MAX, Rate, Ratio, parse_bytes, parse_duration, parse_rate, parse_ratio};

use super::{Got, Reader, Value};
use crate::language::Shape;
use crate::problem::Problem;
use crate::value;
use crate::yaml::{Entry, Kind, Node, Scalar};

/// Names that conditions know without a declaration.
const ANSWER_NAMES: [&str; 2] = ["status", "body"];

impl Reader<'_> {
    /// The scalar of a value, which must be one and not empty.
    pub(crate) fn scalar<'n>(&self, value: Value<'n>) -> Got<&'n Scalar> {
        match &value.node.kind {
            Kind::Scalar(scalar) if !scalar.is_null() => Ok(scalar),
            _ => Err(self.fail(
                value.node.span,
                Problem::new(value.node.describe(), value.shape.expected()),
            )),
        }
    }

    /// Decodes a scalar's text.
    pub(crate) fn parse<T>(&self, value: Value<'_>, read: impl FnOnce(&str) -> Result<T, Problem>) -> Got<T> {
        let text = &self.scalar(value)?.text;
        read(text).map_err(|problem| self.fail_in(value.node, text, problem))
    }

    pub(crate) fn flag(&self, value: Value<'_>) -> Got<bool> {
        let plain = self.scalar(value)?.plain;
        self.parse(value, |text| match text {
            "true" if plain => Ok(true),
            "false" if plain => Ok(false),
            "true" | "false" => Err(Problem::new(
                format!("found the text `{text}`"),
                format!("`{text}` without quotes"),
            )),
            _ => {
                let meant = match text.to_ascii_lowercase().as_str() {
                    "yes" | "on" | "1" | "true" | "y" => Some("true"),
                    "no" | "off" | "0" | "false" | "n" => Some("false"),
                    _ => nearest(text, ["true", "false"]),
                };
                Err(Problem::value(text, value.shape.expected()).nearest(meant))
            }
        })
    }

    pub(crate) fn whole(&self, value: Value<'_>) -> Got<u64> {
        let (min, max) = match value.shape {
            Shape::Whole { min, max } => (*min, *max),
            _ => (0, u64::MAX),
        };
        self.parse(value, |text| {
            let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
            text.parse()
                .ok()
                .filter(|number| plain && (min..=max).contains(number))
                .ok_or_else(|| {
                    let guess: String = text
                        .chars()
                        .filter(|c| !matches!(c, '_' | ',' | ' ' | '\'' | '+'))
                        .collect();
                    let guess = guess.trim_start_matches('0').to_owned();
                    let guess = Some(guess).filter(|guess| {
                        guess != text && guess.parse().is_ok_and(|number: u64| (min..=max).contains(&number))
                    });
                    Problem::value(text, value.shape.expected()).nearest(guess)
                })
        })
    }

    pub(crate) fn whole32(&self, value: Value<'_>) -> Got<u32> {
        let number = self.whole(value)?;
        u32::try_from(number).map_err(|_| {
            self.fail(
                value.node.span,
                Problem::value(&number.to_string(), value.shape.expected()),
            )
        })
    }

    pub(crate) fn duration(&self, value: Value<'_>) -> Got<Duration> {
        let (min, max) = match value.shape {
            Shape::Duration { min, max } => (*min, *max),
            _ => (Duration::ZERO, DURATION_MAX),
        };
        self.parse(value, |text| {
            let read = parse_duration(text)?;
            let fits = (min..=max).contains(&read);
            if fits {
                Ok(read)
            } else {
                Err(Problem::value(text, value.shape.expected()))
            }
        })
    }

    pub(crate) fn delay(&self, value: Value<'_>) -> Got<Delay> {
        self.parse(value, value::delay)
    }

    pub(crate) fn rate(&self, value: Value<'_>) -> Got<Rate> {
        let zero = !matches!(value.shape, Shape::Rate { zero: false });
        self.parse(value, |text| {
            let rate = parse_rate(text)?;
            let fits = zero || !rate.is_zero();
            if fits {
                Ok(rate)
            } else {
                Err(Problem::value(text, "a rate above 0/s"))
            }
        })
    }

    pub(crate) fn size(&self, value: Value<'_>) -> Got<u64> {
        let max = match value.shape {
            Shape::Size { max } => *max,
            _ => u64::MAX,
        };
        self.parse(value, |text| {
            let bytes = parse_bytes(text)?.0;
            let limit = barrage_model::units::Bytes(max);
            if bytes <= max {
                Ok(bytes)
            } else {
                Err(Problem::value(text, format!("a size of at most {limit}")))
            }
        })
    }

    pub(crate) fn ratio(&self, value: Value<'_>) -> Got<Ratio> {
        let max = match value.shape {
            Shape::Ratio { max_ppb } => Ratio::from_ppb(*max_ppb),
            _ => Ratio::from_ppb(u64::MAX),
        };
        self.parse(value, |text| {
            let ratio = parse_ratio(text)?;
            if ratio <= max {
                Ok(ratio)
            } else {
                Err(Problem::value(text, format!("a ratio of at most {max}")))
            }
        })
    }

    /// One of the words of the shape.
    pub(crate) fn word(&self, value: Value<'_>) -> Got<&'static str> {
        let words = match value.shape {
            Shape::Word(words) => *words,
            _ => &[],
        };
        self.parse(value, |text| {
            words.iter().copied().find(|word| *word == text).ok_or_else(|| {
                let expected = value.shape.expected();
                Problem::value(text, expected).nearest(nearest(text, words.iter().copied()))
            })
        })
    }

    /// A name that stands as a key.
    pub(crate) fn key_name(&self, entry: &Entry) -> Got<String> {
        name(&entry.key).map_err(|problem| self.fail(entry.key_span, problem))
    }

    /// The name of a variable that stands as a key.
    pub(crate) fn variable_key(&self, entry: &Entry) -> Got<String> {
        variable_name(&entry.key).map_err(|problem| self.fail(entry.key_span, problem))
    }

    /// One line of text.
    pub(crate) fn text(&self, value: Value<'_>) -> Got<String> {
        let max = match value.shape {
            Shape::Text { max } => *max,
            _ => crate::language::NAME_MAX,
        };
        self.parse(value, |text| {
            let fits = !text.trim().is_empty() && text.chars().count() <= max && !text.chars().any(char::is_control);
            if fits {
                Ok(text.to_owned())
            } else {
                Err(Problem::value(text, format!("1 to {max} characters on one line")))
            }
        })
    }

    /// Any text; nothing is the empty text.
    pub(crate) fn any(&self, value: Value<'_>) -> Got<String> {
        if value.node.is_null() {
            Ok(String::new())
        } else {
            self.parse(value, |text| Ok(text.to_owned()))
        }
    }

    /// A template whose names are in scope.
    pub(crate) fn template(&self, value: Value<'_>) -> Got<Template> {
        let template = self.unscoped(value)?;
        self.in_scope(value.node, template.splices())?;
        Ok(template)
    }

    /// A template whose names are checked later.
    pub(crate) fn unscoped(&self, value: Value<'_>) -> Got<Template> {
        self.parse(value, |text| Ok(Template::parse(text)?))
    }

    pub(crate) fn condition(&self, value: Value<'_>) -> Got<Condition> {
        let condition = self.parse(value, |text| Ok(Condition::parse(text)?))?;
        for pattern in condition.patterns() {
            value::regex(pattern).map_err(|problem| self.fail(value.node.span, Problem { at: None, ..problem }))?;
        }
        let looked_up = condition.sources().filter(|source| !is_answer(source));
        self.sources_in_scope(value.node, looked_up)?;
        Ok(condition)
    }

    pub(crate) fn expression(&self, value: Value<'_>) -> Got<Expr> {
        self.parse(value, |text| Ok(Expr::parse(text)?))
    }

    pub(crate) fn phase(&self, value: Value<'_>) -> Got<PhaseSelector> {
        self.parse(value, |text| Ok(PhaseSelector::parse(text)?))
    }

    pub(crate) fn regex(&self, value: Value<'_>) -> Got<String> {
        self.parse(value, value::regex)
    }

    pub(crate) fn file(&self, value: Value<'_>) -> Got<FileRef> {
        self.parse(value, value::file)
    }

    /// A list within the bounds of its shape, each entry decoded.
    pub(crate) fn list<'n, T>(&self, value: Value<'n>, mut read: impl FnMut(Value<'n>) -> Got<T>) -> Got<Vec<T>> {
        let (Kind::List(items), Shape::List { of, min, max }) = (&value.node.kind, value.shape) else {
            return Err(self.fail(
                value.node.span,
                Problem::new(value.node.describe(), value.shape.expected()),
            ));
        };
        if !(*min..=*max).contains(&items.len()) {
            let expected = format!("{min} to {max} entries");
            return Err(self.fail(
                value.node.span,
                Problem::new(format!("found {} entries", items.len()), expected),
            ));
        }
        // Every entry is decoded, so that all errors are recorded.
        let read: Vec<Got<T>> = items.iter().map(|node| read(Value { node, shape: of })).collect();
        read.into_iter().collect()
    }

    /// The entries of a map from names to values, within the bounds of its shape.
    pub(crate) fn entries<'n>(&self, value: Value<'n>) -> Got<impl Iterator<Item = (&'n Entry, Value<'n>)> + use<'n>> {
        let (Kind::Map(entries), Shape::Map { of, max }) = (&value.node.kind, value.shape) else {
            return Err(self.fail(
                value.node.span,
                Problem::new(value.node.describe(), value.shape.expected()),
            ));
        };
        if entries.len() > *max {
            let found = format!("found {} entries", entries.len());
            return Err(self.fail(value.node.span, Problem::new(found, format!("at most {max} entries"))));
        }
        let of: &'static Shape = of;
        Ok(entries.iter().map(move |entry| {
            (
                entry,
                Value {
                    node: &entry.value,
                    shape: of,
                },
            )
        }))
    }

    /// A map from names to templates, in order.
    pub(crate) fn templates(&self, value: Value<'_>) -> Got<Vec<(String, Template)>> {
        let read: Vec<Got<(String, Template)>> = self
            .entries(value)?
            .map(|(entry, value)| {
                let key = value::header_value(&entry.key).map_err(|problem| self.fail(entry.key_span, problem));
                let template = self.template(value);
                key.and(Ok((entry.key.clone(), template?)))
            })
            .collect();
        read.into_iter().collect()
    }
}

/// Whether a source of a condition is the last answer's, which needs no declaration.
fn is_answer(source: &Source) -> bool {
    matches!(source, Source::Variable(name) if ANSWER_NAMES.contains(&name.as_str()))
}

/// Checks the name of a variable: `status` and `body` stand for the last answer in conditions.
pub(crate) fn variable_name(text: &str) -> Result<String, Problem> {
    if ANSWER_NAMES.contains(&text) {
        let problem = Problem::value(text, "another name");
        return Err(problem.help(format!("in conditions `{text}` is that of the last answer")));
    }
    name(text)
}

/// Checks a name.
pub(crate) fn name(text: &str) -> Result<String, Problem> {
    let fits = is_name(text) && text.len() <= crate::language::NAME_MAX;
    if fits {
        Ok(text.to_owned())
    } else {
        Err(Problem::value(text, Shape::Name.expected()))
    }
}

/// Whether a value is written as a list or a map.
pub(crate) fn is_map(node: &Node) -> bool {
    matches!(node.kind, Kind::Map(_))
}
