//! What an answer must be.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use barrage_model::outcome::FailureClass;
use barrage_model::plan::{Check as PlanCheck, Matcher, StatusSet};
use regex::bytes::Regex;
use serde_json::Value;
use serde_json_path::JsonPath;

use super::answers::{Reading, json_text};
use super::compile::{Linker, json_path, json_template, regex};
use super::encode::Encoding;
use super::error::StepProblem;
use super::render::{Given, RenderError};
use super::text::Text;
use super::values::Scope;

/// The statuses that are expected when a step says nothing.
const EXPECTED: (u16, u16) = (200, 399);

/// The checks of one step.
#[derive(Debug, Default)]
pub(super) struct Checks {
    status: Vec<StatusSet>,
    rest: Vec<Check>,
}

#[derive(Debug)]
enum Check {
    Header {
        name: String,
        wanted: Wanted,
    },
    BodyContains(Text),
    BodyMatches(Regex),
    Json {
        shown: String,
        path: Box<JsonPath>,
        wanted: Wanted,
    },
    Size {
        min: u64,
        max: u64,
    },
    MaxTime(Duration),
}

/// What a header or a JSON value must be.
#[derive(Debug)]
enum Wanted {
    Present,
    Absent,
    Equals(Text),
    /// A JSON value; parsed already when it is constant.
    Is(Text, Option<Value>),
    Contains(Text),
    Matches(Regex),
}

/// What one check said: nothing, or what was expected and what was found.
pub(super) type Said = Result<(), String>;

impl Checks {
    pub(super) fn compile(linker: &mut Linker<'_>, checks: &[PlanCheck]) -> Result<Self, StepProblem> {
        let mut compiled = Self::default();
        for check in checks {
            let check = match check {
                PlanCheck::Status(set) => {
                    compiled.status.push(set.clone());
                    continue;
                }
                PlanCheck::Header { name, matcher } => Check::Header {
                    name: name.clone(),
                    wanted: Wanted::compile(linker, matcher, false)?,
                },
                PlanCheck::BodyContains(text) => Check::BodyContains(linker.text(text, Encoding::Plain)?),
                PlanCheck::BodyMatches(pattern) => Check::BodyMatches(regex(pattern)?),
                PlanCheck::Json { path, matcher } => Check::Json {
                    shown: path.clone(),
                    path: Box::new(json_path(path)?),
                    wanted: Wanted::compile(linker, matcher, true)?,
                },
                PlanCheck::BodySize { min, max } => Check::Size { min: *min, max: *max },
                PlanCheck::MaxTime(limit) => Check::MaxTime(*limit),
            };
            compiled.rest.push(check);
        }
        Ok(compiled)
    }

    pub(super) fn needs_body(&self) -> bool {
        let reads = |check: &Check| {
            matches!(
                check,
                Check::BodyContains(_) | Check::BodyMatches(_) | Check::Json { .. }
            )
        };
        self.rest.iter().any(reads)
    }

    pub(super) fn needs_headers(&self) -> bool {
        self.rest.iter().any(|check| matches!(check, Check::Header { .. }))
    }

    /// Whether this status is all that the step asks for.
    pub(super) fn ask_only_for(&self, status: u16) -> bool {
        self.ask_only_for_status() && self.accepts(status)
    }

    /// Whether nothing but the status decides.
    pub(super) fn ask_only_for_status(&self) -> bool {
        self.rest.is_empty()
    }

    fn accepts(&self, status: u16) -> bool {
        if self.status.is_empty() {
            (EXPECTED.0..=EXPECTED.1).contains(&status)
        } else {
            self.status.iter().all(|set| set.holds(status))
        }
    }

    /// The first thing that does not hold: the status before everything else.
    pub(super) fn judge(
        &self,
        reading: &Reading<'_>,
        scope: &Scope<'_>,
        service: Duration,
    ) -> Result<(), (FailureClass, String)> {
        self.status(reading.answer.status)
            .map_err(|message| (FailureClass::Status, message))?;
        for check in &self.rest {
            check
                .judge(reading, scope, service)
                .map_err(|message| (FailureClass::Check, message))?;
        }
        Ok(())
    }

