//! What a shard counts: both ledgers, the latencies and a sample of the errors, by interval.
//!
//! A recorder belongs to one shard and is never shared between threads. Nothing is hashed on the way of a sample: its
//! place is found by interval, segment, step, tag, measure and outcome group in dense tables whose cells appear when
//! the first sample needs them. A sample belongs to the interval of its own instant even when the shard is late in
//! closing intervals, so a stalled shard does not move its past into one interval.

mod error;
mod lag;
mod part;
mod table;
mod trace;

use std::collections::VecDeque;
use std::time::Duration;

use barrage_model::delta::{ERROR_SAMPLES_MAX, ErrorSample, INTERVAL, Measure, Progress, Subject};
use barrage_model::ids::{LoadId, ScenarioId, SegmentId, StepId, TagId};
use barrage_model::ledger::Open;
use barrage_model::outcome::{DropReason, IterationEnd, Outcome, OutcomeGroup};
use barrage_model::plan::{LoadModel, Plan};
use barrage_model::time::{Moment, whole_micros};

use crate::clock::Stamp;
use crate::engine::Timings;
use crate::net::Scarce;

pub use part::{Connected, Merged, Part};
pub use trace::{TraceError, TraceSink};

use table::Interval;
use trace::Trace;

/// Most intervals that a shard keeps open; a sample that lies further ahead counts in the last of them.
const OPEN_INTERVALS_MAX: usize = 120;
/// Microseconds of an interval.
const INTERVAL_US: u64 = INTERVAL.as_micros() as u64;

/// Who waits so much longer than its own lag, µs, was held back by something else.
const HELD_MIN_US: u64 = 10_000;

/// One ended step.
#[derive(Clone, Copy, Debug)]
pub struct StepSample<'a> {
    /// The step.
    pub step: StepId,
    /// Tag values of the answer; 0 when there is none.
    pub tag: TagId,
    /// The segment of the iteration.
    pub segment: SegmentId,
    /// How it ended.
    pub outcome: Outcome,
    /// When it was due: the iteration's due instant, or the end of the step before plus think time.
    pub due: Stamp,
    /// When the first byte of the request was written; `None` when it never came to that.
    pub sent_at: Option<Stamp>,
    /// When it ended.
    pub done_at: Stamp,
    /// The parts of the connection's life.
    pub timings: Timings,
    /// Requests on the wire, redirect hops included.
    pub wire_requests: u32,
    /// Bytes of the answer's body.
    pub body_bytes_in: u64,
    /// Bytes of the request's body.
    pub body_bytes_out: u64,
    /// Bytes read from the connection, heads, framing and TLS included.
    pub wire_bytes_in: u64,
    /// Bytes written to the connection, heads, framing and TLS included.
    pub wire_bytes_out: u64,
    /// The answer's status, if one came.
    pub status: Option<u16>,
    /// What went wrong, without secrets; empty when nothing did. Cut after 200 bytes.
    pub message: &'a str,
}

/// The dimensions of the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    steps: usize,
    scenarios: usize,
    /// For each load, whether its starts answer to a schedule (open model and `iterations`).
    scheduled: Vec<bool>,
}

impl Shape {
    /// The dimensions that a plan needs.
    pub fn of(plan: &Plan) -> Self {
        Self {
            steps: plan
                .named_steps()
                .iter()
                .map(|step| step.id.0 as usize + 1)
                .max()
                .unwrap_or(0),
            scenarios: plan.scenarios.len(),
            scheduled: plan
                .loads
                .iter()
                .map(|load| !matches!(load.model, LoadModel::Users(_)))
                .collect(),
        }
    }

    /// Given dimensions: step and scenario numbers lie below the first two, load numbers below the length of the third,
    /// which says of each load whether its starts answer to a schedule.
    pub fn new(steps: usize, scenarios: usize, scheduled: &[bool]) -> Self {
        Self {
            steps,
            scenarios,
            scheduled: scheduled.to_vec(),
        }
    }
}

/// Sums over the closed intervals, from which the open gauges follow.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    scheduled: u64,
    started_scheduled: u64,
    dropped: u64,
    started: u64,
    iterations_ended: u64,
    sent: u64,
    steps_ended: u64,
}

impl Totals {
    fn open(&self) -> Open {
        Open {
            waiting: self
                .scheduled
                .saturating_sub(self.started_scheduled.saturating_add(self.dropped)),
            in_progress: self.started.saturating_sub(self.iterations_ended),
            in_flight: self.sent.saturating_sub(self.steps_ended),
        }
    }
}

