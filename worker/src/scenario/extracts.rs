//! What is kept from an answer.

use std::sync::Arc;

use barrage_model::plan::{Extract as PlanExtract, ExtractFrom};
use regex::bytes::Regex;
use serde_json::Value;
use serde_json_path::JsonPath;

use super::answers::{Reading, json_text};
use super::compile::{Linker, json_path, regex};
use super::error::StepProblem;

/// Longest extracted value, in bytes; a longer one counts as not found.
const VALUE_MAX: usize = 64 * 1024;

/// One value to keep.
#[derive(Debug)]
pub(super) struct Extract {
    /// The variable's place.
    pub(super) slot: u32,
    /// The variable.
    pub(super) name: String,
    from: From,
    default: Option<Arc<str>>,
}

#[derive(Debug)]
enum From {
    Json(String, Box<JsonPath>),
    Header(String),
    Regex(Regex),
    Cookie(String),
}

impl Extract {
    pub(super) fn compile(linker: &Linker<'_>, extract: &PlanExtract) -> Result<Self, StepProblem> {
        let from = match &extract.from {
            ExtractFrom::Json(path) => From::Json(path.clone(), Box::new(json_path(path)?)),
            ExtractFrom::Header(name) => From::Header(name.clone()),
            ExtractFrom::Regex(pattern) => From::Regex(regex(pattern)?),
            ExtractFrom::Cookie(name) => From::Cookie(name.clone()),
        };
        let default = extract.default.as_deref().map(Arc::from);
        Ok(Self {
            slot: linker.slot(&extract.name)?,
            name: extract.name.clone(),
            from,
            default,
        })
    }

    pub(super) fn needs_body(&self) -> bool {
        matches!(self.from, From::Json(..) | From::Regex(_))
    }

    pub(super) fn needs_headers(&self) -> bool {
        matches!(self.from, From::Header(_) | From::Cookie(_))
    }

    /// The value.
    ///
    /// # Errors
    /// What was not found, for the report.
    pub(super) fn value(&self, reading: &Reading<'_>) -> Result<Arc<str>, String> {
        let found = self.find(reading).and_then(|value| match value.len() {
            0..=VALUE_MAX => Ok(Arc::from(value)),
            _ => Err("it is longer than 64 KiB"),
        });
        found.or_else(|problem| {
            let none = || format!("extract {}: {} gives no value: {problem}", self.name, self.place());
            self.default.clone().ok_or_else(none)
        })
    }

    fn place(&self) -> String {
        match &self.from {
            From::Json(path, _) => format!("json {path}"),
            From::Header(name) => format!("header {name}"),
            From::Regex(pattern) => format!("regex {:?}", pattern.as_str()),
            From::Cookie(name) => format!("cookie {name}"),
        }
    }

    fn find(&self, reading: &Reading<'_>) -> Result<String, &'static str> {
        let From::Json(_, path) = &self.from else {
            return self.find_text(reading).ok_or("there is none");
        };
        let json = reading.json().ok_or("the body is no JSON that can be read")?;
        let value = path.query(json).first().ok_or("there is none")?;
        if is_rounded(value) {
            return Err("it is, or holds, a number that 64 bits do not hold; a regex takes it as it is");
        }
        Ok(json_text(value))
    }

    fn find_text(&self, reading: &Reading<'_>) -> Option<String> {
        let answer = reading.answer;
        match &self.from {
            From::Json(..) => None,
            From::Header(name) => answer.headers.get(name).map(text),
            From::Regex(pattern) => {
                let found = pattern.captures(&answer.body)?;
                found
                    .get(usize::from(pattern.captures_len() > 1))
                    .map(|group| text(group.as_bytes()))
            }
            From::Cookie(name) => {
                let mut cookies = answer.headers.get_all("set-cookie").filter_map(cookie);
                cookies
                    .find(|(found, _)| *found == name.as_bytes())
                    .map(|(_, value)| text(value))
            }
        }
    }
}

/// Whether a number in the value may have been another one in the text: whole ones beyond 64 bits are read as doubles.
pub(super) fn is_rounded(value: &Value) -> bool {
    // What is not a double: -2^63 to 2^64 - 1.
    const LEAST: f64 = -9_223_372_036_854_775_808.0;
    const BEYOND: f64 = 18_446_744_073_709_551_616.0;
    let beyond = |number: f64| number.fract() == 0.0 && !(LEAST < number && number < BEYOND);
    match value {
        Value::Number(number) => number.is_f64() && number.as_f64().is_some_and(beyond),
        Value::Array(items) => items.iter().any(is_rounded),
        Value::Object(fields) => fields.values().any(is_rounded),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Name and value of a `set-cookie` field, without its attributes.
fn cookie(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let pair = field.split(|byte| *byte == b';').next()?;
    let at = pair.iter().position(|byte| *byte == b'=')?;
    Some((pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()))
}
