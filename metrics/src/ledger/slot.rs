//! The run over time: sums by interval, coarser the older they are.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use barrage_model::delta::{Delta, Measure, SketchKey, SketchRow, Subject};
use barrage_model::ids::{Incarnation, LoadId, ScenarioId, SegmentId, StepId, TagId, WorkerId};
use barrage_model::ledger::{IterationCounts, StepCounts};
use barrage_model::time::Moment;

use super::past::{OldStretch, Past};
use super::seen::Seen;
use crate::catalog::Catalog;
use crate::pile::Pile;
use crate::series::Sum as _;

/// Intervals of the latest hour stay apart, with every series.
pub const FINE_INTERVALS: u32 = 3_600;
/// Older ones are merged by ten and keep their totals alone; those older than ten hours are merged by sixty.
pub const MIDDLE_INTERVALS: u32 = 36_000;
/// Most memory of the intervals that have their series, about. Beyond it, older ones lose them before the hour is over.
pub const DETAIL_BYTES_MAX: usize = 64 << 20;
/// Intervals that keep their series whatever they weigh, at least; more where a sliding window needs them.
const DETAIL_INTERVALS_MIN: u32 = 120;
/// The longest sliding window whose intervals are kept whatever they weigh: memory has an end.
const WINDOW_KEPT_MAX: u32 = 600;
/// Memory of one row, about, without the buckets of a sketch.
const ROW_BYTES: usize = 200;
/// Length of the slots of middle age; the beginning of the fine ones is a multiple of it.
const MIDDLE: u32 = 10;
/// Length of the oldest slots; the beginning of those of middle age is a multiple of it.
const COARSEST: u32 = 60;
/// Intervals up to the newest one that are quick to add to.
const OPEN_INTERVALS: u32 = 4;
/// Most slots that are, late deltas of older ones included.
const OPEN_MAX: usize = 16;

/// A worker process in one run.
pub(crate) type MemberKey = (WorkerId, Incarnation);

/// One stretch of run time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot {
    pub(crate) totals: Totals,
    /// The total latencies; `None` while they are only in the detail, which spares each delta their sums.
    latencies: Option<Latencies>,
    /// `None` once the stretch is old.
    pub(crate) detail: Option<Detail>,
    /// The processes that have reported in here, and what was in progress then.
    seen: Seen,
    /// Its memory; 0 while it is open or has no detail.
    weight: usize,
}

/// Counts of everything but setup and teardown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) iterations: IterationCounts,
    pub(crate) steps: StepCounts,
}

/// Latencies of all requests but those of setup and teardown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Latencies {
    pub(crate) response: Times,
    pub(crate) service: Times,
}

/// Samples of one measure.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Times {
    /// Those whose end was seen.
    known: Pile,
    /// Lower bounds: what was dropped or cancelled, at the age it had reached.
    pub(crate) censored: Pile,
}

/// Sums by series.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Detail {
    pub(crate) iterations: BTreeMap<(LoadId, ScenarioId, SegmentId), IterationCounts>,
    pub(crate) steps: BTreeMap<(StepId, TagId, SegmentId), StepCounts>,
    pub(crate) sketches: BTreeMap<SketchKey, Pile>,
}

impl Detail {
    /// Makes it small; gives its memory.
    fn close(&mut self) -> usize {
        let rows = self.iterations.len() + self.steps.len() + self.sketches.len();
        rows * ROW_BYTES + self.sketches.values_mut().map(Pile::close).sum::<usize>()
    }
}

impl Latencies {
    fn of(catalog: &Catalog, detail: &Detail) -> Self {
        let mut sum = Self::default();
        for (key, pile) in &detail.sketches {
            if let Some(total) = sum.of_series(catalog, key) {
                total.join(pile);
            }
        }
        sum
    }

    /// The one that a series belongs to, if any.
    fn of_series(&mut self, catalog: &Catalog, key: &SketchKey) -> Option<&mut Pile> {
        let Subject::Step(id) = key.subject else { return None };
        if catalog.steps.get(&id).is_none_or(|step| step.once() || step.group()) {
            return None;
        }
        let times = match key.measure {
            Measure::Response => &mut self.response,
            Measure::Service => &mut self.service,
            _ => return None,
        };
        Some(if key.measure.is_censored(key.group) {
            &mut times.censored
        } else {
            &mut times.known
        })
    }

