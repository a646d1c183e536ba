//! Questions to a ledger: counts and distributions of a part of the run.

use std::collections::BTreeMap;
use std::ops::Range;

use barrage_model::delta::{Measure, SketchKey, Subject};
use barrage_model::expr::{Outcomes, PhaseSelector, Selector};
use barrage_model::ids::{LoadId, ScenarioId, SegmentId, StepId, TagId};
use barrage_model::ledger::{IterationCounts, StepCounts};
use barrage_model::outcome::OutcomeGroup;
use barrage_model::phase::{Mark, Marks, Phase};
use barrage_model::time::{Moment, whole_micros};

use crate::catalog::{Catalog, Chosen};
use crate::generator::may_have_made;
use crate::ledger::slot::Detail;
use crate::ledger::{Ends, FoldedKind, Ledger, take_iterations, take_steps};
use crate::pile::Pile;
use crate::samples::Samples;

/// Which completions count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Window {
    /// All.
    Whole,
    /// Those before this interval: the state at a watermark.
    UpTo(u32),
    /// Those in these intervals, as far as they are young enough to be kept by series.
    Intervals(Range<u32>),
}

impl Window {
    /// Its first interval, and the one after its last.
    fn bounds(&self) -> (u32, u32) {
        match self {
            Self::Whole => (0, u32::MAX),
            Self::UpTo(to) => (0, *to),
            Self::Intervals(range) => (range.start, range.end),
        }
    }
}

/// The segments that a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segments {
    /// Of those that are chosen where their time ends at the latest, whatever the marks say.
    chosen: Vec<Option<Moment>>,
    /// Those in which others went on after that: of these only what happened before it is meant.
    cut: BTreeMap<SegmentId, Moment>,
}

impl Segments {
    /// `None` = the whole run without warm-up; what was undone after an abort belongs to no selection.
    pub(crate) fn of(ledger: &Ledger, during: Option<&PhaseSelector>) -> Self {
        let covers = |phases: &[Phase]| match during {
            None => !phases.contains(&Phase::Undoing) && !phases.contains(&Phase::WarmUp),
            Some(PhaseSelector::Whole) => !phases.contains(&Phase::Undoing),
            Some(selector) => phases.iter().any(|phase| selector.covers(phase)),
        };
        let until = match during {
            Some(PhaseSelector::Stage(name)) => ledger.stage_ends(name),
            Some(PhaseSelector::Steady) => ledger.steady_ends(),
            _ => Ends::default(),
        };
        Self::chosen(ledger, covers, &until)
    }

    fn chosen(ledger: &Ledger, covers: impl Fn(&[Phase]) -> bool, ends: &Ends) -> Self {
        let of = |mark: &Mark| {
            let until = covers(&mark.phases).then(|| ends.of(mark.at));
            until.filter(|until| mark.at < *until)
        };
        let chosen: Vec<Option<Moment>> = ledger.marks().iter().map(of).collect();
        // After the load nothing falls due any more: what ends then belongs to the segment's time.
        let load_end = ledger.load_end();
        let goes_on = |segment, until: Moment| {
            let last = ledger.marks().span(segment, load_end).map(|(_, end)| end);
            last.is_some_and(|end| until < end) && until < ledger.reach.of(segment)
        };
        let segments = (0..).map(SegmentId).zip(&chosen);
        let times = segments.filter_map(|(segment, until)| Some((segment, (*until)?)));
        Self {
            cut: times.filter(|(segment, until)| goes_on(*segment, *until)).collect(),
            chosen,
        }
    }

    /// Every segment, the undoing ones included: what report totals are over.
    pub(crate) fn all(marks: &Marks) -> Self {
        Self {
            chosen: vec![Some(Moment::MAX); marks.len()],
            cut: BTreeMap::new(),
        }
    }

