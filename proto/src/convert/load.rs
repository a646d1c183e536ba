//! Loads and their stages.

use barrage_model::ids::ScenarioId;
use barrage_model::plan::{
    Delay, IterationsLoad, Load, LoadModel, OpenLoad, Stage, StageShape, UserStage, UserStageShape, UsersLoad,
};
use barrage_model::schedule::Arrivals;
use barrage_model::units::Rate;

use super::{BadMessage, Result, bad, each, micros, missing, narrow, span};
use crate::v1;

/// Most stages of one load.
const STAGES_MAX: usize = 1_000;

impl From<&Load> for v1::Load {
    fn from(load: &Load) -> Self {
        Self {
            name: load.name.clone(),
            start_at_us: micros(load.start_at),
            scenarios: load
                .scenarios
                .iter()
                .map(|(id, weight)| v1::Choice {
                    scenario: u32::from(id.0),
                    weight: *weight,
                })
                .collect(),
            model: Some(match &load.model {
                LoadModel::Open(open) => v1::load::Model::Open(open.into()),
                LoadModel::Users(users) => v1::load::Model::Users(users.into()),
                LoadModel::Iterations(counted) => v1::load::Model::Iterations(v1::IterationsLoad {
                    count: counted.count,
                    users: counted.users,
                    at_most_us: micros(counted.at_most),
                }),
            }),
        }
    }
}

impl TryFrom<v1::Load> for Load {
    type Error = BadMessage;

    fn try_from(wire: v1::Load) -> Result<Self> {
        let model = match wire.model.ok_or_else(|| missing("loads.model"))? {
            v1::load::Model::Open(open) => LoadModel::Open(open.try_into()?),
            v1::load::Model::Users(users) => LoadModel::Users(users.try_into()?),
            v1::load::Model::Iterations(counted) => LoadModel::Iterations(IterationsLoad {
                count: counted.count,
                users: counted.users.max(1),
                at_most: span("iterations.at_most_us", counted.at_most_us)?,
            }),
        };
        Ok(Self {
            name: wire.name,
            start_at: span("loads.start_at_us", wire.start_at_us)?,
            scenarios: each(wire.scenarios, |choice| {
                Ok((ScenarioId(narrow("loads.scenarios", choice.scenario)?), choice.weight))
            })?,
            model,
        })
    }
}

pub(crate) fn arrivals_out(arrivals: Arrivals) -> v1::open_load::Arrivals {
    match arrivals {
        Arrivals::Even => v1::open_load::Arrivals::Even,
        Arrivals::Poisson => v1::open_load::Arrivals::Poisson,
    }
}

pub(crate) fn arrivals_in(wire: v1::open_load::Arrivals) -> Result<Arrivals> {
    match wire {
        v1::open_load::Arrivals::Even => Ok(Arrivals::Even),
        v1::open_load::Arrivals::Poisson => Ok(Arrivals::Poisson),
        v1::open_load::Arrivals::Unspecified => Err(missing("arrivals")),
    }
}

impl From<&OpenLoad> for v1::OpenLoad {
    fn from(open: &OpenLoad) -> Self {
        Self {
            arrivals: arrivals_out(open.arrivals).into(),
            stages: open.stages.iter().map(Into::into).collect(),
            max_active: open.max_active,
            give_up_after_us: micros(open.give_up_after),
        }
    }
}

impl TryFrom<v1::OpenLoad> for OpenLoad {
    type Error = BadMessage;

    fn try_from(wire: v1::OpenLoad) -> Result<Self> {
        let arrivals = arrivals_in(wire.arrivals())?;
        if wire.stages.is_empty() || wire.stages.len() > STAGES_MAX {
            return Err(bad("open.stages", "has no stages, or more than 1,000"));
        }
        let open = Self {
            arrivals,
            stages: each(wire.stages, TryInto::try_into)?,
            max_active: wire.max_active.max(1),
            give_up_after: span("open.give_up_after_us", wire.give_up_after_us)?,
        };
        open.curve().map_err(|error| bad("open.stages", error.to_string()))?;
        Ok(open)
    }
}

impl From<&Stage> for v1::Stage {
    fn from(stage: &Stage) -> Self {
        use v1::stage::Shape;
        let shape = match &stage.shape {
            StageShape::Ramp { from, to, over } => Shape::Ramp(v1::Ramp {
                from: from.micro(),
                to: to.micro(),
                over_us: micros(*over),
            }),
            StageShape::Hold { rate, length } => Shape::Hold(v1::Hold {
                level: rate.micro(),
                length_us: micros(*length),
            }),
            StageShape::Spike {
                base,
                to,
                before,
                length,
                after,
            } => Shape::Spike(v1::Spike {
                base: base.micro(),
                to: to.micro(),
                before_us: micros(*before),
                length_us: micros(*length),
                after_us: micros(*after),
            }),
            StageShape::Step { from, to, steps, each } => Shape::Step(v1::Stairs {
                from: from.micro(),
                to: to.micro(),
                steps: *steps,
                each_us: micros(*each),
            }),
            StageShape::Pause { length } => Shape::Pause(v1::Pause {
                length_us: micros(*length),
            }),
        };
        Self {
            name: stage.name.clone(),
            shape: Some(shape),
        }
    }
}

fn rate(micro: u64) -> Result<Rate> {
    Rate::from_micro(micro).ok_or_else(|| {
        bad(
            "stages",
            format!("{micro} micro-arrivals per second is too high a rate"),
        )
    })
}

