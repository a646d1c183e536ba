//! The merged sketches of a fleet against every single sample, by a reader that shares no code with Barrage.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::Value;

use crate::support::barrage::{Fleet, Process, home};
use crate::support::plan;
use crate::support::report::{assert_iterations_balance, assert_steps_balance, at, named, sum, whole};
use crate::support::target::{Answer, Freeze, Target};

/// Samples of every outcome that a load can have: answers, wrong statuses, timeouts, and arrivals dropped while the
/// target stands still.
const PLAN: &str = "
name: sketches
load: { rate: 400/s, for: 6s, max_active: 40, give_up_after: 100ms }
workers: { min: 2 }
min_started: 1%
defaults: { timeout: 150ms, on_failure: continue }
tags: { backend: { header: x-backend, values: [blue, green] } }
scenarios:
  - name: mixed
    weight: 3
    steps:
      - get: { name: fast, url: '/fast/${iteration()}' }
      - get: { name: failing, url: /failing }
  - name: slow
    weight: 1
    steps: [ get: { name: slow, url: /slow } ]
";

const FREEZE: Freeze = Freeze {
    after: Duration::from_secs(2),
    length: Duration::from_millis(500),
};

fn answer(path: &str) -> Answer {
    let ms = Duration::from_millis;
    match path {
        "/failing" => Answer {
            status: 500,
            headers: "x-backend: green\r\n",
            delay: Duration::ZERO,
        },
        "/slow" => Answer {
            status: 200,
            headers: "x-backend: red\r\n",
            delay: ms(30),
        },
        _ => Answer {
            status: 200,
            headers: "x-backend: blue\r\n",
            delay: ms(3),
        },
    }
}

/// Samples by (measure, subject, outcome group).
type Samples = BTreeMap<(String, String, String), Vec<u64>>;

#[test]
fn merged_sketches_equal_all_samples() {
    let home = home();
    let target = Target::start(answer, Some(FREEZE));
    let plan = plan::write(&home, PLAN);
    let trace = |n: usize| home.path().join(format!("w{n}.samples"));
    let fleet = Fleet::start(&home, 2, |n| {
        vec!["--trace-samples".to_owned(), trace(n).to_str().unwrap().to_owned()]
    });
    let out = home.path().join("out");
    let args = [
        "submit",
        &plan,
        "--coordinator",
        &fleet.coordinator.url,
        "--target",
        &target.url,
        "--format",
        "json",
        "--out",
        out.to_str().unwrap(),
        "--accept-invalid",
        "--quiet",
    ];
    let ended = Process::start(&home, args).wait(Duration::from_mins(2));
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    let report = ended.json();
    assert_iterations_balance(&report, "iterations");
    assert_steps_balance(&report, "steps_total");

    let samples = read_traces(&[trace(1), trace(2)]);
    for (group, count) in [
        ("ok", whole(&report, "steps_total.ok")),
        ("failed", sum(&report, "steps_total.failed")),
        ("timeout", whole(&report, "steps_total.timeout")),
        ("censored", sum(&report, "iterations.dropped")),
    ] {
        let traced: usize = of(&samples, "response", |_, has| has == group).len();
        assert_eq!(traced as u64, count, "{group} samples");
        assert!(count > 0, "the plan makes samples of the group {group}");
    }
    let log = read_log(&out.join("latency.hlog"));
    for measure in ["response", "service"] {
        let all = of(&samples, measure, |_, _| true);
        let merged = &log[measure];
        assert_eq!(*merged, buckets(&all), "{measure}: latency.hlog against the samples");
        assert_eq!(
            *merged,
            histogram(&all),
            "{measure}: latency.hlog against one histogram of the samples"
        );
        assert_eq!(
            *merged,
            curve(at(&report, &format!("curves.{measure}"))),
            "{measure}: latency.hlog against report.json"
        );
        assert_agrees(at(&report, &format!("latency.{measure}")), &all, measure);
    }
    for name in ["fast", "failing", "slow"] {
        let step = named(&report, "steps", name);
        let id = format!("step:{}", whole(step, "id"));
        for measure in ["response", "service"] {
            let own = of(&samples, measure, |subject, _| subject == id);
            assert_agrees(at(step, measure), &own, &format!("{measure} of {name}"));
            let ok = of(&samples, measure, |subject, group| subject == id && group == "ok");
            assert_eq!(
                whole(step, &format!("{measure}_ok.count")),
                ok.len() as u64,
                "{measure} of {name}, ok only"
            );
        }
    }
}

