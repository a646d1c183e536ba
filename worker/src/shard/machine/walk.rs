//! One shard's walk through the epochs of one load.

use std::collections::VecDeque;
use std::sync::Arc;

use barrage_model::ids::ShardId;
use barrage_model::schedule::{Cursor, Epoch};
use barrage_model::time::Moment;

/// The owned arrivals in order, over epoch after epoch; a later epoch cuts the one before at its first index.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    shard: ShardId,
    current: Option<Cursor>,
    /// Epochs to come, each with the first index that this walk takes from it.
    later: VecDeque<(u64, Arc<Epoch>)>,
    /// Every owned index below has been passed, whatever epochs arrive later.
    passed: u64,
    /// Where the curve of the newest epoch ends.
    end: Moment,
}

impl Walk {
    pub(super) fn new(shard: ShardId) -> Self {
        Self {
            shard,
            current: None,
            later: VecDeque::new(),
            passed: 0,
            end: Moment::ZERO,
        }
    }

    /// From the epoch's first index on (but not before `not_before`) goes on in `epoch`.
    pub(super) fn add(&mut self, epoch: &Arc<Epoch>, not_before: u64) {
        let first = epoch.first_index.max(not_before);
        if let Some(current) = &mut self.current {
            current.cut(first);
        }
        self.later.retain(|(begin, _)| *begin < first);
        self.later.push_back((first, Arc::clone(epoch)));
        self.end = epoch.first_time + epoch.curve.duration();
        self.settle();
    }

    /// The next arrival: its index and when it falls due.
    pub(super) fn peek(&self) -> Option<(u64, Moment)> {
        self.current.as_ref().and_then(Cursor::peek)
    }

    pub(super) fn advance(&mut self) {
        if let Some(current) = &mut self.current {
            if let Some(index) = current.next_index() {
                self.passed = index + 1;
            }
            current.advance();
            self.settle();
        }
    }

    /// The index after the last one passed.
    pub(super) fn passed(&self) -> u64 {
        self.passed
    }

    /// Where the newest curve ends.
    pub(super) fn end(&self) -> Moment {
        self.end
    }

    fn settle(&mut self) {
        while self.peek().is_none() {
            let Some((first, epoch)) = self.later.pop_front() else {
                return;
            };
            let end = self.later.front().map_or(u64::MAX, |(next, _)| *next);
            let first = self.passed.max(first);
            self.current = Some(Cursor::between(&epoch, self.shard, first..end.max(first)));
        }
    }
}
