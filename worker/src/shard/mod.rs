//! One load thread: a machine that decides, and the thread that does.

mod blocks;
mod ceiling;
pub mod machine;
mod mailbox;
mod pacer;
mod process;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::thread::JoinHandle;

use barrage_model::ids::{LoadId, ScenarioId, SegmentId};
use barrage_model::outcome::IterationEnd;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Stamp};
use crate::recorder::{Part, Recorder};

pub use blocks::Blocks;
pub use ceiling::Ceilings;
pub use process::ShardSetup;

/// What the control side tells a shard.
#[derive(Debug)]
pub enum Command {
    /// Something for the machine.
    Input(machine::Input),
    /// Close what is left, hand it over and end. Comes after [`Report::Finished`], or to give up.
    Seal,
}

/// What a shard tells the control side.
#[derive(Debug)]
pub struct Event {
    /// The shard's place among the worker's shards.
    pub shard: usize,
    /// What it says.
    pub report: Report,
}

/// One thing that a shard says.
#[derive(Debug)]
pub enum Report {
    /// An interval is closed. Every shard closes every interval, in order.
    Part(Box<Part>),
    /// No load will start anything any more, and nothing is in progress.
    Finished,
    /// That was the last part; the thread ends.
    Sealed,
}

/// An iteration as the runner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Iteration {
    /// The load that made it.
    pub load: LoadId,
    /// The scenario to go through.
    pub scenario: ScenarioId,
    /// Number of the iteration within its load, unique in the fleet.
    pub index: u64,
    /// Number of the virtual user within its load, unique in the fleet.
    pub user: u64,
    /// When it fell due.
    pub due: Stamp,
    /// The segment of its due instant.
    pub segment: SegmentId,
}

/// What everything on a shard shares.
#[derive(Clone, Debug)]
pub struct ShardContext {
    /// The worker's clock.
    pub clock: Clock,
    /// The shard's counts. Never hold the borrow across an await.
    pub recorder: Rc<RefCell<Recorder>>,
    /// The end of the present grant; read it right before a write. In the past while nothing may be sent.
    pub granted_until: Rc<Cell<Stamp>>,
}

/// Goes through iterations. Lives on one shard's thread.
pub trait Runner: 'static {
    /// A virtual user with its connections and cookies.
    type User: 'static;

    /// Makes the user with the given number of a load.
    fn user(&self, load: LoadId, number: u64) -> Self::User;

    /// Goes through one iteration. After `cancel` it must end soon, and count what it had sent as cancelled.
    fn iterate(
        &self,
        user: &mut Self::User,
        iteration: &Iteration,
        shard: &ShardContext,
        cancel: &CancellationToken,
    ) -> impl Future<Output = IterationEnd>;

    /// Open connections to targets.
    fn connections(&self) -> u32;
}

/// Starts a load thread, on one core alone when `core` is given. `make` is called on it.
///
/// # Errors
/// When the system gives no thread.
pub fn spawn<R: Runner>(
    setup: ShardSetup,
    core: Option<usize>,
    make: impl FnOnce(&ShardContext) -> R + Send + 'static,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let name = format!("shard-{}", setup.place);
    std::thread::Builder::new().name(name).spawn(move || {
        if let Some(core) = core {
            pin(core);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(process::run(setup, make));
        runtime.shutdown_background();
        Ok(())
    })
}

/// The cores that this process may use, by the affinity mask.
pub fn allowed_cores() -> Vec<usize> {
    let mask = rustix::thread::sched_getaffinity(None);
    let cores = mask.map(|mask| {
        (0..rustix::thread::CpuSet::MAX_CPU)
            .filter(|core| mask.is_set(*core))
            .collect()
    });
    cores.unwrap_or_else(|_| vec![0])
}

fn pin(core: usize) {
    let mut mask = rustix::thread::CpuSet::new();
    mask.set(core);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &mask) {
        tracing::warn!(%error, core, "the load thread stays where the system puts it");
    }
}
