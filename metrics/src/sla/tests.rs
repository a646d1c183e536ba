use std::sync::Arc;
use std::time::Duration;

use barrage_model::expr::{Expr, PhaseSelector};
use barrage_model::ids::{SegmentId, WorkerId};
use barrage_model::outcome::{DropReason, FailureClass, Outcome};
use barrage_model::phase::{Mark, Marks, Phase};
use barrage_model::plan::{Action, EngineChoice, Sla, SlaWindow};

use super::*;
use crate::generator::generator_so_far;
use crate::ledger::{Ledger, LedgerConfig, Loss};
use crate::testing::*;

/// Reads `that; during: x; over: 3s; for: 2; stop; min: 5`.
fn sla(text: &str) -> Sla {
    let mut parts = text.split(';').map(str::trim);
    let that = Expr::parse(parts.next().unwrap_or_default()).expect("a good expression");
    let window = SlaWindow::Whole;
    let mut sla = Sla {
        that,
        during: None,
        window,
        in_a_row: 1,
        stop: false,
        min_samples: None,
        at: Some((3, 5)),
    };
    for part in parts {
        let (key, value) = part
            .split_once(':')
            .map_or((part, ""), |(key, value)| (key, value.trim()));
        match key {
            "during" => sla.during = Some(PhaseSelector::parse(value).expect("a good phase")),
            "over" => sla.window = SlaWindow::Sliding(Duration::from_secs(value.parse().expect("seconds"))),
            "for" => sla.in_a_row = value.parse().expect("a number"),
            "min" => sla.min_samples = Some(value.parse().expect("a number")),
            "stop" => sla.stop = true,
            other => panic!("what is {other}?"),
        }
    }
    sla
}

/// One interval for each word: `10k` = ten iterations of 1 ms that end ok, `f` failed by status, `t` timed out after
/// 5 s, `s` ok after 1 s, `l` dropped late after 2 s, `-` = nothing.
fn events(word: &str) -> Vec<Event> {
    let mut events = Vec::new();
    let mut count = 0;
    for letter in word.chars() {
        let event = match letter {
            digit if digit.is_ascii_digit() => {
                count = count * 10 + digit.to_digit(10).unwrap_or(0) as usize;
                continue;
            }
            'k' => ok(1_000),
            's' => ok(1_000_000),
            'f' => ended(Outcome::Failed(FailureClass::Status), 1_000),
            't' => ended(Outcome::Timeout, 5_000_000),
            'l' => dropped(DropReason::NoSlot, 2_000_000),
            _ => {
                count = 0;
                continue;
            }
        };
        events.extend(std::iter::repeat_n(event, count.max(1)));
        count = 0;
    }
    events
}

struct Run {
    ledger: Ledger,
    engine: SlaEngine,
    stop: Option<StopDecision>,
}

/// An interval that everybody has reported.
fn closed(interval: u32) -> Closed {
    Closed {
        interval,
        reported: 1,
        expected: 1,
    }
}

/// Follows a run of as many seconds as there are words, judged after each.
fn follow(text: &str, words: &str) -> Run {
    let words: Vec<&str> = words.split_whitespace().collect();
    let mut ledger = ledger(1, words.len() as u64, 0);
    let mut engine = SlaEngine::new(&[sla(text)]);
    let mut stop = None;
    for (interval, word) in words.iter().enumerate() {
        let interval = interval as u32;
        ledger
            .apply(WorkerId(0), FIRST, &delta_of(interval, events(word)))
            .expect("in order");
        let decision = engine.at_watermark(&ledger, &closed(interval));
        stop = stop.or(decision);
    }
    ledger.set_end(Moment::from_secs(words.len() as u64));
    Run { ledger, engine, stop }
}

/// Compares the final verdict and what was observed.
#[track_caller]
fn check(text: &str, words: &str, want: SlaVerdict, observed: &str) {
    let Run { ledger, mut engine, .. } = follow(text, words);
    let result = engine.finish(&ledger, GeneratorVerdict::Valid).remove(0);
    assert_eq!(
        (result.verdict, result.observed.as_str()),
        (want, observed),
        "{text} over {words}: {}",
        result.reason
    );
    // A stored run that nobody has followed gets the same verdict.
    let mut fresh = SlaEngine::new(&[sla(text)]);
    let again = fresh.finish(&ledger, GeneratorVerdict::Valid).remove(0);
    assert_eq!(
        (again.verdict, again.observed, again.reason),
        (result.verdict, result.observed, result.reason)
    );
}

/// Whoever was there is lost after three seconds.
#[test]
fn nobody_knows_the_rates_after_the_loss_of_all_workers() {
    for (text, length, want) in [
        ("throughput >= 5/s", 8, NotEnoughSamples),
        ("throughput >= 5/s; over: 2", 8, NotEnoughSamples),
        ("throughput >= 5/s", 3, Passed),
        ("throughput >= 1000000/s", 8, Failed),
        ("error_rate < 1%", 8, Passed),
    ] {
        let mut ledger = ledger(1, length, 0);
        let mut engine = SlaEngine::new(&[sla(text)]);
        for interval in 0..3 {
            let delta = delta_of(interval, events("9k"));
            ledger.apply(WorkerId(0), FIRST, &delta).expect("in order");
            engine.at_watermark(&ledger, &closed(interval));
        }
        ledger.set_lost(WorkerId(0), FIRST);
        ledger.set_end(Moment::from_secs(length));
        let result = engine.finish(&ledger, GeneratorVerdict::Valid).remove(0);
        assert_eq!(result.verdict, want, "{text}, {length} s: {}", result.reason);
    }
}

/// Two workers of which one is lost after two of four seconds, with five arrivals waiting; they are among those that are lost.
fn with_loss(text: &str) -> (Option<StopDecision>, SlaResult) {
    let mut ledger = ledger(2, 4, 0);
    let mut engine = SlaEngine::new(&[sla(text)]);
    let mut stop = None;
    for interval in 0..4 {
        let word = if interval == 3 { "6k4l" } else { "10k" };
        let delta = delta_of(interval, events(word));
        ledger.apply(WorkerId(0), FIRST, &delta).expect("in order");
        let mut delta = delta_of(interval, events("10k"));
        if interval == 1 {
            delta.iterations[0].counts.scheduled += 5;
            delta.open.waiting = 5;
        }
        if interval < 2 {
            ledger.apply(WorkerId(1), FIRST, &delta).expect("in order");
        } else {
            ledger.set_lost(WorkerId(1), FIRST);
        }
        stop = stop.or(engine.at_watermark(&ledger, &closed(interval)));
    }
    ledger.record_loss(Loss {
        worker: WorkerId(1),
        incarnation: FIRST,
        load: OPEN,
        unknown: 13,
        unsent: 2,
        unsent_from: None,
    });
    ledger.set_end(Moment::from_secs(4));
    (stop, engine.finish(&ledger, GeneratorVerdict::Valid).remove(0))
}

