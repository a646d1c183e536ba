//! `setup` and `teardown`: done once per run, by one worker.

use std::cell::RefCell;

use barrage_model::ids::{LoadId, ScenarioId, SegmentId};
use barrage_model::outcome::IterationEnd;
use barrage_model::plan::written_by;
use tokio_util::sync::CancellationToken;

use super::cancel::{Cancelled, under};
use super::compile::CompiledPlan;
use super::connections::ShardContext;
use super::context::IterationStart;
use super::error::OnceError;
use super::tried::Observer;
use super::user::User;
use super::walk::{Course, go};
use crate::recorder::Recorder;
use crate::shard::machine::TICK;

/// Most bytes of names and values that `setup` hands to the workers.
const VALUES_MAX: usize = 1024 * 1024;
/// The load under which they draw random values; no load of a plan has this number.
pub(super) const NO_LOAD: LoadId = LoadId(u16::MAX);

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Once {
    /// Before the first arrival.
    Setup,
    /// After the last iteration.
    Teardown,
}

/// Goes through `setup` or `teardown` as one user with connections of its own. Its steps are recorded like all others.
///
/// Returns what the steps have extracted and set, by name: from `setup`, the values for all workers.
///
/// # Errors
/// The first step that ended it, or [`OnceError::TooLarge`].
pub async fn run_once(
    plan: &CompiledPlan,
    once: Once,
    shard: &ShardContext,
    segment: SegmentId,
    recorder: &RefCell<Recorder>,
    cancel: &CancellationToken,
) -> Result<Vec<(String, String)>, OnceError> {
    under(cancel, async |cancel| {
        let mut observer = Observer::listening();
        let work = watched(plan, once, shard, segment, (recorder, cancel), &mut observer);
        while_awake(shard, work).await
    })
    .await
}

/// Does work on a thread that has no load, whose machine would tell when it stood still.
async fn while_awake<T>(shard: &ShardContext, work: impl Future<Output = T>) -> T {
    let ticks = async {
        loop {
            shard.awake.tick(shard.clock.now());
            tokio::time::sleep(TICK).await;
        }
    };
    // What has come is read before the next tick.
    tokio::select! {
        biased;
        done = work => done,
        never = ticks => never,
    }
}

pub(super) async fn watched(
    plan: &CompiledPlan,
    once: Once,
    shard: &ShardContext,
    segment: SegmentId,
    around: (&RefCell<Recorder>, &mut Cancelled),
    observer: &mut Observer<'_>,
) -> Result<Vec<(String, String)>, OnceError> {
    let program = &plan.program;
    let (scenario, steps, index) = match once {
        Once::Setup => (&program.setup, &program.plan.setup, 0),
        Once::Teardown => (&program.teardown, &program.plan.teardown, 1),
    };
    let mut user = User::new(plan, 0, shard);
    let start = IterationStart {
        load: NO_LOAD,
        scenario: ScenarioId(u16::MAX),
        index,
        user: 0,
        due: shard.clock.now(),
        segment,
        closed: true,
    };
    let course = Course {
        scenario,
        on_start: None,
    };
    let end = go(plan, &mut user, Some(course), &start, around, Some(&mut *observer))
        .await
        .end;
    match end {
        IterationEnd::Completed => {}
        IterationEnd::Cancelled if !observer.is_without_row() => return Err(OnceError::Cancelled),
        _ => {
            return Err(observer
                .failure()
                .map_or(OnceError::NoRow, |(step, message)| OnceError::Failed { step, message }));
        }
    }
    user.engines().close();
    let mut values = Vec::new();
    let mut bytes = 0;
    for name in written_by(steps) {
        let value = program.slots.get(name).and_then(|slot| user.values.get(*slot));
        if let Some(value) = value {
            bytes += name.len() + value.len();
            if bytes > VALUES_MAX {
                return Err(OnceError::TooLarge { max: VALUES_MAX });
            }
            values.push((name.to_owned(), value.to_owned()));
        }
    }
    Ok(values)
}
