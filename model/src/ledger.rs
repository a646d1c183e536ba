//! The two ledgers. Both are plain sums, so merging is addition; both carry an equation that must hold at the end of
//! every interval.

use crate::outcome::{DropReason, FailureClass, IterationEnd, Outcome};

/// Counts of iterations. Cumulative or per interval, by context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IterationCounts {
    /// Arrivals that fell due (open model, and indices handed out by `iterations`). Closed models have none.
    pub scheduled: u64,
    /// Iterations begun.
    pub started: u64,
    /// Iterations that went through every step.
    pub completed: u64,
    /// Iterations ended early by a failed step.
    pub broken_off: u64,
    /// Iterations ended by the end of the run.
    pub cancelled: u64,
    /// Due arrivals never started, by [`DropReason::index`].
    pub dropped: [u64; 4],
}

impl IterationCounts {
    /// Adds `other`, saturating.
    pub fn add(&mut self, other: &Self) {
        self.scheduled = self.scheduled.saturating_add(other.scheduled);
        self.started = self.started.saturating_add(other.started);
        self.completed = self.completed.saturating_add(other.completed);
        self.broken_off = self.broken_off.saturating_add(other.broken_off);
        self.cancelled = self.cancelled.saturating_add(other.cancelled);
        for (sum, more) in self.dropped.iter_mut().zip(other.dropped) {
            *sum = sum.saturating_add(more);
        }
    }

    /// Counts one ended iteration.
    pub fn end(&mut self, end: IterationEnd) {
        match end {
            IterationEnd::Completed => self.completed += 1,
            IterationEnd::BrokenOff => self.broken_off += 1,
            IterationEnd::Cancelled => self.cancelled += 1,
        }
    }

    /// Counts `count` dropped arrivals.
    pub fn drop(&mut self, reason: DropReason, count: u64) {
        self.dropped[reason.index()] += count;
    }

    /// Sum over all drop reasons.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// Iterations that have ended in any way.
    pub fn ended(&self) -> u64 {
        self.completed
            .saturating_add(self.broken_off)
            .saturating_add(self.cancelled)
    }
}

/// Counts of steps. Cumulative or per interval, by context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepCounts {
    /// Steps that were due to be sent.
    pub attempted: u64,
    /// Steps handed to an engine.
    pub sent: u64,
    /// Answered as expected.
    pub ok: u64,
    /// Failures by [`FailureClass::index`].
    pub failed: [u64; 9],
    /// No complete answer in time.
    pub timeout: u64,
    /// Given up at the end of the run.
    pub cancelled: u64,
    /// Refused by an open circuit breaker.
    pub shed: u64,
    /// Answered by a circuit breaker's fallback.
    pub fallback: u64,
    /// Answered by a fault injected in the worker.
    pub injected: u64,
    /// Requests on the wire: the sent ones that reached a connection, plus redirect hops.
    pub wire_requests: u64,
    /// Bytes of answer bodies.
    pub body_bytes_in: u64,
    /// Bytes of request bodies.
    pub body_bytes_out: u64,
    /// Bytes read from connections, heads, framing and TLS included.
    pub wire_bytes_in: u64,
    /// Bytes written to connections, heads, framing and TLS included.
    pub wire_bytes_out: u64,
}