    /// Those of one phase.
    pub(crate) fn with_phase(ledger: &Ledger, phase: &Phase) -> Self {
        let until = match phase {
            Phase::Stage(name) => ledger.stage_ends(name),
            Phase::Steady => ledger.steady_ends(),
            _ => Ends::default(),
        };
        Self::chosen(ledger, |phases| phases.contains(phase), &until)
    }

    fn holds(&self, segment: SegmentId) -> bool {
        self.chosen.get(segment.0 as usize).is_some_and(Option::is_some)
    }

    /// Whether an interval lies behind the time of a segment in which others went on.
    fn is_over(&self, segment: SegmentId, interval: u32) -> bool {
        let until = self.cut.get(&segment);
        until.is_some_and(|until| *until <= second(interval))
    }

    /// First interval that may be behind the time of some segment; none where nobody went on.
    pub(crate) fn over_from(&self) -> Option<u32> {
        let first = self.cut.values().min()?.as_micros() / 1_000_000;
        Some(u32::try_from(first).unwrap_or(u32::MAX))
    }

    /// Those that are chosen, each with its time before `to`.
    fn times(&self, marks: &Marks, to: Moment) -> impl Iterator<Item = (Moment, Moment)> {
        let chosen = (0..).zip(&self.chosen).filter_map(|(id, until)| Some((id, (*until)?)));
        chosen.filter_map(move |(id, until)| marks.span(SegmentId(id), to.min(until)))
    }

    /// The stretches of run time of the segments within `[from, to)`, µs: in order, apart from each other, not empty.
    pub(crate) fn spans(&self, marks: &Marks, from: Moment, to: Moment) -> Vec<(u64, u64)> {
        let mut spans: Vec<(u64, u64)> = Vec::new();
        for (begin, end) in self.times(marks, to) {
            let (begin, end) = (begin.max(from).as_micros(), end.as_micros());
            match spans.last_mut() {
                _ if begin >= end => {}
                Some(last) if last.1 == begin => last.1 = end,
                _ => spans.push((begin, end)),
            }
        }
        spans
    }

    /// Run time of the segments within `[from, to)`, µs.
    pub(crate) fn covered_us(&self, marks: &Marks, from: Moment, to: Moment) -> u64 {
        self.times(marks, to).fold(0, |sum: u64, (begin, end)| {
            sum.saturating_add(whole_micros(end.since(begin.max(from))))
        })
    }
}

/// A resolved question: what is selected, and which segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) chosen: Chosen,
    pub(crate) segments: Segments,
}

/// The two ledgers of a selection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Iterations, all loads.
    pub iterations: IterationCounts,
    /// Of the started ones, those of open models and counted loads.
    pub started_scheduled: u64,
    /// Steps.
    pub steps: StepCounts,
}

/// The counts of one combination of tag values. It is known of an answer alone: all sends are counted under the default
/// combination, so what was sent to a tag is what has come back from it.
pub(crate) fn answered(row: &StepCounts) -> StepCounts {
    StepCounts {
        attempted: row.ended(),
        sent: row.ended(),
        shed: 0,
        fallback: 0,
        injected: 0,
        ..*row
    }
}

impl Filter {
    fn iteration(&self, scenario: ScenarioId, segment: SegmentId) -> bool {
        self.segments.holds(segment)
            && self
                .chosen
                .named
                .as_ref()
                .is_none_or(|named| named.scenarios.contains(&scenario))
    }

    fn step(&self, catalog: &Catalog, (step, tag, segment): (StepId, TagId, SegmentId)) -> bool {
        self.segments.holds(segment)
            && self.chosen.tags.as_ref().is_none_or(|tags| tags.contains(&tag))
            && self.names(catalog, step)
    }

    fn names(&self, catalog: &Catalog, step: StepId) -> bool {
        match &self.chosen.named {
            Some(named) => named.counts.contains(&step),
            None => catalog.steps.get(&step).is_some_and(|step| !step.once()),
        }
    }

