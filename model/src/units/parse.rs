//! Reading of the unit grammar, and the guess at what a misspelt value was meant to be.

use std::time::Duration;

use super::{Bytes, DURATION_MAX, Rate, Ratio, UnitError};

/// Longest text that is looked at.
const TEXT_MAX: usize = 64;
/// Most digits of one number; more would only serve to overflow.
const DIGITS_MAX: usize = 24;
/// Largest ratio: a million times.
const RATIO_MAX_PPB: u128 = 1_000_000_000_000_000;

/// Durations, largest unit first, in microseconds.
const TIME_UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];
/// Rates are per one of these, in microseconds.
const RATE_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
];
/// Sizes; decimal before binary, so that a search from the back finds binary units first.
pub(super) const BYTE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

const DURATION: &str = "a duration such as 250ms or 1m30s";
const DURATION_RANGE: &str = "a duration of at most 7d";
const DURATION_GRAIN: &str = "a duration in whole microseconds";
const RATE: &str = "a rate such as 500/s or 30k/m";
const RATE_RANGE: &str = "a rate of at most 100M/s";
const RATE_GRAIN: &str = "a rate of 0/s or at least 0.000001/s";
const SIZE: &str = "a size such as 512B or 10MiB";
const SIZE_RANGE: &str = "a size below 16EiB";
const SIZE_GRAIN: &str = "a size of 0B or at least 1B";
const RATIO: &str = "a ratio such as 1% or 0.999";
const RATIO_RANGE: &str = "a ratio of at most 1000000";
const RATIO_GRAIN: &str = "a ratio in whole parts per billion";

type Read<T> = Result<T, &'static str>;

/// Reads a duration such as `250ms`, `1.5s` or `1m30s`: whole microseconds, at most [`DURATION_MAX`].
///
/// # Errors
/// Bad grammar, too long, or finer than a microsecond.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    read_duration(text).map_err(|expected| error(text, expected, &respell(text, time_word, "s"), read_duration))
}

/// Reads a rate such as `500/s`, `30k/m` or `0.5/s`, rounded down to whole micro-arrivals per second.
///
/// Down, because the number of arrivals of a curve is its integral rounded up: the whole of seven days loses less than
/// one arrival that way, so `100/h` for an hour is 100 arrivals and not 101.
///
/// # Errors
/// Bad grammar, above the ceiling, or so small that it would become zero.
pub fn parse_rate(text: &str) -> Result<Rate, UnitError> {
    let guess = respell(text, rate_word, "/s")
        .replace("//", "/")
        .replace("/1s", "/s")
        .replace("/1m", "/m");
    read_rate(text).map_err(|expected| error(text, expected, &guess, read_rate))
}

/// Reads a size such as `512B`, `10MiB` (2²⁰) or `10MB` (10⁶), rounded down to whole bytes.
///
/// # Errors
/// Bad grammar, 2⁶⁴ bytes or more, or a part of one byte.
pub fn parse_bytes(text: &str) -> Result<Bytes, UnitError> {
    read_bytes(text).map_err(|expected| error(text, expected, &respell(text, size_word, "B"), read_bytes))
}

/// Reads a ratio such as `1%`, `0.999` or `120%`, exact to parts per billion, at most a million.
///
/// # Errors
/// Bad grammar, too large, or finer than a part per billion.
pub fn parse_ratio(text: &str) -> Result<Ratio, UnitError> {
    read_ratio(text).map_err(|expected| error(text, expected, &respell(text, ratio_word, ""), read_ratio))
}

/// A decimal number: `mantissa` / `divisor`.
struct Decimal {
    mantissa: u128,
    divisor: u128,
}

impl Decimal {
    fn is_whole(&self) -> bool {
        self.divisor == 1
    }

    /// The number times `up` / `down`: rounded down, and whether that was exact. `None` when out of all bounds.
    fn scaled(&self, up: u128, down: u128) -> Option<(u128, bool)> {
        let (above, below) = (self.mantissa.checked_mul(up)?, self.divisor.checked_mul(down)?);
        Some((above / below, above % below == 0))
    }
}

