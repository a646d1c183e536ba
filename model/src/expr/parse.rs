//! Reads expressions and predicates.

use super::metric::{ByteCount, ByteRate, Count, MetricKind, Quantile, RateMetric, RatioMetric, Stat, TAGS_MAX};
use super::{
    Cmp, Counted, Dimension, Expr, Measure, Metric, Named, Operand, Outcomes, Predicate, Selector, Threshold, hint,
};
use crate::outcome::FailureClass;
use crate::syntax::{Cursor, Logic, Quoted, SyntaxError, TEXT_MAX, is_name_byte, logic, shown};
use crate::units::Ratio;

pub(super) fn expr(text: &str) -> Result<Expr, SyntaxError> {
    let mut cursor = Cursor::new(text, TEXT_MAX)?;
    let expr = test(&mut cursor)?;
    cursor.skip_space();
    if cursor.is_done() {
        Ok(expr)
    } else {
        Err(cursor.error("the end of the expression"))
    }
}

pub(super) fn predicate(text: &str) -> Result<Predicate, SyntaxError> {
    Logic::read(&mut Cursor::new(text, TEXT_MAX)?, test)
}

fn test(cursor: &mut Cursor<'_>) -> Result<Expr, SyntaxError> {
    let left = operand(cursor)?;
    let cmp = cmp(cursor)?;
    let right = threshold(cursor, &left)?;
    Ok(Expr { left, cmp, right })
}

fn operand(cursor: &mut Cursor<'_>) -> Result<Operand, SyntaxError> {
    let metric = metric(cursor)?;
    cursor.skip_space();
    if cursor.peek() != Some(b'/') {
        return Ok(Operand::Metric(metric));
    }
    let MetricKind::Count(count) = metric.kind else {
        return Err(cursor.error("a comparison, since only counts can be divided"));
    };
    let part = Counted {
        count,
        select: metric.select,
    };
    cursor.advance(1);
    cursor.skip_space();
    let from = cursor.at();
    let metric = self::metric(cursor)?;
    let MetricKind::Count(count) = metric.kind else {
        return Err(cursor.error_at(from, cursor.at(), "a count to divide by, such as `sent`"));
    };
    Ok(Operand::Quotient {
        part,
        whole: Counted {
            count,
            select: metric.select,
        },
    })
}

/// Reads a metric with its parentheses.
pub(super) fn metric(cursor: &mut Cursor<'_>) -> Result<Metric, SyntaxError> {
    const EXPECTED: &str = "a metric such as p95, error_rate, throughput or failed";
    cursor.skip_space();
    let start = cursor.at();
    let word = cursor.take_while(|b| is_name_byte(b) || b == b'.');
    if word.is_empty() {
        return Err(cursor.error(EXPECTED));
    }
    let Some(mut kind) = kind(word) else {
        let percentile = word
            .strip_prefix('p')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        let failed = word.strip_prefix("failed.").is_some();
        let expected = match (percentile, failed) {
            (true, _) => "a percentile above p0 and below p100 with at most four decimals",
            (_, true) => "a failure class such as failed.status or failed.connect",
            _ => EXPECTED,
        };
        let meant = hint::meant(word, cursor.rest());
        return Err(cursor.error_at(start, cursor.at(), expected).suggest(meant));
    };
    let mut select = Selector::default();
    let mut ahead = cursor.clone();
    ahead.skip_space();
    if ahead.eat("(") {
        *cursor = ahead;
        arguments(cursor, &mut kind, &mut select)?;
    }
    Ok(Metric { kind, select })
}

/// The metric of a word; latencies of the response time over all outcomes.
pub(super) fn kind(word: &str) -> Option<MetricKind> {
    let stat = match word {
        "min" => Some(Stat::Min),
        "mean" => Some(Stat::Mean),
        "max" => Some(Stat::Max),
        "median" => Some(Stat::Quantile(Quantile::MEDIAN)),
        _ => word
            .strip_prefix('p')
            .and_then(Quantile::from_percent)
            .map(Stat::Quantile),
    };
    if let Some(stat) = stat {
        return Some(MetricKind::Latency {
            stat,
            measure: Measure::Response,
            outcomes: Outcomes::All,
        });
    }
    if let Some(class) = word.strip_prefix("failed.") {
        let class = FailureClass::ALL.into_iter().find(|known| known.word() == class)?;
        return Some(MetricKind::Count(Count::FailedAs(class)));
    }
    RatioMetric::from_word(word)
        .map(MetricKind::Ratio)
        .or_else(|| RateMetric::from_word(word).map(MetricKind::Rate))
        .or_else(|| Count::from_word(word).map(MetricKind::Count))
        .or_else(|| ByteCount::from_word(word).map(MetricKind::Bytes))
        .or_else(|| ByteRate::from_word(word).map(MetricKind::ByteRate))
}