fn stairs(steps: u32) -> Result<u32> {
    if (2..=10_000).contains(&steps) {
        Ok(steps)
    } else {
        Err(bad("step.steps", format!("{steps} is not within 2..10000")))
    }
}

impl TryFrom<v1::Stage> for Stage {
    type Error = BadMessage;

    fn try_from(wire: v1::Stage) -> Result<Self> {
        use v1::stage::Shape;
        let shape = match wire.shape.ok_or_else(|| missing("stages.shape"))? {
            Shape::Ramp(ramp) => StageShape::Ramp {
                from: rate(ramp.from)?,
                to: rate(ramp.to)?,
                over: span("ramp.over_us", ramp.over_us)?,
            },
            Shape::Hold(hold) => StageShape::Hold {
                rate: rate(hold.level)?,
                length: span("hold.length_us", hold.length_us)?,
            },
            Shape::Spike(spike) => StageShape::Spike {
                base: rate(spike.base)?,
                to: rate(spike.to)?,
                before: span("spike.before_us", spike.before_us)?,
                length: span("spike.length_us", spike.length_us)?,
                after: span("spike.after_us", spike.after_us)?,
            },
            Shape::Step(step) => StageShape::Step {
                from: rate(step.from)?,
                to: rate(step.to)?,
                steps: stairs(step.steps)?,
                each: span("step.each_us", step.each_us)?,
            },
            Shape::Pause(pause) => StageShape::Pause {
                length: span("pause.length_us", pause.length_us)?,
            },
        };
        Ok(Self { name: wire.name, shape })
    }
}

impl From<&UserStage> for v1::Stage {
    fn from(stage: &UserStage) -> Self {
        use v1::stage::Shape;
        let shape = match &stage.shape {
            UserStageShape::Ramp { from, to, over } => Shape::Ramp(v1::Ramp {
                from: u64::from(*from),
                to: u64::from(*to),
                over_us: micros(*over),
            }),
            UserStageShape::Hold { users, length } => Shape::Hold(v1::Hold {
                level: u64::from(*users),
                length_us: micros(*length),
            }),
            UserStageShape::Step { from, to, steps, each } => Shape::Step(v1::Stairs {
                from: u64::from(*from),
                to: u64::from(*to),
                steps: *steps,
                each_us: micros(*each),
            }),
            UserStageShape::Pause { length } => Shape::Pause(v1::Pause {
                length_us: micros(*length),
            }),
        };
        Self {
            name: stage.name.clone(),
            shape: Some(shape),
        }
    }
}

fn users(level: u64) -> Result<u32> {
    u32::try_from(level)
        .ok()
        .filter(|users| *users <= 10_000_000)
        .ok_or_else(|| bad("users.stages", format!("{level} users are too many")))
}

fn user_stage(wire: v1::Stage) -> Result<UserStage> {
    use v1::stage::Shape;
    let shape = match wire.shape.ok_or_else(|| missing("users.stages.shape"))? {
        Shape::Ramp(ramp) => UserStageShape::Ramp {
            from: users(ramp.from)?,
            to: users(ramp.to)?,
            over: span("ramp.over_us", ramp.over_us)?,
        },
        Shape::Hold(hold) => UserStageShape::Hold {
            users: users(hold.level)?,
            length: span("hold.length_us", hold.length_us)?,
        },
        Shape::Step(step) => UserStageShape::Step {
            from: users(step.from)?,
            to: users(step.to)?,
            steps: stairs(step.steps)?,
            each: span("step.each_us", step.each_us)?,
        },
        Shape::Pause(pause) => UserStageShape::Pause {
            length: span("pause.length_us", pause.length_us)?,
        },
        Shape::Spike(_) => return Err(bad("users.stages", "a number of users has no spike")),
    };
    Ok(UserStage { name: wire.name, shape })
}

impl From<&UsersLoad> for v1::UsersLoad {
    fn from(load: &UsersLoad) -> Self {
        Self {
            stages: load.stages.iter().map(Into::into).collect(),
            think: load.think.map(Into::into),
            pace_us: load.pace.map(micros),
        }
    }
}

impl TryFrom<v1::UsersLoad> for UsersLoad {
    type Error = BadMessage;

    fn try_from(wire: v1::UsersLoad) -> Result<Self> {
        if wire.stages.is_empty() || wire.stages.len() > STAGES_MAX {
            return Err(bad("users.stages", "has no stages, or more than 1,000"));
        }
        Ok(Self {
            stages: each(wire.stages, user_stage)?,
            think: wire.think.map(TryInto::try_into).transpose()?,
            pace: wire.pace_us.map(|pace| span("users.pace_us", pace)).transpose()?,
        })
    }
}

impl From<Delay> for v1::Delay {
    fn from(delay: Delay) -> Self {
        Self {
            min_us: micros(delay.min),
            max_us: micros(delay.max),
        }
    }
}

impl TryFrom<v1::Delay> for Delay {
    type Error = BadMessage;

    fn try_from(wire: v1::Delay) -> Result<Self> {
        if wire.min_us > wire.max_us {
            return Err(bad("delay", "its shortest time is longer than its longest"));
        }
        Ok(Self {
            min: span("delay.min_us", wire.min_us)?,
            max: span("delay.max_us", wire.max_us)?,
        })
    }
}