/// Counts and latencies of one shard.
#[derive(Debug)]
pub struct Recorder {
    shape: Shape,
    start: Stamp,
    /// Number of the oldest open interval, which stands at the front.
    first: u32,
    intervals: VecDeque<Interval>,
    /// Position of the newest interval that an instant has been seen of.
    latest: usize,
    /// When that interval begins: most instants lie in it, and are placed without a division.
    latest_from: Stamp,
    totals: Totals,
    trace: Option<Trace>,
}

impl Recorder {
    /// A recorder for a run that begins at `start`. With a sink, every single sample is written to it as well.
    pub fn new(shape: Shape, start: Stamp, trace: Option<TraceSink>) -> Self {
        let intervals = VecDeque::from([Interval::new(&shape)]);
        Self {
            shape,
            start,
            first: 0,
            intervals,
            latest: 0,
            latest_from: start,
            totals: Totals::default(),
            trace: trace.map(Trace::new),
        }
    }

    /// Counts a step that is due and handed to an engine at `at`. Exactly one [`Recorder::step_ended`] must follow.
    #[inline]
    pub fn step_sent(&mut self, step: StepId, segment: SegmentId, at: Stamp) {
        let at = self.position(at);
        if let Some(cells) = self.intervals[at].step(step, TagId(0), segment) {
            cells.counts.attempted += 1;
            cells.counts.sent += 1;
        }
    }

    /// Counts a step that a circuit breaker refused, or that was answered in its place, at `at`.
    pub fn step_not_sent(&mut self, step: StepId, segment: SegmentId, instead: Instead, at: Stamp) {
        let at = self.position(at);
        if let Some(cells) = self.intervals[at].step(step, TagId(0), segment) {
            match instead {
                Instead::Shed => cells.counts.shed += 1,
                Instead::Fallback => cells.counts.fallback += 1,
                Instead::Injected => cells.counts.injected += 1,
            }
        }
    }

    /// Records the end of a sent step, with its latencies.
    pub fn step_ended(&mut self, sample: &StepSample<'_>) {
        let at = self.position(sample.done_at);
        let group = sample.outcome.group();
        let key = (Subject::Step(sample.step), group, sample.tag, sample.segment);
        let Some(cells) = self.intervals[at].step(sample.step, sample.tag, sample.segment) else {
            return;
        };
        cells.counts.end(sample.outcome);
        cells.counts.wire_requests += u64::from(sample.wire_requests);
        cells.counts.body_bytes_in += sample.body_bytes_in;
        cells.counts.body_bytes_out += sample.body_bytes_out;
        cells.counts.wire_bytes_in += sample.wire_bytes_in;
        cells.counts.wire_bytes_out += sample.wire_bytes_out;
        let Timings {
            dns,
            connect,
            tls,
            first_byte,
        } = sample.timings;
        let latencies = [
            (Measure::Response, Some(sample.done_at.us_since(sample.due))),
            (
                Measure::Service,
                sample.sent_at.map(|sent| sample.done_at.us_since(sent)),
            ),
            (Measure::Dns, dns.map(whole_micros)),
            (Measure::Connect, connect.map(whole_micros)),
            (Measure::Tls, tls.map(whole_micros)),
            (Measure::FirstByte, first_byte.map(whole_micros)),
        ];
        for (measure, us) in latencies {
            if let Some(us) = us {
                cells.sketches.record(measure, group, us);
                if let Some(trace) = &mut self.trace {
                    trace.sample(measure, key, us);
                }
            }
        }
        if matches!(sample.outcome, Outcome::Failed(_) | Outcome::Timeout) {
            self.keep_error(at, sample);
        }
    }

    /// Records the latency of a group of steps, from the instant its first step was due to the end of its last one.
    pub fn group_ended(&mut self, step: StepId, segment: SegmentId, group: OutcomeGroup, due: Stamp, done_at: Stamp) {
        let at = self.position(done_at);
        let us = done_at.us_since(due);
        if let Some(cells) = self.intervals[at].step(step, TagId(0), segment) {
            cells.sketches.record(Measure::Response, group, us);
            self.trace_one(Measure::Response, (Subject::Step(step), group, TagId(0), segment), us);
        }
    }

    /// Counts arrivals that fell due at `at`.
    pub fn scheduled(&mut self, load: LoadId, scenario: ScenarioId, segment: SegmentId, count: u64, at: Stamp) {
        let at = self.position(at);
        if let Some(counts) = self.intervals[at].iteration(load, scenario, segment) {
            counts.scheduled += count;
        }
    }

    /// Counts the start of an iteration, and records its dispatch lag where it begins at once.
    #[inline]
    pub fn iteration_started(&mut self, start: &IterationStarted) {
        self.iteration_decided(start);
        self.iteration_begun(start);
    }

    /// Counts the start of an iteration.
    #[inline]
    pub fn iteration_decided(&mut self, start: &IterationStarted) {
        let at = self.position(start.at);
        if let Some(counts) = self.intervals[at].iteration(start.load, start.scenario, start.segment) {
            counts.started += 1;
        }
    }

