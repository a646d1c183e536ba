//! Indices of counted loads, handed out in blocks.
//!
//! No index is ever handed out twice. A worker gets as many as it is likely to need until the next but one renewal; what
//! a lost worker still holds is unknown (or, when it comes back to flush, unsent), and not repeated.
//!
//! A worker without an index has users that do nothing, and that would pass for the target's speed. So the first block
//! is a worker's whole share, unless that is very much, and towards the end nobody gets less than a second's work: news
//! of a worker's speed comes once a second, and with ever smaller blocks most users would wait most of the time.

use std::collections::BTreeMap;

use barrage_model::ids::{LoadId, WorkerId};
use barrage_model::plan::{LoadModel, Plan};

use super::{Rows, Seat};
use crate::compile::Compiled;

/// A worker holds iterations for so many seconds at the speed it has shown.
const SECONDS_AHEAD: u64 = 3;
/// Before anything is known of its speed: so many iterations per shard.
const FIRST_PER_SHARD: u64 = 60_000;

/// Indices `[first, first + count)` of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The load.
    pub load: LoadId,
    /// First index.
    pub first: u64,
    /// How many; 0 says that none will follow.
    pub count: u64,
}

#[derive(Debug)]
struct Pool {
    load: LoadId,
    next: u64,
    count: u64,
    /// As many as the plan asks for, where there are rows for fewer.
    asked: Option<u64>,
    /// For each worker: its users, all users, its shards on the wheel.
    shares: Vec<(u64, u64, u64)>,
    handed: BTreeMap<WorkerId, u64>,
}

/// The counted loads of a run.
#[derive(Debug)]
pub(super) struct Blocks {
    pools: Vec<Pool>,
    aside: BTreeMap<WorkerId, Vec<Block>>,
    /// What a worker has not told that it has begun, in order: it may not have come to know of it.
    untold: BTreeMap<WorkerId, Vec<Given>>,
}

/// A block that a worker was given.
#[derive(Clone, Copy, Debug)]
struct Given {
    block: Block,
    /// Iterations of the load that it was given with this block and those before.
    up_to: u64,
}

impl Blocks {
    pub(super) fn new(plan: &Plan, compiled: &Compiled) -> Self {
        let pool = |(load, (id, epoch)): (&barrage_model::plan::Load, &(LoadId, barrage_model::schedule::Epoch))| {
            let LoadModel::Iterations(counted) = &load.model else {
                return None;
            };
            let share = |place: &(barrage_model::ids::ShardId, u32)| {
                let own = place.0.0..place.0.0 + place.1;
                let shards = epoch.wheel.shards().filter(|shard| own.contains(&shard.0));
                let (users, shards) = shards.fold((0, 0), |(sum, n), shard| {
                    (sum + epoch.wheel.owned_before(shard, u64::from(counted.users)), n + 1)
                });
                (users, u64::from(counted.users), shards)
            };
            let shares = compiled.shards.iter().map(share).collect();
            Some(Pool {
                load: *id,
                next: 0,
                count: counted.count,
                asked: None,
                shares,
                handed: BTreeMap::new(),
            })
        };
        let pools = plan.loads.iter().zip(&compiled.epochs).filter_map(pool).collect();
        Self {
            pools,
            aside: BTreeMap::new(),
            untold: BTreeMap::new(),
        }
    }

    /// Hands out no more than there are rows for.
    pub(super) fn limit(&mut self, rows: &Rows) {
        for (load, iterations) in rows {
            let pool = self.pools.iter_mut().find(|pool| pool.load == *load);
            if let Some(pool) = pool.filter(|pool| (1..pool.count).contains(iterations)) {
                pool.asked.get_or_insert(pool.count);
                pool.count = *iterations;
            }
        }
    }

    /// A load that has begun every iteration that there are rows for, though the plan asks for more; how many those are, and
    /// how many it asks for.
    pub(super) fn out_of_rows(&self, seats: &[Seat]) -> Option<(LoadId, u64, u64)> {
        let pool = self
            .pools
            .iter()
            .find(|pool| pool.asked.is_some() && pool.is_used_up(seats))?;
        Some((pool.load, pool.count, pool.asked?))
    }

