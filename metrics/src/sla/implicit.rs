//! The SLA that nobody has to write: an open load starts what its schedule asks for.

use barrage_model::ids::LoadId;
use barrage_model::ledger::IterationCounts;
use barrage_model::outcome::DropReason;
use barrage_model::plan::LoadModel;
use barrage_model::units::Ratio;

use crate::ledger::Ledger;
use crate::summary::{GeneratorReason, GeneratorVerdict, SlaResult, SlaVerdict};

/// The verdict on one open load, and what it says about the generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) verdict: SlaVerdict,
    pub(crate) reason: String,
    pub(crate) generator: Option<String>,
}

/// Results for the report, and reasons against the generator.
#[derive(Clone, Debug, Default)]
pub(crate) struct Implicit {
    pub(crate) results: Vec<SlaResult>,
    pub(crate) reasons: Vec<GeneratorReason>,
}

/// Judges every open load. Arrivals of lost workers are left out: the plan's loss tolerance is about those. With
/// `stopped_early`, so are arrivals that were still waiting when the run stopped, and loads of which none had fallen due.
pub(crate) fn min_started(ledger: &Ledger, stopped_early: bool) -> Implicit {
    let plan = ledger.plan();
    let open = plan
        .loads
        .iter()
        .enumerate()
        .filter(|(_, load)| matches!(load.model, LoadModel::Open(_)));
    let mut found = Implicit::default();
    for (number, load) in open {
        let mut counts = ledger.load_counts(LoadId(number as u16));
        let stopped = &mut counts.dropped[DropReason::Stopped.index()];
        let waiting = if stopped_early { std::mem::take(stopped) } else { 0 };
        let due = counts.started.saturating_add(counts.dropped_total());
        let mut judgement = judge(&counts, plan.min_started);
        let lost = ledger.losses().filter(|loss| usize::from(loss.load.0) == number);
        let (unknown, unsent) = lost.fold((0_u64, 0_u64), |(unknown, unsent), loss| {
            (unknown.saturating_add(loss.unknown), unsent.saturating_add(loss.unsent))
        });
        if stopped_early && due == 0 && unknown == 0 && unsent == 0 {
            // It had not begun: nothing can be said against it.
            continue;
        }
        if unknown > 0 || unsent > 0 {
            let left = format!("; what lost workers left is not part of it: {unknown} unknown, {unsent} unsent");
            judgement.reason.push_str(&left);
        }
        if waiting > 0 {
            let left = format!("; what was waiting when the run stopped is not part of it: {waiting}");
            judgement.reason.push_str(&left);
        }
        let observed = match waiting.saturating_add(unknown).saturating_add(unsent) {
            0 => format!("started {} of {due}", counts.started),
            left_out => format!("started {} of {due}, {left_out} left out", counts.started),
        };
        let of = if plan.loads.len() > 1 {
            format!(" of load \"{}\"", load.name)
        } else {
            String::new()
        };
        found.results.push(SlaResult {
            that: format!("started >= {} of scheduled{of}", plan.min_started),
            during: None,
            over: None,
            in_a_row: 1,
            stop: false,
            implicit: true,
            observed,
            verdict: judgement.verdict,
            reason: judgement.reason,
            at: None,
            breached_at: None,
        });
        found.reasons.extend(judgement.generator.map(|text| GeneratorReason {
            verdict: GeneratorVerdict::Invalid,
            worker: None,
            kind: "min_started",
            text,
            intervals: Vec::new(),
        }));
    }
    found
}

/// Missed because of late drops alone, or mostly: the generator's fault. Otherwise the target's, or a limit's.
pub(crate) fn judge(counts: &IterationCounts, min_started: Ratio) -> Judgement {
    let late = counts.dropped[DropReason::Late.index()];
    let rest = counts.dropped_total().saturating_sub(late);
    let due = counts.started.saturating_add(counts.dropped_total());
    let misses = |missing: u64| {
        let started = u128::from(due.saturating_sub(missing));
        started * u128::from(Ratio::ONE.ppb()) < u128::from(due) * u128::from(min_started.ppb())
    };
    if due == 0 {
        let reason = "no arrival fell due".to_owned();
        return Judgement {
            verdict: SlaVerdict::NotEnoughSamples,
            reason,
            generator: None,
        };
    }
    if !misses(late.saturating_add(rest)) {
        let reason = format!("{} of {due} arrivals were not started", late.saturating_add(rest));
        return Judgement {
            verdict: SlaVerdict::Passed,
            reason,
            generator: None,
        };
    }
    let generator = (misses(late) || (!misses(rest) && late >= rest)).then(|| {
        format!(
            "{late} of {due} arrivals were dropped because the generator was late, so the load was not what the plan asks"
        )
    });
    if generator.is_some() && !misses(rest) {
        let reason = format!("missed by the generator: {late} arrivals were late");
        return Judgement {
            verdict: SlaVerdict::NotJudged,
            reason,
            generator,
        };
    }
    let parts: Vec<String> = DropReason::ALL
        .iter()
        .map(|reason| (reason.word(), counts.dropped[reason.index()]))
        .filter(|(_, count)| *count > 0)
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    let dropped = late.saturating_add(rest);
    let reason = format!("{dropped} of {due} arrivals were dropped: {}", parts.join(", "));
    Judgement {
        verdict: SlaVerdict::Failed,
        reason,
        generator,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(started: u64, [late, no_slot, ceiling, stopped]: [u64; 4], want: SlaVerdict, invalid: bool) {
        let dropped = [late, no_slot, ceiling, stopped];
        let counts = IterationCounts {
            started,
            dropped,
            ..IterationCounts::default()
        };
        let got = judge(&counts, Ratio::from_ppb(990_000_000));
        assert_eq!((got.verdict, got.generator.is_some()), (want, invalid), "{got:?}");
    }

    #[test]
    fn who_is_to_blame() {
        check(0, [0, 0, 0, 0], SlaVerdict::NotEnoughSamples, false);
        check(1_000, [0, 0, 0, 0], SlaVerdict::Passed, false);
        check(990, [0, 10, 0, 0], SlaVerdict::Passed, false);
        check(989, [0, 11, 0, 0], SlaVerdict::Failed, false);
        check(989, [0, 5, 6, 0], SlaVerdict::Failed, false);
        check(989, [11, 0, 0, 0], SlaVerdict::NotJudged, true);
        check(989, [6, 5, 0, 0], SlaVerdict::NotJudged, true);
        check(989, [5, 6, 0, 0], SlaVerdict::Failed, false);
        check(900, [50, 50, 0, 0], SlaVerdict::Failed, true);
    }

    #[test]
    fn every_reason_is_told() {
        let counts = IterationCounts {
            started: 544,
            dropped: [14, 56, 0, 0],
            ..IterationCounts::default()
        };
        let got = judge(&counts, Ratio::from_ppb(990_000_000));
        assert_eq!(got.reason, "70 of 614 arrivals were dropped: 14 late, 56 no_slot");
    }
}