/// One line per sample: `measure subject group tag segment value_us`.
fn read_traces(files: &[PathBuf]) -> Samples {
    let mut samples = Samples::new();
    for file in files {
        let text = std::fs::read_to_string(file).expect("each worker writes its samples");
        assert!(text.ends_with('\n'), "{} ends with a whole line", file.display());
        for line in text.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let [measure, subject, group, _tag, _segment, value] = fields[..] else {
                panic!("not a sample: {line:?}")
            };
            let value = value.parse().unwrap_or_else(|_| panic!("not a sample: {line:?}"));
            samples
                .entry((measure.to_owned(), subject.to_owned(), group.to_owned()))
                .or_default()
                .push(value);
        }
    }
    samples
}

/// The samples of one measure of the steps and groups that `has` picks, rising.
fn of(samples: &Samples, measure: &str, has: impl Fn(&str, &str) -> bool) -> Vec<u64> {
    let mut all: Vec<u64> = samples
        .iter()
        .filter(|((of, subject, group), _)| of == measure && subject.starts_with("step:") && has(subject, group))
        .flat_map(|(_, values)| values.iter().copied())
        .collect();
    all.sort_unstable();
    all
}

/// Lowest and highest value that three digits cannot tell from `value`.
fn bucket(value: u64) -> (u64, u64) {
    let bits = u64::BITS - value.leading_zeros();
    let width = 1 << bits.saturating_sub(11);
    (value / width * width, value / width * width + width - 1)
}

/// Samples by the lowest value of their bucket, by our own arithmetic.
fn buckets(samples: &[u64]) -> BTreeMap<u64, u64> {
    let mut counts = BTreeMap::new();
    for value in samples {
        *counts.entry(bucket(*value).0).or_default() += 1;
    }
    counts
}

fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are fine")
}

fn counts(histogram: &Histogram<u64>) -> BTreeMap<u64, u64> {
    let lowest = |value: u64| histogram.lowest_equivalent(value);
    histogram
        .iter_recorded()
        .map(|step| (lowest(step.value_iterated_to()), step.count_at_value()))
        .collect()
}

/// The same by one histogram of all samples.
fn histogram(samples: &[u64]) -> BTreeMap<u64, u64> {
    let mut all = new_histogram();
    for value in samples {
        all.record(*value).expect("no sample is above an hour");
    }
    counts(&all)
}

/// A distribution of the report, which names the highest value of each bucket.
fn curve(distribution: &Value) -> BTreeMap<u64, u64> {
    let list = |name: &str| {
        let numbers = at(distribution, name)
            .as_array()
            .expect("a distribution is made of lists");
        numbers
            .iter()
            .map(|number| number.as_u64().expect("a whole number"))
            .collect::<Vec<u64>>()
    };
    let (values, counts) = (list("values_us"), list("counts"));
    assert_eq!(values.len(), counts.len(), "each bucket has a count");
    assert_eq!(counts.iter().sum::<u64>(), whole(distribution, "count"));
    values.into_iter().map(|value| bucket(value).0).zip(counts).collect()
}

/// The sums of a log by tag.
fn read_log(file: &Path) -> BTreeMap<String, BTreeMap<u64, u64>> {
    let log = std::fs::read(file).expect("--out writes latency.hlog");
    let mut sums: BTreeMap<String, Histogram<u64>> = BTreeMap::new();
    let mut decoder = Deserializer::new();
    for entry in IntervalLogIterator::new(&log) {
        let LogEntry::Interval(interval) = entry.expect("the log has the common form") else {
            continue;
        };
        let tag = interval.tag().expect("each interval has a tag").as_str().to_owned();
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(interval.encoded_histogram())
            .expect("base64");
        let part: Histogram<u64> = decoder.deserialize(&mut bytes.as_slice()).expect("a histogram");
        sums.entry(tag)
            .or_insert_with(new_histogram)
            .add(&part)
            .expect("no interval has other bounds");
    }
    sums.into_iter().map(|(tag, sum)| (tag, counts(&sum))).collect()
}

/// Compares the numbers of the report with the samples themselves. What the report marks as a lower bound must be one.
#[track_caller]
fn assert_agrees(latency: &Value, samples: &[u64], what: &str) {
    assert_eq!(whole(latency, "count"), samples.len() as u64, "count of {what}");
    for (name, share) in [
        ("p50", 5_000),
        ("p90", 9_000),
        ("p95", 9_500),
        ("p99", 9_900),
        ("p999", 9_990),
        ("p9999", 9_999),
    ] {
        let rank = (samples.len() as u64 * share).div_ceil(10_000).max(1);
        let sample = samples[rank as usize - 1];
        let shown = whole(latency, &format!("{name}_us"));
        if latency[format!("{name}_at_least")] == true {
            assert!(
                shown <= bucket(sample).1,
                "{name} of {what}: at least {shown}, but the sample is {sample}"
            );
        } else {
            assert_eq!(shown, bucket(sample).1, "{name} of {what}: the sample is {sample}");
        }
    }
}
