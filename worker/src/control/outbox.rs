//! Deltas on their way to the coordinator: numbered when they are first sent, kept until they are committed.
//!
//! A delta that has been sent is never changed: nobody knows whether it has been merged. Those that have not been sent
//! are merged with their neighbours when there are too many, so nothing is ever lost and memory stays bounded; what is
//! lost is resolution in time.

use std::collections::{BTreeMap, VecDeque};

use barrage_model::delta::{Delta, ERROR_SAMPLES_MAX, IterationRow, SketchRow, StepRow};
use barrage_model::ledger::{IterationCounts, StepCounts};

/// Most deltas that are sent and not committed.
pub(crate) const IN_FLIGHT_MAX: usize = 16;
/// Most deltas that wait to be sent; more are merged in pairs.
pub(crate) const WAITING_MAX: usize = 120;

/// The deltas of one run.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Sent, not committed, by rising number.
    sent: VecDeque<Delta>,
    /// Not sent and not numbered.
    waiting: VecDeque<Delta>,
    /// Number of the delta numbered last.
    last_seq: u64,
    /// How many of `sent` have gone out on the present connection.
    out: usize,
    coalesced: u64,
}

impl Outbox {
    /// Takes a delta; its number is set later.
    pub(crate) fn push(&mut self, delta: Delta) {
        self.waiting.push_back(delta);
        if self.waiting.len() > WAITING_MAX {
            self.coalesce();
        }
    }

    /// The next delta to send, if the coordinator is not too far behind.
    pub(crate) fn next(&mut self) -> Option<&Delta> {
        if self.out == self.sent.len() {
            if self.sent.len() >= IN_FLIGHT_MAX {
                return None;
            }
            let mut delta = self.waiting.pop_front()?;
            self.last_seq += 1;
            delta.seq = self.last_seq;
            self.sent.push_back(delta);
        }
        self.out += 1;
        self.sent.get(self.out - 1)
    }

    /// Every delta up to `seq` is committed. A number that has never been sent is not believed.
    pub(crate) fn committed(&mut self, seq: u64) {
        while self.sent.front().is_some_and(|delta| delta.seq <= seq) {
            self.sent.pop_front();
            self.out = self.out.saturating_sub(1);
        }
    }

    /// Sends again from `seq` on.
    pub(crate) fn resend_from(&mut self, seq: u64) {
        self.out = self.out.min(self.sent.partition_point(|delta| delta.seq < seq));
    }

    /// The connection is new: all that is not committed goes out again.
    pub(crate) fn reconnected(&mut self) {
        self.out = 0;
    }

    /// Number of the delta numbered last.
    pub(crate) fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Whether every delta has been sent at least once.
    pub(crate) fn all_sent(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether every delta has been committed.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.sent.is_empty()
    }

    /// How many deltas have been merged with a neighbour because nobody took them.
    pub(crate) fn coalesced(&self) -> u64 {
        self.coalesced
    }

    fn coalesce(&mut self) {
        let mut deltas = std::mem::take(&mut self.waiting).into_iter();
        while let Some(first) = deltas.next() {
            match deltas.next() {
                Some(second) => {
                    self.coalesced += 1;
                    self.waiting.push_back(join(first, second));
                }
                None => self.waiting.push_back(first),
            }
        }
    }
}