    /// Records the dispatch lag of an iteration that begins now; `own_lag` is the part of the lag during which a slot was
    /// free, so that the generator alone is to blame. Of what was held back for longer the whole is kept beside it: it is the
    /// generator's, too, if the shard turns out to have had no time left.
    #[inline]
    pub fn iteration_begun(&mut self, start: &IterationStarted) {
        let at = self.position(start.at);
        let interval = &mut self.intervals[at];
        let lag = start.at.us_since(start.due);
        if let Some(own_lag) = start.own_lag {
            let own_us = whole_micros(own_lag);
            interval.own_lag.record(own_us);
            if lag >= own_us.saturating_add(HELD_MIN_US) {
                interval.hold(lag);
            }
        }
        let group = OutcomeGroup::Ok;
        if let Some(sketches) = interval.scenario(start.scenario, start.segment) {
            sketches.record(Measure::DispatchLag, group, lag);
            let key = (Subject::Scenario(start.scenario), group, TagId(0), start.segment);
            self.trace_one(Measure::DispatchLag, key, lag);
        }
    }

    /// Counts the end of an iteration and records how long it took from its due instant.
    #[inline]
    pub fn iteration_ended(
        &mut self,
        load: LoadId,
        scenario: ScenarioId,
        segment: SegmentId,
        (due, done_at): (Stamp, Stamp),
        end: IterationEnd,
    ) {
        let Some(interval) = self.count_end((load, scenario, segment), done_at, end) else {
            return;
        };
        let group = match end {
            IterationEnd::Completed => OutcomeGroup::Ok,
            IterationEnd::BrokenOff => OutcomeGroup::Failed,
            IterationEnd::Cancelled => OutcomeGroup::Cancelled,
        };
        let us = done_at.us_since(due);
        if let Some(sketches) = interval.scenario(scenario, segment) {
            sketches.record(Measure::Iteration, group, us);
            self.trace_one(
                Measure::Iteration,
                (Subject::Scenario(scenario), group, TagId(0), segment),
                us,
            );
        }
    }

    /// Counts the end of an iteration that was not gone through: how long it took says nothing.
    pub fn iteration_without_time(
        &mut self,
        load: LoadId,
        scenario: ScenarioId,
        segment: SegmentId,
        done_at: Stamp,
        end: IterationEnd,
    ) {
        self.count_end((load, scenario, segment), done_at, end);
    }

    #[inline]
    fn count_end(
        &mut self,
        (load, scenario, segment): (LoadId, ScenarioId, SegmentId),
        done_at: Stamp,
        end: IterationEnd,
    ) -> Option<&mut Interval> {
        let at = self.position(done_at);
        let ended = self.moment(done_at);
        let interval = &mut self.intervals[at];
        interval.iteration(load, scenario, segment)?.end(end);
        interval.ended = interval.ended.max(Some(ended));
        Some(interval)
    }

    /// Counts a due arrival that will never start. The age it reached is kept as a censored sample: of the response
    /// time of the scenario's first request, and of the iteration.
    pub fn dropped(&mut self, drop: &Dropped) {
        let at = self.position(drop.at);
        let interval = &mut self.intervals[at];
        let Some(counts) = interval.iteration(drop.load, drop.scenario, drop.segment) else {
            return;
        };
        counts.drop(drop.reason, 1);
        let (group, tag, age) = (OutcomeGroup::Censored, TagId(0), drop.at.us_since(drop.due));
        if let Some(sketches) = interval.scenario(drop.scenario, drop.segment) {
            sketches.record(Measure::Iteration, group, age);
        }
        let cells = drop
            .first_step
            .and_then(|step| interval.step(step, tag, drop.segment).map(|cells| (step, cells)));
        if let Some((step, cells)) = cells {
            cells.sketches.record(Measure::Response, group, age);
            self.trace_one(Measure::Response, (Subject::Step(step), group, tag, drop.segment), age);
        }
        self.trace_one(
            Measure::Iteration,
            (Subject::Scenario(drop.scenario), group, tag, drop.segment),
            age,
        );
    }

    /// An iteration that began and was cancelled before its first request, this step, had been sent: as of a dropped arrival
    /// it is known that an answer would have taken longer.
    pub fn never_sent(&mut self, step: StepId, segment: SegmentId, due: Stamp, at: Stamp) {
        let (group, tag, age) = (OutcomeGroup::Censored, TagId(0), at.us_since(due));
        let place = self.position(at);
        if let Some(cells) = self.intervals[place].step(step, tag, segment) {
            cells.sketches.record(Measure::Response, group, age);
            self.trace_one(Measure::Response, (Subject::Step(step), group, tag, segment), age);
        }
    }

