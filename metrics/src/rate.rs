//! What happened in a stretch of run time, whatever fell due when: the base of every rate.
//!
//! Counts by phase follow the *due* instant of an iteration, so a phase's counts over its length say how fast work was
//! asked for, not how fast it was done: a target with a backlog would be credited with answers that it gave later.
//! A rate therefore takes whole intervals. Each interval holds what happened in it (semantics 4): arrivals in that of
//! their due instant, sends in that of the send, outcomes and bytes in that of the completion.
//!
//! # Which intervals
//!
//! - The selected time is that of the phases, cut at the end of the load: what comes in during the drain is in no rate.
//! - An interval counts when all of it lies in the selected time. The part of an interval after the run's end is
//!   nothing, so the last interval of a run that ends with its load counts with its true length; but not where a stop cut a
//!   timed load short, for an arrival at the instant of the stop would count with no time after it. Where a load ends
//!   within a second and answers come in after it, that second is left out: its answers cannot be told from the drain.
//! - If there is no such interval but the load ends within the first second, and the selection is all of it, that
//!   second counts, up to the run's end. So a load of half a second is judged over the time to its last answer, at most
//!   over a second: the rate may be too low, never too high. In any later second there may be answers to what came before it.
//! - Otherwise, as for a phase of half a second amid others, there is no rate. It is absent, not zero.
//!
//! # Old intervals
//!
//! Intervals that are too old to be kept apart are kept in stretches that no phase or load begins or ends within
//! ([`crate::ledger::past`]): whole ones count, by series as well. One that a selection ends within, as that of a counted load
//! may, does not, and neither do those without room for their series in a rate that is about some.
//! [`Happened::covered_us`] says over how much time a rate is.

use std::collections::BTreeMap;
use std::ops::Range;

use barrage_model::delta::INTERVAL;
use barrage_model::expr::{PhaseSelector, Selector};
use barrage_model::ids::StepId;
use barrage_model::ledger::{IterationCounts, StepCounts};
use barrage_model::time::Moment;

use crate::ledger::slot::Detail;
use crate::ledger::{INTERVALS_MAX, Ledger, take_iterations, take_steps};
use crate::query::{Counts, Filter, Segments, Window};

/// Microseconds of an interval.
const INTERVAL_US: u64 = INTERVAL.as_micros() as u64;

/// Events of some intervals, and the length of these intervals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Happened {
    /// Arrivals due, and iterations started and ended.
    pub iterations: IterationCounts,
    /// Steps sent and ended.
    pub steps: StepCounts,
    /// Length of the intervals, µs; 0 = there is no rate.
    pub covered_us: u64,
}

/// The intervals that a rate is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Places among the old stretches.
    old: Vec<usize>,
    /// Those that are kept apart: in order of time, apart from each other.
    ranges: Vec<Range<u32>>,
    covered_us: u64,
}

/// Where the events of a selection that is narrowed to some series are found.
enum Source {
    /// In these intervals.
    Inside(Stretch),
    /// In the run's totals, but not in these intervals.
    AllBut(Stretch),
}

impl Stretch {
    fn push(&mut self, range: Range<u32>, length_us: u64) {
        self.covered_us += length_us;
        match self.ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.ranges.push(range),
        }
    }

    /// The intervals from `from` up to `end` that it leaves out.
    fn gaps(&self, mut from: u32, end: u32) -> Vec<Range<u32>> {
        let mut gaps = Vec::new();
        for range in self.ranges.iter().cloned().chain(std::iter::once(end..end)) {
            if from < range.start {
                gaps.push(from..range.start);
            }
            from = range.end.max(from);
        }
        gaps
    }
}

fn whole_us(range: &Range<u32>) -> u64 {
    u64::from(range.end - range.start) * INTERVAL_US
}

fn length(ranges: &[Range<u32>]) -> u64 {
    ranges.iter().map(|range| u64::from(range.end - range.start)).sum()
}

impl Ledger {
    /// What happened in the phases of a selection, whatever fell due when. `None` for `during` is the whole load
    /// without warm-up; the drain after the load is never part of it.
    pub fn happened(&self, select: &Selector, during: Option<&PhaseSelector>, window: &Window) -> Happened {
        self.happened_of(&self.filter(select, during), window)
    }

    pub(crate) fn happened_of(&self, filter: &Filter, window: &Window) -> Happened {
        let stretch = self.stretch(&filter.segments, window);
        if filter.is_unnarrowed() {
            return self.totals_of(&stretch);
        }
        let filter = filter.at_any_time(self.marks());
        let mut counts = Counts::default();
        let covered_us = match self.source(stretch) {
            Source::Inside(stretch) => {
                self.count_stretch(&filter, &stretch, &mut counts);
                stretch.covered_us
            }
            Source::AllBut(rest) => {
                let mut outside = Counts::default();
                self.count_stretch(&filter, &rest, &mut outside);
                self.count_all(&filter, &mut counts);
                take_iterations(&mut counts.iterations, &outside.iterations);
                take_steps(&mut counts.steps, &outside.steps);
                rest.covered_us
            }
        };
        Happened {
            iterations: counts.iterations,
            steps: counts.steps,
            covered_us,
        }
    }

