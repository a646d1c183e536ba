use proptest::prelude::*;

use barrage_model::delta::{Measure, SketchKey};
use barrage_model::expr::{Named, Outcomes, PhaseSelector, Selector};
use barrage_model::ledger::Open;
use barrage_model::outcome::{DropReason, FailureClass, Outcome, OutcomeGroup};
use barrage_model::sketch::{Packed, highest, index_of, rank};

use super::*;
use crate::query::Window;
use crate::testing::*;

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        6 => Just(Outcome::Ok),
        2 => prop::sample::select(FailureClass::ALL.to_vec()).prop_map(Outcome::Failed),
        1 => Just(Outcome::Timeout),
        1 => Just(Outcome::Cancelled),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let kinds = prop::sample::select(vec![(OPEN, TOOLS, LIST), (OPEN, TOOLS, CART), (CLOSED, HEALTH, PING)]);
    prop_oneof![
        8 => (kinds, 0u16..4, 0u32..2, outcome(), 0u64..5_000_000).prop_map(
            |((load, scenario, step), tag, segment, outcome, us)| Event::Done {
                load, scenario, step, tag, segment, outcome, us
            }
        ),
        1 => (prop::sample::select(DropReason::ALL.to_vec()), 0u32..2, 0u64..5_000_000)
            .prop_map(|(reason, segment, us)| Event::Dropped { reason, segment, us }),
    ]
}

/// For each worker, its deltas in order: events by interval, some intervals far apart.
fn runs() -> impl Strategy<Value = Vec<Vec<(u32, Vec<Event>)>>> {
    let interval = (
        prop_oneof![8 => 0u32..3, 1 => 0u32..6_000, 1 => 0u32..40_000],
        prop::collection::vec(event(), 0..6),
    );
    let worker = prop::collection::vec(interval, 0..8).prop_map(|steps| {
        let mut at = 0;
        steps
            .into_iter()
            .map(|(gap, events)| {
                at += gap;
                (at, events)
            })
            .collect()
    });
    prop::collection::vec(worker, 3)
}

/// The deltas of all workers in some order that keeps each worker's own.
fn shuffled(runs: &[Vec<(u32, Vec<Event>)>], order: &[usize]) -> Vec<(WorkerId, Delta)> {
    let mut places = vec![0usize; runs.len()];
    let mut out = Vec::new();
    let all: usize = runs.iter().map(Vec::len).sum();
    let mut turns = order.iter().copied().cycle();
    while out.len() < all {
        let mut worker = turns.next().unwrap_or(0) % runs.len();
        while places[worker] == runs[worker].len() {
            worker = (worker + 1) % runs.len();
        }
        let (interval, events) = &runs[worker][places[worker]];
        places[worker] += 1;
        let mut delta = delta_of(*interval, events.iter().copied());
        delta.seq = places[worker] as u64;
        delta.last = places[worker] == runs[worker].len();
        out.push((WorkerId(worker as u32), delta));
    }
    out
}

