//! The tables of one interval: dense, with cells that appear when they are needed.

use barrage_model::delta::{ErrorSample, Measure, Shortages};
use barrage_model::ids::{LoadId, ScenarioId, SegmentId, StepId, TagId};
use barrage_model::ledger::{IterationCounts, StepCounts};
use barrage_model::outcome::OutcomeGroup;
use barrage_model::plan::TAG_COMBINATIONS_MAX;
use barrage_model::sketch::Sketch;
use barrage_model::time::Moment;

use super::lag::Lags;
use super::{Shape, Totals};

/// One sketch for each outcome group and measure: those of one sample lie side by side.
#[derive(Debug, Default)]
pub(super) struct Sketches([[Option<Box<Sketch>>; Measure::ALL.len()]; OutcomeGroup::ALL.len()]);

impl Sketches {
    #[inline]
    pub(super) fn record(&mut self, measure: Measure, group: OutcomeGroup, us: u64) {
        self.0[group.index()][measure.index()]
            .get_or_insert_default()
            .record(us);
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = (Measure, OutcomeGroup, Sketch)> {
        let rows = OutcomeGroup::ALL.into_iter().zip(self.0);
        rows.flat_map(|(group, measures)| {
            let cells = Measure::ALL.into_iter().zip(measures);
            cells.filter_map(move |(measure, sketch)| sketch.map(|sketch| (measure, group, *sketch)))
        })
    }
}

/// One step under one combination of tag values.
#[derive(Debug, Default)]
pub(super) struct StepCells {
    pub(super) counts: StepCounts,
    pub(super) sketches: Sketches,
}

/// Everything that belongs to one segment.
#[derive(Debug)]
pub(super) struct SegmentCells {
    pub(super) segment: SegmentId,
    /// By load, then scenario.
    pub(super) iterations: Vec<IterationCounts>,
    pub(super) scenarios: Vec<Sketches>,
    /// By step, then tag.
    pub(super) steps: Vec<Vec<Option<Box<StepCells>>>>,
}

/// Everything that belongs to one interval.
#[derive(Debug)]
pub(super) struct Interval {
    loads: usize,
    scenario_count: usize,
    step_count: usize,
    /// Those in use, most often one or two.
    pub(super) segments: Vec<SegmentCells>,
    pub(super) errors: Vec<ErrorSample>,
    pub(super) own_lag: Lags,
    /// The whole lag of those that were held back by more than their own, [`super::HELD_MIN_US`] or longer.
    pub(super) held_lag: Option<Lags>,
    /// Attempts that failed for want of something on this host.
    pub(super) shortages: Shortages,
    /// Run time at which the latest iteration ended.
    pub(super) ended: Option<Moment>,
}

impl Interval {
    /// Notes the lag of an arrival that was held back by more than the shard.
    #[cold]
    pub(super) fn hold(&mut self, lag_us: u64) {
        self.held_lag.get_or_insert_with(Lags::new).record(lag_us);
    }

    pub(super) fn new(shape: &Shape) -> Self {
        Self {
            loads: shape.scheduled.len(),
            scenario_count: shape.scenarios,
            step_count: shape.steps,
            segments: Vec::new(),
            errors: Vec::new(),
            own_lag: Lags::new(),
            held_lag: None,
            shortages: Shortages::default(),
            ended: None,
        }
    }

    /// Number of scenarios, at least 1: the stride of the iteration counts.
    pub(super) fn scenarios_max(&self) -> usize {
        self.scenario_count.max(1)
    }

    /// The cells of a step; `None` for a step that the plan does not have.
    pub(super) fn step(&mut self, step: StepId, tag: TagId, segment: SegmentId) -> Option<&mut StepCells> {
        let tag = usize::from(tag.0).min(TAG_COMBINATIONS_MAX - 1);
        let tags = self.segment(segment).steps.get_mut(step.0 as usize)?;
        if tags.len() <= tag {
            tags.resize_with(tag + 1, || None);
        }
        Some(tags[tag].get_or_insert_default())
    }

    /// The counts of a load's scenario; `None` when the plan has no such load or scenario.
    pub(super) fn iteration(
        &mut self,
        load: LoadId,
        scenario: ScenarioId,
        segment: SegmentId,
    ) -> Option<&mut IterationCounts> {
        let (load, scenario, scenarios) = (usize::from(load.0), usize::from(scenario.0), self.scenario_count);
        if load >= self.loads || scenario >= scenarios {
            return None;
        }
        self.segment(segment).iterations.get_mut(load * scenarios + scenario)
    }

    /// The sketches of a scenario; `None` when the plan has no such scenario.
    pub(super) fn scenario(&mut self, scenario: ScenarioId, segment: SegmentId) -> Option<&mut Sketches> {
        self.segment(segment).scenarios.get_mut(usize::from(scenario.0))
    }

    /// Adds this interval to the sums of the closed ones.
    pub(super) fn add_to(&self, totals: &mut Totals, shape: &Shape) {
        for cells in &self.segments {
            for (at, counts) in cells.iterations.iter().enumerate() {
                totals.scheduled += counts.scheduled;
                totals.started += counts.started;
                totals.iterations_ended += counts.ended();
                totals.dropped += counts.dropped_total();
                if shape.scheduled[at / shape.scenarios.max(1)] {
                    totals.started_scheduled += counts.started;
                }
            }
            for cell in cells.steps.iter().flatten().flatten() {
                totals.sent += cell.counts.sent;
                totals.steps_ended += cell.counts.ended();
            }
        }
    }

    #[inline]
    fn segment(&mut self, segment: SegmentId) -> &mut SegmentCells {
        // The newest segment is the one in use, but for the stragglers of the one before.
        let newest = self.segments.len().wrapping_sub(1);
        if self.segments.get(newest).is_some_and(|cells| cells.segment == segment) {
            return &mut self.segments[newest];
        }
        self.find_segment(segment)
    }

    #[cold]
    fn find_segment(&mut self, segment: SegmentId) -> &mut SegmentCells {
        if let Some(at) = self.segments.iter().rposition(|cells| cells.segment == segment) {
            return &mut self.segments[at];
        }
        let mut steps = Vec::new();
        steps.resize_with(self.step_count, Vec::new);
        let mut scenarios = Vec::new();
        scenarios.resize_with(self.scenario_count, Sketches::default);
        let iterations = vec![IterationCounts::default(); self.loads * self.scenario_count];
        self.segments.push(SegmentCells {
            segment,
            iterations,
            scenarios,
            steps,
        });
        let last = self.segments.len() - 1;
        &mut self.segments[last]
    }
}