/// One equation: scheduled = started + dropped + unsent + unknown.
#[test]
fn arrivals_that_are_lost_are_part_of_what_the_schedule_asked_for() {
    for (text, observed) in [
        ("scheduled == 75", "scheduled = 75"),
        ("scheduled == 75; during: whole", "scheduled = 75"),
        ("unknown == 13; during: whole", "unknown = 13"),
        ("started / scheduled < 80%", "started / scheduled = 74.667% (56 of 75)"),
        ("started_rate < 80%", "started_rate = 74.667% (56 of 75)"),
        ("drop_rate > 5%", "drop_rate = 5.333% (4 of 75)"),
        // Nobody knows to which part of the run they belong.
        ("scheduled == 60; during: steady", "scheduled = 60"),
        (
            "scheduled(scenario:\"tools\") == 60",
            "scheduled(scenario:\"tools\") = 60",
        ),
        (
            "started_rate < 94%; during: steady",
            "started_rate = 93.333% (56 of 60)",
        ),
        ("drop_rate > 6%; during: steady", "drop_rate = 6.667% (4 of 60)"),
        (
            "offered(scenario:\"health\") < 1/s",
            "offered(scenario:\"health\") = 0/s",
        ),
    ] {
        let (_, result) = with_loss(text);
        assert_eq!(
            (result.verdict, result.observed.as_str()),
            (Passed, observed),
            "{text}: {}",
            result.reason
        );
    }
}

#[test]
fn what_was_offered_is_not_judged_where_arrivals_were_lost() {
    for (text, want) in [
        ("offered > 1/s; stop", NotEnoughSamples),
        ("offered > 100/s", NotEnoughSamples),
        ("offered > 15/s; over: 1; stop", NotEnoughSamples),
        ("scheduled >= 15; over: 1; stop", NotEnoughSamples),
        // What was known before has breached it.
        ("offered > 30/s; over: 1; stop", Failed),
        ("scheduled >= 30; over: 1; stop", Failed),
        ("started / scheduled >= 60%; over: 1", Passed),
    ] {
        let (stop, result) = with_loss(text);
        assert_eq!(
            (result.verdict, stop.is_some()),
            (want, want == Failed),
            "{text}: {}",
            result.reason
        );
        let told = result.reason == "lost workers left arrivals of which nobody knows when they fell due";
        assert_eq!(told, want == NotEnoughSamples, "{text}: {}", result.reason);
    }
}

use SlaVerdict::{Failed, NotEnoughSamples, NotJudged, Passed, Provisional};

#[test]
fn whole_run() {
    check("error_rate < 10%", "9k1f 10k", Passed, "error_rate = 5% (1 of 20)");
    check("error_rate < 5%", "9k1f 10k", Failed, "error_rate = 5% (1 of 20)");
    check("error_rate <= 5%", "9k1f 10k", Passed, "error_rate = 5% (1 of 20)");
    check("error_rate < 5%", "- -", NotEnoughSamples, "error_rate = 0 of 0");
    check(
        "error_rate < 5%; min: 30",
        "10k 10k",
        NotEnoughSamples,
        "error_rate = 0% (0 of 20)",
    );
    check("throughput > 9/s", "10k 9k1f", Passed, "throughput = 10/s");
    check("throughput > 10/s", "10k 9k1t", Failed, "throughput = 9.5/s");
    check("goodput > 9.5/s", "10k 9k1f", Failed, "goodput = 9.5/s");
    check("throughput > 1/s", "- -", Failed, "throughput = 0/s");
    check("failed.status == 2", "2f -", Passed, "failed.status = 2");
    check("failed / sent < 50%", "2f2k -", Failed, "failed / sent = 50% (2 of 4)");
    check("drop_rate < 25%", "3k1l", Failed, "drop_rate = 25% (1 of 4)");
    check("started_rate >= 75%", "3k1l", Passed, "started_rate = 75% (3 of 4)");
    check("unknown == 0", "3k", Passed, "unknown = 0");
    check(
        "unknown == 0; during: steady",
        "3k",
        NotEnoughSamples,
        "unknown unknown",
    );
    check("body_bytes_in >= 1MiB", "1k", Failed, "body_bytes_in = 0.000954 MiB");
}

#[test]
fn percentiles() {
    check("p50 < 2ms", "20k", Passed, "p50 = 1ms");
    check("p50 < 2ms", "19k", NotEnoughSamples, "p50 = 1ms");
    check("p50 < 2ms; min: 1", "3k", Passed, "p50 = 1ms");
    check("p95 < 2ms", "190k10s", Passed, "p95 = 1ms");
    check("p95 < 2ms", "189k11s", Failed, "p95 = 1.000447s");
    check("p99 < 2ms", "999k", NotEnoughSamples, "p99 = 1ms");
    check("max < 2ms", "9k", Passed, "max = 1ms");
    check("mean < 2ms", "9k", Passed, "mean = 1ms");
    check("p50(service) < 1ms", "20k", Passed, "p50(service) = 500us");
    // Timeouts are samples like any other; dropped arrivals only say "at least".
    check("p95 < 10s", "189k11t", Passed, "p95 = 5.001215s");
    check("p95 < 10s", "189k11l", Failed, "p95 ≥ 2.000895s");
    check("p95 < 10s", "190k10l", Passed, "p95 = 1ms");
    check("p95 > 1s", "189k11l", Passed, "p95 ≥ 2.000895s");
    check("p95 > 3s", "189k11l", Failed, "p95 ≥ 2.000895s");
    // What they cannot move beyond a limit is below it.
    check("p95 < 10s", "150k1l49t", Passed, "p95 = 5.001215s");
    check("p95 < 10s", "189k1l10t", Passed, "p95 ≥ 2.000895s, ≤ 5.001215s");
    check("p95 < 5s", "189k1l10t", Failed, "p95 ≥ 2.000895s, ≤ 5.001215s");
    check("p95 > 2s", "189k1l10t", Passed, "p95 ≥ 2.000895s, ≤ 5.001215s");
    check("max < 10s", "190k1l", Failed, "max ≥ 2.000895s");
    check("mean < 10s", "190k1l", Failed, "mean ≥ 11.467ms");
    check("p95(ok) < 10s", "189k11l", NotEnoughSamples, "p95(ok) = 1ms");
    check("p95(ok) < 10s", "200k11l", Passed, "p95(ok) = 1ms");
}

#[test]
fn sliding_windows() {
    let rate = "error_rate < 50%; over: 2";
    check(rate, "4k 4k 2f2k 4k", Passed, "error_rate = 25% (2 of 8)");
    check(rate, "4k 4f 2f2k 4k", Failed, "error_rate = 50% (4 of 8)");
    check(
        "error_rate < 50%; over: 2; for: 2",
        "4k 4f 4k 4k",
        Failed,
        "error_rate = 50% (4 of 8)",
    );
    check(
        "error_rate < 50%; over: 2; for: 3",
        "4k 4f 4k 4k",
        Passed,
        "error_rate = 50% (4 of 8)",
    );
    check("ok == 8; over: 2; for: 2", "3k 5k 3k 4k 4k 4k", Passed, "ok = 7");
    // A window without samples has no verdict, and ends a row of breaches.
    check(
        "error_rate < 50%; over: 1; for: 2",
        "4f - 4f 4k",
        Passed,
        "error_rate = 100% (4 of 4)",
    );
    // One window too long for the run can fail but not pass.
    check(
        "error_rate < 50%; over: 9",
        "4k 4k",
        NotEnoughSamples,
        "error_rate = 0% (0 of 8)",
    );
    check(
        "error_rate < 50%; over: 9",
        "4f 4k",
        Failed,
        "error_rate = 50% (4 of 8)",
    );
    // With more time there would be more of them.
    check("ok >= 10; over: 9", "4k 4k", NotEnoughSamples, "ok = 8");
    check("ok <= 7; over: 9", "4k 4k", Failed, "ok = 8");
    check(
        "p50 < 2ms; over: 2",
        "20k 20k 20k 20s 20s 20k",
        Failed,
        "p50 = 1.000447s",
    );
    check("p50 < 2ms; over: 2", "20k 20k 19s 20k", Passed, "p50 = 1ms");
    check("p50 < 2ms; over: 2", "5k 5k 5s 4k", NotEnoughSamples, "p50 = 1ms");
    check(
        "throughput >= 4/s; over: 2",
        "4k 4k 4k 3k",
        Failed,
        "throughput = 3.5/s",
    );
}