    /// Every check with what it says.
    pub(super) fn each(&self, reading: &Reading<'_>, scope: &Scope<'_>, service: Duration) -> Vec<(String, Said)> {
        let status = ("status".to_owned(), self.status(reading.answer.status));
        let rest = self
            .rest
            .iter()
            .map(|check| (check.name(), check.judge(reading, scope, service)));
        std::iter::once(status).chain(rest).collect()
    }

    fn status(&self, found: u16) -> Said {
        if self.accepts(found) {
            return Ok(());
        }
        Err(match self.status.iter().find(|set| !set.holds(found)) {
            None => format!("status: expected {}..{}, found {found}", EXPECTED.0, EXPECTED.1),
            Some(set) => format!("status: expected {}, found {found}", ranges(set)),
        })
    }
}

fn ranges(set: &StatusSet) -> String {
    let mut out = String::new();
    for (low, high) in set.ranges() {
        let joint = if out.is_empty() { "" } else { " or " };
        // Writing into a string cannot fail.
        let _ = if low == high {
            write!(out, "{joint}{low}")
        } else {
            write!(out, "{joint}{low}..{high}")
        };
    }
    out
}

impl Check {
    fn name(&self) -> String {
        match self {
            Self::Header { name, .. } => format!("header {name}"),
            Self::BodyContains(_) => "body contains".to_owned(),
            Self::BodyMatches(_) => "body matches".to_owned(),
            Self::Json { shown, .. } => format!("json {shown}"),
            Self::Size { .. } => "size".to_owned(),
            Self::MaxTime(_) => "time".to_owned(),
        }
    }

    fn judge(&self, reading: &Reading<'_>, scope: &Scope<'_>, service: Duration) -> Said {
        let answer = reading.answer;
        let (expected, found) = match self {
            Self::Header { name, wanted } => {
                let values = answer.headers.get_all(name).map(String::from_utf8_lossy);
                return wanted
                    .judge_texts(values, reading, scope)
                    .map_err(|said| format!("header {name}: {said}"));
            }
            Self::BodyContains(text) => {
                let wanted = rendered(text, scope).map_err(|problem| format!("body: {problem}"))?;
                if contains(&answer.body, &wanted) {
                    return Ok(());
                }
                (
                    format!("text containing {}", reading.shown(&wanted)),
                    reading.shown_body(),
                )
            }
            Self::BodyMatches(pattern) => {
                if pattern.is_match(&answer.body) {
                    return Ok(());
                }
                (
                    format!("a match of {}", reading.shown(pattern.as_str())),
                    reading.shown_body(),
                )
            }
            Self::Json {
                shown: name,
                path,
                wanted,
            } => {
                let json = reading
                    .json()
                    .ok_or_else(|| format!("json {name}: expected JSON, found {}", reading.shown_body()))?;
                return wanted
                    .judge_json(&path.query(json).all(), reading, scope)
                    .map_err(|said| format!("json {name}: {said}"));
            }
            Self::Size { min, max } => {
                if (*min..=*max).contains(&answer.body_bytes_in) {
                    return Ok(());
                }
                let expected = if *max == u64::MAX {
                    format!("{min} or more bytes")
                } else {
                    format!("{min} to {max} bytes")
                };
                (expected, answer.body_bytes_in.to_string())
            }
            Self::MaxTime(limit) => {
                if service <= *limit {
                    return Ok(());
                }
                (format!("at most {limit:?}"), format!("{service:?}"))
            }
        };
        let name = match self {
            Self::BodyContains(_) | Self::BodyMatches(_) => "body".to_owned(),
            other => other.name(),
        };
        Err(format!("{name}: expected {expected}, found {found}"))
    }
}

impl Wanted {
    fn compile(linker: &mut Linker<'_>, matcher: &Matcher, json: bool) -> Result<Self, StepProblem> {
        Ok(match matcher {
            Matcher::Present => Self::Present,
            Matcher::Absent => Self::Absent,
            Matcher::Equals(text) if json => {
                let text = json_template(linker, text)?;
                let value = text
                    .as_static()
                    .map(serde_json::from_slice)
                    .transpose()
                    .map_err(|_| StepProblem::Json)?;
                Self::Is(text, value)
            }
            Matcher::Equals(text) => Self::Equals(linker.text(text, Encoding::Plain)?),
            Matcher::Contains(text) => Self::Contains(linker.text(text, Encoding::Plain)?),
            Matcher::Matches(pattern) => Self::Matches(regex(pattern)?),
        })
    }

