//! From a plan and the workers that take part to what is sent out: epochs, marks, shares and what is to be expected.

mod forecast;
mod marks;
mod series;
mod shares;

use barrage_model::ids::{EpochId, LoadId, ShardId};
use barrage_model::phase::Marks;
use barrage_model::plan::{Load, LoadModel, Plan};
use barrage_model::rng::{Purpose, stream};
use barrage_model::schedule::{Arrivals, Curve, Epoch, UserCurve, Wheel};
use barrage_model::time::Moment;
use barrage_model::units::Rate;

pub use forecast::{LoadForecast, StageForecast};
pub use shares::Share;

/// Most arrivals of a Poisson load: its totals are counted one by one, at about 5 ns each.
pub const POISSON_MAX: u64 = 250_000_000;

/// A worker as far as shares go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Load threads it offers, at least 1.
    pub shards: u32,
    /// Most iterations per second that it wants to make.
    pub max_rate: Option<Rate>,
}

/// A plan for a certain fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct Compiled {
    /// One for each load, in the plan's order. Loads without arrivals have an empty curve: their wheel still says whose
    /// the users are.
    pub epochs: Vec<(LoadId, Epoch)>,
    /// Where segments begin; the last one begins at [`Compiled::end`] and belongs to no phase.
    pub marks: Marks,
    /// Where the last load ends.
    pub end: Moment,
    /// Shards by worker, in order of the members: the first one and how many.
    pub shards: Vec<(ShardId, u32)>,
    /// What each load asks for.
    pub forecast: Vec<LoadForecast>,
    /// Each worker's part of each load.
    pub shares: Vec<Share>,
    /// Estimated memory of one worker for slots and series, bytes; files that data comes from on top.
    pub memory_bytes: u64,
    /// What the user should know before the start.
    pub warnings: Vec<String>,
}

/// Why a plan cannot run on a fleet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// There is nobody to do it.
    #[error("a run needs at least one worker")]
    NoWorkers,
    /// More load threads than a wheel has positions.
    #[error("{0} load threads are more than the {max} that one run can use", max = barrage_model::schedule::WHEEL_MAX)]
    TooManyShards(u64),
    /// A limit that cannot be divided.
    #[error("load {load}: {what} {limit} is less than one for each of {workers} workers")]
    TooFew {
        /// The load.
        load: String,
        /// Which limit.
        what: &'static str,
        /// Its value.
        limit: u32,
        /// Workers that would have to share it.
        workers: usize,
    },
    /// The stages are not a curve.
    #[error("load {load}")]
    Curve {
        /// The load.
        load: String,
        /// Why not.
        #[source]
        source: barrage_model::schedule::CurveError,
    },
    /// Too many Poisson arrivals.
    #[error("load {load} asks for {count} Poisson arrivals, more than {POISSON_MAX}")]
    Poisson {
        /// The load.
        load: String,
        /// How many, about.
        count: u64,
    },
    /// Too many stages.
    #[error("the stages cut the run into more than {max} segments", max = barrage_model::phase::MARKS_MAX)]
    TooManyMarks,
}

/// Compiles a plan. `seed` is the run's. Takes time in proportion to the number of Poisson arrivals.
///
/// # Errors
/// Whatever keeps the plan from running on these workers.
pub fn compile(plan: &Plan, members: &[Member], seed: u64) -> Result<Compiled, CompileError> {
    if members.is_empty() {
        return Err(CompileError::NoWorkers);
    }
    let shards = shares::number(members)?;
    let mut epochs = Vec::with_capacity(plan.loads.len());
    for (at, load) in plan.loads.iter().enumerate() {
        let id = LoadId(at as u16);
        let wheel = shares::wheel(load, members, &shards)?;
        epochs.push((id, epoch(id, load, wheel, seed)?));
    }
    let end = plan.loads.iter().map(Load::end).max().unwrap_or(Moment::ZERO);
    let marks = marks::marks(plan, end).ok_or(CompileError::TooManyMarks)?;
    let forecast = forecast::forecast(plan, &epochs);
    let parts = shares::shares(plan, members, &shards, &epochs, &forecast);
    let mut warnings = shares::warnings(plan, members, &shards, &epochs);
    warnings.extend(series::warning(plan, &marks));
    let memory_bytes = barrage_plan::memory_estimate_bytes(plan).div_ceil(members.len() as u64);
    Ok(Compiled {
        epochs,
        marks,
        end,
        shards,
        forecast,
        shares: parts,
        memory_bytes,
        warnings,
    })
}

fn epoch(id: LoadId, load: &Load, wheel: Wheel, seed: u64) -> Result<Epoch, CompileError> {
    let (curve, arrivals) = match &load.model {
        LoadModel::Open(open) => {
            let curve = open.curve().map_err(|source| CompileError::Curve {
                load: load.name.clone(),
                source,
            })?;
            if open.arrivals == Arrivals::Poisson && curve.total() > POISSON_MAX {
                return Err(CompileError::Poisson {
                    load: load.name.clone(),
                    count: curve.total(),
                });
            }
            (curve, open.arrivals)
        }
        LoadModel::Users(users) => {
            UserCurve::new(users.stages.iter().flat_map(|stage| stage.shape.pieces()).collect()).map_err(|source| {
                CompileError::Curve {
                    load: load.name.clone(),
                    source,
                }
            })?;
            (Curve::default(), Arrivals::Even)
        }
        LoadModel::Iterations(_) => (Curve::default(), Arrivals::Even),
    };
    let first_time = Moment::ZERO + load.start_at;
    let number = EpochId(0);
    let seed = stream(seed, id, u64::from(number.0), Purpose::Poisson).next_u64();
    Ok(Epoch {
        id: number,
        first_index: 0,
        first_time,
        curve,
        wheel,
        arrivals,
        seed,
    })
}

#[cfg(test)]
mod tests;
