//! Labels of run time: marks cut it into segments, and every segment belongs to a set of phases.
//!
//! An iteration belongs to the segment in which it fell *due* (closed model: in which it began), whatever its later
//! instants (semantics 4).

use crate::ids::SegmentId;
use crate::time::Moment;

/// An instant at which a new segment begins. The first mark lies at [`Moment::ZERO`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The segment that begins here; segments are numbered in order of time from 0.
    pub segment: SegmentId,
    /// Run time of the first due instant that belongs to the segment.
    pub at: Moment,
    /// The phases of the segment.
    pub phases: Vec<Phase>,
}

/// One label of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Before the plan's `warm_up` has passed; SLAs leave it out unless they name it.
    WarmUp,
    /// A hold, outside warm-up, fault and recovery.
    Steady,
    /// A named or numbered stage of a load.
    Stage(String),
    /// A fault's baseline window.
    Baseline(String),
    /// While the named fault is being injected.
    Fault(String),
    /// After the named fault, until it counts as recovered.
    Recovery(String),
    /// After an abort: belongs to no other phase.
    Undoing,
}

/// The marks of a run in order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks(Vec<Mark>);

/// Most marks a run may have.
pub const MARKS_MAX: usize = 20_000;

impl Marks {
    /// Takes marks in order of time, numbered from 0, the first at [`Moment::ZERO`].
    ///
    /// Returns `None` when they are not, or when there are more than [`MARKS_MAX`].
    pub fn new(marks: Vec<Mark>) -> Option<Self> {
        let ordered = marks.windows(2).all(|pair| pair[0].at < pair[1].at);
        let numbered = marks.iter().enumerate().all(|(n, mark)| mark.segment.0 as usize == n);
        let begins = marks.first().is_some_and(|mark| mark.at == Moment::ZERO);
        (ordered && numbered && begins && marks.len() <= MARKS_MAX).then_some(Self(marks))
    }

    /// The segment that holds a due instant.
    pub fn segment_at(&self, due: Moment) -> SegmentId {
        let after = self.0.partition_point(|mark| mark.at <= due);
        SegmentId(after.saturating_sub(1) as u32)
    }

    /// The marks in order of time.
    pub fn iter(&self) -> impl Iterator<Item = &Mark> {
        self.0.iter()
    }

    /// The phases of a segment; none for an unknown one.
    pub fn phases(&self, segment: SegmentId) -> &[Phase] {
        self.0.get(segment.0 as usize).map_or(&[], |mark| &mark.phases)
    }

    /// Run time covered by a segment; the last one ends at `end`.
    pub fn span(&self, segment: SegmentId, end: Moment) -> Option<(Moment, Moment)> {
        let from = self.0.get(segment.0 as usize)?.at;
        let to = self.0.get(segment.0 as usize + 1).map_or(end, |next| next.at.min(end));
        (from <= to).then_some((from, to))
    }

    /// Number of segments.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no mark at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