    /// Holds when one of the values is as wanted.
    fn judge_texts<'v>(
        &self,
        mut values: impl Iterator<Item = Cow<'v, str>>,
        reading: &Reading<'_>,
        scope: &Scope<'_>,
    ) -> Said {
        let first = values.next();
        let found = || {
            first
                .as_deref()
                .map_or("nothing".to_owned(), |text| reading.shown(text))
        };
        let wanted = match self {
            Self::Present => {
                return if first.is_some() {
                    Ok(())
                } else {
                    Err("expected it, found nothing".to_owned())
                };
            }
            Self::Absent => {
                return if first.is_none() {
                    Ok(())
                } else {
                    Err(format!("expected nothing, found {}", found()))
                };
            }
            Self::Equals(text) | Self::Is(text, _) | Self::Contains(text) => rendered(text, scope)?,
            Self::Matches(pattern) => pattern.as_str().to_owned(),
        };
        let holds = |value: &str| match self {
            Self::Contains(_) => value.contains(&wanted),
            Self::Matches(pattern) => pattern.is_match(value.as_bytes()),
            _ => value == wanted,
        };
        if first.as_deref().is_some_and(holds) || values.any(|value| holds(&value)) {
            return Ok(());
        }
        let kind = match self {
            Self::Contains(_) => "text containing ",
            Self::Matches(_) => "a match of ",
            _ => "",
        };
        Err(format!("expected {kind}{}, found {}", reading.shown(&wanted), found()))
    }

    fn judge_json(&self, values: &[&Value], reading: &Reading<'_>, scope: &Scope<'_>) -> Said {
        let Self::Is(text, constant) = self else {
            return self.judge_texts(values.iter().map(|value| Cow::Owned(json_text(value))), reading, scope);
        };
        let made;
        let wanted = if let Some(value) = constant {
            value
        } else {
            made = rendered(text, scope)?;
            &serde_json::from_str(&made)
                .map_err(|_| format!("the expected value {} is not JSON", reading.shown(&made)))?
        };
        if values.iter().any(|value| is_equal(value, wanted)) {
            return Ok(());
        }
        let found = values
            .first()
            .map_or("nothing".to_owned(), |value| reading.shown(&value.to_string()));
        Err(format!(
            "expected {}, found {found}",
            reading.shown(&wanted.to_string())
        ))
    }
}

fn rendered(text: &Text, scope: &Scope<'_>) -> Result<String, String> {
    let mut out = Vec::new();
    match text.render(scope, Given::default(), &mut out) {
        Ok(()) => Ok(String::from_utf8_lossy(&out).into_owned()),
        Err(RenderError::Missing(name)) => Err(format!("`${{{name}}}` of the expected value has no value")),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether the text stands in the bytes; in time linear in both.
fn contains(body: &[u8], text: &str) -> bool {
    match std::str::from_utf8(body) {
        Ok(body) => body.contains(text),
        Err(_) => Regex::new(&regex::escape(text)).is_ok_and(|pattern| pattern.is_match(body)),
    }
}

/// Equal as JSON: numbers by value, objects whatever the order of their fields.
fn is_equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let of = |number: &serde_json::Number| {
                let whole = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
                // Beyond 64 bits it may have been rounded when it was read, as doubles are everywhere in JSON.
                let exact = |double: f64| (double.fract() == 0.0 && double.abs() < 1e30).then_some(double as i128);
                (whole.or_else(|| exact(number.as_f64()?)), number.as_f64())
            };
            match (of(one), of(other)) {
                ((Some(one), _), (Some(other), _)) => one == other,
                ((_, one), (_, other)) => one == other,
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(key, value)| other.get(key).is_some_and(|found| is_equal(value, found)))
        }
        _ => one == other,
    }
}