#[test]
fn counts_that_are_missing_breach_no_lower_bound() {
    for (text, stops) in [
        ("throughput > 3/s; over: 2; stop", false),
        ("ok >= 7; over: 2; stop", false),
        ("throughput > 3/s; stop", false),
        ("throughput < 3/s; over: 2; stop", true),
        ("ok <= 3; stop", true),
        ("error_rate > 0%; over: 2; stop", true),
    ] {
        let mut ledger = ledger(2, 3, 0);
        let mut engine = SlaEngine::new(&[sla(text)]);
        let mut stopped = false;
        for interval in 0..3 {
            ledger
                .apply(WorkerId(0), FIRST, &delta_of(interval, events("3k")))
                .expect("in order");
            let partial = Closed {
                interval,
                reported: 1,
                expected: 2,
            };
            stopped |= engine.at_watermark(&ledger, &partial).is_some();
        }
        assert_eq!(stopped, stops, "{text}");
        if !stops {
            for interval in 0..3 {
                ledger
                    .apply(WorkerId(1), FIRST, &delta_of(interval, events("3k")))
                    .expect("in order");
            }
            ledger.set_end(Moment::from_secs(3));
            let result = engine.finish(&ledger, GeneratorVerdict::Valid).remove(0);
            assert_eq!(result.verdict, Passed, "{text}: {}", result.observed);
        }
    }
}

#[test]
fn the_reason_says_whether_windows_were_breached() {
    for (words, want) in [
        ("4k 4k 4k", "held in every window; the worst is shown"),
        ("4k 4f 4k", "never breached 2 times in a row; the worst is shown"),
    ] {
        let Run { ledger, mut engine, .. } = follow("error_rate < 50%; over: 1; for: 2", words);
        let result = engine.finish(&ledger, GeneratorVerdict::Valid).remove(0);
        assert_eq!((result.verdict, result.reason.as_str()), (Passed, want));
    }
}

#[test]
fn what_has_held_in_no_window_has_not_passed() {
    let want = "breached in every window, but there were no 3 in a row; the worst is shown";
    for words in ["4f", "4f 4f", "4f 4f - 4f"] {
        let Run { ledger, mut engine, .. } = follow("error_rate < 50%; over: 1; for: 3", words);
        let result = engine.finish(&ledger, GeneratorVerdict::Valid).remove(0);
        assert_eq!(
            (result.verdict, result.reason.as_str()),
            (NotEnoughSamples, want),
            "{words}"
        );
    }
}

#[test]
fn the_reason_says_what_every_window_lacked() {
    for (text, want) in [
        (
            "max < 1us; over: 2; min: 10",
            "breached over 12 samples, though no window had enough of them",
        ),
        (
            "max < 1us; over: 4; min: 10",
            "breached over 12 samples, though no window was full",
        ),
    ] {
        let Run { ledger, mut engine, .. } = follow(text, "4k 4k 4k");
        let result = engine.finish(&ledger, GeneratorVerdict::Valid).remove(0);
        assert_eq!((result.verdict, result.reason.as_str()), (Failed, want), "{text}");
    }
}

#[test]
fn rates_are_not_judged_over_the_drain() {
    let text = "throughput >= 4/s; over: 2";
    let mut ledger = ledger(1, 3, 0);
    for (interval, word) in ["4k", "4k", "4k", "1k", "-"].iter().enumerate() {
        ledger
            .apply(WorkerId(0), FIRST, &delta_of(interval as u32, events(word)))
            .expect("in order");
    }
    let result = SlaEngine::new(&[sla(text)])
        .finish(&ledger, GeneratorVerdict::Valid)
        .remove(0);
    assert_eq!(result.verdict, Passed, "{}", result.observed);
}

/// Follows these seconds of a run whose load lasts for three.
fn drained(text: &str, words: [&str; 5]) -> (Option<StopDecision>, SlaResult) {
    let mut ledger = ledger(1, 3, 0);
    let mut engine = SlaEngine::new(&[sla(text)]);
    let mut stop = None;
    for (interval, word) in (0..).zip(words) {
        let delta = delta_of(interval, events(word));
        ledger.apply(WorkerId(0), FIRST, &delta).expect("in order");
        stop = stop.or(engine.at_watermark(&ledger, &closed(interval)));
    }
    ledger.set_end(Moment::from_secs(5));
    (stop, engine.finish(&ledger, GeneratorVerdict::Valid).remove(0))
}

#[test]
fn stragglers_of_the_drain_are_in_no_window_of_the_load() {
    for text in [
        "error_rate < 50%; over: 1; stop",
        "p50 < 2s; over: 1; min: 1; stop",
        "timeouts / sent < 50%; over: 1; stop",
    ] {
        let (stop, result) = drained(text, ["20k", "20k", "20k", "1t", "2t"]);
        assert_eq!((stop, result.verdict), (None, Passed), "{text}: {}", result.observed);
        // Those that end while the load is on are.
        let (stop, result) = drained(text, ["20k", "2k8t", "20k", "-", "-"]);
        assert_eq!((stop.is_some(), result.verdict), (true, Failed), "{text}");
    }
    // An outage of which nothing ends before the drain is no straggler.
    for text in [
        "error_rate < 50%; over: 1",
        "error_rate < 50%; over: 1; for: 3",
        "p50 < 2s; over: 2; min: 1",
    ] {
        let (_, result) = drained(text, ["20k", "20k", "-", "-", "30t"]);
        assert_eq!(result.verdict, Failed, "{text}: {}", result.observed);
    }
    // The run as a whole has them.
    let (_, result) = drained("error_rate < 4%", ["20k", "20k", "20k", "1t", "2t"]);
    assert_eq!(result.observed, "error_rate = 4.762% (3 of 63)");
    assert_eq!(result.verdict, Failed);
}

/// Seconds of a run whose load lasts for three, up to this end; with the empty report that every run ends with.
fn ended_at(text: &str, words: &str, end: u64) -> SlaResult {
    let mut ledger = ledger(1, 3, 0);
    for (interval, word) in (0..).zip(words.split_whitespace().chain(["-"])) {
        let delta = delta_of(interval, events(word));
        ledger.apply(WorkerId(0), FIRST, &delta).expect("in order");
    }
    ledger.set_end(Moment::from_millis(end));
    let mut engine = SlaEngine::new(&[sla(text)]);
    engine.finish(&ledger, GeneratorVerdict::Valid).remove(0)
}

#[test]
fn the_last_window_stands_for_as_many_as_the_drain_has_seconds_and_one() {
    for (words, end, in_a_row) in [
        // Nothing to drain, whatever is reported after it.
        ("20k 20k 20f", 3_000, 1),
        ("20k 20f 20f", 3_000, 2),
        // It has breached before the drain: seconds in which nothing ends add nothing.
        ("20k 20k 20f - - - 1t", 6_990, 2),
        ("20k 20k 20f 1k 1k - 1t", 6_990, 4),
        // What ends in the drain makes it good, or does not.
        ("20k 20k 8k2f 90k", 4_000, 1),
        // It shows only in the drain.
        ("20k 20k - - - 20t", 5_400, 4),
        ("20k 20f 20k - - 90t", 5_400, 5),
        ("20k 20k 20k - - 1t", 5_400, 0),
    ] {
        for row in 1..8 {
            let text = format!("error_rate < 10%; over: 1; for: {row}");
            let result = ended_at(&text, words, end);
            let failed = result.verdict == Failed;
            assert_eq!(failed, row <= in_a_row, "{text} {words}: {}", result.reason);
        }
    }
    let result = ended_at("p95 < 2ms; over: 1; min: 1; for: 2", "20k 20k 20s", 3_000);
    assert_eq!(result.verdict, Passed, "{}", result.reason);
    let result = ended_at("error_rate < 10%; over: 1", "20k 20k 20f", 3_000);
    assert_eq!(result.breached_at, Some(Moment::from_secs(3)), "{}", result.reason);
}

