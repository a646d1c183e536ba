//! What the contestants say about a run: their outputs in one form.

use serde_json::Value;

use super::Tool;

/// A contestant's own account. Absent values were not printed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Said {
    /// Requests that it counts.
    pub(crate) requests: Option<u64>,
    /// How long its load lasted, s.
    pub(crate) seconds: Option<f64>,
    /// Median latency, µs.
    pub(crate) p50_us: Option<f64>,
    /// 99th percentile, µs.
    pub(crate) p99_us: Option<f64>,
    /// 99.9th percentile, µs.
    pub(crate) p999_us: Option<f64>,
    /// Largest latency, µs.
    pub(crate) max_us: Option<f64>,
    /// 99th percentile of actual − due, µs.
    pub(crate) lag_p99_us: Option<f64>,
    /// Requests that went wrong.
    pub(crate) errors: u64,
    /// Its verdict on itself, or what else a reader must know.
    pub(crate) note: Option<String>,
}

/// Reads the output of a peer.
pub(crate) fn peer(tool: Tool, output: &str) -> Said {
    match tool {
        Tool::Wrk | Tool::Wrk2 => wrk(output),
        Tool::Ab => ab(output),
        Tool::H2load => h2load(output),
        Tool::Oha => oha(output),
        Tool::Hey => hey(output),
        Tool::K6 => k6(output),
        Tool::Timerfd => serde_json::from_str(output.trim()).map_or_else(|_| Said::default(), |value| timerfd(&value)),
        Tool::Barrage | Tool::BarrageRun => Said::default(),
    }
}

/// Reads `report.json` of Barrage. `None` when it is not one.
pub(crate) fn ours(report: &Value) -> Option<Said> {
    let whole = |path: &str| report.pointer(path).and_then(Value::as_u64);
    let us = |path: &str| report.pointer(path).and_then(Value::as_f64);
    let sent = whole("/steps_total/sent")?;
    let generator = report.pointer("/generator/verdict").and_then(Value::as_str)?;
    Some(Said {
        requests: Some(sent),
        seconds: None,
        p50_us: us("/latency/response/p50_us"),
        p99_us: us("/latency/response/p99_us"),
        p999_us: us("/latency/response/p999_us"),
        max_us: us("/latency/response/max_us"),
        lag_p99_us: us("/latency/dispatch_lag/p99_us"),
        errors: sent - whole("/steps_total/ok")?.min(sent),
        note: (generator != "valid").then(|| format!("its generator verdict: {generator}")),
    })
}

/// wrk and wrk2: `  726000 requests in 8.10s, 1.00GB read`, `     99%  890.00ms`, `  99.900%  992.77ms`.
fn wrk(output: &str) -> Said {
    let mut said = Said::default();
    for line in output.lines().map(str::trim) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [count, "requests", "in", time, ..] => {
                said.requests = count.parse().ok();
                said.seconds = microseconds(time.trim_end_matches(',')).map(|us| us / 1e6);
            }
            ["Latency", _, _, max, _] => said.max_us = microseconds(max),
            ["Socket", "errors:", rest @ ..] => said.errors += numbers(rest),
            ["Non-2xx", "or", "3xx", "responses:", count] => said.errors += count.parse::<u64>().unwrap_or(0),
            [quantile, latency] => match quantile
                .strip_suffix('%')
                .and_then(|quantile| quantile.parse::<f64>().ok())
            {
                Some(50.0) => said.p50_us = microseconds(latency),
                Some(99.0) => said.p99_us = microseconds(latency),
                Some(99.9) => said.p999_us = microseconds(latency),
                _ => {}
            },
            _ => {}
        }
    }
    said
}

fn numbers(words: &[&str]) -> u64 {
    words
        .iter()
        .filter_map(|word| word.trim_end_matches(',').parse::<u64>().ok())
        .sum()
}