    /// Samples of any kind.
    pub(crate) fn count(&self) -> u64 {
        self.each().map(Pile::count).sum()
    }

    fn join(&mut self, other: &Self) {
        for (sum, more) in self.each_mut().zip(other.each()) {
            sum.join(more);
        }
    }

    /// Makes them small; gives their memory.
    fn close(&mut self) -> usize {
        self.each_mut().map(Pile::close).sum()
    }

    fn each(&self) -> impl Iterator<Item = &Pile> {
        [&self.response, &self.service]
            .into_iter()
            .flat_map(|times| [&times.known, &times.censored])
    }

    fn each_mut(&mut self) -> impl Iterator<Item = &mut Pile> {
        let all = [&mut self.response, &mut self.service];
        all.into_iter()
            .flat_map(|times| [&mut times.known, &mut times.censored])
    }
}

impl Times {
    /// All samples, lower bounds at what they are.
    pub(crate) fn all(&self) -> Pile {
        let mut all = self.known.clone();
        all.join(&self.censored);
        all
    }
}

impl Slot {
    /// A later one becomes part of this one.
    fn merge(&mut self, catalog: &Catalog, later: &Self) {
        self.totals.iterations.add(&later.totals.iterations);
        self.totals.steps.add(&later.totals.steps);
        self.settled(catalog).join(&later.latencies(catalog));
        self.seen.join(&later.seen);
    }

    fn close(&mut self, catalog: &Catalog) {
        let latencies = self.settled(catalog).close();
        // What it takes depends on the order in which processes came, as the weight must not.
        self.seen.close();
        self.weight = self.detail.as_mut().map_or(0, |detail| latencies + detail.close());
    }

    fn latencies(&self, catalog: &Catalog) -> Cow<'_, Latencies> {
        match (&self.latencies, &self.detail) {
            (Some(latencies), _) => Cow::Borrowed(latencies),
            (None, Some(detail)) => Cow::Owned(Latencies::of(catalog, detail)),
            (None, None) => Cow::Owned(Latencies::default()),
        }
    }

    /// The total latencies, kept beside the detail from now on.
    fn settled(&mut self, catalog: &Catalog) -> &mut Latencies {
        let detail = self.detail.as_ref();
        self.latencies
            .get_or_insert_with(|| detail.map_or_else(Latencies::default, |detail| Latencies::of(catalog, detail)))
    }

    fn add_sketches(&mut self, catalog: &Catalog, rows: &[SketchRow]) {
        if let Some(detail) = &mut self.detail {
            self.latencies = None;
            for SketchRow { key, sketch } in rows {
                detail.sketches.entry(*key).or_default().add(sketch);
            }
            return;
        }
        let latencies = self.latencies.get_or_insert_default();
        for SketchRow { key, sketch } in rows {
            if let Some(total) = latencies.of_series(catalog, key) {
                total.add(sketch);
            }
        }
    }

    /// Iterations in progress at the end.
    pub(crate) fn active(&self) -> u64 {
        self.seen
            .iter()
            .fold(0, |sum, (_, in_progress)| sum.saturating_add(in_progress))
    }
}

/// The stretches of a run in order of time.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    catalog: Arc<Catalog>,
    slots: BTreeMap<u32, Slot>,
    /// The slots that are quick to add to, by their begin.
    open: BTreeSet<u32>,
    /// First interval that nobody has reported yet.
    next: u32,
    /// Intervals that keep their series whatever they weigh.
    keep: u32,
    /// First interval with a slot of its own; a multiple of [`MIDDLE`].
    fine_from: u32,
    /// First interval with a slot of ten; a multiple of [`COARSEST`].
    middle_from: u32,
    /// Memory of the closed slots that have their detail.
    weight: usize,
    /// The intervals without a slot of their own, once more.
    past: Past,
    /// Processes by number, in the order of their first report, and back.
    processes: Vec<MemberKey>,
    numbers: BTreeMap<MemberKey, u32>,
}