#[test]
fn a_part_of_a_second_at_the_end_of_the_load_is_judged_together_with_the_last_whole_one() {
    for (text, words, end, want) in [
        // The load lasts until 3.02 s; one of two requests in the last 20 ms fails.
        ("error_rate < 5%; over: 1", "100k 100k 100k 1k1f", 4_000, None),
        ("error_rate < 5%; over: 1", "100k 100k 100k 1k1f 3f", 5_000, None),
        ("error_rate < 5%; over: 3", "100k 100k 100k 1k1f", 4_000, None),
        ("failed / sent < 5%; over: 1", "100k 100k 100k 1k1f", 4_000, None),
        ("p50 < 2ms; over: 1; min: 1", "100k 100k 100k 3s", 4_000, None),
        // Nothing that happened is left out.
        ("error_rate < 5%; over: 1", "100k 100k 100k 2k6f", 4_000, Some(4)),
        ("error_rate < 5%; over: 3", "100k 100k 100k 2k16f", 4_000, Some(4)),
        ("p50 < 2ms; over: 1; min: 1", "100k 100k 100k 101s", 4_000, Some(4)),
        ("error_rate < 5%; over: 1", "100k 100k 94k6f 50k", 4_000, Some(3)),
        // One bad second and a part of one are no row of two, unless the part is bad enough for both.
        ("error_rate < 5%; over: 1; for: 2", "100k 100k 90k10f 2k", 4_000, None),
        (
            "error_rate < 5%; over: 1; for: 2",
            "100k 90k10f 90k10f 2k",
            4_000,
            Some(3),
        ),
        (
            "error_rate < 5%; over: 1; for: 2",
            "100k 100k 90k10f 2k 1f",
            5_000,
            Some(5),
        ),
        (
            "error_rate < 5%; over: 1; for: 2",
            "100k 100k 100k 2f 9f",
            5_000,
            Some(5),
        ),
        // As it is in a run that is no longer than its window.
        ("error_rate < 5%; over: 4", "100k 100k 100k 2f", 4_000, None),
        ("error_rate < 5%; over: 4", "100k 100k 100k 20f", 4_000, Some(4)),
    ] {
        let mut ledger = ledger(1, 60, 0);
        let mut live = SlaEngine::new(&[sla(text)]);
        let mut again = live.clone();
        for (interval, word) in (0..).zip(words.split_whitespace()) {
            if interval == 3 {
                ledger.cut_load(Moment::from_millis(3_020));
            }
            let delta = delta_of(interval, events(word));
            ledger.apply(WorkerId(0), FIRST, &delta).expect("in order");
            live.at_watermark(&ledger, &closed(interval));
            again.look(&ledger, 60);
        }
        let seen = [&live, &again].map(|engine| engine.live().remove(0).breached_at);
        // The drain is judged at the end alone.
        let before_it = want.filter(|at| *at <= 4).map(Moment::from_secs);
        assert_eq!(seen, [before_it; 2], "{text} {words}");
        ledger.set_end(Moment::from_millis(end));
        let result = live.finish(&ledger, GeneratorVerdict::Valid).remove(0);
        let want = want.map(Moment::from_secs);
        assert_eq!(result.breached_at, want, "{text} {words}: {}", result.reason);
        let verdict = if want.is_some() { Failed } else { Passed };
        assert_eq!(result.verdict, verdict, "{text} {words}: {}", result.reason);
    }
}

#[test]
fn the_drop_rate_of_a_window_is_of_the_arrivals_that_were_decided_in_it() {
    let mut ledger = ledger(1, 3, 0);
    for interval in 0..3 {
        let mut delta = delta_of(interval, events("2k40l"));
        // Those that were dropped fell due long before.
        delta.iterations[0].counts.scheduled = 2;
        ledger.apply(WorkerId(0), FIRST, &delta).expect("in order");
    }
    let result = SlaEngine::new(&[sla("drop_rate < 90%; over: 1")])
        .finish(&ledger, GeneratorVerdict::Valid)
        .remove(0);
    assert_eq!(
        (result.verdict, result.observed.as_str()),
        (Failed, "drop_rate = 95.238% (40 of 42)")
    );
    let result = SlaEngine::new(&[sla("started_rate <= 100%; over: 1")])
        .finish(&ledger, GeneratorVerdict::Valid)
        .remove(0);
    assert_eq!(result.observed, "started_rate = 4.762% (2 of 42)");
}

#[test]
fn what_was_cancelled_took_longer_than_it_was_waited_for() {
    let cancelled = std::iter::repeat_n(ended(Outcome::Cancelled, 3_000_000), 80);
    let judged = |text: &str, more: usize| {
        let mut ledger = ledger(1, 1, 0);
        let events = cancelled.clone().chain(std::iter::repeat_n(ok(1_000), more));
        ledger
            .apply(WorkerId(0), FIRST, &delta_of(0, events))
            .expect("in order");
        let mut engine = SlaEngine::new(&[sla(text)]);
        let result = engine.finish(&ledger, GeneratorVerdict::Valid).remove(0);
        (result.verdict, result.observed)
    };
    for measure in ["", "(service)", "(iteration)"] {
        let (verdict, observed) = judged(&format!("p50{measure} < 5s"), 0);
        assert_eq!((verdict, observed.contains("≥")), (Failed, true), "{observed}");
        let (verdict, observed) = judged(&format!("p50{measure} < 5s"), 100);
        assert_eq!(verdict, Passed, "{observed}");
    }
    // Of the smallest it is known what it is at most.
    assert_eq!(judged("min < 1s", 1).0, Passed);
    assert_eq!(judged("min < 4s", 0).0, Failed);
}

#[test]
fn counts_are_not_asked_for_beyond_the_load_nor_before_the_end() {
    for (text, verdict) in [
        ("ok >= 8; over: 2", Passed),
        ("ok == 8; over: 2", Passed),
        ("ok > 8; over: 2", Failed),
        ("ok <= 7; over: 2", Failed),
        ("ok >= 13; stop", Passed),
        ("ok >= 14; stop", Failed),
        ("failed == 0; over: 2", Passed),
    ] {
        // The load lasts for three seconds.
        let mut ledger = ledger(1, 3, 0);
        let mut engine = SlaEngine::new(&[sla(text)]);
        for (interval, word) in (0..).zip(["4k", "4k", "4k", "1k", "-"]) {
            let delta = delta_of(interval, events(word));
            ledger.apply(WorkerId(0), FIRST, &delta).expect("in order");
            assert_eq!(engine.at_watermark(&ledger, &closed(interval)), None, "{text}");
        }
        let result = engine.finish(&ledger, GeneratorVerdict::Valid).remove(0);
        assert_eq!(result.verdict, verdict, "{text}: {}", result.observed);
    }
}