    fn count_step(&self, catalog: &Catalog, key: (StepId, TagId, SegmentId), row: &StepCounts, counts: &mut Counts) {
        if self.step(catalog, key) {
            match self.chosen.tags {
                Some(_) => counts.steps.add(&answered(row)),
                None => counts.steps.add(row),
            }
        }
    }

    fn sketch(&self, catalog: &Catalog, key: &SketchKey) -> bool {
        self.segments.holds(key.segment)
            && match key.subject {
                Subject::Scenario(id) => self
                    .chosen
                    .named
                    .as_ref()
                    .is_none_or(|named| named.scenarios.contains(&id)),
                Subject::Step(id) => {
                    self.chosen.tags.as_ref().is_none_or(|tags| tags.contains(&key.tag))
                        && match &self.chosen.named {
                            Some(named) => named.latencies.contains(&id),
                            None => catalog.steps.get(&id).is_some_and(|step| !step.once() && !step.group()),
                        }
                }
            }
    }

    /// First interval of which not all is meant, of a question about the intervals before `to`.
    fn behind(&self, to: u32) -> u32 {
        self.segments.over_from().map_or(to, |from| from.min(to))
    }

    /// Whether series that were folded into `other` can be told to belong to it.
    fn takes_other(&self) -> bool {
        self.is_unnarrowed()
    }

    /// Whether it takes every series but those of setup and teardown.
    pub(crate) fn is_unnarrowed(&self) -> bool {
        self.chosen.named.is_none() && self.chosen.tags.is_none()
    }

    /// The same series, whatever the segment.
    pub(crate) fn at_any_time(&self, marks: &Marks) -> Self {
        Self {
            chosen: self.chosen.clone(),
            segments: Segments::all(marks),
        }
    }
}

fn second(interval: u32) -> Moment {
    Moment::from_secs(interval.into())
}

fn takes_group(outcomes: Outcomes, group: OutcomeGroup) -> bool {
    outcomes == Outcomes::All || group == OutcomeGroup::Ok
}

impl Ledger {
    /// Resolves names and phases.
    pub(crate) fn filter(&self, select: &Selector, during: Option<&PhaseSelector>) -> Filter {
        Filter {
            chosen: self.catalog().resolve(select),
            segments: Segments::of(self, during),
        }
    }

    /// As [`Ledger::filter`], over given segments.
    pub(crate) fn filter_in(&self, select: &Selector, segments: Segments) -> Filter {
        Filter {
            chosen: self.catalog().resolve(select),
            segments,
        }
    }

    /// Counts of a selection. `None` for `during` is the whole run without warm-up. Setup and teardown only count
    /// where a step of theirs is named.
    pub fn counts(&self, select: &Selector, during: Option<&PhaseSelector>, window: &Window) -> Counts {
        self.counts_of(&self.filter(select, during), window)
    }

    /// Samples of a selection: of all outcomes and dropped arrivals, or of `ok` alone.
    pub fn samples(
        &self,
        select: &Selector,
        during: Option<&PhaseSelector>,
        window: &Window,
        measure: Measure,
        outcomes: Outcomes,
    ) -> Samples {
        self.samples_of(&self.filter(select, during), window, measure, outcomes)
    }

    /// Run time of the selected phases, µs. Rates are over less: [`Ledger::happened`].
    pub fn covered_us(&self, during: Option<&PhaseSelector>, window: &Window) -> u64 {
        self.covered_by(&Segments::of(self, during), window)
    }

    pub(crate) fn covered_by(&self, segments: &Segments, window: &Window) -> u64 {
        let (from, to) = match window {
            Window::Whole => (Moment::ZERO, self.end()),
            Window::UpTo(to) => (Moment::ZERO, second(*to)),
            Window::Intervals(range) => (second(range.start), second(range.end)),
        };
        segments.covered_us(self.marks(), from, to)
    }

