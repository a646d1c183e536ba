//! Numbers as people read them. Units stand beside them; an absent one is a dash.

use barrage_metrics::summary::Quantile;
use barrage_model::time::Moment;

/// What stands for a number that does not exist.
pub(crate) const ABSENT: &str = "—";

/// How the last digit is found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rounding {
    Nearest,
    /// For lower bounds: rounding up would claim more than is known.
    Down,
}

/// A whole number with thousands apart: `1,234,567`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Microseconds in the unit that suits them, four digits: `412 µs`, `1.234 ms`, `231.4 ms`, `12.35 s`, `3600 s`.
pub(crate) fn micros(us: u64) -> String {
    scaled(us as f64, Rounding::Nearest)
}

fn scaled(us: f64, rounding: Rounding) -> String {
    if us < 999.5 {
        return format!("{} µs", trim(&fixed(us, usize::from(us < 100.0), rounding)));
    }
    let (value, unit) = if us < 999_950.0 {
        (us / 1e3, "ms")
    } else {
        (us / 1e6, "s")
    };
    let decimals = match value {
        v if v < 9.999_5 => 3,
        v if v < 99.995 => 2,
        v if v < 999.95 => 1,
        _ => 0,
    };
    format!("{} {unit}", fixed(value, decimals, rounding))
}

fn fixed(value: f64, decimals: usize, rounding: Rounding) -> String {
    let value = match rounding {
        Rounding::Nearest => value,
        Rounding::Down => {
            let one: f64 = (0..decimals).map(|_| 10.0).product();
            // Whole microseconds divided by a power of ten may lie a hair below the decimal they stand for.
            ((value * one) + 1e-6).floor() / one
        }
    };
    format!("{value:.decimals$}")
}

fn trim(decimal: &str) -> &str {
    decimal.strip_suffix(".0").unwrap_or(decimal)
}

/// A value of a distribution, with `≥` where it is a lower bound.
pub(crate) fn quantile(quantile: Option<Quantile>) -> String {
    match quantile {
        None => ABSENT.to_owned(),
        Some(Quantile {
            value_us,
            at_least: false,
        }) => micros(value_us),
        Some(Quantile {
            value_us,
            at_least: true,
        }) => format!("≥ {}", scaled(value_us as f64, Rounding::Down)),
    }
}

/// A mean, with `≥` where it is a lower bound.
pub(crate) fn mean(mean_us: Option<f64>, at_least: bool) -> String {
    match mean_us.filter(|us| us.is_finite() && *us >= 0.0) {
        None => ABSENT.to_owned(),
        Some(us) if at_least => format!("≥ {}", scaled(us, Rounding::Down)),
        Some(us) => scaled(us, Rounding::Nearest),
    }
}

/// A rate: `0.25/s`, `480.3/s`, `12,345/s`.
pub(crate) fn rate(per_s: Option<f64>) -> String {
    match per_s.map(decimal) {
        Some(decimal) if decimal != ABSENT => format!("{decimal}/s"),
        _ => ABSENT.to_owned(),
    }
}

/// A number of four digits or more: `0.25`, `48.03`, `480.3`, `12,345`.
pub(crate) fn decimal(value: f64) -> String {
    if !value.is_finite() || value < 0.0 {
        return ABSENT.to_owned();
    }
    match value {
        v if v >= 999.95 => count(v.round() as u64),
        v if v >= 99.995 => format!("{v:.1}"),
        v if v >= 0.01 || v <= 0.0 => format!("{v:.2}"),
        _ => "<0.01".to_owned(),
    }
}

/// A ratio of 0 to 1 in percent. Only nothing is `0 %` and only everything is `100 %`.
pub(crate) fn percent(ratio: Option<f64>) -> String {
    let Some(ratio) = ratio.filter(|ratio| ratio.is_finite() && *ratio >= 0.0) else {
        return ABSENT.to_owned();
    };
    let percent = ratio * 100.0;
    if ratio <= 0.0 || ratio.total_cmp(&1.0).is_eq() {
        return format!("{percent:.0} %");
    }
    if percent < 0.000_1 {
        return "<0.0001 %".to_owned();
    }
    if ratio < 1.0 && percent > 99.999_9 {
        return ">99.9999 %".to_owned();
    }
    let near_an_end = percent < 0.01 || (ratio < 1.0 && percent > 99.99);
    if near_an_end {
        format!("{percent:.4} %")
    } else {
        format!("{percent:.2} %")
    }
}

