//! The run over time: sums by interval, coarser the older they are.

use std::collections::BTreeMap;
use std::ops::Range;

use barrage_model::delta::{Delta, Measure, SketchKey, SketchRow, Subject};
use barrage_model::ids::{Incarnation, LoadId, ScenarioId, SegmentId, StepId, TagId, WorkerId};
use barrage_model::ledger::{IterationCounts, Open, StepCounts};
use barrage_model::outcome::OutcomeGroup;
use barrage_model::sketch::Packed;

use crate::catalog::Catalog;
use crate::series::Sum;

/// Intervals of the latest hour stay apart, with every series.
pub const FINE_INTERVALS: u32 = 3_600;
/// Older ones are merged by ten and keep their totals alone; those older than ten hours are merged by sixty.
pub const MIDDLE_INTERVALS: u32 = 36_000;
/// Most entries (buckets, and 16 for a row of counts) of series by interval, about 100 MB. Beyond it, older intervals
/// lose their series before the hour is over.
pub const DETAIL_ENTRIES_MAX: usize = 8_000_000;
/// Intervals that keep their series whatever they weigh.
const DETAIL_INTERVALS_MIN: u32 = 120;
/// Entries that a row of counts weighs.
const ROW_WEIGHT: usize = 16;
/// Both limits of coarseness are multiples of this.
const COARSEST: u32 = 60;

/// A worker process in one run.
pub(crate) type MemberKey = (WorkerId, Incarnation);

/// One stretch of run time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Slot {
    pub(crate) totals: Totals,
    /// `None` once the stretch is old.
    pub(crate) detail: Option<Detail>,
    /// Each worker's sequence number of its latest delta in here, and what was open then.
    pub(crate) members: BTreeMap<MemberKey, (u64, Open)>,
}

/// Sums over everything but setup and teardown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Totals {
    pub(crate) iterations: IterationCounts,
    pub(crate) steps: StepCounts,
    /// Response times, all outcomes but censored.
    pub(crate) response: Packed,
    /// Ages of dropped arrivals.
    pub(crate) censored: Packed,
    pub(crate) service: Packed,
}

/// Sums by series.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Detail {
    pub(crate) iterations: BTreeMap<(LoadId, ScenarioId, SegmentId), IterationCounts>,
    pub(crate) steps: BTreeMap<(StepId, TagId, SegmentId), StepCounts>,
    pub(crate) sketches: BTreeMap<SketchKey, Packed>,
}

impl Detail {
    fn weight(&self) -> usize {
        let rows = self.iterations.len() + self.steps.len() + self.sketches.len();
        rows * ROW_WEIGHT + self.sketches.values().map(Packed::buckets).sum::<usize>()
    }
}

impl Totals {
    fn merge(&mut self, other: &Self) {
        self.iterations.add(&other.iterations);
        self.steps.add(&other.steps);
        Sum::add(&mut self.response, &other.response);
        Sum::add(&mut self.censored, &other.censored);
        Sum::add(&mut self.service, &other.service);
    }
}

impl Slot {
    fn merge(&mut self, other: Self) {
        self.totals.merge(&other.totals);
        for (member, seen) in other.members {
            self.saw(member, seen);
        }
    }

    fn saw(&mut self, member: MemberKey, seen: (u64, Open)) {
        let latest = self.members.entry(member).or_insert(seen);
        if seen.0 > latest.0 {
            *latest = seen;
        }
    }

    /// Iterations in progress at the end.
    pub(crate) fn active(&self) -> u64 {
        self.members
            .values()
            .fold(0, |sum, (_, open)| sum.saturating_add(open.in_progress))
    }
}

/// The stretches of a run in order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Timeline {
    slots: BTreeMap<u32, Slot>,
    /// First interval that nobody has reported yet.
    next: u32,
    /// First interval with a slot of its own; a multiple of [`COARSEST`].
    fine_from: u32,
    /// First interval with a slot of ten; a multiple of [`COARSEST`].
    middle_from: u32,
    weight: usize,
}

impl Timeline {
    /// Counts and gauges of one worker for one interval.
    pub(crate) fn add_counts(&mut self, catalog: &Catalog, member: MemberKey, delta: &Delta) {
        let mut added = 0;
        let slot = self.slot(delta.interval);
        slot.saw(member, (delta.seq, delta.open));
        for row in &delta.iterations {
            slot.totals.iterations.add(&row.counts);
            if let Some(detail) = &mut slot.detail {
                let sum = detail
                    .iterations
                    .entry((row.load, row.scenario, row.segment))
                    .or_insert_with(|| {
                        added += ROW_WEIGHT;
                        IterationCounts::default()
                    });
                sum.add(&row.counts);
            }
        }
        for row in &delta.steps {
            if !catalog.steps.get(&row.step).is_some_and(crate::catalog::StepInfo::once) {
                slot.totals.steps.add(&row.counts);
            }
            if let Some(detail) = &mut slot.detail {
                let sum = detail.steps.entry((row.step, row.tag, row.segment)).or_insert_with(|| {
                    added += ROW_WEIGHT;
                    StepCounts::default()
                });
                sum.add(&row.counts);
            }
        }
        self.weight += added;
        self.shrink();
    }