fn filled(deltas: &[(WorkerId, Delta)]) -> Ledger {
    let mut ledger = ledger(3, 60, 5);
    for (worker, delta) in deltas {
        assert_eq!(ledger.apply(*worker, FIRST, delta), Ok(Applied::Merged));
    }
    ledger
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_workers_changes_nothing(
        runs in runs(),
        one in prop::collection::vec(0usize..3, 1..30),
        two in prop::collection::vec(0usize..3, 1..30),
    ) {
        let (one, two) = (filled(&shuffled(&runs, &one)), filled(&shuffled(&runs, &two)));
        prop_assert_eq!(&one, &two);
        let events = || runs.iter().flatten().flat_map(|(_, events)| events);
        let censored = events().filter(|event| event.is_censored()).count() as u64;
        let slots = one.timeline.iter().map(|(_, slot)| one.timeline.latencies(slot));
        let counted = slots.fold((0, 0), |sum, slot| (sum.0 + slot.response.all().count() - slot.response.censored.count(), sum.1 + slot.response.censored.count()));
        prop_assert_eq!(counted, (events().count() as u64 - censored, censored));
    }

    #[test]
    fn what_was_stored_is_what_was_counted(
        runs in runs(),
        order in prop::collection::vec(0usize..3, 1..30),
        commits in prop::collection::vec(1usize..6, 1..6),
    ) {
        let deltas = shuffled(&runs, &order);
        let original = filled(&deltas);
        let mut records = Vec::new();
        let mut rest = deltas.as_slice();
        let mut sizes = commits.iter().cycle();
        while !rest.is_empty() {
            let (now, later) = rest.split_at((*sizes.next().unwrap_or(&1)).min(rest.len()));
            let mut batch = Batch::new();
            for (worker, delta) in now {
                batch.add(*worker, FIRST, delta);
            }
            records.extend(batch.into_records());
            rest = later;
        }
        prop_assert_eq!(Ledger::restore(config(3, 60, 5), &records), Ok(original));
        if let Some(repeated) = records.iter().find(|record| !record.parts.is_empty()).cloned() {
            records.push(repeated);
            let refused = matches!(Ledger::restore(config(3, 60, 5), &records), Err(Rejected::Repeated { .. }));
            prop_assert!(refused);
        }
    }

    #[test]
    fn percentiles_are_those_of_the_raw_samples(runs in runs(), q_ppb in 1u64..=1_000_000_000) {
        let ledger = filled(&shuffled(&runs, &[0, 1, 2]));
        let mut raw: Vec<(u64, bool)> = Vec::new();
        for event in runs.iter().flatten().flat_map(|(_, events)| events) {
            let (Event::Done { us, .. } | Event::Dropped { us, .. }) = *event;
            raw.push((us, event.is_censored()));
        }
        raw.sort_unstable();
        let whole = Some(&PhaseSelector::Whole);
        let got = ledger.samples(&Selector::default(), whole, &Window::Whole, Measure::Response, Outcomes::All);
        prop_assert_eq!(got.count(), raw.len() as u64);
        let rank = rank(q_ppb, raw.len() as u64) as usize;
        let want = rank.checked_sub(1).map(|place| index_of(raw[place].0));
        prop_assert_eq!(got.quantile(q_ppb).map(|quantile| quantile.value_us), want.map(highest));
        if let (Some(quantile), Some(want)) = (got.quantile(q_ppb), want) {
            let uncertain = raw.iter().any(|(us, censored)| *censored && index_of(*us) <= want);
            prop_assert_eq!(quantile.at_least, uncertain);
        }
        let histogram = got.histogram();
        prop_assert_eq!(histogram.len(), raw.len() as u64);
        if let Some(quantile) = got.quantile(q_ppb) {
            // The crate reckons ranks in floats, so it is asked for the middle of the rank.
            let middle = (rank as f64 - 0.5) / raw.len() as f64;
            prop_assert_eq!(histogram.value_at_quantile(middle), quantile.value_us);
        }
    }

    #[test]
    fn the_state_at_a_watermark_is_that_of_the_deltas_before_it(
        events in prop::collection::vec(prop::collection::vec(event(), 0..5), 1..12),
        watermark in 0u32..14,
    ) {
        let (mut all, mut before) = (ledger(1, 60, 5), ledger(1, 60, 5));
        for (interval, events) in events.iter().enumerate() {
            let delta = delta_of(interval as u32, events.iter().copied());
            all.apply(WorkerId(0), FIRST, &delta).expect("in order");
            if delta.interval < watermark {
                before.apply(WorkerId(0), FIRST, &delta).expect("in order");
            }
        }
        for during in [None, Some(PhaseSelector::WarmUp), Some(PhaseSelector::Whole)] {
            let (select, during) = (Selector::default(), during.as_ref());
            let up_to = Window::UpTo(watermark);
            prop_assert_eq!(all.counts(&select, during, &up_to), before.counts(&select, during, &Window::Whole));
            let samples = |ledger: &Ledger, window| {
                ledger.samples(&select, during, window, Measure::Response, Outcomes::All).latency()
            };
            prop_assert_eq!(samples(&all, &up_to), samples(&before, &Window::Whole));
            let slots = Window::Intervals(0..watermark);
            prop_assert_eq!(all.counts(&select, during, &slots), before.counts(&select, during, &Window::Whole));
        }
    }

    #[test]
    fn any_order_of_errors_keeps_the_same_sample(mut kinds in prop::collection::vec((0u64..400, 0usize..4), 0..300)) {
        let fill = |kinds: &[(u64, usize)]| {
            let mut errors = Errors::default();
            for (at, class) in kinds {
                let failed = Outcome::Failed(FailureClass::ALL[*class]);
                delta_of(0, [ended(failed, *at)]).errors.iter().for_each(|sample| errors.add(WorkerId(0), sample));
            }
            errors
        };
        let one = fill(&kinds);
        kinds.reverse();
        prop_assert_eq!(&fill(&kinds), &one);
        kinds.sort_unstable();
        let sorted = fill(&kinds);
        prop_assert_eq!(&sorted, &one);
        kinds.dedup();
        prop_assert_eq!(sorted.in_order().len(), kinds.len().min(ERRORS_MAX));
    }
}