    /// Whether the generator may have made the latencies of a window: by its strained seconds and by the one right before it,
    /// whose late requests may end in it.
    pub(crate) fn may_be_the_generators(&self, segments: &Segments, window: &Window) -> bool {
        let (from, to) = window.bounds();
        let near = self.strained_within(from.saturating_sub(1)..to);
        let strained: Vec<u32> = near
            .filter(|(interval, _)| {
                let touched = from.max(*interval)..to.min(interval.saturating_add(2));
                self.covered_by(segments, &Window::Intervals(touched)) > 0
            })
            .map(|(_, bits)| bits)
            .collect();
        may_have_made(&strained, self.covered_by(segments, window).div_ceil(1_000_000))
    }

    /// Whether arrivals of lost workers may be missing from a window: nobody knows when those fell due that are unknown or
    /// unsent. While the run goes on nobody knows either how many they will be.
    pub(crate) fn misses_arrivals(&self, filter: &Filter, window: &Window) -> bool {
        let (from, to) = window.bounds();
        let covered = |from, to| from < to && self.covered_by(&filter.segments, &Window::Intervals(from..to)) > 0;
        self.workers().any(|worker| {
            let mut losses = self.losses().filter(|loss| loss.worker == worker.id);
            let lost = losses.any(|loss| loss.arrivals() > 0 && self.takes_load(filter, loss.load));
            let mut holes = self.holes(worker.id).into_iter();
            (lost || self.ended_at().is_none()) && holes.any(|(start, end)| covered(start.max(from), end.min(to)))
        })
    }

    fn takes_load(&self, filter: &Filter, load: LoadId) -> bool {
        let load = self.plan().loads.get(usize::from(load.0));
        let takes = |scenario| match &filter.chosen.named {
            Some(named) => named.scenarios.contains(scenario),
            None => true,
        };
        load.is_some_and(|load| load.scenarios.iter().any(|(scenario, _)| takes(scenario)))
    }

    pub(crate) fn counts_of(&self, filter: &Filter, window: &Window) -> Counts {
        let mut counts = Counts::default();
        let is_over = |segment, interval| filter.segments.is_over(segment, interval);
        let to = match window {
            Window::Intervals(range) => {
                for (interval, detail) in self.timeline.details_at(range.start, range.end) {
                    let takes = |segment| !is_over(segment, interval);
                    self.count_detail(filter, detail, takes, &mut counts);
                }
                return counts;
            }
            Window::Whole => u32::MAX,
            Window::UpTo(to) => *to,
        };
        self.count_all(filter, &mut counts);
        let mut behind = Counts::default();
        for (interval, detail) in self.timeline.details_at(filter.behind(to), u32::MAX) {
            let takes = |segment| interval >= to || is_over(segment, interval);
            self.count_detail(filter, detail, takes, &mut behind);
        }
        take_iterations(&mut counts.iterations, &behind.iterations);
        take_steps(&mut counts.steps, &behind.steps);
        counts.started_scheduled = counts.started_scheduled.saturating_sub(behind.started_scheduled);
        counts
    }

    /// Whether all bytes on the wire of the selected steps are known: those that an engine has sent which does not tell are
    /// not.
    pub(crate) fn sees_wire(&self, filter: &Filter) -> bool {
        self.sees_wire_of(|step| filter.names(self.catalog(), step))
    }

    /// The same of the steps that are taken.
    pub(crate) fn sees_wire_of(&self, takes: impl Fn(StepId) -> bool) -> bool {
        self.undivided.steps.iter().all(|(step, row)| {
            row.wire_requests == 0 || !takes(*step) || self.catalog().steps.get(step).is_some_and(|step| step.sees_wire)
        })
    }