/// What has been said so far about the name in a selector.
#[derive(Default)]
struct Names {
    any: Option<String>,
    step: Option<String>,
    scenario: Option<String>,
}

fn arguments(cursor: &mut Cursor<'_>, kind: &mut MetricKind, select: &mut Selector) -> Result<(), SyntaxError> {
    let mut names = Names::default();
    let mut has_measure = false;
    loop {
        cursor.skip_space();
        let start = cursor.at();
        if let Some(name) = cursor.quoted()? {
            let free = names.step.is_none() && names.scenario.is_none();
            once(cursor, start, &mut names.any, name, free)?;
        } else {
            let Some(word) = cursor.name() else {
                return Err(cursor.error(expected_argument(*kind)));
            };
            cursor.skip_space();
            match cursor.peek() {
                Some(b':') => labelled(cursor, start, word, &mut names)?,
                Some(b'=') => tag(cursor, start, word, select)?,
                _ => bare(cursor, start, word, kind, &mut has_measure)?,
            }
        }
        cursor.skip_space();
        if cursor.eat(")") {
            break;
        }
        if !cursor.eat(",") {
            return Err(cursor.error("`,` or `)`"));
        }
    }
    select.tags.sort_unstable();
    select.name = match (names.any, names.step, names.scenario) {
        (Some(name), _, _) => Some(Named::Any(name)),
        (None, Some(step), Some(scenario)) => Some(Named::StepOf { scenario, step }),
        (None, Some(step), None) => Some(Named::Step(step)),
        (None, None, Some(scenario)) => Some(Named::Scenario(scenario)),
        (None, None, None) => None,
    };
    Ok(())
}

fn expected_argument(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Latency { .. } => {
            r#"a measure (response, service, …), `ok`, a name in quotes, step:"…", scenario:"…" or tag="…""#
        }
        _ => r#"a name in quotes, step:"…", scenario:"…" or tag="…""#,
    }
}

