//! What a plan asks for, before anything is sent.

use barrage_model::ids::LoadId;
use barrage_model::plan::{LoadModel, Plan, Stretch};
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
        let open = matches!(load.model, LoadModel::Open(_));
        let stage = |stretch: Stretch<'_>| StageForecast {
            name: stretch.name.to_owned(),
            from: stretch.from,
            to: stretch.to,
            arrivals: None,
        };
        let mut stages: Vec<StageForecast> = load.stretches().into_iter().map(stage).collect();
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
            from: Moment::ZERO + load.start_at,
            to: load.end(),
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
