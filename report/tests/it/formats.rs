//! What the formats promise beyond their golden files.

use barrage_metrics::exit::Verdict;
use barrage_metrics::summary::{Distribution, Quantile, SlaVerdict};
use barrage_report::{Format, RenderError, render};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use crate::fixture::{checkout, lost_worker};

fn text_of(summary: &barrage_metrics::summary::Summary, format: Format) -> String {
    String::from_utf8(render(summary, format).expect("it renders")).expect("reports are UTF-8")
}

fn buckets(histogram: &Histogram<u64>) -> Vec<(u64, u64)> {
    let recorded = histogram.iter_recorded();
    recorded
        .map(|bucket| (bucket.value_iterated_to(), bucket.count_since_last_iteration()))
        .collect()
}

/// Tag, start in seconds, buckets.
type LogLine = (String, u64, Vec<(u64, u64)>);

#[test]
fn the_histogram_log_reads_back_bucket_by_bucket() {
    let summary = checkout();
    let log = render(&summary, Format::Hlog).unwrap();
    let mut found: Vec<LogLine> = Vec::new();
    let mut starts = Vec::new();
    for entry in IntervalLogIterator::new(&log) {
        match entry.expect("every line is valid") {
            LogEntry::Interval(line) => {
                let bytes = base64(line.encoded_histogram());
                let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
                let tag = line.tag().expect("every line has a tag").as_str().to_owned();
                found.push((tag, line.start_timestamp().as_secs(), buckets(&histogram)));
            }
            LogEntry::StartTime(start) | LogEntry::BaseTime(start) => starts.push(start.as_millis()),
        }
    }
    let want: Vec<LogLine> = summary
        .curves
        .intervals
        .iter()
        .flat_map(|interval| {
            let of = |tag: &str, part: &Distribution| (tag.to_owned(), interval.t_s.into(), part.buckets.clone());
            [of("response", &interval.response), of("service", &interval.service)]
        })
        .collect();
    assert_eq!(found, want);
    assert_eq!(starts, [1_772_600_767_250, 1_772_600_767_250]);
}

#[test]
fn censored_samples_are_not_called_dropped_where_nothing_was() {
    let mut summary = lost_worker();
    let dropped = "300 arrivals were dropped; they are";
    for format in [Format::Text, Format::Hlog] {
        assert!(text_of(&summary, format).contains(dropped), "{format:?}");
    }
    summary.iterations.dropped.no_slot = 299;
    let either = "300 arrivals and requests were dropped or cancelled; they are";
    assert!(text_of(&summary, Format::Text).contains(either));
}

/// Decodes standard base64.
fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter(|digit| *digit != b'=');
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0u32, 0u32);
    for digit in digits {
        let value = ALPHABET.iter().position(|of| *of == digit).expect("base64") as u32;
        (bits, held) = (bits << 6 | value, held + 6);
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}

#[test]
fn a_bucket_outside_the_layout_is_an_error() {
    let mut summary = checkout();
    summary.curves.intervals[0].response.buckets.push((u64::MAX, 1));
    let error = render(&summary, Format::Hlog).unwrap_err();
    assert!(matches!(error, RenderError::Bucket { value_us: u64::MAX }), "{error}");
}

#[test]
fn the_first_two_lines_say_what_counts() {
    let text = text_of(&checkout(), Format::Text);
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("PASSED checkout (exit code 0): every SLA held"));
    assert!(lines.next().unwrap().starts_with("generator valid"));
    let text = text_of(&lost_worker(), Format::Text);
    assert!(text.starts_with("FAILED checkout (exit code 95)"));
    assert!(text.lines().nth(1).unwrap().starts_with("generator INVALID"));
}

#[test]
fn an_equation_that_does_not_hold_is_not_printed_as_one() {
    let mut summary = checkout();
    assert!(!text_of(&summary, Format::Text).contains('≠'));
    summary.conservation.iterations.unknown = 1;
    let text = text_of(&summary, Format::Text);
    let line = text.lines().find(|line| line.contains('≠')).unwrap();
    assert!(
        line.contains("scheduled 12,500 ≠ started 12,500 + dropped 0 + unsent 0 + unknown 1"),
        "{line}"
    );
}

