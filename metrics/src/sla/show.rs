//! Observed values in words.

use std::time::Duration;

use barrage_model::expr::Observed;
use barrage_model::units::format_duration;

/// `= 231.4ms`, `≥ 10s`, `= 0.83% (83 of 10000)`.
pub(crate) fn observed(value: &Observed) -> String {
    let micros = |us: u64| format_duration(Duration::from_micros(us));
    let mean = |sum: u128, count: u64| micros(u64::try_from(sum / u128::from(count.max(1))).unwrap_or(u64::MAX));
    match *value {
        Observed::Micros(us) => format!("= {}", micros(us)),
        Observed::AtLeastMicros(us) => format!("≥ {}", micros(us)),
        Observed::MicrosBetween { least, most } => format!("≥ {}, ≤ {}", micros(least), micros(most)),
        Observed::MeanMicros { sum, count } => format!("= {}", mean(sum, count)),
        Observed::AtLeastMeanMicros { sum, count } => format!("≥ {}", mean(sum, count)),
        Observed::Ratio { part, whole: 0 } => format!("= {part} of 0"),
        Observed::Ratio { part, whole } => {
            format!("= {}% ({part} of {whole})", decimal(part as f64 * 100.0 / whole as f64))
        }
        Observed::PerSecond { micros: 0, .. } | Observed::BytesPerSecond { micros: 0, .. } => "over no time".to_owned(),
        Observed::PerSecond { count, micros } => format!("= {}/s", decimal(count as f64 * 1e6 / micros as f64)),
        Observed::Count(count) => format!("= {count}"),
        Observed::Bytes(bytes) => format!("= {} MiB", decimal(bytes as f64 / f64::from(1 << 20))),
        Observed::BytesPerSecond { bytes, micros } => {
            format!(
                "= {} MiB/s",
                decimal(bytes as f64 * 1e6 / micros as f64 / f64::from(1 << 20))
            )
        }
    }
}

/// Four significant decimals for small values, fewer for large ones; without trailing zeros.
fn decimal(value: f64) -> String {
    let places = match value.abs() {
        v if v >= 1_000.0 => 1,
        v if v >= 1.0 => 3,
        _ => 6,
    };
    let text = format!("{value:.places$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A number that grows with the value; for choosing what to show, never for a verdict.
pub(crate) fn magnitude(value: &Observed) -> f64 {
    let over = |above: f64, below: f64| if below > 0.0 { above / below } else { 0.0 };
    match *value {
        Observed::Micros(us) | Observed::AtLeastMicros(us) | Observed::MicrosBetween { least: us, .. } => us as f64,
        Observed::MeanMicros { sum, count } | Observed::AtLeastMeanMicros { sum, count } => {
            over(sum as f64, count as f64)
        }
        Observed::Ratio { part, whole } => over(part as f64, whole as f64),
        Observed::PerSecond { count, micros } => over(count as f64, micros as f64),
        Observed::Count(count) | Observed::Bytes(count) => count as f64,
        Observed::BytesPerSecond { bytes, micros } => over(bytes as f64, micros as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_carry_their_units() {
        for (value, want) in [
            (Observed::Micros(231_423), "= 231.423ms"),
            (Observed::AtLeastMicros(10_000_000), "≥ 10s"),
            (
                Observed::MicrosBetween {
                    least: 21_823,
                    most: 21_887,
                },
                "≥ 21.823ms, ≤ 21.887ms",
            ),
            (Observed::MeanMicros { sum: 10, count: 4 }, "= 2us"),
            (
                Observed::Ratio {
                    part: 83,
                    whole: 10_000,
                },
                "= 0.83% (83 of 10000)",
            ),
            (Observed::Ratio { part: 0, whole: 0 }, "= 0 of 0"),
            (
                Observed::PerSecond {
                    count: 4_992,
                    micros: 10_000_000,
                },
                "= 499.2/s",
            ),
            (Observed::Count(7), "= 7"),
            (
                Observed::BytesPerSecond {
                    bytes: 3 << 20,
                    micros: 2_000_000,
                },
                "= 1.5 MiB/s",
            ),
            (Observed::PerSecond { count: 1, micros: 0 }, "over no time"),
        ] {
            assert_eq!(observed(&value), want);
        }
    }
}