    /// Sets more aside for one worker; with an empty block at the end when there is nothing left to hand out, so that it
    /// can finish while other loads go on.
    pub(super) fn hand_out(&mut self, worker: WorkerId, seat: &Seat) {
        let begun = |load: LoadId| seat.accounted.get(&load).copied().unwrap_or(0);
        let untold = self.untold.entry(worker).or_default();
        untold.retain(|given| given.up_to > begun(given.block.load));
        for pool in &mut self.pools {
            let handed = pool.handed.get(&worker).copied().unwrap_or(0);
            let held = handed.saturating_sub(begun(pool.load));
            let count = pool.wanted(worker, seat, handed, held).min(pool.count - pool.next);
            let aside = self.aside.entry(worker).or_default();
            let (load, first) = (pool.load, pool.next);
            if count > 0 {
                pool.next += count;
                *pool.handed.entry(worker).or_default() += count;
                let block = Block { load, first, count };
                aside.push(block);
                let up_to = handed + count;
                untold.push(Given { block, up_to });
            }
            let end = Block {
                load,
                first: pool.count,
                count: 0,
            };
            if pool.next == pool.count && !aside.contains(&end) {
                aside.push(end);
            }
        }
    }

    /// What has been set aside for a worker and not been sent.
    pub(super) fn take(&mut self, worker: WorkerId) -> Vec<Block> {
        self.aside.remove(&worker).unwrap_or_default()
    }

    /// Sets aside once more what a worker may not have come to know of, whose control stream has been away. It passes over
    /// what it has had before.
    pub(super) fn repeat(&mut self, worker: WorkerId) {
        let untold = self.untold.get(&worker).into_iter().flatten();
        let blocks = untold.map(|given| given.block).collect();
        self.aside.insert(worker, blocks);
    }

    /// What each worker was given, by load.
    pub(super) fn handed_out(&self) -> Vec<(LoadId, WorkerId, u64)> {
        let pool = |pool: &Pool| {
            let load = pool.load;
            pool.handed
                .iter()
                .map(move |(worker, handed)| (load, *worker, *handed))
                .collect::<Vec<_>>()
        };
        self.pools.iter().flat_map(pool).collect()
    }

    /// What a worker was given of a load; `None` for loads that are not counted.
    pub(super) fn handed_to(&self, load: LoadId, worker: WorkerId) -> Option<u64> {
        let pool = self.pools.iter().find(|pool| pool.load == load)?;
        Some(pool.handed.get(&worker).copied().unwrap_or(0))
    }

    /// The loads of which some index has not been begun, though nobody is lost who may have begun it.
    pub(super) fn left_over(&self, seats: &[Seat]) -> impl Iterator<Item = LoadId> {
        let left = |pool: &&Pool| {
            let begun = |(worker, handed): (&WorkerId, &u64)| {
                let seat = &seats[worker.0 as usize];
                seat.is_lost() || seat.accounted.get(&pool.load).is_some_and(|begun| begun >= handed)
            };
            pool.next < pool.count || !pool.handed.iter().all(begun)
        };
        self.pools.iter().filter(left).map(|pool| pool.load)
    }

    /// Whether every index has been handed out and begun (or dropped, or lost).
    pub(super) fn is_used_up(&self, seats: &[Seat]) -> bool {
        self.pools.iter().all(|pool| pool.is_used_up(seats))
    }

    pub(super) fn check(&self) -> Result<(), String> {
        for pool in &self.pools {
            let sum: u64 = pool.handed.values().sum();
            if sum != pool.next || pool.next > pool.count {
                return Err(format!(
                    "load {}: {sum} handed out, next {} of {}",
                    pool.load, pool.next, pool.count
                ));
            }
        }
        Ok(())
    }
}

impl Pool {
    fn is_used_up(&self, seats: &[Seat]) -> bool {
        let begun = |(worker, handed): (&WorkerId, &u64)| {
            let seat = &seats[worker.0 as usize];
            seat.is_lost() || seat.is_done() || seat.accounted.get(&self.load).is_some_and(|begun| begun >= handed)
        };
        self.next == self.count && self.handed.iter().all(begun)
    }

    fn wanted(&self, worker: WorkerId, seat: &Seat, handed: u64, held: u64) -> u64 {
        let Some((users, all, shards)) = self.shares.get(worker.0 as usize).copied() else {
            return 0;
        };
        if users == 0 {
            return 0;
        }
        let fair = |of: u64| (u128::from(of) * u128::from(users)).div_ceil(u128::from(all.max(1))) as u64;
        if handed == 0 {
            return fair(self.count).min(FIRST_PER_SHARD.saturating_mul(shards));
        }
        let speed = seat.speed.get(&self.load).copied().unwrap_or(0).max(1);
        let mut target = speed.saturating_mul(SECONDS_AHEAD);
        if held == 0 {
            // It ran dry, so it is faster than it could show.
            target = target.saturating_mul(2);
        }
        target.saturating_sub(held).min(fair(self.count - self.next).max(speed))
    }
}