#[test]
fn too_many_are_too_many_at_any_time() {
    for text in ["failed == 0; over: 2", "failed == 0; stop", "failed <= 0; over: 2"] {
        // The failure is in the drain.
        let mut ledger = ledger(1, 3, 0);
        let mut engine = SlaEngine::new(&[sla(text)]);
        let mut stops = None;
        for (interval, word) in (0..).zip(["4k", "4k", "4k", "1k", "1f"]) {
            let delta = delta_of(interval, events(word));
            ledger.apply(WorkerId(0), FIRST, &delta).expect("in order");
            stops = stops.or(engine.at_watermark(&ledger, &closed(interval)));
        }
        assert_eq!(stops.is_some(), text.ends_with("stop"), "{text}");
        let result = engine.finish(&ledger, GeneratorVerdict::Valid).remove(0);
        assert_eq!(result.verdict, Failed, "{text}: {}", result.observed);
    }
}

#[test]
fn a_run_that_is_gone_through_again_is_judged_as_it_was() {
    // A bad minute, and more than an hour after it.
    let slas = [
        "error_rate < 50%; over: 10",
        "p99 >= 900us; over: 10; min: 1",
        "p90 < 1s; over: 10; min: 1",
        "error_rate < 50%",
    ];
    let slas = slas.map(sla);
    let (mut live, mut again) = (SlaEngine::new(&slas), SlaEngine::new(&slas));
    let mut ledger = ledger(1, 4_000, 0);
    for interval in 0..4_000 {
        let word = if (60..120).contains(&interval) { "1f" } else { "1k" };
        let delta = delta_of(interval, events(word));
        ledger.apply(WorkerId(0), FIRST, &delta).expect("in order");
        live.at_watermark(&ledger, &closed(interval));
        again.look(&ledger, 400);
    }
    assert_eq!((ledger.forgotten_before(), again.has_windows()), (400, true));
    let [live, again] = [&mut live, &mut again].map(|engine| engine.finish(&ledger, GeneratorVerdict::Valid));
    assert_eq!(again, live);
    let verdicts = again.iter().map(|result| result.verdict).collect::<Vec<_>>();
    assert_eq!(verdicts, [Failed, Passed, Passed, Passed]);
}

#[test]
fn a_stop_says_what_it_saw() {
    let run = follow("error_rate < 50%; over: 2; for: 2; stop", "4k 4k 4f 4f 4k 4k");
    let stop = run.stop.expect("it stops");
    assert_eq!((stop.sla, stop.at), (0, Moment::from_secs(4)));
    assert_eq!(
        stop.reason,
        "error_rate = 100% (8 of 8) at 4s over 8 samples, breached 2 times in a row"
    );
    let mut engine = run.engine;
    let result = engine.finish(&run.ledger, GeneratorVerdict::Valid).remove(0);
    assert_eq!(
        (result.verdict, result.breached_at),
        (Failed, Some(Moment::from_secs(4)))
    );

    // Over the whole run: what stopped it stays breached although the rest was well.
    let run = follow("error_rate < 50%; stop; min: 4", "2k 2f1k 20k");
    assert_eq!(run.stop.as_ref().map(|stop| stop.reason.as_str()), None);
    let run = follow("error_rate < 50%; stop; min: 4", "2k 3f 20k");
    let stop = run.stop.expect("it stops");
    assert_eq!(stop.reason, "error_rate = 60% (3 of 5) at 2s over 5 samples");
    let mut engine = run.engine;
    let followed = engine.finish(&run.ledger, GeneratorVerdict::Valid).remove(0);
    assert_eq!(followed.verdict, Failed);
    let mut restored = SlaEngine::new(&[sla("error_rate < 50%; stop; min: 4")]);
    restored.restore_stop(stop);
    assert_eq!(restored.finish(&run.ledger, GeneratorVerdict::Valid), [followed]);
}

#[test]
fn only_what_stopped_the_run_stays_breached() {
    let texts = [
        "error_rate < 50%; stop; min: 4",
        "throughput > 2/s; stop; over: 1",
        "failed == 0",
    ];
    let mut engine = SlaEngine::new(&texts.map(sla));
    let mut ledger = ledger(1, 60, 0);
    let mut stops = Vec::new();
    for (interval, word) in (0..).zip(["4k", "4k", "8f", "1k", "30k"]) {
        if interval == 3 {
            ledger.cut_load(Moment::from_millis(3_200));
        }
        ledger
            .apply(WorkerId(0), FIRST, &delta_of(interval, events(word)))
            .expect("in order");
        stops.extend(engine.at_watermark(&ledger, &closed(interval)));
    }
    let stops: Vec<_> = stops.iter().map(|stop| (stop.sla, stop.at)).collect();
    assert_eq!(stops, [(0, Moment::from_secs(3))]);
    let verdicts = |engine: &mut SlaEngine| {
        let results = engine.finish(&ledger, GeneratorVerdict::Valid);
        results.iter().map(|result| result.verdict).collect::<Vec<_>>()
    };
    assert_eq!(verdicts(&mut engine.clone()), [Failed, Passed, Failed]);
    // Someone else had stopped it before.
    engine.forget_stop();
    assert_eq!(verdicts(&mut engine), [Passed, Passed, Failed]);
}

#[test]
fn a_row_is_counted_across_the_border_of_what_is_kept() {
    let slas = [
        sla("error_rate < 50%; over: 10; for: 3"),
        sla("error_rate < 50%; over: 10; for: 4"),
    ];
    let (mut live, mut again) = (SlaEngine::new(&slas), SlaEngine::new(&slas));
    let mut ledger = ledger(1, 4_000, 0);
    for interval in 0..4_000 {
        // The windows that end at 409, 410 and 411 are bad; the seconds from 400 on are kept.
        let bad = interval == 401 || interval == 408;
        let made = events(if bad { "1k6f" } else { "1k" });
        ledger
            .apply(WorkerId(0), FIRST, &delta_of(interval, made))
            .expect("in order");
        live.at_watermark(&ledger, &closed(interval));
        again.look(&ledger, 400);
    }
    assert_eq!(ledger.forgotten_before(), 400);
    let [live, again] = [&mut live, &mut again].map(|engine| engine.finish(&ledger, GeneratorVerdict::Valid));
    assert_eq!(again, live);
    let found: Vec<_> = live.iter().map(|result| (result.verdict, result.breached_at)).collect();
    assert_eq!(found, [(Failed, Some(Moment::from_secs(411))), (Passed, None)]);
}

#[test]
fn live_verdicts_are_provisional() {
    let run = follow("error_rate < 50%", "4k 3k1f");
    let live = run.engine.live().remove(0);
    assert_eq!(
        (live.verdict, live.observed.as_str()),
        (Provisional, "error_rate = 12.5% (1 of 8)")
    );
    let run = follow("error_rate < 50%; over: 1", "4k 4f 4k");
    assert_eq!(run.engine.live().remove(0).verdict, Failed);
    let run = follow("p99 < 1s", "4k");
    assert_eq!(run.engine.live().remove(0).verdict, NotEnoughSamples);
    let fresh = SlaEngine::new(&[sla("p99 < 1s; during: stage(peak)")]).live().remove(0);
    assert_eq!(
        (fresh.verdict, fresh.observed.as_str()),
        (NotEnoughSamples, "p99 unknown")
    );
    assert_eq!((fresh.during.as_deref(), fresh.at), (Some("stage(peak)"), Some((3, 5))));
}

