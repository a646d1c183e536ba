//! What the coordinator tells a worker, and what comes of it.

use barrage_model::ids::{LoadId, RunId};
use barrage_model::time::Moment;
use barrage_proto::v1::{self, from_worker::Frame as Say, to_worker::Frame as Told};

use std::time::Duration;

use super::held::{Held, OnceState, Stage};
use super::words::{Exit, Output, Prepared};
use super::{Link, Machine};
use crate::clock::Stamp;
use crate::shard::machine::Input as ShardInput;

impl Machine {
    pub(super) fn told(&mut self, told: Told) {
        match told {
            Told::Welcome(welcome) => {
                self.link = Link::Welcome;
                let every = Duration::from_millis(u64::from(welcome.heartbeat_ms));
                self.heartbeat = every.clamp(Duration::from_millis(100), Duration::from_secs(10));
                self.next_beat = self.now;
                if let Some(held) = &mut self.held {
                    held.halted_said = false;
                }
                self.say_data_ended();
            }
            Told::Refused(refused) => self.exit(Exit::Refused(refused.reason)),
            Told::Prepare(prepare) => self.prepare(prepare),
            Told::DoSetup(setup) => self.with_run(setup.run, Self::do_setup),
            Told::DoTeardown(teardown) => {
                let values = fields(teardown.values);
                self.with_run(teardown.run, |machine| machine.do_teardown(values));
            }
            Told::Start(start) => self.with_run(start.run, |machine| machine.start(start)),
            Told::Grant(grant) => self.with_run(grant.run, |machine| machine.grant(grant)),
            Told::Stop(stop) => {
                let at = stop.at_us.map_or(Moment::MAX, Moment::from_micros);
                let input = match stop.how() {
                    v1::stop::How::Now => ShardInput::StopNow(at),
                    v1::stop::How::Lost => ShardInput::StandDown,
                    v1::stop::How::Graceful | v1::stop::How::Unspecified => ShardInput::Stop(at),
                };
                self.with_run(stop.run, |machine| machine.stop(input, String::new()));
            }
            Told::Release(release) => {
                // A release for a run that is not known is a duplicate.
                if self.run() == Some(RunId(release.run)) {
                    self.forget();
                }
            }
            Told::Fault(order) => self.say(Say::Fault(v1::FaultReport {
                run: order.run,
                fault: order.fault,
                state: "refused".to_owned(),
                detail: "this worker injects no faults".to_owned(),
            })),
            // Answered by the process.
            Told::Clock(_) => {}
        }
    }

    fn with_run(&mut self, run: u64, act: impl FnOnce(&mut Self)) {
        if self.run() == Some(RunId(run)) {
            act(self);
        } else {
            tracing::debug!(run = %RunId(run), "a command for a run that this worker does not hold");
        }
    }

    fn prepare(&mut self, prepare: v1::Prepare) {
        let run = RunId(prepare.run);
        match &self.held {
            Some(held) if held.run == run => {
                if held.stage != Stage::Preparing {
                    let said = is_prepared(run, &held.info);
                    self.say(said);
                }
            }
            Some(held) => {
                let error = format!("this worker is busy with run {}", held.run);
                self.say(is_not_prepared(run, error));
            }
            None if self.leaving.is_some() => {
                let error = "this worker is leaving".to_owned();
                self.say(is_not_prepared(run, error));
            }
            None => {
                self.held = Some(Held::new(&prepare));
                self.outputs.push_back(Output::Prepare(Box::new(prepare)));
            }
        }
    }

    pub(super) fn prepared(&mut self, run: RunId, result: Result<Prepared, String>) {
        let Some(held) = self
            .held
            .as_mut()
            .filter(|held| held.run == run && held.stage == Stage::Preparing)
        else {
            return;
        };
        match result {
            Ok(info) => {
                let said = is_prepared(run, &info);
                (held.stage, held.info) = (Stage::Prepared, info);
                self.say(said);
            }
            Err(error) => {
                self.say(is_not_prepared(run, error));
                self.forget();
            }
        }
    }

    fn do_setup(&mut self) {
        let Some(held) = &mut self.held else { return };
        match &held.setup {
            OnceState::Idle if held.stage == Stage::Prepared => {
                held.setup = OnceState::Busy;
                self.outputs.push_back(Output::Once {
                    teardown: false,
                    values: Vec::new(),
                });
            }
            OnceState::Idle | OnceState::Busy => {}
            OnceState::Done(result) => {
                let said = done(held.run, false, result.clone());
                self.say(said);
            }
        }
    }

    fn do_teardown(&mut self, values: Vec<(String, String)>) {
        let Some(held) = &mut self.held else { return };
        match &held.teardown {
            OnceState::Idle if held.setup == OnceState::Busy => {
                held.teardown_next = Some(values);
                self.outputs.push_back(Output::CancelOnce);
            }
            OnceState::Idle => {
                held.teardown = OnceState::Busy;
                self.outputs.push_back(Output::Once { teardown: true, values });
            }
            OnceState::Busy => {}
            OnceState::Done(result) => {
                let said = done(held.run, true, result.clone());
                self.say(said);
            }
        }
    }

