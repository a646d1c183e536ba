//! What is not known of a selection, so that nothing is said of the rest of it as if it were all.

use barrage_model::delta::{Measure, Subject};
use barrage_model::ids::{ScenarioId, StepId};

use crate::ledger::Ledger;
use crate::query::{Filter, Window};

/// Why figures of a selection are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// Some of its series are in the totals alone.
    Folded,
    /// Others went on after the end of its stage, in seconds that are no longer kept apart from those before.
    Forgotten,
}

impl Lack {
    /// One sentence.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Folded => {
                "the run had more series than are kept apart, so nobody knows all of these; fewer steps, tag values or stages help"
            }
            Self::Forgotten => {
                "other loads went on after the end of the stage for longer than seconds are kept apart, so nobody knows what belongs to it"
            }
        }
    }
}

impl Ledger {
    /// Why what belongs to the segments of a selection is not known, if it is not.
    pub(crate) fn lacks_seconds(&self, filter: &Filter, window: &Window) -> Option<Lack> {
        let over_from = filter.segments.over_from()?;
        let apart = matches!(window, Window::Intervals(_)) || over_from >= self.timeline.fine_from();
        (!apart).then_some(Lack::Forgotten)
    }

    /// Why the counts of a selection are not known, if they are not. Intervals have all their series.
    pub(crate) fn lacks_counts(&self, filter: &Filter, window: &Window) -> Option<Lack> {
        if matches!(window, Window::Intervals(_)) || filter.is_unnarrowed() {
            return self.lacks_seconds(filter, window);
        }
        let named = filter.chosen.named.as_ref();
        let steps = self.steps.folded_from().is_some_and(|(from, ..)| match named {
            Some(named) => named.counts.range(*from..).next().is_some(),
            None => true,
        });
        let folded = steps || self.iterations.folded_from().is_some();
        folded
            .then_some(Lack::Folded)
            .or_else(|| self.lacks_seconds(filter, window))
    }

    /// The same of samples.
    pub(crate) fn lacks_samples(&self, filter: &Filter, window: &Window, measure: Measure) -> Option<Lack> {
        if matches!(window, Window::Intervals(_)) || filter.is_unnarrowed() {
            return self.lacks_seconds(filter, window);
        }
        let of_scenarios = matches!(measure, Measure::DispatchLag | Measure::Iteration);
        // Of several subjects the last one is the first to be folded.
        let last = match &filter.chosen.named {
            Some(named) if of_scenarios => named.scenarios.last().copied().map(Subject::Scenario),
            Some(named) => named.latencies.last().copied().map(Subject::Step),
            None if of_scenarios => Some(Subject::Scenario(ScenarioId(u16::MAX))),
            None => Some(Subject::Step(StepId(u32::MAX))),
        };
        let folded = last.is_some_and(|subject| self.sketches.may_have_folded(subject));
        folded
            .then_some(Lack::Folded)
            .or_else(|| self.lacks_seconds(filter, window))
    }
}