#[test]
fn a_delta_counts_once() {
    let mut ledger = ledger(1, 10, 0);
    let delta = delta_of(0, [ok(1_000)]);
    assert_eq!(ledger.apply(WorkerId(0), FIRST, &delta), Ok(Applied::Merged));
    let before = ledger.clone();
    assert_eq!(ledger.apply(WorkerId(0), FIRST, &delta), Ok(Applied::Duplicate));
    assert_eq!(ledger, before);
    assert_eq!(ledger.high_water(WorkerId(0), FIRST), 1);
    let other = Incarnation(8);
    assert_eq!(ledger.apply(WorkerId(0), other, &delta), Ok(Applied::Merged));
    let gap = Delta { seq: 3, ..delta };
    assert_eq!(
        ledger.apply(WorkerId(0), other, &gap),
        Err(Rejected::Gap { expected: 2, found: 3 })
    );
}

#[test]
fn what_the_run_does_not_have_is_refused() {
    let mut ledger = ledger(2, 10, 0);
    let unknown = |kind, id| Rejected::Unknown { kind, id };
    let edited = |edit: fn(&mut Delta)| {
        let mut delta = delta_of(4, [ok(1_000)]);
        delta.seq = 1;
        edit(&mut delta);
        delta
    };
    for (delta, want) in [
        (edited(|delta| delta.seq = 0), Rejected::NoSequence),
        (
            edited(|delta| delta.interval = INTERVALS_MAX),
            Rejected::Interval {
                found: 691_200,
                least: 0,
                most: 691_199,
            },
        ),
        (edited(|delta| delta.iterations[0].load = LoadId(2)), unknown("load", 2)),
        (
            edited(|delta| delta.iterations[0].scenario = ScenarioId(2)),
            unknown("scenario", 2),
        ),
        (
            edited(|delta| delta.iterations[0].segment = SegmentId(1)),
            unknown("segment", 1),
        ),
        (edited(|delta| delta.steps[0].step = StepId(7)), unknown("step", 7)),
        (
            edited(|delta| delta.steps[0].step = CHECKOUT),
            Rejected::Group(CHECKOUT),
        ),
        (edited(|delta| delta.steps[0].tag = TagId(4)), unknown("tag", 4)),
        (
            edited(|delta| delta.steps[0].segment = SegmentId(9)),
            unknown("segment", 9),
        ),
        (edited(|delta| delta.sketches[0].key.tag = TagId(4)), unknown("tag", 4)),
        (
            edited(|delta| delta.sketches[0].key.segment = SegmentId(1)),
            unknown("segment", 1),
        ),
        (
            edited(|delta| delta.sketches[0].key.subject = Subject::Scenario(ScenarioId(5))),
            unknown("scenario", 5),
        ),
        (
            edited(|delta| delta.progress = vec![progress(1, 5), progress(2, 5)]),
            unknown("shard of this worker", 2),
        ),
        (
            edited(|delta| {
                let full = Packed::from_counts([(1, COUNT_MAX)], 0).expect("as many as a sketch may hold");
                delta.sketches[0].sketch = full;
            }),
            Rejected::Samples,
        ),
    ] {
        let before = ledger.clone();
        assert_eq!(ledger.apply(WorkerId(0), FIRST, &delta), Err(want));
        assert_eq!(ledger, before, "a refused delta changes nothing");
    }
}