impl PartialEq for Timeline {
    /// Equal sums, in whatever form, and whatever the order in which processes came.
    fn eq(&self, other: &Self) -> bool {
        let slots = |timeline: &Self| -> Vec<u32> { timeline.slots.keys().copied().collect() };
        (self.next, self.fine_from, self.middle_from) == (other.next, other.fine_from, other.middle_from)
            && slots(self) == slots(other)
            && self.slots.values().zip(other.slots.values()).all(|(ours, theirs)| {
                ours.totals == theirs.totals
                    && self.latencies(ours) == other.latencies(theirs)
                    && ours.detail == theirs.detail
                    && self.members(ours) == other.members(theirs)
            })
    }
}

impl Timeline {
    /// For sliding windows of at most so many intervals.
    pub(crate) fn new(catalog: Arc<Catalog>, longest_window: u32) -> Self {
        let window = longest_window.min(WINDOW_KEPT_MAX) + MIDDLE;
        Self {
            catalog,
            slots: BTreeMap::new(),
            open: BTreeSet::new(),
            next: 0,
            keep: window.max(DETAIL_INTERVALS_MIN),
            fine_from: 0,
            middle_from: 0,
            weight: 0,
            past: Past::default(),
            processes: Vec::new(),
            numbers: BTreeMap::new(),
        }
    }

    /// Counts and gauges of one worker for one interval.
    pub(crate) fn add_counts(&mut self, member: MemberKey, delta: &Delta) {
        let process = self.number(member);
        let catalog = Arc::clone(&self.catalog);
        let slot = self.slot(delta.interval);
        slot.seen.saw(process, delta.open.in_progress);
        for row in &delta.iterations {
            slot.totals.iterations.add(&row.counts);
            if let Some(detail) = &mut slot.detail {
                let key = (row.load, row.scenario, row.segment);
                detail.iterations.entry(key).or_default().add(&row.counts);
            }
        }
        for row in &delta.steps {
            if !catalog.steps.get(&row.step).is_some_and(crate::catalog::StepInfo::once) {
                slot.totals.steps.add(&row.counts);
            }
            if let Some(detail) = &mut slot.detail {
                let key = (row.step, row.tag, row.segment);
                detail.steps.entry(key).or_default().add(&row.counts);
            }
        }
        if delta.interval < self.fine_from {
            let once = |step| catalog.steps.get(&step).is_some_and(crate::catalog::StepInfo::once);
            self.past.add(delta, once);
        }
    }

    /// A phase or a load begins or ends here.
    pub(crate) fn divide(&mut self, at: Moment) {
        self.past.divide(at);
    }

    /// The intervals before [`Timeline::fine_from`].
    pub(crate) fn past(&self) -> &[OldStretch] {
        self.past.stretches()
    }

    /// Sketches of one interval, of one worker or merged.
    pub(crate) fn add_sketches(&mut self, interval: u32, rows: &[SketchRow]) {
        let catalog = Arc::clone(&self.catalog);
        self.slot(interval).add_sketches(&catalog, rows);
    }

    fn number(&mut self, member: MemberKey) -> u32 {
        *self.numbers.entry(member).or_insert_with(|| {
            self.processes.push(member);
            self.processes.len() as u32 - 1
        })
    }

    /// Opens the slot of an interval; others are closed as time goes on.
    fn slot(&mut self, interval: u32) -> &mut Slot {
        if interval >= self.next {
            self.next = interval.saturating_add(1);
            self.coarsen(
                floor(self.next.saturating_sub(FINE_INTERVALS), MIDDLE),
                floor(self.next.saturating_sub(MIDDLE_INTERVALS), COARSEST),
            );
            self.close_before(self.next.saturating_sub(OPEN_INTERVALS));
        }
        let start = self.start_of(interval);
        if !self.open.contains(&start) && self.open.len() >= OPEN_MAX {
            let oldest = self.open.first().map_or(0, |start| start + 1);
            self.close_before(oldest);
        }
        // Slots may have become longer by that.
        let start = self.start_of(interval);
        let fine = start >= self.fine_from;
        let slot = self.slots.entry(start).or_insert_with(|| Slot {
            detail: fine.then(Detail::default),
            ..Slot::default()
        });
        if self.open.insert(start) {
            self.weight = self.weight.saturating_sub(std::mem::take(&mut slot.weight));
        }
        slot
    }

