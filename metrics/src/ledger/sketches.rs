//! Latencies of the whole run, by series.

use barrage_model::delta::{Measure, SketchKey, Subject};
use barrage_model::ids::{SegmentId, TagId};
use barrage_model::outcome::OutcomeGroup;
use barrage_model::sketch::Packed;

use crate::catalog::Catalog;
use crate::pile::Pile;
use crate::series::{SERIES_MAX, Series};

/// Series that may all be quick to add to, some 250 MB. Where there are more, all are made compact each time that so many
/// sketches have been added.
const OPEN_MAX: usize = 10_000;

/// A series' key, those of scenarios first: there are few of them, and what is not kept apart has the largest keys.
type Place = (bool, SketchKey);

/// What remains of a series in `other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FoldedSketch {
    pub(crate) kind: FoldedKind,
    pub(crate) measure: Measure,
    pub(crate) group: OutcomeGroup,
    pub(crate) segment: SegmentId,
}

/// What the subject of a folded series was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FoldedKind {
    /// A request of a scenario: part of the totals.
    Request,
    /// A group, or a step of setup or teardown: not part of the totals.
    Aside,
    /// A scenario.
    Scenario,
}

/// Sums of sketches by series.
#[derive(Clone, Debug)]
pub(crate) struct Sketches {
    series: Series<Place, FoldedSketch, Pile>,
    /// Sketches that were added since all sums were made compact.
    added: usize,
}

impl PartialEq for Sketches {
    /// Equal sums, in whatever form.
    fn eq(&self, other: &Self) -> bool {
        self.series == other.series
    }
}

impl Default for Sketches {
    fn default() -> Self {
        Self::with_room(SERIES_MAX)
    }
}

impl Sketches {
    /// With room for so many series.
    pub(crate) fn with_room(limit: usize) -> Self {
        Self {
            series: Series::new(limit),
            added: 0,
        }
    }

    pub(super) fn add(&mut self, catalog: &Catalog, key: &SketchKey, sketch: &Packed) {
        self.series
            .add(place(*key), sketch, |(_, key)| fold_sketch(catalog, key));
        self.added += 1;
        if self.added >= OPEN_MAX {
            self.added = 0;
            if self.series.len() > OPEN_MAX {
                for pile in self.series.values_mut() {
                    pile.close();
                }
            }
        }
    }

    /// Every series that is kept apart.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&SketchKey, &Pile)> {
        self.series.iter().map(|((_, key), pile)| (key, pile))
    }

    /// Those of one subject and measure.
    pub(crate) fn of(&self, subject: Subject, measure: Measure) -> impl Iterator<Item = (&SketchKey, &Pile)> {
        let key = |group, tag, segment| SketchKey {
            subject,
            measure,
            group,
            tag: TagId(tag),
            segment: SegmentId(segment),
        };
        let first = key(OutcomeGroup::Ok, 0, 0);
        let last = key(OutcomeGroup::Censored, u16::MAX, u32::MAX);
        let found = self.series.range(place(first)..=place(last));
        found.map(|((_, key), pile)| (key, pile))
    }

    /// What was folded.
    pub(crate) fn other(&self) -> impl Iterator<Item = (&FoldedSketch, &Pile)> {
        self.series.other()
    }

    /// Whether some series of a subject may have been folded.
    pub(crate) fn may_have_folded(&self, subject: Subject) -> bool {
        let from = self.series.folded_from();
        from.is_some_and(|(is_step, key)| (*is_step, key.subject) <= (is_step_of(subject), subject))
    }
}

fn place(key: SketchKey) -> Place {
    (is_step_of(key.subject), key)
}

fn is_step_of(subject: Subject) -> bool {
    matches!(subject, Subject::Step(_))
}

fn fold_sketch(catalog: &Catalog, key: &SketchKey) -> FoldedSketch {
    let kind = match key.subject {
        Subject::Scenario(_) => FoldedKind::Scenario,
        Subject::Step(id) => match catalog.steps.get(&id) {
            Some(step) if !step.once() && !step.group() => FoldedKind::Request,
            _ => FoldedKind::Aside,
        },
    };
    FoldedSketch {
        kind,
        measure: key.measure,
        group: key.group,
        segment: key.segment,
    }
}
