//! What a lost worker leaves behind: exact ranges of arrivals that are unknown or were not sent.

use std::collections::BTreeMap;
use std::time::Duration;

use barrage_model::ids::{LoadId, ShardId, WorkerId};
use barrage_model::plan::LoadModel;
use barrage_model::schedule::{Epoch, Hole};
use barrage_model::time::Moment;

use super::{Book, Life, Run};

/// What one lost worker leaves of one load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadHole {
    /// The load.
    pub load: LoadId,
    /// Due after its last merged delta and up to its grant's end: sent or not, nobody knows; never sent again.
    pub unknown: Hole,
    /// Due later, up to the end of the run: not sent.
    pub unsent: Hole,
    /// When the first of those fell due; of users, and of iterations that are only counted, from when on it may not have begun
    /// any.
    pub unsent_from: Option<Moment>,
}

/// What one lost worker leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerHoles {
    /// The worker.
    pub worker: WorkerId,
    /// Run time of the loss.
    pub lost_at: Moment,
    /// By load; loads that it left nothing of are left out.
    pub loads: Vec<LoadHole>,
}

impl<B: Book> Run<B> {
    /// What lost workers leave behind of the arrivals that are due before `until`; at the end of a run that is
    /// [`Moment::MAX`], or the instant of its early stop.
    ///
    /// Takes time in proportion to the number of arrivals of Poisson loads.
    pub fn holes(&self, until: Moment) -> Vec<WorkerHoles> {
        let mut holes = Vec::new();
        for worker in self.ids() {
            let Life::Lost { at, .. } = self.seats[worker.0 as usize].life else {
                continue;
            };
            let loads: Vec<LoadHole> = (self.spec.plan.loads.iter().zip(&self.spec.compiled.epochs))
                .map(|(load, (id, _))| match load.model {
                    LoadModel::Open(_) => self.open_hole(worker, *id, until),
                    LoadModel::Iterations(_) => self.counted_hole(worker, *id, (at, load.end().min(until))),
                    LoadModel::Users(_) => self.users_hole(worker, *id, load.end().min(until)),
                })
                .filter(|hole| hole.unknown.count + hole.unsent.count > 0 || hole.unsent_from.is_some())
                .collect();
            holes.push(WorkerHoles {
                worker,
                lost_at: at,
                loads,
            });
        }
        holes
    }

    /// The same at the end of the run.
    pub fn final_holes(&self) -> Vec<WorkerHoles> {
        // An arrival due at the very instant of a stop was still due.
        let until = self
            .stopped
            .as_ref()
            .map_or(Moment::MAX, |stopped| stopped.at + Duration::from_micros(1));
        self.holes(until)
    }

    /// Says for the report which arrivals lost workers have left behind.
    pub(super) fn note_holes(&mut self, now: Moment) {
        for holes in self.final_holes() {
            for hole in &holes.loads {
                let load = &self.spec.plan.loads[usize::from(hole.load.0)].name;
                let parts = [(hole.unknown, "unknown"), (hole.unsent, "unsent")];
                let parts = parts.iter().filter(|(part, _)| part.count > 0);
                let parts: Vec<String> = parts.map(|(part, what)| extent(part, what)).collect();
                if parts.is_empty() {
                    continue;
                }
                let name = self.name(holes.worker);
                let text = format!("worker {name} leaves behind of load {load}: {}", parts.join("; "));
                self.note(now, "hole", Some(holes.worker), text);
            }
        }
    }

    fn open_hole(&self, worker: WorkerId, load: LoadId, until: Moment) -> LoadHole {
        let seat = &self.seats[worker.0 as usize];
        let shards = self.shards_of(worker);
        let epoch = &self.spec.compiled.epochs[usize::from(load.0)].1;
        let share = HeldShare {
            load,
            epoch,
            shards: &shards,
            next_index: &seat.next_index,
        };
        leftover(&share, seat.granted, seat.has_told_all(), until)
    }

    /// Users have no arrivals: what is left behind of a load that goes on until `until` is the time in which the worker began
    /// nothing.
    fn users_hole(&self, worker: WorkerId, load: LoadId, until: Moment) -> LoadHole {
        let idle = self.seats[worker.0 as usize].idle_from();
        LoadHole {
            load,
            unknown: Hole::default(),
            unsent: Hole::default(),
            unsent_from: (idle < until).then_some(idle),
        }
    }

    /// What is left of the count when the load ends, by its time limit or a stop, never fell due: who was
    /// lost later, and has told what it did until then, leaves nothing behind.
    fn counted_hole(&self, worker: WorkerId, load: LoadId, (lost_at, until): (Moment, Moment)) -> LoadHole {
        let seat = &self.seats[worker.0 as usize];
        let handed = self.blocks.handed_to(load, worker).unwrap_or(0);
        let left = handed.saturating_sub(seat.accounted.get(&load).copied().unwrap_or(0));
        let known = seat.has_told_all() || seat.told_until >= until;
        let held = if known && lost_at >= until { 0 } else { left };
        // Shards take from a block in no fixed order, so how many is all that can be said.
        let held = Hole {
            count: held,
            first: None,
            last: None,
        };
        let none = Hole::default();
        let (unknown, unsent) = if known { (none, held) } else { (held, none) };
        LoadHole {
            load,
            unknown,
            unsent,
            unsent_from: (unsent.count > 0).then_some(seat.idle_from()),
        }
    }
}

/// One worker's part of an open load, and how far it has come.
#[derive(Clone, Copy, Debug)]
pub struct HeldShare<'a> {
    /// The load.
    pub load: LoadId,
    /// Its schedule.
    pub epoch: &'a Epoch,
    /// The worker's shards.
    pub shards: &'a [ShardId],
    /// First index of each shard that is neither started nor dropped.
    pub next_index: &'a BTreeMap<(LoadId, ShardId), u64>,
}

/// What a worker leaves of an open load that had a grant up to `granted`, of the arrivals due before `until` or within
/// the grant. With `flushed` it has said itself where it stopped, so nothing is unknown.
pub fn leftover(share: &HeldShare<'_>, granted: Moment, flushed: bool, until: Moment) -> LoadHole {
    let HeldShare {
        load,
        epoch,
        shards,
        next_index,
    } = *share;
    let mut hole = LoadHole {
        load,
        unknown: Hole::default(),
        unsent: Hole::default(),
        unsent_from: None,
    };
    // It may have sent what was due at the very end of its grant.
    let known = flushed || granted == Moment::ZERO;
    let border = if known {
        Moment::ZERO
    } else {
        granted + Duration::from_micros(1)
    };
    for shard in shards {
        let from = next_index.get(&(load, *shard)).copied().unwrap_or(epoch.first_index);
        add(
            &mut hole.unknown,
            epoch.owned_between(&[*shard], from, Moment::ZERO, border),
        );
        add(
            &mut hole.unsent,
            epoch.owned_between(&[*shard], from, border, until.max(border)),
        );
    }
    hole.unsent_from = hole.unsent.first.and_then(|first| epoch.due(first));
    hole
}

/// How many arrivals, and between which indices its own lie.
fn extent(hole: &Hole, what: &str) -> String {
    let range = hole.first.zip(hole.last);
    let range = range.map_or_else(String::new, |(first, last)| {
        format!(", the first {first}, the last {last}")
    });
    format!("{} {what}{range}", hole.count)
}

fn add(sum: &mut Hole, more: Hole) {
    sum.count += more.count;
    sum.first = match (sum.first, more.first) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    sum.last = sum.last.max(more.last);
}