#[test]
fn silence_is_never_green_in_junit() {
    for (verdict, want) in [
        (SlaVerdict::Passed, "failures=\"0\" errors=\"0\" skipped=\"0\""),
        (SlaVerdict::Failed, "failures=\"1\" errors=\"0\" skipped=\"0\""),
        (
            SlaVerdict::NotEnoughSamples,
            "failures=\"0\" errors=\"1\" skipped=\"0\"",
        ),
        (SlaVerdict::NotJudged, "failures=\"0\" errors=\"1\" skipped=\"0\""),
        (SlaVerdict::Provisional, "failures=\"0\" errors=\"0\" skipped=\"1\""),
    ] {
        let mut summary = checkout();
        summary.sla[0].verdict = verdict;
        let xml = text_of(&summary, Format::Junit);
        let suites = xml.lines().find(|line| line.starts_with("<testsuites")).unwrap();
        for part in want.split(' ') {
            assert!(suites.contains(part), "{verdict:?}: {suites}");
        }
    }
    let mut summary = checkout();
    summary.verdict = Verdict::Inconsistent;
    assert!(text_of(&summary, Format::Junit).contains("type=\"inconsistent\""));
}

#[test]
fn what_was_never_sent_has_no_service_time() {
    let mut summary = checkout();
    summary.errors.truncate(1);
    assert!(text_of(&summary, Format::Json).contains("\"service_us\": 12345"));
    summary.errors[0].sample.service = None;
    assert!(text_of(&summary, Format::Json).contains("\"service_us\": null"));
    let text = text_of(&summary, Format::Text);
    let line = text.lines().find(|line| line.contains("503, expected"));
    let cell = line.and_then(|line| line.split_whitespace().skip_while(|word| *word != "503").nth(1));
    assert_eq!(cell, Some("—"), "{line:?}");
}

#[test]
fn long_lists_say_how_much_they_leave_out() {
    let mut summary = checkout();
    let (event, error, step) = (
        summary.events[0].clone(),
        summary.errors[0].clone(),
        summary.steps[0].clone(),
    );
    summary.events = vec![event; 5_000];
    summary.errors = vec![error; 100];
    summary.steps = vec![step; 5_000];
    summary.reasons = vec!["because".to_owned(); 500];
    let text = text_of(&summary, Format::Text);
    for want in [
        "4,970 more rows left out",
        "90 more rows left out",
        "4,940 more rows left out",
        "480 more reasons",
    ] {
        assert!(text.contains(want), "{want}");
    }
    assert!(text.lines().count() < 300);
    assert!(text_of(&summary, Format::Html).len() < 2_000_000);
    assert!(text_of(&summary, Format::Markdown).len() < 20_000);
}

#[test]
fn a_long_run_has_charts_of_bounded_size() {
    let mut summary = checkout();
    let point = summary.timeline[12].clone();
    summary.timeline = (0..17_000)
        .map(|n| barrage_metrics::summary::TimelinePoint {
            t_s: n,
            hole: n % 2 == 0,
            response_p99: Some(Quantile {
                value_us: u64::from(n),
                at_least: true,
            }),
            ..point.clone()
        })
        .collect();
    let page = text_of(&summary, Format::Html);
    assert!(page.len() < 1_500_000, "{}", page.len());
    assert!(page.contains("each place shows up to 43 points"));
}

#[test]
fn numbers_too_wide_for_a_line_are_still_whole() {
    let mut summary = checkout();
    let huge = u64::MAX / 3;
    summary.latency.response.count = huge;
    for worker in &mut summary.workers {
        worker.iterations.started = huge;
        worker.steps.counts.sent = huge;
        worker.steps.counts.ok = huge;
        worker.name = "a rather long name of a worker in a far away place".to_owned();
    }
    let text = text_of(&summary, Format::Text);
    assert!(text.lines().all(|line| line.chars().count() <= 120));
    assert_eq!(text.matches("6,148,914,691,236,517,205").count(), 7);
}

#[test]
fn bytes_that_no_engine_has_seen_are_absent_and_not_zero() {
    let wire = |document: &serde_json::Value, path: &str| {
        let totals = document.pointer(path).unwrap_or_else(|| panic!("no {path}"));
        [totals["wire_bytes_in"].as_u64(), totals["wire_bytes_out"].as_u64()]
    };
    let mut summary = checkout();
    let json = |summary: &_| serde_json::from_str::<serde_json::Value>(&text_of(summary, Format::Json)).unwrap();
    assert!(wire(&json(&summary), "/steps_total").iter().all(Option::is_some));
    let blind = summary.steps.iter().position(|step| !step.group).expect("a request");
    summary.steps[blind].sees_wire = false;
    let document = json(&summary);
    for path in ["/steps_total", "/workers/0/steps", "/conservation/steps"] {
        assert_eq!(wire(&document, path), [None, None], "{path}");
    }
    let seen = summary.steps.iter().enumerate().filter(|(_, step)| !step.group);
    for (at, _) in seen {
        let known = wire(&document, &format!("/steps/{at}/totals"))
            .iter()
            .all(Option::is_some);
        assert_eq!(known, at != blind, "step {at}");
    }
    assert!(text_of(&summary, Format::Text).contains("on the wire — in, — out"));
}