#[test]
fn intervals_never_go_back_and_strangers_are_refused() {
    let mut ledger = ledger(2, 10, 0);
    let good = delta_of(4, [ok(1_000)]);
    assert_eq!(
        ledger.apply(WorkerId(2), FIRST, &good),
        Err(Rejected::Worker(WorkerId(2)))
    );
    let first = Delta { seq: 1, ..good };
    assert_eq!(ledger.apply(WorkerId(0), FIRST, &first), Ok(Applied::Merged));
    let back = Delta {
        seq: 2,
        interval: 3,
        ..first
    };
    let want = Rejected::Interval {
        found: 3,
        least: 4,
        most: 691_199,
    };
    assert_eq!(ledger.apply(WorkerId(0), FIRST, &back), Err(want));
}

#[test]
fn an_equation_that_does_not_hold_is_noted() {
    let mut ledger = ledger(1, 10, 0);
    let mut delta = delta_of(0, [ok(1_000), ok(2_000)]);
    delta.open = Open {
        in_progress: 1,
        ..Open::default()
    };
    ledger.apply(WorkerId(0), FIRST, &delta).expect("rows are fine");
    let texts: Vec<String> = ledger.inconsistencies().into_iter().map(|found| found.text).collect();
    assert_eq!(texts, ["2 iterations started, but 3 ended or in progress"]);

    let mut delta = delta_of(1, [ok(1_000)]);
    delta.last = true;
    delta.open = Open {
        in_flight: 1,
        ..Open::default()
    };
    delta.steps[0].counts.sent += 1;
    delta.steps[0].counts.attempted += 1;
    ledger.apply(WorkerId(0), FIRST, &delta).expect("rows are fine");
    let found = ledger.inconsistencies();
    assert_eq!(found.len(), 2);
    assert_eq!(found[1].interval, 1);
    assert!(
        found[1]
            .text
            .starts_with("the last interval leaves 0 iterations in progress and 1 steps"),
        "{}",
        found[1].text
    );
}

/// Four iterations in two segments, a login of the setup, and a sample of the group.
fn mixed() -> Ledger {
    let event = |load, scenario, step, tag, segment, outcome, us| Event::Done {
        load,
        scenario,
        step,
        tag,
        segment,
        outcome,
        us,
    };
    let mut ledger = ledger(1, 60, 5);
    let mut delta = delta_of(
        0,
        [
            event(OPEN, TOOLS, LIST, 1, 0, Outcome::Ok, 10),
            event(OPEN, TOOLS, LIST, 2, 1, Outcome::Timeout, 20),
            event(OPEN, TOOLS, CART, 1, 1, Outcome::Failed(FailureClass::Status), 30),
            event(CLOSED, HEALTH, PING, 0, 1, Outcome::Ok, 40),
        ],
    );
    let login = StepCounts {
        attempted: 1,
        sent: 1,
        ok: 1,
        ..StepCounts::default()
    };
    let (tag, segment) = (TagId(0), SegmentId(0));
    delta.steps.push(barrage_model::delta::StepRow {
        step: LOGIN,
        tag,
        segment,
        counts: login,
    });
    let mut group = Packed::default();
    Packed::merge(&mut group, &Packed::from_counts([(77, 1)], 0).expect("one sample")).expect("one sample");
    let (subject, measure) = (Subject::Step(CHECKOUT), Measure::Response);
    let key = SketchKey {
        subject,
        measure,
        group: OutcomeGroup::Ok,
        tag,
        segment: SegmentId(1),
    };
    delta.sketches.push(SketchRow { key, sketch: group });
    ledger.apply(WorkerId(0), FIRST, &delta).expect("rows are fine");
    ledger
}

