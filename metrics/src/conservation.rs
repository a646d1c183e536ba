//! Both ledgers, added up and checked once more over the whole run (semantics 2).

use barrage_model::ids::LoadId;
use barrage_model::ledger::{IterationCounts, Open, StepCounts};

use crate::ledger::{Ledger, Member};
use crate::summary::{Conservation, Dropped, IterationTotals, StepTotals, WorkerState};

/// Adds up both ledgers. With `ended`, nothing may be open but in lost workers, and the schedule must be accounted for.
pub(crate) fn conservation(ledger: &Ledger, ended: bool) -> Conservation {
    let mut found = Conservation::default();
    for ((worker, _), member) in &ledger.members {
        let iterations = of_member(ledger, member);
        let steps = StepTotals {
            counts: member.steps_total(),
            in_flight: member.open.in_flight,
        };
        match found.per_worker.iter_mut().find(|(known, ..)| known == worker) {
            Some((_, sum, steps_sum)) => {
                add_iterations(sum, &iterations);
                add_steps(steps_sum, &steps);
            }
            None => found.per_worker.push((*worker, iterations, steps)),
        }
        add_iterations(&mut found.iterations, &iterations);
        add_steps(&mut found.steps, &steps);
        if ended && matches!(member.state, None | Some(WorkerState::Running)) {
            found.mismatches.push(format!(
                "worker {worker} has neither sent its last interval nor been lost"
            ));
        }
        if ended && member.state == Some(WorkerState::Finished) && member.open.waiting > 0 {
            found.mismatches.push(format!(
                "worker {worker} leaves {} arrivals waiting, and has not been lost",
                member.open.waiting
            ));
        }
    }
    for loss in ledger.losses() {
        let totals = &mut found.iterations;
        totals.unsent = totals.unsent.saturating_add(loss.unsent);
        totals.unknown = totals.unknown.saturating_add(loss.unknown);
        if let Some((_, totals, _)) = found.per_worker.iter_mut().find(|(worker, ..)| *worker == loss.worker) {
            totals.unsent = totals.unsent.saturating_add(loss.unsent);
            totals.unknown = totals.unknown.saturating_add(loss.unknown);
        }
    }
    if ended {
        found.iterations.waiting = 0;
        for (worker, totals, _) in &mut found.per_worker {
            if ledger.losses().any(|loss| loss.worker == *worker) {
                // What it had waiting is among its unknown or unsent arrivals, and the schedule asked it for those.
                let told = totals.scheduled.saturating_sub(totals.waiting);
                totals.scheduled = told.saturating_add(totals.unsent).saturating_add(totals.unknown);
                totals.waiting = 0;
            }
        }
        found.iterations.scheduled = check_schedule(ledger, &mut found.mismatches);
    }
    let worker_texts = ledger.inconsistencies().into_iter().map(|inconsistency| {
        format!(
            "worker {}, after interval {}: {}",
            inconsistency.worker, inconsistency.interval, inconsistency.text
        )
    });
    found.mismatches.extend(worker_texts);
    check_totals(ledger, &mut found);
    found
}

/// One worker process's part of the iteration ledger, without what it lost.
pub(crate) fn of_member(ledger: &Ledger, member: &Member) -> IterationTotals {
    totals(
        &member.iterations_total(),
        member.started_scheduled(ledger.catalog()),
        &member.open,
    )
}

pub(crate) fn totals(counts: &IterationCounts, started_scheduled: u64, open: &Open) -> IterationTotals {
    let [late, no_slot, ceiling, stopped] = counts.dropped;
    IterationTotals {
        scheduled: counts.scheduled,
        started: counts.started,
        started_scheduled,
        completed: counts.completed,
        broken_off: counts.broken_off,
        cancelled: counts.cancelled,
        in_progress: open.in_progress,
        dropped: Dropped {
            late,
            no_slot,
            ceiling,
            stopped,
        },
        unsent: 0,
        unknown: 0,
        waiting: open.waiting,
    }
}

