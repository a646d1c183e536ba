//! Who makes which part of a load.

use barrage_model::ids::{LoadId, ShardId};
use barrage_model::plan::{Load, LoadModel, Plan};
use barrage_model::schedule::{Epoch, WHEEL_MAX, Wheel};

use super::{CompileError, LoadForecast, Member};

/// One worker's part of one load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The load's name.
    pub load: String,
    /// The worker's name.
    pub worker: String,
    /// Its positions on the wheel.
    pub positions: u32,
    /// The wheel's length.
    pub of: u32,
    /// Even arrivals that are its own, or its part of a counted load at equal speed; `None` in the closed model.
    pub arrivals: Option<u64>,
    /// Its part of `max_active` or of the users.
    pub slots: u64,
}

/// Numbers the shards of all workers through.
pub(super) fn number(members: &[Member]) -> Result<Vec<(ShardId, u32)>, CompileError> {
    let all: u64 = members.iter().map(|member| u64::from(member.shards.max(1))).sum();
    if all > WHEEL_MAX as u64 {
        return Err(CompileError::TooManyShards(all));
    }
    let mut next = 0;
    let place = |member: &Member| {
        let first = ShardId(next);
        next += member.shards.max(1);
        (first, member.shards.max(1))
    };
    Ok(members.iter().map(place).collect())
}

/// Iterations that a load may have in progress, and what the plan calls that limit.
fn limit(load: &Load) -> (u32, &'static str) {
    match &load.model {
        LoadModel::Open(open) => (open.max_active, "max_active"),
        LoadModel::Users(_) => (u32::MAX, "users"),
        LoadModel::Iterations(counted) => (counted.users, "users"),
    }
}

/// The wheel of a load. Every shard on it gets at least one of what the load may have in progress; where that is too
/// little for all shards, workers leave some of theirs out, those with the most first.
pub(super) fn wheel(load: &Load, members: &[Member], shards: &[(ShardId, u32)]) -> Result<Wheel, CompileError> {
    let (limit, what) = limit(load);
    if (limit as usize) < members.len() {
        return Err(CompileError::TooFew {
            load: load.name.clone(),
            what,
            limit,
            workers: members.len(),
        });
    }
    let mut used: Vec<u32> = shards.iter().map(|(_, count)| *count).collect();
    while used.iter().map(|count| u64::from(*count)).sum::<u64>() > u64::from(limit) {
        drop_one(&mut used);
    }
    loop {
        let wheel = weighted(&weights(members, &used), &used, shards);
        let short = wheel.divide(u64::from(limit)).iter().any(|(_, share)| *share == 0);
        if !short {
            return Ok(wheel);
        }
        if used.iter().all(|count| *count == 1) {
            // One shard each, and still the weights starve one: equal parts then.
            return Ok(weighted(&vec![1; members.len()], &used, shards));
        }
        drop_one(&mut used);
    }
}

fn drop_one(used: &mut [u32]) {
    if let Some(most) = used.iter_mut().max_by_key(|count| **count) {
        *most -= 1;
    }
}

/// Weight of each worker: its `max_rate` when all have one, else its load threads.
fn weights(members: &[Member], used: &[u32]) -> Vec<u64> {
    let rates: Option<Vec<u64>> = members
        .iter()
        .map(|member| member.max_rate.map(|rate| rate.micro().max(1)))
        .collect();
    rates.unwrap_or_else(|| used.iter().map(|count| u64::from(*count)).collect())
}

/// A wheel over the first `used` shards of each worker; a worker's weight is spread evenly over them.
fn weighted(weights: &[u64], used: &[u32], shards: &[(ShardId, u32)]) -> Wheel {
    let highest = weights.iter().max().copied().unwrap_or(1).max(1);
    let whole = weights
        .iter()
        .zip(used)
        .all(|(weight, used)| weight % u64::from(*used) == 0 && *weight <= 1_000_000);
    let mut table = Vec::new();
    for ((weight, used), (_, all)) in weights.iter().zip(used).zip(shards) {
        let each = if whole {
            weight / u64::from(*used)
        } else {
            (u128::from(*weight) * 1_000_000 / u128::from(highest) / u128::from(*used)) as u64
        };
        let each = u32::try_from(each).unwrap_or(u32::MAX).max(1);
        table.extend((0..*all).map(|shard| if shard < *used { each } else { 0 }));
    }
    Wheel::smooth(&table).expect("every worker has a shard with a weight, and there are no more than a wheel takes")
}

fn own(shard: ShardId, place: (ShardId, u32)) -> bool {
    (place.0.0..place.0.0 + place.1).contains(&shard.0)
}

/// Positions of one worker on a wheel.
fn positions(wheel: &Wheel, place: (ShardId, u32)) -> u32 {
    wheel
        .shards()
        .filter(|shard| own(*shard, place))
        .map(|shard| wheel.share(shard).0)
        .sum()
}

fn part(wheel: &Wheel, place: (ShardId, u32), total: u64) -> u64 {
    wheel
        .divide(total)
        .into_iter()
        .filter(|(shard, _)| own(*shard, place))
        .map(|(_, part)| part)
        .sum()
}

pub(super) fn shares(
    plan: &Plan,
    members: &[Member],
    shards: &[(ShardId, u32)],
    epochs: &[(LoadId, Epoch)],
    forecast: &[LoadForecast],
) -> Vec<Share> {
    let mut parts = Vec::new();
    for ((load, (_, epoch)), forecast) in plan.loads.iter().zip(epochs).zip(forecast) {
        let slots = match &load.model {
            LoadModel::Open(open) => u64::from(open.max_active),
            LoadModel::Iterations(counted) => u64::from(counted.users),
            LoadModel::Users(users) => {
                let pieces = users.stages.iter().flat_map(|stage| stage.shape.pieces());
                u64::from(pieces.map(|piece| piece.from.max(piece.to)).max().unwrap_or(0))
            }
        };
        for (member, place) in members.iter().zip(shards) {
            parts.push(Share {
                load: load.name.clone(),
                worker: member.name.clone(),
                positions: positions(&epoch.wheel, *place),
                of: epoch.wheel.len() as u32,
                arrivals: forecast.arrivals.map(|total| part(&epoch.wheel, *place, total)),
                slots: part(&epoch.wheel, *place, slots),
            });
        }
    }
    parts
}

/// Says where a worker's share goes over its own `max_rate`.
pub(super) fn warnings(
    plan: &Plan,
    members: &[Member],
    shards: &[(ShardId, u32)],
    epochs: &[(LoadId, Epoch)],
) -> Vec<String> {
    let mut warnings = Vec::new();
    for (member, place) in members.iter().zip(shards) {
        let Some(max) = member.max_rate else { continue };
        let asked: u128 = epochs
            .iter()
            .zip(&plan.loads)
            .filter(|(_, load)| matches!(load.model, LoadModel::Open(_)))
            .map(|((_, epoch), _)| {
                let own = u128::from(positions(&epoch.wheel, *place));
                u128::from(epoch.curve.peak().micro()) * own / epoch.wheel.len() as u128
            })
            .sum();
        if asked > u128::from(max.micro()) {
            let asked = asked.div_ceil(1_000) as f64 / 1e3;
            warnings.push(format!(
                "worker {} is asked for up to {asked:.3}/s, more than its maximum of {max}",
                member.name
            ));
        }
    }
    warnings
}