    /// The run time of an instant.
    pub fn moment(&self, at: Stamp) -> Moment {
        Moment::from_micros(at.us_since(self.start))
    }

    /// What would be open if the oldest interval closed now, all later ones included.
    pub fn open(&self) -> Open {
        let mut totals = self.totals;
        for interval in &self.intervals {
            interval.add_to(&mut totals, &self.shape);
        }
        totals.open()
    }

    /// Closes the oldest interval. `progress` is the shard's place in its schedules at that interval's end.
    pub fn close(&mut self, progress: Vec<Progress>) -> Part {
        let closed = self.intervals.pop_front().unwrap_or_else(|| Interval::new(&self.shape));
        if self.intervals.is_empty() {
            self.intervals.push_back(Interval::new(&self.shape));
        }
        closed.add_to(&mut self.totals, &self.shape);
        let number = self.first;
        self.first += 1;
        self.set_latest(self.latest.saturating_sub(1));
        if let Some(trace) = &mut self.trace {
            trace.flush();
        }
        Part::new(number, closed, self.totals.open(), progress)
    }

    /// Closes everything: for what is counted outside the load threads.
    pub fn finish(mut self) -> Vec<Part> {
        (0..self.intervals.len()).map(|_| self.close(Vec::new())).collect()
    }

    /// Number of the oldest open interval: the one that [`Recorder::close`] closes.
    pub fn interval(&self) -> u32 {
        self.first
    }

    #[inline]
    fn position(&mut self, at: Stamp) -> usize {
        if at >= self.latest_from && at.us_since(self.latest_from) < INTERVAL_US {
            return self.latest;
        }
        self.find_position(at)
    }

    #[cold]
    fn find_position(&mut self, at: Stamp) -> usize {
        let number = at.us_since(self.start) / INTERVAL_US;
        let position = number
            .saturating_sub(u64::from(self.first))
            .min(OPEN_INTERVALS_MAX as u64 - 1) as usize;
        while self.intervals.len() <= position {
            self.intervals.push_back(Interval::new(&self.shape));
        }
        self.set_latest(self.latest.max(position));
        position
    }

    fn set_latest(&mut self, position: usize) {
        self.latest = position;
        let number = u64::from(self.first) + position as u64;
        self.latest_from = self.start.plus_us(number.saturating_mul(INTERVAL_US));
    }

    /// Counts an attempt that failed at `at` because this host had run out of something. Its step is counted as well.
    #[cold]
    pub fn fell_short(&mut self, of: Scarce, at: Stamp) {
        let at = self.position(at);
        of.count(&mut self.intervals[at].shortages);
    }

    #[cold]
    fn keep_error(&mut self, at: usize, sample: &StepSample<'_>) {
        let class = match sample.outcome {
            Outcome::Failed(class) => Some(class),
            _ => None,
        };
        let moment = self.moment(sample.done_at);
        let service = sample.sent_at.map(|sent| sample.done_at.since(sent));
        let errors = &mut self.intervals[at].errors;
        if errors.len() < ERROR_SAMPLES_MAX && error::is_rare(errors, sample.step, class) {
            errors.push(ErrorSample {
                at: moment,
                step: sample.step,
                class,
                status: sample.status,
                service,
                message: error::cut(sample.message),
            });
        }
    }

    fn trace_one(&mut self, measure: Measure, key: trace::Key, us: u64) {
        if let Some(trace) = &mut self.trace {
            trace.sample(measure, key, us);
        }
    }
}

/// What happened to an attempted step that was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instead {
    /// Refused by an open circuit breaker.
    Shed,
    /// Answered by a circuit breaker's fallback.
    Fallback,
    /// Answered by a fault injected in the worker.
    Injected,
}

/// The start of an iteration.
#[derive(Clone, Copy, Debug)]
pub struct IterationStarted {
    /// The load that made it.
    pub load: LoadId,
    /// The scenario it goes through.
    pub scenario: ScenarioId,
    /// The segment of its due instant.
    pub segment: SegmentId,
    /// When it was due.
    pub due: Stamp,
    /// When it started.
    pub at: Stamp,
    /// How much of the lag the generator itself caused; `None` where it can cause none.
    pub own_lag: Option<Duration>,
}

/// A due arrival that is given up.
#[derive(Clone, Copy, Debug)]
pub struct Dropped {
    /// The load that made it.
    pub load: LoadId,
    /// The scenario it would have gone through.
    pub scenario: ScenarioId,
    /// The first request of that scenario.
    pub first_step: Option<StepId>,
    /// The segment of its due instant.
    pub segment: SegmentId,
    /// Why.
    pub reason: DropReason,
    /// When it was due.
    pub due: Stamp,
    /// When it was given up.
    pub at: Stamp,
}

#[cfg(test)]
mod tests;