    /// Sketches of one interval, of one worker or merged.
    pub(crate) fn add_sketches(&mut self, catalog: &Catalog, interval: u32, rows: &[SketchRow]) {
        let (mut added, mut taken) = (0, 0);
        let slot = self.slot(interval);
        for SketchRow { key, sketch } in rows {
            if let Some(total) = total_of(catalog, key, &mut slot.totals) {
                Sum::add(total, sketch);
            }
            if let Some(detail) = &mut slot.detail {
                if let Some(sum) = detail.sketches.get_mut(key) {
                    taken += sum.buckets();
                    Sum::add(sum, sketch);
                    added += sum.buckets();
                } else {
                    added += ROW_WEIGHT + sketch.buckets();
                    detail.sketches.insert(*key, sketch.clone());
                }
            }
        }
        self.weight = (self.weight + added).saturating_sub(taken);
        self.shrink();
    }

    fn slot(&mut self, interval: u32) -> &mut Slot {
        self.next = self.next.max(interval.saturating_add(1));
        let floor = |from: u32| from / COARSEST * COARSEST;
        self.coarsen(
            floor(self.next.saturating_sub(FINE_INTERVALS)),
            floor(self.next.saturating_sub(MIDDLE_INTERVALS)),
        );
        let start = self.start_of(interval);
        let fine = start >= self.fine_from;
        self.slots.entry(start).or_insert_with(|| Slot {
            detail: fine.then(Detail::default),
            ..Slot::default()
        })
    }

    /// The begin of the slot that holds an interval.
    fn start_of(&self, interval: u32) -> u32 {
        interval / self.length_at(interval) * self.length_at(interval)
    }

    /// The first begin of a slot that does not lie before an interval.
    pub(crate) fn first_start(&self, interval: u32) -> u32 {
        match self.start_of(interval) {
            start if start < interval => start + self.length_at(interval),
            start => start,
        }
    }

    /// Length of the slot that holds an interval.
    pub(crate) fn length_at(&self, interval: u32) -> u32 {
        match interval {
            _ if interval >= self.fine_from => 1,
            _ if interval >= self.middle_from => 10,
            _ => COARSEST,
        }
    }

    fn coarsen(&mut self, fine_from: u32, middle_from: u32) {
        if fine_from <= self.fine_from && middle_from <= self.middle_from {
            return;
        }
        self.fine_from = self.fine_from.max(fine_from);
        self.middle_from = self.middle_from.max(middle_from);
        let young = self.slots.split_off(&self.fine_from);
        let old = std::mem::replace(&mut self.slots, young);
        for (start, mut slot) in old {
            if let Some(detail) = slot.detail.take() {
                self.weight = self.weight.saturating_sub(detail.weight());
            }
            let start = self.start_of(start);
            self.slots.entry(start).or_default().merge(slot);
        }
    }

    fn shrink(&mut self) {
        let latest = self.next.saturating_sub(DETAIL_INTERVALS_MIN) / COARSEST * COARSEST;
        while self.weight > DETAIL_ENTRIES_MAX && self.fine_from < latest {
            self.coarsen(self.fine_from + COARSEST, self.middle_from);
        }
    }

    /// The slots with their begin, in order of time.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        self.slots.iter().map(|(start, slot)| (*start, slot))
    }

    /// The series of the intervals from `from` up to, not including, `to` that still have them.
    pub(crate) fn details(&self, from: u32, to: u32) -> impl Iterator<Item = &Detail> {
        self.slots
            .range(from..to.max(from))
            .filter_map(|(_, slot)| slot.detail.as_ref())
    }

    /// The sums of the slots that begin in a range.
    pub(crate) fn totals(&self, range: Range<u32>) -> impl Iterator<Item = &Totals> {
        self.slots.range(range).map(|(_, slot)| &slot.totals)
    }

    /// The slot that begins here.
    pub(crate) fn get(&self, start: u32) -> Option<&Slot> {
        self.slots.get(&start)
    }

    /// First interval that nobody has reported yet.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// First interval with all its series.
    pub(crate) fn fine_from(&self) -> u32 {
        self.fine_from
    }
}

/// The total that a series belongs to, if any.
fn total_of<'a>(catalog: &Catalog, key: &SketchKey, totals: &'a mut Totals) -> Option<&'a mut Packed> {
    let Subject::Step(id) = key.subject else { return None };
    if catalog.steps.get(&id).is_none_or(|step| step.once() || step.group()) {
        return None;
    }
    match (key.measure, key.group) {
        (Measure::Response, OutcomeGroup::Censored) => Some(&mut totals.censored),
        (Measure::Response, _) => Some(&mut totals.response),
        (Measure::Service, _) => Some(&mut totals.service),
        _ => None,
    }
}