/// One delta with the counts of both; `second` is the later one, and says where things stand.
fn join(first: Delta, second: Delta) -> Delta {
    let mut iterations = BTreeMap::new();
    for row in first.iterations.into_iter().chain(second.iterations) {
        let sum: &mut IterationRow = iterations
            .entry((row.load, row.scenario, row.segment))
            .or_insert(IterationRow {
                counts: IterationCounts::default(),
                ..row
            });
        sum.counts.add(&row.counts);
    }
    let mut steps = BTreeMap::new();
    for row in first.steps.into_iter().chain(second.steps) {
        let sum: &mut StepRow = steps.entry((row.step, row.tag, row.segment)).or_insert(StepRow {
            counts: StepCounts::default(),
            ..row
        });
        sum.counts.add(&row.counts);
    }
    let mut sketches: BTreeMap<_, SketchRow> = BTreeMap::new();
    for row in first.sketches.into_iter().chain(second.sketches) {
        match sketches.get_mut(&row.key) {
            Some(sum) => {
                sum.sketch
                    .merge(&row.sketch)
                    .expect("the samples of a few minutes stay far below the limit of a sketch");
            }
            None => {
                sketches.insert(row.key, row);
            }
        }
    }
    let mut errors = first.errors;
    errors.extend(second.errors);
    errors.truncate(ERROR_SAMPLES_MAX);
    Delta {
        seq: 0,
        interval: second.interval,
        last: second.last,
        iterations: iterations.into_values().collect(),
        steps: steps.into_values().collect(),
        sketches: sketches.into_values().collect(),
        open: second.open,
        progress: second.progress,
        errors,
        health: first.health.joined(second.health),
        ended: first.ended.max(second.ended),
        left: first.left.into_iter().chain(second.left).min(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use barrage_model::delta::{Health, Measure, SketchKey, Subject};
    use barrage_model::ids::{LoadId, ScenarioId, SegmentId, TagId};
    use barrage_model::ledger::Open;
    use barrage_model::outcome::OutcomeGroup;
    use barrage_model::sketch::Sketch;
    use barrage_model::time::Moment;

    fn delta(interval: u32) -> Delta {
        let (scenario, segment) = (ScenarioId(0), SegmentId(interval / 7));
        let counts = IterationCounts {
            started: u64::from(interval) + 1,
            ..IterationCounts::default()
        };
        let mut sketch = Sketch::new();
        sketch.record(u64::from(interval) * 100);
        let key = SketchKey {
            subject: Subject::Scenario(scenario),
            measure: Measure::Iteration,
            group: OutcomeGroup::Ok,
            tag: TagId(0),
            segment,
        };
        Delta {
            seq: 0,
            interval,
            last: false,
            iterations: vec![IterationRow {
                load: LoadId(0),
                scenario,
                segment,
                counts,
            }],
            steps: Vec::new(),
            sketches: vec![SketchRow {
                key,
                sketch: sketch.pack(),
            }],
            open: Open {
                waiting: u64::from(interval),
                ..Open::default()
            },
            progress: Vec::new(),
            errors: Vec::new(),
            health: Health::default(),
            ended: Some(Moment::from_secs(interval.into())),
            left: None,
        }
    }

    fn drain(outbox: &mut Outbox) -> Vec<u64> {
        std::iter::from_fn(|| outbox.next().map(|delta| delta.seq)).collect()
    }

    #[test]
    fn numbers_have_no_gaps_and_what_is_not_committed_is_sent_again() {
        let mut outbox = Outbox::default();
        (0..4).for_each(|n| outbox.push(delta(n)));
        assert_eq!(drain(&mut outbox), [1, 2, 3, 4]);
        outbox.committed(2);
        outbox.push(delta(4));
        assert_eq!(drain(&mut outbox), [5]);
        outbox.reconnected();
        assert_eq!(drain(&mut outbox), [3, 4, 5]);
        outbox.resend_from(5);
        assert_eq!(drain(&mut outbox), [5]);
        outbox.resend_from(1);
        assert_eq!(drain(&mut outbox), [3, 4, 5]);
        outbox.committed(99);
        assert!(outbox.is_empty());
        assert_eq!(outbox.last_seq(), 5);
    }

    #[test]
    fn a_silent_coordinator_costs_resolution_and_never_a_count() {
        let mut outbox = Outbox::default();
        for n in 0..1_000 {
            outbox.push(delta(n));
            if n == 20 {
                assert_eq!(drain(&mut outbox).len(), IN_FLIGHT_MAX);
            }
        }
        assert!(outbox.waiting.len() <= WAITING_MAX && outbox.coalesced() > 0);
        let (mut started, mut samples, mut next) = (0, 0, 1);
        let mut intervals = Vec::new();
        while !outbox.is_empty() {
            outbox.reconnected();
            while let Some(delta) = outbox.next() {
                if delta.seq < next {
                    continue;
                }
                assert_eq!(delta.seq, next);
                next += 1;
                intervals.push(delta.interval);
                started += delta.iterations.iter().map(|row| row.counts.started).sum::<u64>();
                samples += delta.sketches.iter().map(|row| row.sketch.count()).sum::<u64>();
            }
            outbox.committed(next - 1);
        }
        assert_eq!((started, samples), (500_500, 1_000));
        assert!(intervals.is_sorted() && intervals.last() == Some(&999));
    }
}