/// ab: `Complete requests:      726000`, `Time taken for tests:   8.000 seconds`, `  99%      1` in ms.
fn ab(output: &str) -> Said {
    let field = |name: &str| -> Option<f64> {
        let line = output.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let percentile = |name: &str| -> Option<f64> {
        let line = output.lines().find_map(|line| line.trim().strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<f64>().ok()? * 1e3)
    };
    Said {
        requests: field("Complete requests:").map(|count| count as u64),
        seconds: field("Time taken for tests:"),
        p50_us: percentile("50%"),
        p99_us: percentile("99%"),
        max_us: percentile("100%"),
        errors: field("Failed requests:").unwrap_or(0.0) as u64 + field("Non-2xx responses:").unwrap_or(0.0) as u64,
        ..Said::default()
    }
}

/// h2load: `finished in 8.00s, 111353.12 req/s, …`, `requests: 890825 total, …, 0 failed, 0 errored, 0 timeout`,
/// `time for request:  123us  1.00s  2.30ms …` as min, max, mean.
fn h2load(output: &str) -> Said {
    let mut said = Said::default();
    for line in output.lines() {
        if let Some(rest) = line.strip_prefix("finished in ") {
            said.seconds = rest.split(',').next().and_then(microseconds).map(|us| us / 1e6);
        } else if let Some(rest) = line.strip_prefix("requests: ") {
            for part in rest.split(", ") {
                match part.split_once(' ') {
                    Some((count, "done")) => said.requests = count.parse().ok(),
                    Some((count, "failed")) => said.errors = count.parse().unwrap_or(0),
                    _ => {}
                }
            }
        } else if let Some(rest) = line.strip_prefix("time for request:") {
            let mut times = rest.split_whitespace().map(microseconds);
            said.max_us = times.nth(1).flatten();
            said.note = times
                .next()
                .flatten()
                .map(|mean| format!("prints no percentiles; mean {:.1} ms", mean / 1e3));
        }
    }
    said
}

/// oha with `--output-format json`: seconds everywhere.
fn oha(output: &str) -> Said {
    let Some(value) = output
        .find('{')
        .and_then(|from| serde_json::from_str::<Value>(&output[from..]).ok())
    else {
        return Said::default();
    };
    let us = |path: &str| value.pointer(path).and_then(Value::as_f64).map(|seconds| seconds * 1e6);
    let counts = |path: &str, counted: fn(&str) -> bool| -> u64 {
        let counts = value.pointer(path).and_then(Value::as_object);
        counts
            .into_iter()
            .flatten()
            .filter(|(name, _)| counted(name))
            .filter_map(|(_, count)| count.as_u64())
            .sum()
    };
    let answers = counts("/statusCodeDistribution", |_| true);
    Said {
        requests: Some(answers),
        seconds: us("/summary/total").map(|us| us / 1e6),
        p50_us: us("/latencyPercentiles/p50"),
        p99_us: us("/latencyPercentiles/p99"),
        p999_us: us("/latencyPercentiles/p99.9"),
        max_us: us("/summary/slowest"),
        errors: counts("/errorDistribution", |name| name != "aborted due to deadline")
            + counts("/statusCodeDistribution", |status| !status.starts_with('2')),
        ..Said::default()
    }
}

/// hey: `Total: 8.0012 secs`, `99% in 0.0049 secs`, `[200] 330000 responses`, with tabs among the spaces.
fn hey(output: &str) -> Said {
    let mut said = Said::default();
    let mut errors = false;
    for line in output.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let seconds = |text: &str| text.parse::<f64>().ok();
        match words.as_slice() {
            ["Total:", time, "secs"] => said.seconds = seconds(time),
            ["Slowest:", time, "secs"] => said.max_us = seconds(time).map(|time| time * 1e6),
            ["50%" | "50%%", "in", time, "secs"] => said.p50_us = seconds(time).map(|time| time * 1e6),
            ["99%" | "99%%", "in", time, "secs"] => said.p99_us = seconds(time).map(|time| time * 1e6),
            [status, count, "responses"] => {
                let count: u64 = count.parse().unwrap_or(0);
                said.requests = Some(said.requests.unwrap_or(0) + count);
                if !status.starts_with("[2") {
                    said.errors += count;
                }
            }
            ["Error", "distribution:"] => errors = true,
            [count, _, ..] if errors => {
                said.errors += count.trim_matches(['[', ']']).parse::<u64>().unwrap_or(0);
            }
            _ => {}
        }
    }
    said
}

/// k6: `http_req_duration......: p(50)=0.34ms p(99)=16.3ms …`, `http_reqs......: 44061 4406.1/s`,
/// `dropped_iterations...: 5940 …`, `http_req_failed...: 0.00% 0 out of 44061`.
fn k6(output: &str) -> Said {
    let mut said = Said::default();
    for line in output.lines() {
        let Some((name, rest)) = line.split_once(": ") else {
            continue;
        };
        let words: Vec<&str> = rest.split_whitespace().collect();
        match name.trim().trim_end_matches('.') {
            "http_req_duration" => {
                let value = |name: &str| {
                    let word = words.iter().find_map(|word| word.strip_prefix(name))?;
                    microseconds(word.strip_prefix('=')?)
                };
                said.p50_us = value("p(50)");
                said.p99_us = value("p(99)");
                said.p999_us = value("p(99.9)");
                said.max_us = value("max");
            }
            "http_reqs" => said.requests = words.first().and_then(|count| count.parse().ok()),
            "http_req_failed" => said.errors = words.get(1).and_then(|count| count.parse().ok()).unwrap_or(0),
            "dropped_iterations" => said.note = words.first().map(|count| format!("says it dropped {count}")),
            _ => {}
        }
    }
    said
}

