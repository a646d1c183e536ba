//! Both ledgers as equations with their numbers.

use barrage_metrics::summary::{Conservation, IterationTotals, StepTotals, Summary};

use super::{Section, Tone};
use crate::number::count;

/// Most equations that do not hold which are listed; each worker can have four.
const MISMATCHES_MAX: usize = 20;

pub(super) fn section(summary: &Summary) -> Section {
    let mut section = Section::new("Ledgers");
    let conservation = &summary.conservation;
    for (holds, equation) in equations(conservation) {
        section.note(if holds { Tone::Plain } else { Tone::Bad }, equation);
    }
    let mismatches = &conservation.mismatches;
    if mismatches.is_empty() {
        section.note(Tone::Good, "both ledgers are consistent, for every worker and in total");
    }
    for mismatch in mismatches.iter().take(MISMATCHES_MAX) {
        section.note(Tone::Bad, format!("INCONSISTENT: {mismatch}"));
    }
    if mismatches.len() > MISMATCHES_MAX {
        let more = mismatches.len() - MISMATCHES_MAX;
        section.note(Tone::Bad, format!("{more} more equations do not hold"));
    }
    section
}

/// The equations of both ledgers, each with whether its sides are equal.
pub(crate) fn equations(conservation: &Conservation) -> Vec<(bool, String)> {
    let mut equations = Vec::new();
    iterations(&conservation.iterations, &mut equations);
    steps(&conservation.steps, &mut equations);
    equations
}

fn iterations(n: &IterationTotals, equations: &mut Vec<(bool, String)>) {
    if n.scheduled > 0 || n.started_scheduled > 0 {
        // Closed models start iterations that no schedule asked for; they enter the second equation alone.
        let started = if n.started == n.started_scheduled {
            "started"
        } else {
            "started by the schedule"
        };
        let mut right = vec![
            (started, n.started_scheduled),
            ("dropped", n.dropped.total()),
            ("unsent", n.unsent),
            ("unknown", n.unknown),
        ];
        if n.waiting > 0 {
            right.push(("waiting", n.waiting));
        }
        let (holds, mut text) = equation("iterations: scheduled", n.scheduled, &right);
        text.push_str(&dropped(n));
        equations.push((holds, text));
    }
    let right = [
        ("completed", n.completed),
        ("broken off", n.broken_off),
        ("cancelled", n.cancelled),
        ("in progress", n.in_progress),
    ];
    equations.push(equation("iterations: started", n.started, &right));
}

/// Why arrivals were dropped: `; dropped: late 3, no_slot 300`.
fn dropped(n: &IterationTotals) -> String {
    let reasons = [
        ("late", n.dropped.late),
        ("no_slot", n.dropped.no_slot),
        ("ceiling", n.dropped.ceiling),
        ("stopped", n.dropped.stopped),
    ];
    let reasons: Vec<String> = reasons
        .iter()
        .filter(|(_, n)| *n > 0)
        .map(|(reason, n)| format!("{reason} {}", count(*n)))
        .collect();
    match reasons.as_slice() {
        [] => String::new(),
        reasons => format!("; dropped: {}", reasons.join(", ")),
    }
}

fn steps(n: &StepTotals, equations: &mut Vec<(bool, String)>) {
    let counts = &n.counts;
    let right = [
        ("sent", counts.sent),
        ("shed", counts.shed),
        ("fallback", counts.fallback),
        ("injected", counts.injected),
    ];
    equations.push(equation("steps: attempted", counts.attempted, &right));
    let right = [
        ("ok", counts.ok),
        ("failed", counts.failed_total()),
        ("timeout", counts.timeout),
        ("cancelled", counts.cancelled),
        ("in flight", n.in_flight),
    ];
    equations.push(equation("steps: sent", counts.sent, &right));
}

fn equation(name: &str, left: u64, right: &[(&str, u64)]) -> (bool, String) {
    let sum = right.iter().fold(0u128, |sum, (_, n)| sum + u128::from(*n));
    let holds = sum == u128::from(left);
    let sign = if holds { '=' } else { '≠' };
    let terms: Vec<String> = right.iter().map(|(name, n)| format!("{name} {}", count(*n))).collect();
    (holds, format!("{name} {} {sign} {}", count(left), terms.join(" + ")))
}