pub(crate) fn add_iterations(sum: &mut IterationTotals, more: &IterationTotals) {
    let fields = [
        (&mut sum.scheduled, more.scheduled),
        (&mut sum.started, more.started),
        (&mut sum.started_scheduled, more.started_scheduled),
        (&mut sum.completed, more.completed),
        (&mut sum.broken_off, more.broken_off),
        (&mut sum.cancelled, more.cancelled),
        (&mut sum.in_progress, more.in_progress),
        (&mut sum.dropped.late, more.dropped.late),
        (&mut sum.dropped.no_slot, more.dropped.no_slot),
        (&mut sum.dropped.ceiling, more.dropped.ceiling),
        (&mut sum.dropped.stopped, more.dropped.stopped),
        (&mut sum.unsent, more.unsent),
        (&mut sum.unknown, more.unknown),
        (&mut sum.waiting, more.waiting),
    ];
    for (field, more) in fields {
        *field = field.saturating_add(more);
    }
}

pub(crate) fn add_steps(sum: &mut StepTotals, more: &StepTotals) {
    sum.counts.add(&more.counts);
    sum.in_flight = sum.in_flight.saturating_add(more.in_flight);
}

/// `scheduled = started + dropped + unsent + unknown` for each load; returns what was scheduled in all.
fn check_schedule(ledger: &Ledger, mismatches: &mut Vec<String>) -> u64 {
    let mut total = 0u64;
    for (number, load) in ledger.plan().loads.iter().enumerate() {
        let id = LoadId(number as u16);
        if !ledger.catalog().scheduled.get(number).copied().unwrap_or(false) {
            continue;
        }
        let counts = ledger.load_counts(id);
        let (mut unsent, mut unknown) = (0u64, 0u64);
        for loss in ledger.losses().filter(|loss| loss.load == id) {
            unsent = unsent.saturating_add(loss.unsent);
            unknown = unknown.saturating_add(loss.unknown);
        }
        let dropped = counts.dropped_total();
        let accounted = [dropped, unsent, unknown]
            .iter()
            .fold(counts.started, |sum, n| sum.saturating_add(*n));
        let scheduled = ledger.scheduled(id).unwrap_or(accounted);
        if scheduled != accounted {
            mismatches.push(format!(
                "load \"{}\": {scheduled} arrivals scheduled, but {accounted} accounted for ({} started, {dropped} \
                 dropped, {unsent} unsent, {unknown} unknown)",
                load.name, counts.started
            ));
        }
        total = total.saturating_add(scheduled);
    }
    total
}

/// The totals' own equations, and that the sums over scenarios and steps are those over workers.
fn check_totals(ledger: &Ledger, found: &mut Conservation) {
    let iterations = &found.iterations;
    let ended = [iterations.broken_off, iterations.cancelled, iterations.in_progress];
    let accounted = ended.iter().fold(iterations.completed, |sum, n| sum.saturating_add(*n));
    let mut mismatches = Vec::new();
    if iterations.started != accounted {
        mismatches.push(format!(
            "{} iterations started, but {accounted} ended or in progress",
            iterations.started
        ));
    }
    let open = Open {
        in_flight: found.steps.in_flight,
        ..Open::default()
    };
    let steps = barrage_model::ledger::check_steps(&found.steps.counts, &open);
    mismatches.extend(steps.err().map(|imbalance| imbalance.to_string()));

    let mut by_worker = (IterationCounts::default(), StepCounts::default());
    for member in ledger.members.values() {
        by_worker.0.add(&member.iterations_total());
        by_worker.1.add(&member.steps_total());
    }
    let mut by_series = (IterationCounts::default(), StepCounts::default());
    ledger.iterations.iter().for_each(|(_, counts)| by_series.0.add(counts));
    ledger
        .iterations
        .other()
        .for_each(|(_, counts)| by_series.0.add(counts));
    ledger.steps.iter().for_each(|(_, counts)| by_series.1.add(counts));
    ledger.steps.other().for_each(|(_, counts)| by_series.1.add(counts));
    if by_worker.0 != by_series.0 {
        mismatches.push("the iterations of all scenarios are not those of all workers".to_owned());
    }
    if by_worker.1 != by_series.1 {
        mismatches.push("the steps of all series are not those of all workers".to_owned());
    }
    found.mismatches.extend(mismatches);
}
