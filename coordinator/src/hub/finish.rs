//! The end of a run: its holes, its summary, its last snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use barrage_metrics::{RunFacts, StopCause, Summary};
use barrage_model::ids::RunId;
use barrage_model::time::Moment;
use barrage_proto::v1;

use super::assign::report_offset;
use super::{Active, Computed, ENDED_KEPT, EndedRun, Hub, Stage, view};
use crate::clock;
use crate::judge::stopped_before_start;
use crate::machine::run::Outcome;
use crate::store::{Ended, Op};

/// Exit code of who followed a run that made no arrival.
const COULD_NOT_START: u8 = 4;

/// A run's summary, and what is stored of its end.
pub(super) struct Summed {
    summary: Summary,
    ended: Ended,
}

impl Hub {
    pub(super) fn finish(&mut self, run: RunId, outcome: Outcome) {
        let now = clock::now();
        match outcome {
            Outcome::CouldNotStart(reason) => return self.end_without_run(run, None, reason),
            Outcome::StoppedBeforeStart(cause, reason) => return self.end_without_run(run, Some(cause), reason),
            Outcome::Ended => {}
        }
        let Some(active) = self.runs.get_mut(&run) else { return };
        let Stage::Going(mut machine) = std::mem::replace(&mut active.stage, Stage::Summing) else {
            return;
        };
        let end = machine.length();
        let holes = machine.final_holes();
        let lost = machine.seats().iter().enumerate().filter(|(_, seat)| seat.is_lost());
        let lost = lost
            .map(|(number, seat)| (barrage_model::ids::WorkerId(number as u32), seat.incarnation))
            .collect();
        let stop = machine
            .stopped()
            .map(|stopped| (stopped.cause, stopped.at, stopped.reason.clone()));
        let offsets = (0u32..)
            .map(barrage_model::ids::WorkerId)
            .zip(machine.seats())
            .filter_map(|(number, seat)| {
                let now = self
                    .fleet
                    .worker(seat.incarnation)
                    .and_then(|worker| worker.offset(now));
                Some((number, report_offset(now.or(seat.offset)?)))
            })
            .collect::<BTreeMap<_, _>>();
        let losses = machine.book_mut().record(&holes);
        let scheduled = machine.book_mut().close(end, stop.is_some());
        let facts = RunFacts {
            run: active.submission.info(&active.started_at, end.as_micros()),
            ended: true,
            stop: stop.clone(),
            offsets: offsets.clone(),
            faults: Vec::new(),
            aftermath: Vec::new(),
            accept_untrusted: active.submission.accept_invalid,
        };
        self.computing.spawn_blocking(move || {
            let summary = machine.book().summary(facts);
            let ended = Ended {
                ran: true,
                detail: String::new(),
                verdict: Some(summary.verdict),
                exit_code: summary.exit_code.number(),
                end,
                started: summary.iterations.started,
                stop,
                stop_sla: machine.book().decision().cloned(),
                losses,
                lost,
                scheduled,
                offsets,
            };
            Computed::Summed(run, Box::new(Summed { summary, ended }))
        });
    }

    pub(super) fn summed(&mut self, run: RunId, summed: Summed) {
        let Some(active) = self.runs.remove(&run) else { return };
        let Summed { summary, ended } = summed;
        let exit_code = ended.exit_code;
        tracing::info!(%run, verdict = summary.verdict.word(), exit_code, "run finished");
        let last = view::last(&active, &summary, self.worker_lines(run));
        self.keep_end(run, &active, ended);
        self.forget(run, &active, last, Some(Arc::new(summary)));
    }

    /// Ends a run that has made no arrival.
    pub(super) fn end_without_run(&mut self, run: RunId, cause: Option<StopCause>, reason: String) {
        let Some(active) = self.runs.remove(&run) else { return };
        self.queue.remove(run);
        tracing::info!(%run, reason, "run did not start");
        let summary = cause.map(|cause| empty_summary(&active, cause, &reason));
        let exit_code = summary
            .as_ref()
            .map_or(COULD_NOT_START, |summary| summary.exit_code.number());
        let ended = Ended {
            ran: false,
            detail: reason.clone(),
            verdict: summary.as_ref().map(|summary| summary.verdict),
            exit_code,
            stop: cause.map(|cause| (cause, Moment::ZERO, reason.clone())),
            ..Ended::default()
        };
        let verdict = ended.verdict.map_or("could not start", barrage_metrics::Verdict::word);
        let last = v1::Snapshot {
            state: "finished".to_owned(),
            detail: reason,
            exit_code: Some(exit_code.into()),
            verdict: verdict.to_owned(),
            ..view::blank(&active.submission)
        };
        self.keep_end(run, &active, ended);
        self.forget(run, &active, last, summary.map(Arc::new));
    }

    /// A run with a hole is not called ended in the store: the next process finds it unfinished, and aborts it.
    fn keep_end(&self, run: RunId, active: &Active, ended: Ended) {
        if !active.has_hole {
            // The failure is in the log, and nobody is left who would wait for it.
            drop(self.keep(Op::Ended(run, Box::new(ended))));
        }
    }

    fn forget(&mut self, run: RunId, active: &Active, last: v1::Snapshot, summary: Option<Arc<Summary>>) {
        active.snapshots.send_replace(last.clone());
        self.uploads.retain(|(of, _), _| *of != run);
        self.fleet.release(run);
        if self.ended.len() == ENDED_KEPT {
            self.ended.pop_front();
        }
        self.ended.push_back(EndedRun { run, last, summary });
    }
}

/// The report of a run that was stopped before its start.
fn empty_summary(active: &Active, cause: StopCause, reason: &str) -> Summary {
    let facts = RunFacts {
        run: active.submission.info("", 0),
        ended: true,
        stop: Some((cause, Moment::ZERO, reason.to_owned())),
        offsets: BTreeMap::new(),
        faults: Vec::new(),
        aftermath: Vec::new(),
        accept_untrusted: active.submission.accept_invalid,
    };
    stopped_before_start(Arc::clone(&active.submission.plan), facts)
}
