//! Where segments begin, and which phases they belong to.

use std::collections::BTreeSet;

use barrage_model::ids::SegmentId;
use barrage_model::phase::{Mark, Marks, Phase};
use barrage_model::plan::{Load, Plan, Stretch};
use barrage_model::time::Moment;

/// Cuts the run at every begin and end of a stage and at the end of warm-up. `None` when there are too many cuts.
pub(super) fn marks(plan: &Plan, end: Moment) -> Option<Marks> {
    let stretches: Vec<Stretch<'_>> = plan.loads.iter().flat_map(Load::stretches).collect();
    let warm_up = Moment::ZERO + plan.warm_up;
    let mut cuts: BTreeSet<Moment> = stretches
        .iter()
        .flat_map(|stretch| [stretch.from, stretch.to])
        .collect();
    cuts.extend([Moment::ZERO, warm_up.min(end), end]);
    if cuts.len() > barrage_model::phase::MARKS_MAX {
        return None;
    }
    // A sweep: stretches begin in order of time, and few of them overlap.
    let mut waiting: Vec<&Stretch<'_>> = stretches.iter().filter(|stretch| stretch.from < stretch.to).collect();
    waiting.sort_by_key(|stretch| std::cmp::Reverse(stretch.from));
    let mut active: Vec<&Stretch<'_>> = Vec::new();
    let mut marks = Vec::with_capacity(cuts.len());
    for (number, at) in cuts.into_iter().enumerate() {
        active.retain(|stretch| at < stretch.to);
        while let Some(next) = waiting.pop_if(|stretch| stretch.from <= at) {
            active.push(next);
        }
        let phases = if at < end {
            phases(&active, at < warm_up)
        } else {
            Vec::new()
        };
        marks.push(Mark {
            segment: SegmentId(number as u32),
            at,
            phases,
        });
    }
    Marks::new(marks)
}

/// A counted load may be over long before its limit, so it does not make the ramps beside it steady.
fn is_steady(active: &[&Stretch<'_>]) -> bool {
    let timed = active.iter().any(|stretch| !stretch.counted);
    active
        .iter()
        .any(|stretch| stretch.holds && !(timed && stretch.counted))
}

fn phases(active: &[&Stretch<'_>], warm_up: bool) -> Vec<Phase> {
    let mut phases = Vec::new();
    if warm_up {
        phases.push(Phase::WarmUp);
    } else if is_steady(active) {
        phases.push(Phase::Steady);
    }
    for stretch in active {
        let stage = Phase::Stage(stretch.name.to_owned());
        if !phases.contains(&stage) {
            phases.push(stage);
        }
    }
    phases
}