#[test]
fn selectors() {
    let ledger = mixed();
    let any = |name: &str| Selector {
        name: Some(Named::Any(name.to_owned())),
        tags: Vec::new(),
    };
    let tagged = |value: &str| Selector {
        name: None,
        tags: vec![("backend".to_owned(), value.to_owned())],
    };
    let whole = Some(&PhaseSelector::Whole);
    let [peak, other] = ["peak", "other"].map(|name| PhaseSelector::Stage(name.to_owned()));
    // Ended steps, started iterations and response samples of a selection.
    let check = |select: &Selector, during, want: (u64, u64, u64)| {
        let counts = ledger.counts(select, during, &Window::Whole);
        let samples = ledger.samples(select, during, &Window::Whole, Measure::Response, Outcomes::All);
        assert_eq!(
            (counts.steps.ended(), counts.iterations.started, samples.count()),
            want,
            "{select:?} {during:?}"
        );
        assert_eq!(counts, ledger.counts(select, during, &Window::Intervals(0..1)));
    };
    check(&Selector::default(), whole, (4, 4, 4));
    check(&Selector::default(), None, (3, 3, 3));
    check(&Selector::default(), Some(&PhaseSelector::Steady), (3, 3, 3));
    check(&Selector::default(), Some(&PhaseSelector::WarmUp), (1, 1, 1));
    check(&Selector::default(), Some(&peak), (4, 4, 4));
    check(&Selector::default(), Some(&other), (0, 0, 0));
    check(&any("list tools"), whole, (2, 3, 2));
    check(&any("checkout"), whole, (1, 3, 1));
    check(&any("health"), whole, (1, 1, 1));
    check(&any("tools"), whole, (3, 3, 3));
    check(&any("login"), whole, (1, 0, 0));
    check(&any("nothing"), whole, (0, 0, 0));
    check(&tagged("blue"), whole, (2, 4, 2));
    check(&tagged("green"), whole, (1, 4, 1));
    check(&tagged("other"), whole, (0, 4, 0));
    check(&tagged(""), whole, (1, 4, 1));
    // Sends are counted before the tag is known; what was sent to a tag is what came back from it.
    for value in ["blue", "green", "other", ""] {
        let steps = ledger.counts(&tagged(value), whole, &Window::Whole).steps;
        assert_eq!((steps.attempted, steps.sent), (steps.ended(), steps.ended()), "{value}");
    }
    let ok = ledger.samples(
        &Selector::default(),
        whole,
        &Window::Whole,
        Measure::Response,
        Outcomes::Ok,
    );
    assert_eq!(ok.count(), 2);
    let open_alone = ledger
        .counts(&Selector::default(), whole, &Window::Whole)
        .started_scheduled;
    assert_eq!(open_alone, 3);
    assert_eq!(ledger.covered_us(None, &Window::UpTo(8)), 3_000_000);
    assert_eq!(ledger.covered_us(whole, &Window::UpTo(8)), 8_000_000);
    assert_eq!(
        ledger.covered_us(Some(&PhaseSelector::WarmUp), &Window::Intervals(3..9)),
        2_000_000
    );
}

#[test]
fn old_intervals_are_merged_and_nothing_is_lost() {
    let mut ledger = ledger(1, 60, 0);
    let mut expected = 0;
    for (seq, interval) in (0..50_000).step_by(7).enumerate() {
        let mut delta = delta_of(interval, [ok(1_000)]);
        delta.seq = seq as u64 + 1;
        ledger.apply(WorkerId(0), FIRST, &delta).expect("in order");
        expected += 1;
    }
    let started: u64 = ledger
        .timeline
        .iter()
        .map(|(_, slot)| slot.totals.iterations.started)
        .sum();
    let samples: u64 = ledger
        .timeline
        .iter()
        .map(|(_, slot)| ledger.timeline.latencies(slot).response.all().count())
        .sum();
    assert_eq!((started, samples), (expected, expected));
    let slots: Vec<u32> = ledger.timeline.iter().map(|(start, _)| start).collect();
    assert!(slots.len() < 5_000, "{} slots", slots.len());
    assert!(slots.iter().all(|start| start % ledger.timeline.length_at(*start) == 0));
    assert_eq!([0, 13_000, 47_000].map(|at| ledger.timeline.length_at(at)), [60, 60, 1]);
    assert_eq!(ledger.timeline.length_at(20_000), 10);
    assert!(
        ledger
            .timeline
            .iter()
            .all(|(start, slot)| slot.detail.is_some() == (ledger.timeline.length_at(start) == 1))
    );
}