/// Bytes in binary units: `512 B`, `1.50 KiB`, `23.41 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.995 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2} {}", UNITS[unit])
}

/// Run time in seconds, milliseconds apart: `12.345 s`.
pub(crate) fn moment(at: Moment) -> String {
    seconds(at.as_micros())
}

/// A length of run time: `45 s`, `45.200 s`.
pub(crate) fn seconds(us: u64) -> String {
    let (whole, millis) = (us / 1_000_000, us % 1_000_000 / 1_000);
    if millis == 0 {
        format!("{} s", count(whole))
    } else {
        format!("{}.{millis:03} s", count(whole))
    }
}

/// Ranges of intervals of one second, `[from, to)`: `12–15 s, 20–21 s`.
pub(crate) fn ranges(ranges: &[(u32, u32)], most: usize) -> String {
    let mut shown: Vec<String> = ranges
        .iter()
        .take(most)
        .map(|(from, to)| format!("{from}–{to} s"))
        .collect();
    if ranges.len() > most {
        shown.push(format!("{} more", ranges.len() - most));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_four_digits() {
        for (us, want) in [
            (0, "0 µs"),
            (7, "7 µs"),
            (412, "412 µs"),
            (999, "999 µs"),
            (1_000, "1.000 ms"),
            (9_999, "9.999 ms"),
            (10_003, "10.00 ms"),
            (231_423, "231.4 ms"),
            (999_949, "999.9 ms"),
            (999_950, "1.000 s"),
            (12_345_678, "12.35 s"),
            (3_600_000_000, "3600 s"),
        ] {
            assert_eq!(micros(us), want, "{us}");
        }
        assert_eq!(mean(Some(12.34), false), "12.3 µs");
        assert_eq!(mean(Some(f64::NAN), false), ABSENT);
        assert_eq!(mean(None, true), ABSENT);
    }

    #[test]
    fn a_lower_bound_is_rounded_down() {
        for (value_us, want) in [
            (231_499, "≥ 231.4 ms"),
            (999_949, "≥ 999.9 ms"),
            (999_999, "≥ 0.999 s"),
            (10_000_000, "≥ 10.00 s"),
            (1_001, "≥ 1.001 ms"),
            (12_999_999, "≥ 12.99 s"),
        ] {
            let bound = Quantile {
                value_us,
                at_least: true,
            };
            assert_eq!(quantile(Some(bound)), want);
        }
    }

    #[test]
    fn only_nothing_is_nothing_and_only_all_is_all() {
        for (ratio, want) in [
            (0.0, "0 %"),
            (1e-9, "<0.0001 %"),
            (0.000_01, "0.0010 %"),
            (0.0123, "1.23 %"),
            (0.5, "50.00 %"),
            (0.999_99, "99.9990 %"),
            (0.999_999_999, ">99.9999 %"),
            (1.0, "100 %"),
            (1.2, "120.00 %"),
        ] {
            assert_eq!(percent(Some(ratio)), want, "{ratio}");
        }
        assert_eq!(percent(None), ABSENT);
        assert_eq!(percent(Some(f64::NAN)), ABSENT);
    }

    #[test]
    fn rates_bytes_and_seconds() {
        for (value, want) in [
            (0.0, "0.00/s"),
            (0.001, "<0.01/s"),
            (0.25, "0.25/s"),
            (480.32, "480.3/s"),
            (12_345.4, "12,345/s"),
            (f64::INFINITY, ABSENT),
        ] {
            assert_eq!(rate(Some(value)), want);
        }
        for (n, want) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_536, "1.50 KiB"),
            (1 << 20, "1.00 MiB"),
        ] {
            assert_eq!(bytes(n), want);
        }
        assert_eq!(bytes(u64::MAX), "16384.00 PiB");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(999), "999");
        assert_eq!(seconds(45_200_000), "45.200 s");
        assert_eq!(seconds(45_000_999), "45 s");
        assert_eq!(ranges(&[(1, 2), (5, 9), (11, 12)], 2), "1–2 s, 5–9 s, 1 more");
    }
}
