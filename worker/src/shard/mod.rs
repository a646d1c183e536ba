//! One load thread: a machine that decides, and the thread that does.

mod awake;
mod blocks;
mod ceiling;
mod ends;
pub mod machine;
mod mailbox;
pub(crate) mod pacer;
mod process;
mod tasks;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::thread::JoinHandle;

use barrage_model::ids::{LoadId, ScenarioId};
use tokio::sync::Notify;

use crate::clock::{Clock, Stamp};
use crate::net::Reactor;
use crate::recorder::{Connected, Part, Recorder};
use crate::scenario::{Cancelled, IterationEnded, IterationStart};

pub use awake::Awake;
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
    /// Run time 0 has come, and the load begins.
    Begun,
    /// An interval is closed. Every shard closes every interval, in order.
    Part(Box<Part>),
    /// No load will start anything any more, and nothing is in progress.
    Finished,
    /// The last part; the thread ends.
    Sealed(Box<Part>),
}

/// What everything on a shard shares.
#[derive(Clone, Debug)]
pub struct ShardHandles {
    /// The worker's clock.
    pub clock: Clock,
    /// The shard's counts. Never hold the borrow across an await.
    pub recorder: Rc<RefCell<Recorder>>,
    /// The end of the present grant; read it right before a write. In the past while nothing may be sent.
    pub send_by: Rc<Cell<Option<Stamp>>>,
    /// Wakes who waits for that to move on.
    pub renewed: Rc<Notify>,
    /// When the shard was awake.
    pub awake: Rc<Awake>,
    /// The shard's sockets; `None` when the system has no descriptor for them, and the runtime looks after them.
    pub reactor: Option<Rc<Reactor>>,
}

/// Goes through iterations. Lives on one shard's thread.
pub trait Runner: 'static {
    /// A virtual user with its connections and cookies.
    type User: 'static;

    /// Makes the user with the given number of a load.
    fn user(&self, load: LoadId, number: u64) -> Self::User;

    /// Goes through one iteration and tells `next` how it ended, which may give another one to go on with; until it gives
    /// none. After `cancel` an iteration must end soon, and count what it had sent as cancelled.
    fn iterate(
        &self,
        user: &mut Self::User,
        iteration: IterationStart,
        shard: &ShardHandles,
        cancel: &mut Cancelled,
        next: impl FnMut(IterationEnded) -> Option<IterationStart>,
    ) -> impl Future<Output = ()>;

    /// Opens connections for so many users of a scenario, until an instant. A runner without connections has nothing to do.
    fn warm(&self, _scenario: ScenarioId, _users: u32, _until: Stamp) -> impl Future<Output = ()> {
        std::future::ready(())
    }

    /// Open connections to targets; a shortage of ports is told once.
    fn connected(&self) -> Connected;
}

/// Starts a load thread. `make` is called on it. A thread that has been sealed stays until it is released, so that what the
/// kernel says of it can be read to its end.
///
/// # Errors
/// When the system gives no thread, or nothing to drive one with.
pub fn spawn<R: Runner>(
    setup: ShardSetup,
    make: impl FnOnce(&ShardHandles) -> R + Send + 'static,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let name = format!("shard-{}", setup.place);
    let (refuse, refused) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let options = tokio::runtime::LocalOptions::default();
        let built = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(options);
        let runtime = match built {
            Ok(runtime) => runtime,
            Err(error) => {
                // Whoever spawns waits for it.
                let _heard = refuse.send(error);
                return Ok(());
            }
        };
        drop(refuse);
        let mut released = setup.released.clone();
        let ended = runtime.block_on(async move {
            process::run(setup, make).await?;
            // The sender is dropped, never used.
            let _released = released.changed().await;
            Ok(())
        });
        runtime.shutdown_background();
        ended
    })?;
    match refused.recv() {
        Ok(error) => Err(error),
        // It goes on, and has dropped its end.
        Err(_) => Ok(thread),
    }
}
