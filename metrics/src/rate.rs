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
//! Once intervals are merged into stretches of ten or sixty seconds, the stretches take their place: whole ones count.
//! They keep the sums over all series alone. A rate of a step, scenario or tag is then the run's total less what
//! happened outside the selection, as long as that is kept by series; if it is not, the rate is over those selected
//! intervals that are. [`Happened::covered_us`] says over how much time.

use std::collections::BTreeMap;
use std::ops::Range;

use barrage_model::delta::INTERVAL;
use barrage_model::expr::{PhaseSelector, Selector};
use barrage_model::ids::StepId;
use barrage_model::ledger::{IterationCounts, StepCounts};
use barrage_model::time::Moment;

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
    /// In order of time, apart from each other, cut where slots of the timeline begin.
    ranges: Vec<Range<u32>>,
    covered_us: u64,
}

/// Where the events of a selection that is narrowed to some series are found.
enum Source {
    /// In these intervals.
    Inside(Stretch),
    /// In the run's totals, but not in these intervals.
    AllBut(Vec<Range<u32>>, u64),
}

impl Stretch {
    fn push(&mut self, range: Range<u32>, length_us: u64) {
        self.covered_us += length_us;
        match self.ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.ranges.push(range),
        }
    }

    /// The intervals before `end` that it leaves out.
    fn gaps(&self, end: u32) -> Vec<Range<u32>> {
        let mut from = 0;
        let mut gaps = Vec::new();
        for range in self.ranges.iter().cloned().chain(std::iter::once(end..end)) {
            if from < range.start {
                gaps.push(from..range.start);
            }
            from = range.end.max(from);
        }
        gaps
    }

    /// What is left from interval `from` on.
    fn since(&self, from: u32) -> Self {
        let mut left = Self::default();
        let mut gone = 0;
        for range in &self.ranges {
            gone += u64::from(range.end.min(from).saturating_sub(range.start)) * INTERVAL_US;
            let rest = range.start.max(from)..range.end;
            if !rest.is_empty() {
                left.push(rest, 0);
            }
        }
        if !left.ranges.is_empty() {
            left.covered_us = self.covered_us.saturating_sub(gone);
        }
        left
    }
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
                self.count_ranges(&filter, &stretch.ranges, &mut counts);
                stretch.covered_us
            }
            Source::AllBut(gaps, covered_us) => {
                let mut outside = Counts::default();
                self.count_ranges(&filter, &gaps, &mut outside);
                self.count_all(&filter, &mut counts);
                take_iterations(&mut counts.iterations, &outside.iterations);
                take_steps(&mut counts.steps, &outside.steps);
                covered_us
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
                self.each_step(&stretch.ranges, |id, row| steps.entry(id).or_default().add(row));
                (steps, stretch.covered_us)
            }
            Source::AllBut(gaps, covered_us) => {
                for ((id, ..), row) in self.steps.iter() {
                    steps.entry(*id).or_default().add(row);
                }
                self.each_step(&gaps, |id, row| take_steps(steps.entry(id).or_default(), row));
                (steps, covered_us)
            }
        }
    }

    fn each_step(&self, ranges: &[Range<u32>], mut visit: impl FnMut(StepId, &StepCounts)) {
        let details = ranges
            .iter()
            .flat_map(|range| self.timeline.details(range.start, range.end));
        for ((id, ..), row) in details.flat_map(|detail| &detail.steps) {
            visit(*id, row);
        }
    }

    fn count_ranges(&self, filter: &Filter, ranges: &[Range<u32>], counts: &mut Counts) {
        for range in ranges {
            for detail in self.timeline.details(range.start, range.end) {
                self.count_detail(filter, detail, counts);
            }
        }
    }

    fn totals_of(&self, stretch: &Stretch) -> Happened {
        let mut happened = Happened {
            covered_us: stretch.covered_us,
            ..Happened::default()
        };
        for range in &stretch.ranges {
            for totals in self.timeline.totals(range.clone()) {
                happened.iterations.add(&totals.iterations);
                happened.steps.add(&totals.steps);
            }
        }
        happened
    }

    /// Chooses the cheaper of two exact ways, or else what is kept.
    fn source(&self, stretch: Stretch) -> Source {
        let kept_from = self.timeline.fine_from();
        let kept = |ranges: &[Range<u32>]| ranges.first().is_none_or(|first| first.start >= kept_from);
        let gaps = stretch.gaps(self.next_interval());
        let folded = self.steps.other().next().is_some() || self.iterations.other().next().is_some();
        let subtracts = kept(&gaps) && !folded;
        let adds = kept(&stretch.ranges);
        if subtracts && !(adds && length(&stretch.ranges) <= length(&gaps)) {
            Source::AllBut(gaps, stretch.covered_us)
        } else if adds {
            Source::Inside(stretch)
        } else {
            Source::Inside(stretch.since(kept_from))
        }
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
            let mut start = self.timeline.first_start(from.div_ceil(INTERVAL_US) as u32);
            loop {
                let length = self.timeline.length_at(start);
                let begin = u64::from(start) * INTERVAL_US;
                let end = (begin + u64::from(length) * INTERVAL_US).min(whole_end);
                if end <= begin || end > *to {
                    break;
                }
                stretch.push(start..start + length, end - begin);
                start += length;
            }
        }
        if stretch.ranges.is_empty() {
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
