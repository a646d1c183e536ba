//! What a plan asks for, before anything is sent.

use barrage_model::ids::LoadId;
use barrage_model::plan::{LoadModel, Plan, TAG_COMBINATIONS_MAX, TagRule};
use barrage_model::schedule::{Arrivals, Epoch};
use barrage_model::time::Moment;

/// What one load asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadForecast {
    /// The load's name.
    pub name: String,
    /// Run time of its begin.
    pub from: Moment,
    /// Run time of its end, at the latest.
    pub to: Moment,
    /// Iterations it asks for; `None` in the closed model, where the target's speed decides.
    pub arrivals: Option<u64>,
    /// Its stages.
    pub stages: Vec<StageForecast>,
}

/// What one stage asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageForecast {
    /// The stage's name.
    pub name: String,
    /// Run time of its begin.
    pub from: Moment,
    /// Run time of its end.
    pub to: Moment,
    /// Arrivals that fall due in it; `None` in the closed model and in counted loads.
    pub arrivals: Option<u64>,
}

pub(super) fn forecast(plan: &Plan, epochs: &[(LoadId, Epoch)]) -> Vec<LoadForecast> {
    let line = |(load, (_, epoch)): (&barrage_model::plan::Load, &(LoadId, Epoch))| {
        let from = Moment::ZERO + load.start_at;
        let open = matches!(load.model, LoadModel::Open(_));
        let mut stages = Vec::new();
        let mut to = from;
        for (name, length, _) in super::stages(load) {
            let begin = to;
            to += length;
            stages.push(StageForecast {
                name: name.to_owned(),
                from: begin,
                to,
                arrivals: None,
            });
        }
        if open {
            let borders: Vec<Moment> = stages.iter().map(|stage| stage.to).collect();
            let mut before = 0;
            for (stage, below) in stages.iter_mut().zip(counts(epoch, &borders)) {
                stage.arrivals = Some(below - before);
                before = below;
            }
        }
        let arrivals = match &load.model {
            LoadModel::Open(_) => Some(stages.iter().filter_map(|stage| stage.arrivals).sum()),
            LoadModel::Users(_) => None,
            LoadModel::Iterations(counted) => Some(counted.count),
        };
        LoadForecast {
            name: load.name.clone(),
            from,
            to,
            arrivals,
            stages,
        }
    };
    plan.loads.iter().zip(epochs).map(line).collect()
}

/// Arrivals due before each of some rising instants; the Poisson stream is walked only once.
fn counts(epoch: &Epoch, borders: &[Moment]) -> Vec<u64> {
    if epoch.arrivals == Arrivals::Even {
        return borders.iter().map(|border| epoch.count_before(*border)).collect();
    }
    let bounds: Vec<u128> = borders
        .iter()
        .map(|border| epoch.curve.phase_before(Moment::ZERO + border.since(epoch.first_time)))
        .collect();
    let mut stream = barrage_model::schedule::ExpStream::new(epoch.seed);
    let mut phase = stream.next_phase();
    let mut count = 0;
    let mut counts = Vec::with_capacity(bounds.len());
    for bound in bounds {
        while phase < bound {
            count += 1;
            phase = stream.next_phase();
        }
        counts.push(count);
    }
    counts
}

/// Bytes that one series takes on a shard: the pages that a typical spread of latencies touches.
const SERIES_BYTES: u64 = 12 * 1024;
/// Bytes that one slot takes with its connection.
const SLOT_BYTES: u64 = 24 * 1024;
/// Series that one step has: response and service for two outcomes.
const SERIES_PER_STEP: u64 = 4;
/// Segments whose series are open at once: the one that iterations are due in, and the one before.
const SEGMENTS_OPEN: u64 = 2;
/// Most series that a run keeps apart.
const SERIES_MAX: u64 = 10_000;

/// Estimated memory of one worker, bytes.
pub(super) fn memory(plan: &Plan, workers: usize, segments: usize) -> u64 {
    let tags: usize = plan
        .tags
        .iter()
        .map(TagRule::digits)
        .fold(1, usize::saturating_mul)
        .min(TAG_COMBINATIONS_MAX);
    let open = (segments as u64).min(SEGMENTS_OPEN);
    let series = (plan.named_steps().len() as u64)
        .saturating_mul(tags as u64)
        .saturating_mul(SERIES_PER_STEP * open)
        .min(SERIES_MAX);
    let slots: u64 = plan
        .loads
        .iter()
        .map(|load| match &load.model {
            LoadModel::Open(open) => u64::from(open.max_active),
            LoadModel::Users(users) => {
                let pieces = users.stages.iter().flat_map(|stage| stage.shape.pieces());
                u64::from(pieces.map(|piece| piece.from.max(piece.to)).max().unwrap_or(0))
            }
            LoadModel::Iterations(counted) => u64::from(counted.users),
        })
        .sum();
    let slots = slots.div_ceil(workers.max(1) as u64);
    series
        .saturating_mul(SERIES_BYTES)
        .saturating_add(slots.saturating_mul(SLOT_BYTES))
}
