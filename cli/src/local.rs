//! The store on this machine, for commands that name no coordinator.

use std::path::{Path, PathBuf};

use barrage_coordinator::store::{Answer, Op, Prune, Reader, Store};
use barrage_model::ids::RunId;
use barrage_proto::v1;
use barrage_report::Format;

use crate::clock;
use crate::commands::serve::default_store;
use crate::exit::{Failure, chain};
use crate::place::Place;

/// Where nobody else has the store open, runs that have not ended are those of a process that is gone. A store that cannot be
/// written to says what it says.
fn clean_up(folder: &Path) {
    if let Ok(mut store) = Store::open(folder, |_| {}) {
        let _damaged = store.abandon_unfinished();
        store.close();
    }
}

/// A store that is read beside whoever writes to it.
#[derive(Debug)]
pub(crate) struct Local {
    folder: PathBuf,
    reader: Option<Reader>,
}

impl Local {
    /// The named store or the default one; `None` when a coordinator is named instead.
    pub(crate) fn open(place: &Place) -> Result<Option<Self>, Failure> {
        if place.coordinator.is_some() {
            return Ok(None);
        }
        let folder = place.store.clone().map_or_else(default_store, Ok)?;
        let reader = Reader::open(&folder);
        if reader
            .as_ref()
            .is_some_and(|reader| reader.unfinished().is_ok_and(|runs| !runs.is_empty()))
        {
            clean_up(&folder);
        }
        if reader.is_none() && place.store.is_some() {
            return Err(Failure::Usage(format!("there is no store in {}", folder.display())));
        }
        Ok(Some(Self { folder, reader }))
    }

    /// Stored runs, the newest first.
    pub(crate) fn list(&self, limit: u32) -> Result<Vec<v1::RunLine>, Failure> {
        let Some(reader) = &self.reader else {
            return Ok(Vec::new());
        };
        let lines = reader.list(limit).map_err(|error| self.failed(&error))?;
        Ok(lines
            .into_iter()
            .map(|line| v1::RunLine {
                run: line.id.0,
                name: line.name,
                state: line.state,
                verdict: line.verdict,
                exit_code: line.exit_code.map(i32::from),
                started_at: line.started_at,
                duration_us: line.duration_us,
                started: line.started,
                stored_bytes: line.stored_bytes,
            })
            .collect())
    }

    /// The newest run.
    pub(crate) fn newest(&self) -> Result<u64, Failure> {
        let newest = self.list(1)?.first().map(|line| line.run);
        newest.ok_or_else(|| Failure::Usage(format!("there are no runs in {}", self.folder.display())))
    }

    /// Renders a stored run.
    pub(crate) fn report(&self, run: u64, formats: &[Format]) -> Result<Vec<Vec<u8>>, Failure> {
        let unknown = || Failure::Usage(format!("there is no run {} in {}", RunId(run), self.folder.display()));
        let reader = self.reader.as_ref().ok_or_else(unknown)?;
        let known = self.list(u32::MAX)?.iter().any(|line| line.run == run);
        if !known {
            return Err(unknown());
        }
        let stored = reader.load_run(RunId(run)).map_err(|error| self.failed(&error))?;
        if !stored.ran() {
            let run = RunId(run);
            return Err(Failure::CouldNotStart(if stored.has_ended() {
                format!("run {run} made no arrival: {}", stored.detail)
            } else {
                format!("run {run} has not begun")
            }));
        }
        let summary = stored.summary();
        formats
            .iter()
            .map(|format| {
                barrage_report::render(&summary, *format)
                    .map_err(|error| Failure::own("could not render the report", &error))
            })
            .collect()
    }

    /// Removes a stored run; `false` when there is none.
    pub(crate) async fn remove(&self, run: u64) -> Result<bool, Failure> {
        let is_there = || Ok(self.list(u32::MAX)?.iter().any(|line| line.run == run));
        if !is_there()? {
            return Ok(false);
        }
        let removed = self.change(|answer| Op::Remove(RunId(run), answer)).await?;
        if !removed && is_there()? {
            return Err(Failure::Usage(format!("run {} has not ended", RunId(run))));
        }
        Ok(removed)
    }

    /// Removes old runs.
    pub(crate) async fn prune(&self, request: &v1::PruneRequest) -> Result<u32, Failure> {
        if self.reader.is_none() {
            return Ok(0);
        }
        let age = |older_than_us: u64| clock::wall_secs().saturating_sub((older_than_us / 1_000_000).cast_signed());
        let prune = Prune {
            keep: request.keep,
            before_s: request.older_than_us.map(age),
        };
        self.change(|answer| Op::Prune(prune, answer)).await
    }

    /// Changes the store, beside whoever else has it open.
    async fn change<T: Send + 'static>(&self, op: impl FnOnce(Answer<T>) -> Op) -> Result<T, Failure> {
        let failed = |error| Failure::start("could not change the store", &error);
        let mut store = Store::open(&self.folder, |_| {}).map_err(failed)?;
        store.abandon_unfinished().map_err(failed)?;
        let (say, said) = tokio::sync::oneshot::channel();
        // The receiver lives until the answer is there.
        let answer = Box::new(move |result| drop(say.send(result)));
        store.writer().write(op(answer)).map_err(|error| self.failed(&error))?;
        let result = said
            .await
            .map_err(|_| Failure::Own("the store ended early".to_owned()))?;
        result.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &(dyn std::error::Error + 'static)) -> Failure {
        Failure::Own(format!("{}: {}", self.folder.display(), chain(error)))
    }
}