#[test]
fn a_late_delta_takes_a_live_breach_back() {
    let mut ledger = ledger(2, 2, 0);
    let mut engine = SlaEngine::new(&[sla("error_rate < 50%; over: 1")]);
    let [bad, good] = ["2f", "8k"].map(events);
    ledger.apply(WorkerId(0), FIRST, &delta_of(0, bad)).expect("in order");
    let stop = engine.at_watermark(
        &ledger,
        &Closed {
            interval: 0,
            reported: 1,
            expected: 2,
        },
    );
    assert_eq!(stop, None);
    let live = engine.live().remove(0);
    assert_eq!(live.verdict, Failed);
    assert!(
        live.reason.ends_with("counts of some workers still missing"),
        "{}",
        live.reason
    );
    ledger.apply(WorkerId(1), FIRST, &delta_of(0, good)).expect("in order");
    let result = engine.finish(&ledger, GeneratorVerdict::Valid).remove(0);
    assert_eq!(
        (result.verdict, result.observed.as_str()),
        (Passed, "error_rate = 20% (2 of 10)")
    );
}

#[test]
fn an_invalid_generator_leaves_latencies_unjudged() {
    for (text, want) in [
        ("p50 < 2ms", NotJudged),
        ("p50(service) < 1us", NotJudged),
        ("p50 < 2ms; over: 1", NotJudged),
        ("error_rate < 1%", Passed),
        ("error_rate > 1%", Failed),
    ] {
        let Run { ledger, mut engine, .. } = follow(text, "20k 20k");
        let result = engine.finish(&ledger, GeneratorVerdict::Invalid).remove(0);
        assert_eq!(result.verdict, want, "{text}");
    }
}

/// Three slow seconds, in which the generator was late or not; before the end of the warm-up, or without one.
#[test]
fn latencies_that_the_generator_may_have_made_stop_nobody_and_are_not_judged_in_the_warm_up() {
    for (text, warm_up, late, stops, want) in [
        ("p50 < 2ms; over: 1; stop: true", 0, false, true, Failed),
        ("p50 < 2ms; over: 1; stop: true", 0, true, false, NotJudged),
        ("error_rate > 1%; over: 1; stop: true", 0, true, true, Failed),
        ("p50 < 2ms; during: warm_up", 3, false, false, Failed),
        ("p50 < 2ms; during: warm_up", 3, true, false, NotJudged),
        ("p50 < 2ms; during: whole", 3, true, false, NotJudged),
        ("error_rate > 1%; during: warm_up", 3, true, false, Failed),
    ] {
        let mut ledger = ledger(1, 4, warm_up);
        let mut engine = SlaEngine::new(&[sla(text)]);
        let mut stopped = false;
        for interval in 0..3 {
            let mut delta = delta_of(interval, events("50s"));
            delta.health.dispatch_lag_p99_us = if late { 200_000 } else { 0 };
            ledger.apply(WorkerId(0), FIRST, &delta).expect("in order");
            stopped |= engine.at_watermark(&ledger, &closed(interval)).is_some();
        }
        assert_eq!(stopped, stops, "{text} {late}");
        ledger.set_end(Moment::from_secs(4));
        let generator = generator_so_far(&ledger).verdict;
        assert_eq!(generator == GeneratorVerdict::Invalid, late && warm_up == 0);
        let result = engine.finish(&ledger, generator).remove(0);
        assert_eq!(result.verdict, want, "{text} {late}: {}", result.reason);
    }
}

/// 200 seconds with what `word` says, in some of which the generator was late.
fn strained(text: &str, word: impl Fn(u32) -> &'static str, late: &[u32]) -> (bool, SlaResult) {
    let mut ledger = ledger(1, 200, 0);
    let mut engine = SlaEngine::new(&[sla(text)]);
    let mut stopped = false;
    for interval in 0..200 {
        let mut delta = delta_of(interval, events(word(interval)));
        delta.health.dispatch_lag_p99_us = if late.contains(&interval) { 200_000 } else { 0 };
        ledger.apply(WorkerId(0), FIRST, &delta).expect("in order");
        stopped |= engine.at_watermark(&ledger, &closed(interval)).is_some();
    }
    ledger.set_end(Moment::from_secs(200));
    let generator = generator_so_far(&ledger).verdict;
    assert_ne!(generator, GeneratorVerdict::Invalid, "{text}");
    (stopped, engine.finish(&ledger, generator).remove(0))
}

/// What the generator has not sent is not the target's goodput, and what it sends all at once after a standstill is no peak.
#[test]
fn what_the_generator_has_not_done_in_a_window_breaches_nothing() {
    let low = |at: u32, word: &'static str| move |interval| if interval == at { word } else { "20k" };
    for (text, at, word, late, stops, want) in [
        ("goodput > 15/s; over: 1; stop", 150, "5k", &[][..], true, Failed),
        ("goodput > 15/s; over: 1; stop", 150, "5k", &[150], false, NotJudged),
        ("goodput > 15/s; over: 1; stop", 150, "5k", &[149], false, NotJudged),
        ("goodput > 15/s; over: 1; stop", 150, "5k", &[148], true, Failed),
        ("goodput > 15/s; over: 1; stop", 150, "20k", &[150], false, Passed),
        ("sent_rate > 19/s; over: 10; stop", 150, "5k", &[150], false, NotJudged),
        ("sent_rate > 19/s; over: 10; stop", 150, "5k", &[], true, Failed),
        // The burst after it.
        ("throughput < 30/s; over: 1; stop", 150, "35k", &[149], false, NotJudged),
        ("throughput < 30/s; over: 1; stop", 150, "35k", &[], true, Failed),
        ("ok >= 15; over: 1; stop", 150, "5k", &[150], false, NotJudged),
        ("ok == 20; over: 1; stop", 150, "5k", &[150], false, NotJudged),
        ("ok == 20; over: 1; stop", 150, "35k", &[150], true, Failed),
        ("ok <= 30; over: 1; stop", 150, "35k", &[150], true, Failed),
        ("ok / sent > 90%; over: 1; stop", 150, "5k5f", &[150], false, NotJudged),
        ("failed / sent < 9%; over: 1; stop", 150, "5k5f", &[150], true, Failed),
        ("error_rate < 9%; over: 1; stop", 150, "5k5f", &[150], true, Failed),
        ("success_rate > 90%; over: 1; stop", 150, "5k5f", &[150], true, Failed),
        ("drop_rate < 9%; over: 1; stop", 150, "5k5l", &[150], false, NotJudged),
        (
            "started_rate > 90%; over: 1; stop",
            150,
            "5k5l",
            &[150],
            false,
            NotJudged,
        ),
        ("started_rate > 90%; over: 1; stop", 150, "5k5l", &[], true, Failed),
        // All of the run: so far it was much, in the end it is not.
        ("goodput > 16/s; stop", 2, "1k", &[2], false, Passed),
        ("goodput > 16/s; stop", 2, "1k", &[], true, Failed),
    ] {
        let (stopped, result) = strained(text, low(at, word), late);
        let got = (stopped, result.verdict);
        assert_eq!(got, (stops, want), "{text} {word} {late:?}: {}", result.reason);
        let doubted = result
            .reason
            .ends_with("where the generator was strained: that may be its own doing");
        assert_eq!(doubted, want == NotJudged, "{}", result.reason);
    }
}