    pub(super) fn once_done(&mut self, teardown: bool, result: Result<Vec<(String, String)>, String>) {
        let Some(held) = &mut self.held else { return };
        let state = if teardown { &mut held.teardown } else { &mut held.setup };
        *state = OnceState::Done(result);
        held.unsaid.push(teardown);
        if let Some(values) = held.teardown_next.take() {
            self.do_teardown(values);
        }
    }

    fn start(&mut self, start: v1::Start) {
        let Some(held) = self.held.as_mut().filter(|held| held.stage == Stage::Prepared) else {
            return;
        };
        let coordinator_us = i128::from(start.coordinator_start_us);
        let own = u64::try_from(coordinator_us - i128::from(start.offset_us)).unwrap_or(0);
        let at = Stamp::from_us(own);
        (held.start, held.stage) = (Some(at), Stage::Running);
        self.outputs.push_back(Output::Start {
            at,
            values: fields(start.values),
        });
        let (until, marks) = (held.granted_until, held.marks.clone());
        self.outputs.push_back(Output::Marks(marks));
        if until > Moment::ZERO {
            self.outputs.push_back(Output::Shards(ShardInput::Grant(until)));
        }
    }

    fn grant(&mut self, grant: v1::Grant) {
        let Some(held) = self.held.as_mut().filter(|held| held.stage != Stage::Ended) else {
            return;
        };
        if !grant.epochs.is_empty() {
            self.outputs.push_back(Output::Epochs(grant.epochs));
        }
        if !grant.marks.is_empty() {
            held.add_marks(grant.marks);
            if held.stage == Stage::Running {
                self.outputs.push_back(Output::Marks(held.marks.clone()));
            }
        }
        for block in grant.blocks {
            let Ok(load) = u16::try_from(block.load).map(LoadId) else {
                continue;
            };
            // After its stream has been away it is told again of what it may have missed.
            if block.count > 0 {
                let next = held.next_index.entry(load).or_default();
                if block.first < *next {
                    continue;
                }
                *next = block.first.saturating_add(block.count);
            }
            let handed = held.handed.entry(load).or_default();
            *handed = handed.saturating_add(block.count);
            // An empty block says that none will follow.
            let all = block.count == 0 || held.info.counted.get(&load).is_some_and(|count| *handed >= *count);
            if block.count > 0 {
                self.outputs.push_back(Output::Block(load, block.first, block.count));
            }
            if held.stage == Stage::Running {
                if block.count > 0 {
                    self.outputs.push_back(Output::Shards(ShardInput::Refilled(load)));
                }
                if all && held.exhausted.insert(load) {
                    self.outputs.push_back(Output::Shards(ShardInput::Exhausted(load)));
                }
            }
        }
        let until = Moment::from_micros(grant.until_us);
        held.granted_until = held.granted_until.max(until);
        if held.stage == Stage::Running {
            self.outputs.push_back(Output::Shards(ShardInput::Grant(until)));
        }
    }

    pub(super) fn stop(&mut self, stop: ShardInput, reason: String) {
        let Some(held) = &mut self.held else { return };
        held.stopped = true;
        if held.reason.is_empty() {
            held.reason = reason;
        }
        match held.stage {
            Stage::Running => self.outputs.push_back(Output::Shards(stop)),
            // Nothing was started, and nothing will be.
            Stage::Preparing | Stage::Prepared => held.stage = Stage::Ended,
            Stage::Ended => {}
        }
    }
}

fn is_prepared(run: RunId, info: &Prepared) -> Say {
    let rows = info.rows.iter().map(|(load, iterations)| v1::Rows {
        load: load.0.into(),
        iterations: *iterations,
    });
    Say::Prepared(v1::Prepared {
        run: run.0,
        error: None,
        rows: rows.collect(),
    })
}

fn is_not_prepared(run: RunId, error: String) -> Say {
    Say::Prepared(v1::Prepared {
        run: run.0,
        error: Some(error),
        rows: Vec::new(),
    })
}

fn fields(fields: Vec<v1::Field>) -> Vec<(String, String)> {
    fields.into_iter().map(|field| (field.name, field.value)).collect()
}

pub(super) fn done(run: RunId, teardown: bool, result: Result<Vec<(String, String)>, String>) -> Say {
    let (error, values) = match result {
        Ok(values) => (None, values),
        Err(error) => (Some(error), Vec::new()),
    };
    let values = values
        .into_iter()
        .map(|(name, value)| v1::Field { name, value })
        .collect();
    Say::SetupDone(v1::SetupDone {
        run: run.0,
        teardown,
        error,
        values,
    })
}
