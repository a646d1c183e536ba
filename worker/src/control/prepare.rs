//! From the coordinator's words to a run that can start: everything is checked, fetched and compiled before.

use std::sync::Arc;

use barrage_model::ids::{RunId, WorkerId};
use barrage_model::plan::{FileRef, Plan};
use barrage_model::units::Rate;
use barrage_proto::convert::{epoch_in, marks_in};
use barrage_proto::v1::fleet_client::FleetClient;
use barrage_proto::{BadMessage, v1};
use sha2::{Digest as _, Sha256};
use tonic::transport::Channel;

use crate::aside::{NoThread, aside};
use crate::clock::Clock;
use crate::engine::body::set_budget;
use crate::recorder::TraceSink;
use crate::scenario::{Files, PrepareError, RunContext};
use crate::shard::machine::SetupError;

use super::machine::Prepared;
use super::program::Program;
use super::threads::Layout;

/// Largest file of a plan.
const FILE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Most bytes of all files of a plan together.
const FILES_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// A run that can start.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) run: RunId,
    pub(super) layout: Layout,
    pub(super) program: Program,
}

impl Ready {
    /// What the control side's decisions need to know of it.
    pub(super) fn info(&self) -> Prepared {
        Prepared {
            counted: self.layout.counted(),
            rows: self.program.rows(&self.layout),
            graceful_stop: self.layout.plan.graceful_stop,
        }
    }
}

/// Why a run cannot start on this worker.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotReady {
    #[error("the coordinator's message cannot be used")]
    Message(#[from] BadMessage),
    #[error("the coordinator's message has no plan")]
    NoPlan,
    #[error("{wanted} load threads are asked for, but this worker offers {offered}")]
    Shards { wanted: u32, offered: u32 },
    #[error("could not fetch the plan's file {path:?}")]
    Fetch {
        path: String,
        #[source]
        source: Box<tonic::Status>,
    },
    #[error("the plan's file {0:?} arrived with another content")]
    Content(String),
    #[error("the plan's file {0:?} is too large")]
    TooLarge(String),
    #[error("the plan cannot be carried out")]
    Setup(#[from] SetupError),
    #[error("the plan cannot be compiled")]
    Compile(#[from] PrepareError),
    #[error("could not start a thread that compiles the plan")]
    Thread(#[source] NoThread),
}

/// What the worker itself brings.
#[derive(Clone, Debug)]
pub(super) struct Own {
    pub(super) shards: u32,
    pub(super) max_rate: Option<Rate>,
    pub(super) trace: Option<TraceSink>,
}

/// Fetches and compiles. Compiling runs on a thread of its own, so that heartbeats go on.
pub(super) async fn prepare(
    prepare: v1::Prepare,
    client: FleetClient<Channel>,
    own: Own,
    clock: Clock,
) -> Result<Ready, NotReady> {
    let plan = Arc::new(Plan::try_from(prepare.plan.ok_or(NotReady::NoPlan)?)?);
    if prepare.shards == 0 || prepare.shards > own.shards {
        return Err(NotReady::Shards {
            wanted: prepare.shards,
            offered: own.shards,
        });
    }
    let epochs = prepare
        .epochs
        .into_iter()
        .map(epoch_in)
        .collect::<Result<Vec<_>, _>>()?;
    let layout = Layout {
        plan: Arc::clone(&plan),
        seed: prepare.seed,
        first_shard: prepare.first_shard,
        shards: prepare.shards,
        epochs: epochs
            .into_iter()
            .map(|(load, epoch)| (load, Arc::new(epoch)))
            .collect(),
        marks: marks_in(prepare.marks)?,
        max_rate: own.max_rate,
        trace: own.trace,
    };
    layout.machines()?;
    let files = fetch_all(&plan, client).await?;
    set_budget();
    let context = RunContext {
        run: RunId(prepare.run),
        run_name: prepare.run_name,
        seed: prepare.seed,
        worker: WorkerId(prepare.worker),
        secrets: prepare
            .secrets
            .into_iter()
            .map(|field| (field.name, field.value))
            .collect(),
        values: Vec::new(),
    };
    let compiling = aside("compile", move || Program::compile(plan, &files, &context, clock));
    let compiled = compiling.map_err(NotReady::Thread)?.await;
    let program = compiled.expect("compiling ends by itself and does not panic")?;
    Ok(Ready {
        run: RunId(prepare.run),
        layout,
        program,
    })
}

async fn fetch_all(plan: &Plan, mut client: FleetClient<Channel>) -> Result<Files, NotReady> {
    let mut files = Files::new();
    let mut total = 0;
    for file in plan.files() {
        let Some(hash) = file.sha256 else { continue };
        if files.get(file).is_some() {
            continue;
        }
        let content = fetch(file, hash, &mut client, FILES_BYTES_MAX - total).await?;
        total += content.len();
        files.insert(content);
    }
    Ok(files)
}

async fn fetch(
    file: &FileRef,
    hash: [u8; 32],
    client: &mut FleetClient<Channel>,
    room: usize,
) -> Result<Vec<u8>, NotReady> {
    let failed = |status| NotReady::Fetch {
        path: file.path.clone(),
        source: Box::new(status),
    };
    let request = v1::FetchRequest { sha256: hash.to_vec() };
    let mut chunks = client.fetch(request).await.map_err(failed)?.into_inner();
    let mut content = Vec::new();
    while let Some(chunk) = chunks.message().await.map_err(failed)? {
        if content.len() + chunk.data.len() > FILE_BYTES_MAX.min(room) {
            return Err(NotReady::TooLarge(file.path.clone()));
        }
        content.extend_from_slice(&chunk.data);
    }
    if Sha256::digest(&content).as_slice() != hash {
        return Err(NotReady::Content(file.path.clone()));
    }
    Ok(content)
}

/// An error with its causes, in one line: it travels to people who see nothing else of this worker.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