/// Keeps a name, or refuses a second one.
fn once(
    cursor: &Cursor<'_>,
    start: usize,
    place: &mut Option<String>,
    name: String,
    free: bool,
) -> Result<(), SyntaxError> {
    if place.is_some() || !free {
        return Err(cursor.error_at(start, cursor.at(), r#"one name, or scenario:"…" and step:"…" together"#));
    }
    if name.is_empty() {
        return Err(cursor.error_at(start, cursor.at(), "a name that is not empty"));
    }
    *place = Some(name);
    Ok(())
}

/// `step:"…"` and `scenario:"…"`; the cursor stands at the colon.
fn labelled(cursor: &mut Cursor<'_>, start: usize, label: &str, names: &mut Names) -> Result<(), SyntaxError> {
    let label_end = cursor.at();
    cursor.advance(1);
    cursor.skip_space();
    let Some(name) = cursor.quoted()? else {
        return Err(cursor.error("a name in quotes"));
    };
    let free = names.any.is_none();
    match label {
        "step" => once(cursor, start, &mut names.step, name, free),
        "scenario" => once(cursor, start, &mut names.scenario, name, free),
        _ => {
            let meant = match label {
                "group" | "request" | "name" => "step".to_owned(),
                _ => match crate::syntax::nearest(label, ["step", "scenario"]) {
                    Some(word) => word.to_owned(),
                    None => format!("{label}={}", Quoted(&name)),
                },
            };
            Err(cursor
                .error_at(start, label_end, "`step:` or `scenario:`")
                .suggest(Some(meant)))
        }
    }
}

/// `tag="value"`; the cursor stands at the equals sign.
fn tag(cursor: &mut Cursor<'_>, start: usize, tag: &str, select: &mut Selector) -> Result<(), SyntaxError> {
    if !cursor.eat("==") {
        cursor.advance(1);
    }
    cursor.skip_space();
    let Some(value) = cursor.quoted()? else {
        let error = cursor.error("the tag's value in quotes");
        let meant = cursor.peek_name().map(|value| format!("{tag}={}", Quoted(value)));
        return Err(error.suggest(meant));
    };
    if select.tags.iter().any(|(known, _)| known == tag) {
        return Err(cursor.error_at(start, cursor.at(), "each tag once"));
    }
    if select.tags.len() == TAGS_MAX {
        return Err(cursor.error_at(start, cursor.at(), &format!("at most {TAGS_MAX} tags")));
    }
    select.tags.push((tag.to_owned(), value));
    Ok(())
}

/// A measure or `ok`, in a latency.
fn bare(
    cursor: &Cursor<'_>,
    start: usize,
    word: &str,
    kind: &mut MetricKind,
    has_measure: &mut bool,
) -> Result<(), SyntaxError> {
    let error = |expected: &str| cursor.error_at(start, start + word.len(), expected);
    let MetricKind::Latency { measure, outcomes, .. } = kind else {
        let is_name = word != "ok" && Measure::ALL.iter().all(|known| known.word() != word);
        return Err(error(expected_argument(*kind)).suggest(is_name.then(|| Quoted(word).to_string())));
    };
    if word == "ok" {
        if *outcomes == Outcomes::Ok {
            return Err(error("`ok` once"));
        }
        *outcomes = Outcomes::Ok;
        return Ok(());
    }
    let Some(known) = Measure::ALL.into_iter().find(|known| known.word() == word) else {
        let meant = hint::argument(word).map_or_else(|| Quoted(word).to_string(), str::to_owned);
        return Err(error(expected_argument(*kind)).suggest(Some(meant)));
    };
    if *has_measure {
        return Err(error("one measure"));
    }
    *has_measure = true;
    *measure = known;
    Ok(())
}

/// Reads a comparison.
pub(super) fn cmp(cursor: &mut Cursor<'_>) -> Result<Cmp, SyntaxError> {
    const EXPECTED: &str = "a comparison: <, <=, >, >=, == or !=";
    cursor.skip_space();
    let start = cursor.at();
    let signs = cursor.rest();
    let length: usize = signs
        .chars()
        .take_while(|c| matches!(c, '<' | '>' | '=' | '!' | '≤' | '≥' | '≠' | '~'))
        .map(char::len_utf8)
        .sum();
    if let Some(cmp) = Cmp::ALL.into_iter().find(|cmp| cmp.sign() == &signs[..length]) {
        cursor.advance(length);
        return Ok(cmp);
    }
    let meant = match &signs[..length] {
        "" => match cursor.peek_name() {
            Some("below" | "under" | "less" | "lt") => Some("<"),
            Some("above" | "over" | "more" | "gt") => Some(">"),
            Some("is" | "equals" | "eq") => Some("=="),
            Some("at") => Some("<="),
            _ => None,
        },
        "=" | "===" => Some("=="),
        "=<" | "≤" => Some("<="),
        "=>" | "≥" => Some(">="),
        "<>" | "≠" | "!" | "!==" => Some("!="),
        _ => None,
    };
    let error = if length == 0 {
        cursor.error(EXPECTED)
    } else {
        cursor.error_at(start, start + length, EXPECTED)
    };
    Err(error.suggest(meant))
}

/// Takes what stands before the end, a parenthesis or a joining word.
pub(super) fn threshold_text<'a>(cursor: &mut Cursor<'a>) -> &'a str {
    cursor.skip_space();
    let start = cursor.at();
    let mut end = start;
    loop {
        let rest = cursor.rest();
        let joined = cursor.peek_name().is_some_and(|name| logic::WORDS.contains(&name));
        if rest.is_empty() || rest.starts_with([')', '&', '|']) || joined {
            return cursor.slice(start, end);
        }
        let length = rest
            .find(|c: char| c.is_whitespace() || matches!(c, ')' | '&' | '|'))
            .unwrap_or(rest.len());
        cursor.advance(length);
        end = cursor.at();
        cursor.skip_space();
    }
}

fn threshold(cursor: &mut Cursor<'_>, left: &Operand) -> Result<Threshold, SyntaxError> {
    let dimension = left.dimension();
    cursor.skip_space();
    let start = cursor.at();
    let mut ahead = cursor.clone();
    let whole = threshold_text(&mut ahead);
    let first = whole
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .trim_end_matches(',');
    let misfit = match Threshold::read(dimension, first) {
        Ok(Threshold::Ratio(ratio)) if ratio > Ratio::ONE && matches!(left, Operand::Metric(_)) => {
            return Err(cursor.error_at(start, start + first.len(), "a ratio of at most 100%"));
        }
        Ok(threshold) => {
            cursor.advance(first.len());
            return Ok(threshold);
        }
        Err(misfit) => misfit,
    };
    if first.is_empty() {
        return Err(cursor.error(&misfit.expected));
    }
    // `250 ms` is one threshold with a blank in it; `250 and` is one that lacks its unit.
    let (text, misfit) = match Threshold::read(dimension, whole) {
        Err(joined) if joined.nearest.is_some() => (whole, joined),
        _ => (first, misfit),
    };
    let mut error = cursor.error_at(start, start + text.len(), &misfit.expected);
    if let Some(other) = Dimension::of(text).filter(|other| *other != dimension) {
        error.found = format!("{}, {}", shown(text), other.name());
    }
    Err(error.suggest(misfit.nearest))
}