    /// Closes the slots that begin before an interval.
    fn close_before(&mut self, interval: u32) {
        let still = self.open.split_off(&interval);
        for start in std::mem::replace(&mut self.open, still) {
            if let Some(slot) = self.slots.get_mut(&start) {
                slot.close(&self.catalog);
                self.weight += slot.weight;
            }
        }
        self.shrink();
    }

    /// The begin of the slot that holds an interval.
    fn start_of(&self, interval: u32) -> u32 {
        floor(interval, self.length_at(interval))
    }

    /// Length of the slot that holds an interval.
    pub(crate) fn length_at(&self, interval: u32) -> u32 {
        match interval {
            _ if interval >= self.fine_from => 1,
            _ if interval >= self.middle_from => MIDDLE,
            _ => COARSEST,
        }
    }

    fn coarsen(&mut self, fine_from: u32, middle_from: u32) {
        if fine_from <= self.fine_from && middle_from <= self.middle_from {
            return;
        }
        for interval in self.fine_from..fine_from {
            let slot = self.slots.get(&interval);
            let kept = slot.and_then(|slot| Some((&slot.totals, slot.detail.as_ref()?)));
            self.past.push(interval, kept);
        }
        self.fine_from = self.fine_from.max(fine_from);
        self.middle_from = self.middle_from.max(middle_from);
        let young = self.slots.split_off(&self.fine_from);
        self.open = self.open.split_off(&self.fine_from);
        for (start, mut slot) in std::mem::replace(&mut self.slots, young) {
            self.weight = self.weight.saturating_sub(slot.weight);
            slot.settled(&self.catalog);
            (slot.detail, slot.weight) = (None, 0);
            let start = self.start_of(start);
            match self.slots.get_mut(&start) {
                Some(coarse) => coarse.merge(&self.catalog, &slot),
                None => drop(self.slots.insert(start, slot)),
            }
        }
        for (_, slot) in self.slots.range_mut(..self.fine_from) {
            slot.close(&self.catalog);
        }
    }

    fn shrink(&mut self) {
        let latest = floor(self.next.saturating_sub(self.keep), MIDDLE);
        while self.weight > DETAIL_BYTES_MAX && self.fine_from < latest {
            self.coarsen(self.fine_from + MIDDLE, self.middle_from);
        }
    }

    /// Distinct workers that have reported in a slot.
    pub(crate) fn reported(&self, slot: &Slot) -> u32 {
        let workers: BTreeSet<WorkerId> = self.members(slot).into_keys().map(|(worker, _)| worker).collect();
        workers.len() as u32
    }

    /// The processes that have reported in a slot, and what each had in progress.
    fn members(&self, slot: &Slot) -> BTreeMap<MemberKey, u64> {
        let known = |process: u32| self.processes.get(process as usize).copied();
        let seen = slot.seen.iter();
        seen.filter_map(|(process, in_progress)| Some((known(process)?, in_progress)))
            .collect()
    }

    /// The slots with their begin, in order of time.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        self.slots.iter().map(|(start, slot)| (*start, slot))
    }

    /// The series of the intervals from `from` up to, not including, `to` that still have them.
    pub(crate) fn details(&self, from: u32, to: u32) -> impl Iterator<Item = &Detail> {
        self.details_at(from, to).map(|(_, detail)| detail)
    }

    /// The same, each with its interval.
    pub(crate) fn details_at(&self, from: u32, to: u32) -> impl Iterator<Item = (u32, &Detail)> {
        let slots = self.slots.range(from..to.max(from));
        slots.filter_map(|(interval, slot)| Some((*interval, slot.detail.as_ref()?)))
    }

    /// The total latencies of a slot.
    pub(crate) fn latencies<'a>(&self, slot: &'a Slot) -> Cow<'a, Latencies> {
        slot.latencies(&self.catalog)
    }

    /// The counts of the slots that begin in a range.
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

/// The last multiple of `step` that is not after `interval`.
fn floor(interval: u32, step: u32) -> u32 {
    interval / step * step
}