/// The bare loop of this program.
fn timerfd(value: &Value) -> Said {
    let number = |name: &str| value.get(name).and_then(Value::as_f64);
    Said {
        requests: value.get("requests").and_then(Value::as_u64),
        seconds: number("seconds"),
        lag_p99_us: number("lag_p99_us"),
        ..Said::default()
    }
}

/// A length of time with its unit, as in `1.01s`, `890.00ms`, `123us`, `1.5m`, `1h`.
fn microseconds(text: &str) -> Option<f64> {
    let unit = text.find(|letter: char| letter.is_ascii_alphabetic() || letter == 'µ')?;
    let (number, unit) = text.split_at(unit);
    let factor = match unit {
        "ns" => 1e-3,
        "us" | "µs" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        "h" => 3_600e6,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(said: &Said) -> String {
        // To three decimals: what was multiplied by a million is not exact.
        let number = |value: Option<f64>| {
            value.map_or_else(|| "-".to_owned(), |value| ((value * 1e3).round() / 1e3).to_string())
        };
        format!(
            "{:?} in {} s; p50 {} p99 {} p999 {} max {}; {} errors; {}",
            said.requests,
            number(said.seconds),
            number(said.p50_us),
            number(said.p99_us),
            number(said.p999_us),
            number(said.max_us),
            said.errors,
            said.note.as_deref().unwrap_or("-")
        )
    }

    #[track_caller]
    fn check(tool: Tool, output: &str, want: &str) {
        assert_eq!(shown(&peer(tool, output)), want);
    }

    #[test]
    fn outputs_as_the_programs_print_them() {
        check(
            Tool::Wrk,
            include_str!("../../../fixtures/wrk.txt"),
            "Some(52778) in 1 s; p50 71 p99 4950 p999 - max 8650; 0 errors; -",
        );
        check(
            Tool::Wrk,
            include_str!("../../../fixtures/wrk-404.txt"),
            "Some(70743) in 1 s; p50 50 p99 3920 p999 - max 6350; 70743 errors; -",
        );
        check(
            Tool::Wrk2,
            include_str!("../../../fixtures/wrk2.txt"),
            "Some(29244) in 6 s; p50 1130 p99 2710 p999 6030 max 9920; 0 errors; -",
        );
        check(
            Tool::Ab,
            include_str!("../../../fixtures/ab.txt"),
            "Some(55901) in 1 s; p50 0 p99 2000 p999 - max 6000; 0 errors; -",
        );
        check(
            Tool::H2load,
            include_str!("../../../fixtures/h2load.txt"),
            "Some(61054) in 1 s; p50 - p99 - p999 - max 6390; 0 errors; prints no percentiles; mean 0.1 ms",
        );
        check(
            Tool::Oha,
            include_str!("../../../fixtures/oha.json"),
            "Some(46599) in 1.007 s; p50 79.537 p99 3869.897 p999 6869.539 max 12774.873; 0 errors; -",
        );
        check(
            Tool::Hey,
            include_str!("../../../fixtures/hey.txt"),
            "Some(16419) in 1 s; p50 200 p99 4800 p999 - max 8600; 0 errors; -",
        );
        check(
            Tool::K6,
            include_str!("../../../fixtures/k6.txt"),
            "Some(1057) in - s; p50 231.3 p99 4370 p999 7370 max 11000; 0 errors; says it dropped 3948",
        );
    }

    #[test]
    fn what_is_not_understood_is_absent_and_never_a_number() {
        for tool in Tool::ALL {
            assert_eq!(
                peer(tool, "nonsense: 1 2 3\n\u{0}{"),
                Said::default(),
                "{}",
                tool.name()
            );
        }
        assert_eq!(ours(&serde_json::json!({ "steps_total": {} })), None);
    }

    #[test]
    fn a_report_of_ours() {
        let report = serde_json::json!({
            "steps_total": { "sent": 100, "ok": 98 },
            "generator": { "verdict": "degraded" },
            "latency": {
                "response": { "p50_us": 7, "p99_us": 9, "p999_us": null, "max_us": 12 },
                "dispatch_lag": { "p99_us": 3 },
            },
        });
        let said = ours(&report).unwrap();
        assert_eq!(
            shown(&said),
            "Some(100) in - s; p50 7 p99 9 p999 - max 12; 2 errors; its generator verdict: degraded"
        );
        assert_eq!(said.lag_p99_us, Some(3.0));
    }

    #[test]
    fn lengths_of_time() {
        for (text, want) in [
            ("1.5us", Some(1.5)),
            ("2µs", Some(2.0)),
            ("250ns", Some(0.25)),
            ("890.00ms", Some(890_000.0)),
            ("1.01s", Some(1_010_000.0)),
            ("2m", Some(120e6)),
            ("5", None),
            ("ms", None),
            ("1fortnight", None),
        ] {
            assert_eq!(microseconds(text), want, "{text}");
        }
    }
}
