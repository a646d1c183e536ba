//! The canonical text of an expression, which reads back to an equal one.

use std::fmt;

use super::{Count, Counted, Expr, Measure, Metric, MetricKind, Named, Operand, Outcomes, Quantile, Selector, Stat};
use crate::syntax::Quoted;

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.left, self.cmp, self.right)
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metric(metric) => metric.fmt(f),
            Self::Quotient { part, whole } => write!(f, "{part} / {whole}"),
        }
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.count, Arguments(&[], &self.select))
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MetricKind::Latency {
            stat,
            measure,
            outcomes,
        } = self.kind
        else {
            return write!(f, "{}{}", self.kind, Arguments(&[], &self.select));
        };
        let measure = (measure != Measure::Response).then(|| measure.word());
        let outcomes = (outcomes == Outcomes::Ok).then_some("ok");
        let words: Vec<&str> = measure.into_iter().chain(outcomes).collect();
        write!(f, "{stat}{}", Arguments(&words, &self.select))
    }
}

impl fmt::Display for MetricKind {
    /// The metric's word, without measure, outcomes and selector.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latency { stat, .. } => stat.fmt(f),
            Self::Ratio(ratio) => f.write_str(ratio.word()),
            Self::Rate(rate) => f.write_str(rate.word()),
            Self::Count(count) => count.fmt(f),
            Self::Bytes(bytes) => f.write_str(bytes.word()),
            Self::ByteRate(rate) => f.write_str(rate.word()),
        }
    }
}

impl fmt::Display for Stat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Min => f.write_str("min"),
            Self::Mean => f.write_str("mean"),
            Self::Max => f.write_str("max"),
            Self::Quantile(quantile) => quantile.fmt(f),
        }
    }
}

impl fmt::Display for Quantile {
    /// `p95`, `p99.99`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.millionths() / 10_000, self.millionths() % 10_000);
        write!(f, "p{whole}")?;
        match part {
            0 => Ok(()),
            part => write!(f, ".{}", format!("{part:04}").trim_end_matches('0')),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Self::FailedAs(class) => write!(f, ".{}", class.word()),
            _ => Ok(()),
        }
    }
}

/// What stands in parentheses behind a metric; nothing at all if it would be empty.
struct Arguments<'a>(&'a [&'a str], &'a Selector);

impl fmt::Display for Arguments<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all: Vec<String> = self.0.iter().map(|&word| word.to_owned()).collect();
        match &self.1.name {
            None => {}
            Some(Named::Any(name)) => all.push(Quoted(name).to_string()),
            Some(Named::Step(name)) => all.push(format!("step:{}", Quoted(name))),
            Some(Named::Scenario(name)) => all.push(format!("scenario:{}", Quoted(name))),
            Some(Named::StepOf { scenario, step }) => {
                all.push(format!("scenario:{}", Quoted(scenario)));
                all.push(format!("step:{}", Quoted(step)));
            }
        }
        all.extend(
            self.1
                .tags
                .iter()
                .map(|(tag, value)| format!("{tag}={}", Quoted(value))),
        );
        if all.is_empty() {
            Ok(())
        } else {
            write!(f, "({})", all.join(", "))
        }
    }
}