    pub(crate) fn count_all(&self, filter: &Filter, counts: &mut Counts) {
        for ((load, scenario, segment), row) in self.iterations.iter() {
            if filter.iteration(*scenario, *segment) {
                self.count_iterations(*load, row, counts);
            }
        }
        for (key, row) in self.steps.iter() {
            filter.count_step(self.catalog(), *key, row, counts);
        }
        if filter.takes_other() {
            for ((load, segment), row) in self.iterations.other() {
                if filter.segments.holds(*segment) {
                    self.count_iterations(*load, row, counts);
                }
            }
            for ((once, segment), row) in self.steps.other() {
                if !once && filter.segments.holds(*segment) {
                    counts.steps.add(row);
                }
            }
        }
    }

    /// Adds what an interval has of the segments that are taken.
    pub(crate) fn count_detail(
        &self,
        filter: &Filter,
        detail: &Detail,
        takes: impl Fn(SegmentId) -> bool,
        counts: &mut Counts,
    ) {
        for ((load, scenario, segment), row) in &detail.iterations {
            if filter.iteration(*scenario, *segment) && takes(*segment) {
                self.count_iterations(*load, row, counts);
            }
        }
        for (key, row) in &detail.steps {
            if takes(key.2) {
                filter.count_step(self.catalog(), *key, row, counts);
            }
        }
    }

    pub(crate) fn count_iterations(&self, load: LoadId, row: &IterationCounts, counts: &mut Counts) {
        counts.iterations.add(row);
        if self
            .catalog()
            .scheduled
            .get(usize::from(load.0))
            .copied()
            .unwrap_or(false)
        {
            counts.started_scheduled = counts.started_scheduled.saturating_add(row.started);
        }
    }

    pub(crate) fn samples_of(&self, filter: &Filter, window: &Window, measure: Measure, outcomes: Outcomes) -> Samples {
        let mut samples = Samples::new();
        let takes = |key: &SketchKey| {
            key.measure == measure && takes_group(outcomes, key.group) && filter.sketch(self.catalog(), key)
        };
        let censored = |group| measure.is_censored(group);
        let is_over = |key: &SketchKey, interval| filter.segments.is_over(key.segment, interval);
        let to = match window {
            Window::Intervals(range) => {
                for (interval, detail) in self.timeline.details_at(range.start, range.end) {
                    let rows = detail.sketches.iter();
                    let rows = rows.filter(|(key, _)| takes(key) && !is_over(key, interval));
                    rows.for_each(|(key, sketch)| samples.add_pile(sketch, censored(key.group)));
                }
                return samples;
            }
            Window::Whole => u32::MAX,
            Window::UpTo(to) => *to,
        };
        let all = self.sketches.iter().filter(|(key, _)| takes(key));
        all.for_each(|(key, sketch)| samples.add_pile(sketch, censored(key.group)));
        if filter.takes_other() {
            let other = self.sketches.other().filter(|(key, _)| {
                key.measure == measure
                    && takes_group(outcomes, key.group)
                    && filter.segments.holds(key.segment)
                    && key.kind != FoldedKind::Aside
            });
            other.for_each(|(key, sketch)| samples.add_pile(sketch, censored(key.group)));
        }
        for (interval, detail) in self.timeline.details_at(filter.behind(to), u32::MAX) {
            let rows = detail.sketches.iter();
            let rows = rows.filter(|(key, _)| takes(key) && (interval >= to || is_over(key, interval)));
            rows.for_each(|(key, sketch)| samples.remove_pile(sketch, censored(key.group)));
        }
        samples
    }

    /// The samples of one interval, added to or taken from a sliding window.
    pub(crate) fn slide(
        &self,
        filter: &Filter,
        interval: u32,
        (measure, outcomes): (Measure, Outcomes),
        mut change: impl FnMut(&Pile, bool),
    ) {
        for detail in self.timeline.details(interval, interval.saturating_add(1)) {
            for (key, sketch) in &detail.sketches {
                if key.measure == measure && takes_group(outcomes, key.group) && filter.sketch(self.catalog(), key) {
                    change(sketch, measure.is_censored(key.group));
                }
            }
        }
    }
}