/// A strain that is little of a run is much of some seconds of it.
#[test]
fn what_the_generator_may_have_made_in_a_window_breaches_nothing() {
    let (every, row) = (
        "p50 < 2ms; over: 1; stop: true",
        "p50 < 2ms; over: 1; for: 2; stop: true",
    );
    for (text, slow, late, stops, want) in [
        (every, &[150][..], &[][..], true, Failed),
        (every, &[150], &[150], false, NotJudged),
        // Its late requests end in the second after it.
        (every, &[150], &[149], false, NotJudged),
        (every, &[150], &[148], true, Failed),
        (every, &[150], &[151], true, Failed),
        (every, &[150, 180], &[150], true, Failed),
        (every, &[], &[150], false, Passed),
        (row, &[150, 151], &[150], false, NotJudged),
        (row, &[150, 151, 152, 153], &[150], true, Failed),
        (row, &[150], &[150], false, Passed),
        // One late second of fifty is too much as well, of two hundred it is not.
        ("p99 < 2ms; over: 50", &[150], &[150], false, NotJudged),
        ("p99 < 2ms; over: 150; for: 2", &[150, 151, 152], &[150], false, Failed),
        ("p50 < 2ms; during: whole", &[150], &[150], false, Passed),
        ("error_rate == 1%; over: 1; stop: true", &[150], &[150], true, Failed),
    ] {
        let word = |interval| if slow.contains(&interval) { "20s" } else { "20k" };
        let (stopped, result) = strained(text, word, late);
        let got = (stopped, result.verdict);
        assert_eq!(got, (stops, want), "{text} {slow:?} {late:?}: {}", result.reason);
        let doubted = result.reason.contains("where the generator was strained");
        assert_eq!(doubted, want == NotJudged, "{}", result.reason);
    }
}

/// A stage of ten seconds, slow in all of them, in a run of two hundred.
#[test]
fn what_the_generator_may_have_made_in_a_stage_breaches_nothing() {
    for (late, stops, want) in [
        (None, true, Failed),
        (Some(101), false, NotJudged),
        (Some(150), true, Failed),
    ] {
        let stage = |segment, at, name: &str| Mark {
            segment: SegmentId(segment),
            at: Moment::from_secs(at),
            phases: vec![Phase::Stage(name.to_owned())],
        };
        let list = vec![stage(0, 0, "quiet"), stage(1, 100, "burst"), stage(2, 110, "quiet")];
        let marks = Marks::new(list).expect("in order");
        let mut ledger = Ledger::new(LedgerConfig {
            marks,
            ..config(1, 200, 0)
        });
        let mut engine = SlaEngine::new(&[sla("p50 < 2ms; during: stage(burst); stop: true")]);
        let mut stopped = false;
        for interval in 0..200 {
            let burst = (100..110).contains(&interval);
            let done = |_| Event::Done {
                load: OPEN,
                scenario: TOOLS,
                step: LIST,
                tag: 0,
                segment: burst.into(),
                outcome: Outcome::Ok,
                us: if burst { 1_000_000 } else { 1_000 },
            };
            let mut delta = delta_of(interval, (0..20).map(done));
            delta.health.dispatch_lag_p99_us = if late == Some(interval) { 200_000 } else { 0 };
            ledger.apply(WorkerId(0), FIRST, &delta).expect("in order");
            // What has been late so far is too much for the run so far; it is over when somebody looks.
            stopped |= interval > 110 && engine.at_watermark(&ledger, &closed(interval)).is_some();
        }
        ledger.set_end(Moment::from_secs(200));
        let result = engine.finish(&ledger, generator_so_far(&ledger).verdict).remove(0);
        assert_eq!((stopped, result.verdict), (stops, want), "{late:?}: {}", result.reason);
    }
}

#[test]
fn warm_up_is_left_out_unless_named() {
    let mut ledger = ledger(1, 4, 2);
    let warm = |outcome| Event::Done {
        load: OPEN,
        scenario: TOOLS,
        step: LIST,
        tag: 0,
        segment: 0,
        outcome,
        us: 1_000,
    };
    let steady = |outcome| Event::Done {
        load: OPEN,
        scenario: TOOLS,
        step: LIST,
        tag: 0,
        segment: 1,
        outcome,
        us: 1_000,
    };
    for interval in 0..2 {
        ledger
            .apply(WorkerId(0), FIRST, &delta_of(interval, [warm(Outcome::Timeout)]))
            .expect("in order");
    }
    for interval in 2..4 {
        ledger
            .apply(WorkerId(0), FIRST, &delta_of(interval, [steady(Outcome::Ok)]))
            .expect("in order");
    }
    for (text, want, observed) in [
        ("error_rate < 1%", Passed, "error_rate = 0% (0 of 2)"),
        ("error_rate < 1%; during: steady", Passed, "error_rate = 0% (0 of 2)"),
        ("error_rate < 1%; during: warm_up", Failed, "error_rate = 100% (2 of 2)"),
        ("error_rate < 1%; during: whole", Failed, "error_rate = 50% (2 of 4)"),
        ("error_rate < 1%; over: 1", Passed, "error_rate = 0% (0 of 1)"),
        (
            "error_rate < 1%; over: 1; during: whole",
            Failed,
            "error_rate = 100% (1 of 1)",
        ),
        ("goodput >= 1/s", Passed, "goodput = 1/s"),
        ("goodput >= 1/s; during: whole", Failed, "goodput = 0.5/s"),
    ] {
        let result = SlaEngine::new(&[sla(text)])
            .finish(&ledger, GeneratorVerdict::Valid)
            .remove(0);
        assert_eq!((result.verdict, result.observed.as_str()), (want, observed), "{text}");
    }
}

/// 500/s due for ten seconds against a target that serves 100/s; the rest is answered during the drain.
fn backlogged() -> Ledger {
    let second = |interval| Second {
        interval,
        segment: 0,
        sent: if interval < 10 { 500 } else { 0 },
        ok: 100,
    };
    let list: Vec<Second> = (0..50).map(second).collect();
    timed(plan(10, 0), marks(0), Some(Moment::from_secs(50)), &list)
}

#[test]
fn bytes_that_no_engine_has_seen_are_not_judged() {
    // Of many requests on one HTTP/2 connection some carry all of its bytes, and others none.
    for (engine, seen, verdict) in [
        (EngineChoice::Auto, 300, Passed),
        (EngineChoice::Http2, 0, Passed),
        (EngineChoice::Reqwest, 0, NotEnoughSamples),
    ] {
        let mut plan = plan(10, 0);
        let step = &mut plan.scenarios[0].steps[0];
        let Action::Request(request) = &mut step.action else {
            panic!("the first step is a request");
        };
        request.engine = engine;
        let mut ledger = Ledger::new(LedgerConfig {
            plan: Arc::new(plan),
            marks: marks(0),
            ..config(1, 1, 0)
        });
        let mut delta = delta_of(0, (0..20).map(|_| ok(1_000)));
        let counts = &mut delta.steps[0].counts;
        (counts.wire_requests, counts.wire_bytes_out, counts.wire_bytes_in) = (20, seen, seen);
        delta.seq = 1;
        ledger.apply(WorkerId(0), FIRST, &delta).expect("in order");
        ledger.set_end(Moment::from_secs(1));
        let result = |text: &str| {
            let mut engine = SlaEngine::new(&[sla(text)]);
            engine.finish(&ledger, GeneratorVerdict::Valid).remove(0)
        };
        for text in [
            "wire_bytes_out < 1MiB",
            "wire_bytes_in(\"list tools\") < 1MiB",
            "bytes_out_rate < 1MiB/s",
        ] {
            let result = result(text);
            assert_eq!(result.verdict, verdict, "{text}: {}", result.reason);
            assert_eq!(
                result.observed.ends_with("unknown"),
                verdict == NotEnoughSamples,
                "{text}: {}",
                result.observed
            );
            assert_eq!(
                result.reason.contains("does not see"),
                verdict == NotEnoughSamples,
                "{text}: {}",
                result.reason
            );
        }
        assert_eq!(result("body_bytes_in < 1MiB").verdict, Passed);
    }
}