    /// What happened in each step while the load was on.
    pub(crate) fn happened_by_step(&self) -> (BTreeMap<StepId, StepCounts>, u64) {
        let mut steps: BTreeMap<StepId, StepCounts> = BTreeMap::new();
        match self.source(self.stretch(&Segments::all(self.marks()), &Window::Whole)) {
            Source::Inside(stretch) => {
                self.each_step(&stretch, |id, row| steps.entry(id).or_default().add(row));
                (steps, stretch.covered_us)
            }
            Source::AllBut(rest) => {
                steps.clone_from(&self.undivided.steps);
                self.each_step(&rest, |id, row| take_steps(steps.entry(id).or_default(), row));
                (steps, rest.covered_us)
            }
        }
    }

    fn each_step(&self, stretch: &Stretch, mut visit: impl FnMut(StepId, &StepCounts)) {
        for ((id, ..), row) in self.details_of(stretch).flat_map(|detail| &detail.steps) {
            visit(*id, row);
        }
    }

    fn count_stretch(&self, filter: &Filter, stretch: &Stretch, counts: &mut Counts) {
        for detail in self.details_of(stretch) {
            self.count_detail(filter, detail, |_| true, counts);
        }
    }

    fn details_of(&self, stretch: &Stretch) -> impl Iterator<Item = &Detail> {
        let past = self.timeline.past();
        let old = stretch.old.iter().filter_map(|place| past[*place].detail.as_ref());
        let ranges = stretch.ranges.iter();
        old.chain(ranges.flat_map(|range| self.timeline.details(range.start, range.end)))
    }

    fn totals_of(&self, stretch: &Stretch) -> Happened {
        let mut happened = Happened {
            covered_us: stretch.covered_us,
            ..Happened::default()
        };
        let past = self.timeline.past();
        let old = stretch.old.iter().map(|place| &past[*place].totals);
        let ranges = stretch.ranges.iter();
        for totals in old.chain(ranges.flat_map(|range| self.timeline.totals(range.clone()))) {
            happened.iterations.add(&totals.iterations);
            happened.steps.add(&totals.steps);
        }
        happened
    }

    /// Chooses the cheaper of two exact ways, or else what is kept.
    fn source(&self, stretch: Stretch) -> Source {
        let past = self.timeline.past();
        let kept = |places: &[usize]| places.iter().all(|place| past[*place].detail.is_some());
        let mut selected = stretch.old.iter().peekable();
        let others = (0..past.len()).filter(|place| selected.next_if_eq(&place).is_none());
        let rest = Stretch {
            old: others.collect(),
            ranges: stretch.gaps(self.timeline.fine_from(), self.next_interval()),
            covered_us: stretch.covered_us,
        };
        let folded = self.steps.other().next().is_some() || self.iterations.other().next().is_some();
        let subtracts = kept(&rest.old) && !folded;
        let adds = kept(&stretch.old);
        if subtracts && !(adds && length(&stretch.ranges) <= length(&rest.ranges)) {
            return Source::AllBut(rest);
        }
        let (old, forgotten): (Vec<usize>, Vec<usize>) =
            stretch.old.into_iter().partition(|place| past[*place].detail.is_some());
        let gone: u64 = forgotten.iter().map(|place| whole_us(&past[*place].intervals)).sum();
        Source::Inside(Stretch {
            old,
            ranges: stretch.ranges,
            covered_us: stretch.covered_us - gone,
        })
    }

    /// The intervals that a rate is over; the module says which.
    fn stretch(&self, segments: &Segments, window: &Window) -> Stretch {
        let second = |interval: u32| Moment::from_secs(interval.min(INTERVALS_MAX).into());
        let (from, to) = match window {
            // What nobody has reported, since all were lost, is not known to be empty.
            Window::Whole => (Moment::ZERO, self.end().min(second(self.next_interval()))),
            Window::UpTo(to) => (Moment::ZERO, second(*to)),
            Window::Intervals(range) => (second(range.start), second(range.end)),
        };
        let load_end = to.min(self.load_end());
        let run_end = self.ended_at().unwrap_or(Moment::MAX).as_micros();
        let spans = segments.spans(self.marks(), from, load_end);
        let whole_end = if self.is_cut() { u64::MAX } else { run_end };
        let mut stretch = Stretch::default();
        for (from, to) in &spans {
            let begin = |interval: u32| u64::from(interval) * INTERVAL_US;
            let past = self.timeline.past();
            let skipped = past.partition_point(|old| begin(old.intervals.start) < *from);
            let within = past[skipped..].iter().take_while(|old| begin(old.intervals.end) <= *to);
            for (place, old) in (skipped..).zip(within) {
                stretch.old.push(place);
                stretch.covered_us += whole_us(&old.intervals);
            }
            let first = from.div_ceil(INTERVAL_US) as u32;
            for start in first.max(self.timeline.fine_from()).. {
                let end = (begin(start) + INTERVAL_US).min(whole_end);
                if end <= begin(start) || end > *to {
                    break;
                }
                stretch.push(start..start + 1, end - begin(start));
            }
        }
        if stretch.ranges.is_empty() && stretch.old.is_empty() {
            self.last_second(&spans, load_end.as_micros(), run_end)
        } else {
            stretch
        }
    }

    /// The first second, up to the run's end, if the load ends in it and is selected from begin to end.
    fn last_second(&self, spans: &[(u64, u64)], load_end: u64, run_end: u64) -> Stretch {
        let mut stretch = Stretch::default();
        if load_end < INTERVAL_US && spans.contains(&(0, load_end)) && self.timeline.length_at(0) == 1 {
            stretch.push(0..1, INTERVAL_US.min(run_end));
        }
        stretch
    }
}

#[cfg(test)]
mod tests;