/// Splits a decimal number (digits, optionally a point and more digits) off the front.
fn number(text: &str) -> Option<(Decimal, &str)> {
    let end = digits(text);
    let whole = &text[..end];
    let mut rest = &text[end..];
    let mut part = "";
    if let Some(after) = rest.strip_prefix('.') {
        let end = digits(after);
        part = &after[..end];
        rest = &after[end..];
        if part.is_empty() {
            return None;
        }
    }
    if whole.is_empty() || whole.len() + part.len() > DIGITS_MAX {
        return None;
    }
    let part = part.trim_end_matches('0');
    let add = |sum: u128, digit: u8| sum * 10 + u128::from(digit - b'0');
    let mantissa = whole.bytes().chain(part.bytes()).fold(0, add);
    Some((
        Decimal {
            mantissa,
            divisor: 10u128.pow(part.len() as u32),
        },
        rest,
    ))
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

fn read_duration(text: &str) -> Read<Duration> {
    if text.is_empty() || text.len() > TEXT_MAX {
        return Err(DURATION);
    }
    let mut rest = text;
    let mut total = 0u128;
    let mut units = &TIME_UNITS[..];
    while !rest.is_empty() {
        let (value, after) = number(rest).ok_or(DURATION)?;
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let place = units
            .iter()
            .position(|(unit, _)| *unit == &after[..letters])
            .ok_or(DURATION)?;
        rest = &after[letters..];
        if !rest.is_empty() && !value.is_whole() {
            return Err(DURATION);
        }
        let (micros, exact) = value.scaled(u128::from(units[place].1), 1).ok_or(DURATION_RANGE)?;
        if !exact {
            return Err(DURATION_GRAIN);
        }
        total = total.saturating_add(micros);
        units = &units[place + 1..];
    }
    if total > DURATION_MAX.as_micros() {
        return Err(DURATION_RANGE);
    }
    Ok(Duration::from_micros(total as u64))
}

fn read_rate(text: &str) -> Read<Rate> {
    if text.len() > TEXT_MAX {
        return Err(RATE);
    }
    let (count, per) = text.split_once('/').ok_or(RATE)?;
    let (value, suffix) = number(count).ok_or(RATE)?;
    let thousands: u128 = match suffix {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        _ => return Err(RATE),
    };
    let per = RATE_UNITS.iter().find(|(unit, _)| *unit == per).ok_or(RATE)?.1;
    // micro-arrivals per second = count × 10⁶ (micro) × 10⁶ (µs of a second) / µs
    let (micro, exact) = value
        .scaled(thousands * 1_000_000_000_000, u128::from(per))
        .ok_or(RATE_RANGE)?;
    if micro == 0 && !exact {
        return Err(RATE_GRAIN);
    }
    u64::try_from(micro).ok().and_then(Rate::from_micro).ok_or(RATE_RANGE)
}

fn read_bytes(text: &str) -> Read<Bytes> {
    if text.len() > TEXT_MAX {
        return Err(SIZE);
    }
    let (value, unit) = number(text).ok_or(SIZE)?;
    let size = BYTE_UNITS.iter().find(|(name, _)| *name == unit).ok_or(SIZE)?.1;
    let (bytes, exact) = value.scaled(u128::from(size), 1).ok_or(SIZE_RANGE)?;
    if bytes == 0 && !exact {
        return Err(SIZE_GRAIN);
    }
    u64::try_from(bytes).map(Bytes).map_err(|_| SIZE_RANGE)
}

fn read_ratio(text: &str) -> Read<Ratio> {
    if text.len() > TEXT_MAX {
        return Err(RATIO);
    }
    let (value, unit) = number(text).ok_or(RATIO)?;
    let one: u128 = match unit {
        "" => 1_000_000_000,
        "%" => 10_000_000,
        _ => return Err(RATIO),
    };
    match value.scaled(one, 1) {
        Some((ppb, _)) if ppb > RATIO_MAX_PPB => Err(RATIO_RANGE),
        Some((ppb, true)) => Ok(Ratio::from_ppb(ppb as u64)),
        Some((_, false)) => Err(RATIO_GRAIN),
        None => Err(RATIO_RANGE),
    }
}

fn error<T>(text: &str, expected: &'static str, guess: &str, read: fn(&str) -> Read<T>) -> UnitError {
    let hint = (guess != text && read(guess).is_ok()).then(|| guess.to_owned());
    UnitError {
        found: text.chars().take(TEXT_MAX).collect(),
        expected,
        hint,
    }
}

/// Rewrites a misspelt value: no blanks, no digit grouping, a decimal point, every word through `word`, and `bare`
/// behind a number without a unit.
fn respell(text: &str, word: fn(&str) -> Option<&'static str>, bare: &str) -> String {
    let mut out = String::new();
    if text.len() > TEXT_MAX {
        return out;
    }
    let mut rest = text.trim();
    while let Some(next) = rest.chars().next() {
        let letters: usize = rest.chars().take_while(|c| c.is_alphabetic()).map(char::len_utf8).sum();
        if letters > 0 {
            let run = &rest[..letters];
            out.push_str(word(run).or_else(|| word(&run.to_lowercase())).unwrap_or(run));
            rest = &rest[letters..];
            continue;
        }
        rest = &rest[next.len_utf8()..];
        match next {
            ',' if digits(rest) == 3 => {}
            ',' => out.push('.'),
            '.' if !out.ends_with(|c: char| c.is_ascii_digit()) => out.push_str("0."),
            '_' | '+' => {}
            blank if blank.is_whitespace() => {}
            other => out.push(other),
        }
    }
    let count = out.trim_end_matches(['k', 'M']);
    let is_count = number(count).is_some_and(|(_, after)| after.is_empty());
    if is_count && (count.len() == out.len() || bare == "/s") {
        out.push_str(bare);
    }
    out
}

fn time_word(word: &str) -> Option<&'static str> {
    Some(match word {
        "sec" | "secs" | "second" | "seconds" | "S" => "s",
        "min" | "mins" | "minute" | "minutes" | "M" => "m",
        "hr" | "hrs" | "hour" | "hours" | "H" => "h",
        "day" | "days" | "D" => "d",
        "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" | "MS" => "ms",
        "usec" | "usecs" | "micros" | "microsecond" | "microseconds" | "µs" | "μs" => "us",
        "and" => "",
        _ => return None,
    })
}

fn rate_word(word: &str) -> Option<&'static str> {
    Some(match word {
        "rps" | "qps" | "tps" | "hz" | "ps" | "persec" | "persecond" => "/s",
        "rpm" => "/m",
        "kps" | "krps" => "k/s",
        "per" => "/",
        "r" | "req" | "reqs" | "request" | "requests" | "arrivals" | "iterations" => "",
        "K" | "thousand" => "k",
        "million" => "M",
        other => return time_word(other).filter(|_| other != "M"),
    })
}

fn size_word(word: &str) -> Option<&'static str> {
    Some(match word {
        "b" | "byte" | "bytes" => "B",
        "kb" => "kB",
        "mb" => "MB",
        "gb" => "GB",
        "tb" => "TB",
        "k" | "kib" => "KiB",
        "m" | "mib" => "MiB",
        "g" | "gib" => "GiB",
        "t" | "tib" => "TiB",
        _ => return None,
    })
}

fn ratio_word(word: &str) -> Option<&'static str> {
    matches!(word, "percent" | "pct").then_some("%")
}