/// 500/s for ten seconds, all served at once but one.
fn straggling() -> Ledger {
    let second = |interval| Second {
        interval,
        segment: 0,
        sent: if interval < 10 { 500 } else { 0 },
        ok: match interval {
            0..9 => 500,
            9 => 499,
            _ => 1,
        },
    };
    let list: Vec<Second> = (0..10).chain([39]).map(second).collect();
    timed(plan(10, 0), marks(0), Some(Moment::from_millis(39_500)), &list)
}

#[test]
fn rates_are_of_what_happened_while_the_load_was_on() {
    let slow = backlogged();
    let late = straggling();
    for (ledger, text, want, observed) in [
        (
            &slow,
            "throughput > 480/s; during: steady",
            Failed,
            "throughput = 100/s",
        ),
        (&slow, "throughput > 480/s", Failed, "throughput = 100/s"),
        (&slow, "throughput > 480/s; over: 3", Failed, "throughput = 100/s"),
        (
            &slow,
            "goodput == 100/s; during: stage(peak)",
            Passed,
            "goodput = 100/s",
        ),
        (
            &slow,
            "goodput(\"list tools\") == 100/s; during: steady",
            Passed,
            "goodput(\"list tools\") = 100/s",
        ),
        (
            &slow,
            "goodput(scenario:\"tools\") == 100/s",
            Passed,
            "goodput(scenario:\"tools\") = 100/s",
        ),
        (&slow, "sent_rate == 500/s; during: steady", Passed, "sent_rate = 500/s"),
        (&slow, "offered == 500/s", Passed, "offered = 500/s"),
        (&slow, "bytes_in_rate == 100MiB/s", Passed, "bytes_in_rate = 100 MiB/s"),
        (&slow, "ok == 5000; during: steady", Passed, "ok = 5000"),
        (
            &slow,
            "throughput > 1/s; during: warm_up",
            NotEnoughSamples,
            "throughput over no time",
        ),
        (&late, "throughput > 480/s", Passed, "throughput = 499.9/s"),
        (
            &late,
            "throughput > 480/s; during: steady",
            Passed,
            "throughput = 499.9/s",
        ),
        (&late, "sent_rate == 500/s", Passed, "sent_rate = 500/s"),
        (
            &late,
            "offered(\"list tools\") == 500/s",
            Passed,
            "offered(\"list tools\") = 500/s",
        ),
    ] {
        let result = SlaEngine::new(&[sla(text)])
            .finish(ledger, GeneratorVerdict::Valid)
            .remove(0);
        assert_eq!(
            (result.verdict, result.observed.as_str()),
            (want, observed),
            "{text}: {}",
            result.reason
        );
    }
}

#[test]
fn a_window_that_is_no_longer_kept_whole_is_not_judged_by_what_is_left_of_it() {
    let check = |text: &str, length: u32, want: SlaVerdict, reason: &str| {
        let mut ledger = ledger(1, u64::from(length), 0);
        let mut engine = SlaEngine::new(&[sla(text)]);
        for interval in 0..length {
            let word = if interval < 700 { "1f" } else { "1k" };
            let delta = delta_of(interval, events(word));
            ledger.apply(WorkerId(0), FIRST, &delta).expect("in order");
        }
        let result = engine.finish(&ledger, GeneratorVerdict::Valid).remove(0);
        assert_eq!((result.verdict, result.reason.as_str()), (want, reason));
    };
    let forgotten = "its window is longer than the seconds that are kept apart";
    check("error_rate < 1%; over: 3700", 4_400, NotEnoughSamples, forgotten);
    check(
        "error_rate < 1%; over: 3600",
        4_400,
        Passed,
        "held in every window; the worst is shown",
    );
}

/// `list tools` is kept apart, `ping` is in the totals alone.
#[test]
fn what_may_have_lost_parts_is_not_judged_by_the_rest() {
    for (text, want) in [
        ("failed(\"list tools\") < 1", Passed),
        ("failed(\"ping\") < 1", NotJudged),
        ("error_rate(\"ping\") < 10%", NotJudged),
        ("error_rate(\"ping\") < 100%; stop", NotJudged),
        ("ok(\"list tools\") / ok(\"ping\") > 0", NotJudged),
        ("failed(backend=\"blue\") < 1", NotJudged),
        ("max(\"list tools\") < 2ms", Passed),
        ("max(\"ping\") < 1ms", NotJudged),
        ("max(\"ping\") < 1ms; over: 1", Failed),
        ("failed(\"ping\") < 1; over: 1", Failed),
        ("goodput(\"ping\") > 4/s", Failed),
        ("failed < 1", Failed),
        ("max < 2ms", Failed),
        ("max(iteration, \"tools\") < 2ms", Passed),
        ("started < 9", Passed),
    ] {
        let mut ledger = ledger(1, 1, 0);
        ledger.sketches = crate::ledger::Sketches::with_room(5);
        ledger.steps = crate::series::Series::new(1);
        let ping = |outcome| Event::Done {
            load: CLOSED,
            scenario: HEALTH,
            step: PING,
            tag: 0,
            segment: 0,
            outcome,
            us: 5_000,
        };
        let failed = ping(Outcome::Failed(FailureClass::Status));
        let events = [ok(1_000), ok(1_000), ok(1_000), ping(Outcome::Ok), failed, failed];
        ledger
            .apply(WorkerId(0), FIRST, &delta_of(0, events))
            .expect("in order");
        let mut engine = SlaEngine::new(&[sla(text)]);
        let stop = engine.at_watermark(&ledger, &closed(0));
        assert_eq!(stop, None, "{text}");
        ledger.set_end(Moment::from_secs(1));
        let result = engine.finish(&ledger, GeneratorVerdict::Valid).remove(0);
        assert_eq!(result.verdict, want, "{text}: {}", result.reason);
        assert_eq!(
            result.reason.contains("more series"),
            want == NotJudged,
            "{text}: {}",
            result.reason
        );
    }
}

#[test]
fn the_stage_of_a_counted_load_is_over_with_it() {
    let ledger = beside_counted(9, 4);
    let long = beside_counted(crate::ledger::FINE_INTERVALS + 11, 4);
    let verdict = |ledger: &Ledger, text: &str| {
        let mut engine = SlaEngine::new(&[sla(text)]);
        engine.finish(ledger, GeneratorVerdict::Valid).remove(0)
    };
    for (text, want) in [
        ("error_rate < 5%; during: stage(counted)", Passed),
        ("error_rate(\"ping\") < 5%; during: stage(counted)", Passed),
        ("failed < 1; during: stage(counted)", Passed),
        ("ok <= 210; during: stage(counted)", Passed),
        ("max < 30ms; during: stage(counted)", Passed),
        ("error_rate < 5%; during: stage(crowd)", Failed),
        ("max < 30ms; during: stage(crowd)", Failed),
        ("error_rate < 5%; during: steady", Failed),
    ] {
        let result = verdict(&ledger, text);
        assert_eq!(result.verdict, want, "{text}: {}", result.reason);
        let result = verdict(&long, text);
        let unknown = text.ends_with("stage(counted)");
        assert_eq!(
            result.verdict,
            if unknown { NotJudged } else { want },
            "{text}: {}",
            result.reason
        );
    }
    assert_eq!(
        verdict(&long, "goodput > 100/s; during: stage(counted)").verdict,
        Passed
    );
}