impl StepCounts {
    /// Adds `other`, saturating.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.fields_mut().into_iter().zip(other.fields()) {
            *sum = sum.saturating_add(more);
        }
        for (sum, more) in self.failed.iter_mut().zip(other.failed) {
            *sum = sum.saturating_add(more);
        }
    }

    /// Counts one ended step.
    pub fn end(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Ok => self.ok += 1,
            Outcome::Failed(class) => self.failed[class.index()] += 1,
            Outcome::Timeout => self.timeout += 1,
            Outcome::Cancelled => self.cancelled += 1,
        }
    }

    /// Failures of one class.
    pub fn failed_as(&self, class: FailureClass) -> u64 {
        self.failed[class.index()]
    }

    /// Failures of all classes.
    pub fn failed_total(&self) -> u64 {
        self.failed.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// Steps that have ended in any way after being sent.
    pub fn ended(&self) -> u64 {
        self.ok
            .saturating_add(self.failed_total())
            .saturating_add(self.timeout)
            .saturating_add(self.cancelled)
    }

    /// Steps that count for `error_rate`: ended by the target or by the clock, not by us.
    pub fn judged(&self) -> u64 {
        self.ok.saturating_add(self.failed_total()).saturating_add(self.timeout)
    }

    fn fields(&self) -> [u64; 13] {
        [
            self.attempted,
            self.sent,
            self.ok,
            self.timeout,
            self.cancelled,
            self.shed,
            self.fallback,
            self.injected,
            self.wire_requests,
            self.body_bytes_in,
            self.body_bytes_out,
            self.wire_bytes_in,
            self.wire_bytes_out,
        ]
    }

    fn fields_mut(&mut self) -> [&mut u64; 13] {
        [
            &mut self.attempted,
            &mut self.sent,
            &mut self.ok,
            &mut self.timeout,
            &mut self.cancelled,
            &mut self.shed,
            &mut self.fallback,
            &mut self.injected,
            &mut self.wire_requests,
            &mut self.body_bytes_in,
            &mut self.body_bytes_out,
            &mut self.wire_bytes_in,
            &mut self.wire_bytes_out,
        ]
    }
}

/// What is still open at an instant; part of every delta, 0 at the end of a complete run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// Arrivals that are due but neither started nor dropped.
    pub waiting: u64,
    /// Iterations started and not ended.
    pub in_progress: u64,
    /// Steps sent and not ended.
    pub in_flight: u64,
}

/// An equation of a ledger that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Imbalance {
    /// `scheduled = started + dropped + waiting` fails (open model, one worker's own view).
    #[error("{scheduled} arrivals scheduled, but {accounted} started, dropped or waiting")]
    Arrivals {
        /// Left side.
        scheduled: u64,
        /// Right side.
        accounted: u64,
    },
    /// `started = completed + broken_off + cancelled + in_progress` fails.
    #[error("{started} iterations started, but {accounted} ended or in progress")]
    Iterations {
        /// Left side.
        started: u64,
        /// Right side.
        accounted: u64,
    },
    /// `attempted = sent + shed + fallback + injected` fails.
    #[error("{attempted} steps attempted, but {accounted} sent, shed, fallen back or injected")]
    Attempted {
        /// Left side.
        attempted: u64,
        /// Right side.
        accounted: u64,
    },
    /// `sent = ok + failed + timeout + cancelled + in_flight` fails.
    #[error("{sent} steps sent, but {accounted} ended or in flight")]
    Sent {
        /// Left side.
        sent: u64,
        /// Right side.
        accounted: u64,
    },
}

/// Checks the iteration ledger of one worker, cumulative. `open_started` are the iterations started by open models
/// and `iterations` loads; closed-model starts have no arrival and stay out of the first equation.
///
/// # Errors
/// The first equation that does not hold.
pub fn check_iterations(counts: &IterationCounts, open_started: u64, open: &Open) -> Result<(), Imbalance> {
    let accounted = open_started
        .saturating_add(counts.dropped_total())
        .saturating_add(open.waiting);
    if counts.scheduled != accounted {
        return Err(Imbalance::Arrivals {
            scheduled: counts.scheduled,
            accounted,
        });
    }
    let accounted = counts.ended().saturating_add(open.in_progress);
    if counts.started != accounted {
        return Err(Imbalance::Iterations {
            started: counts.started,
            accounted,
        });
    }
    Ok(())
}

/// Checks the step ledger, cumulative.
///
/// # Errors
/// The first equation that does not hold.
pub fn check_steps(counts: &StepCounts, open: &Open) -> Result<(), Imbalance> {
    let accounted = counts
        .sent
        .saturating_add(counts.shed)
        .saturating_add(counts.fallback)
        .saturating_add(counts.injected);
    if counts.attempted != accounted {
        return Err(Imbalance::Attempted {
            attempted: counts.attempted,
            accounted,
        });
    }
    let accounted = counts.ended().saturating_add(open.in_flight);
    if counts.sent != accounted {
        return Err(Imbalance::Sent {
            sent: counts.sent,
            accounted,
        });
    }
    Ok(())
}
