//! Loads: when iterations begin.

use std::time::Duration;

use crate::ids::ScenarioId;
use crate::schedule::{Arrivals, Curve, CurveError, Piece, UserPiece};
use crate::time::Moment;
use crate::units::Rate;

/// One stream of iterations over some of the scenarios.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Shown in reports; the scenario's name, or `load`.
    pub name: String,
    /// Run time at which the load's own time begins.
    pub start_at: Duration,
    /// The scenarios it chooses from, with their weights (each at least 1).
    pub scenarios: Vec<(ScenarioId, u32)>,
    /// Open, closed or counted.
    pub model: LoadModel,
}

/// A stage of a load in run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch<'a> {
    /// The stage's name; unique in neither load nor plan.
    pub name: &'a str,
    /// Its begin.
    pub from: Moment,
    /// Its end.
    pub to: Moment,
    /// Whether the rate or the number of users is constant by design: such stages make up the steady state.
    pub holds: bool,
    /// It is over as soon as so many iterations are done: `to` is only its limit.
    pub counted: bool,
}

impl Load {
    /// The stages in run time, in order; a counted load is one.
    pub fn stretches(&self) -> Vec<Stretch<'_>> {
        let stages: Vec<(&str, Duration, bool)> = match &self.model {
            LoadModel::Open(open) => {
                let stages = open.stages.iter();
                stages
                    .map(|stage| (stage.name.as_str(), stage.shape.length(), stage.shape.is_hold()))
                    .collect()
            }
            LoadModel::Users(users) => {
                let holds = |shape: &UserStageShape| matches!(shape, UserStageShape::Hold { .. });
                let stages = users.stages.iter();
                stages
                    .map(|stage| (stage.name.as_str(), stage.shape.length(), holds(&stage.shape)))
                    .collect()
            }
            LoadModel::Iterations(counted) => vec![(self.name.as_str(), counted.at_most, true)],
        };
        let mut next = Moment::ZERO + self.start_at;
        let stretch = |(name, length, holds)| {
            let from = next;
            next += length;
            Stretch {
                name,
                from,
                to: next,
                holds,
                counted: matches!(self.model, LoadModel::Iterations(_)),
            }
        };
        stages.into_iter().map(stretch).collect()
    }

    /// Run time at which it ends.
    pub fn end(&self) -> Moment {
        let last = self.stretches().last().map(|stretch| stretch.to);
        last.unwrap_or(Moment::ZERO + self.start_at)
    }
}

/// How iterations come about.
#[derive(Clone, Debug, PartialEq)]
pub enum LoadModel {
    /// Arrivals never wait for responses.
    Open(OpenLoad),
    /// A number of users, each beginning its next iteration when the last one has ended.
    Users(UsersLoad),
    /// A number of iterations as fast as possible.
    Iterations(IterationsLoad),
}

/// The open model.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenLoad {
    /// Even or Poisson.
    pub arrivals: Arrivals,
    /// The arrival rate over time; at least one.
    pub stages: Vec<Stage>,
    /// Iterations in progress, whole fleet.
    pub max_active: u32,
    /// An arrival that has waited this long is dropped and counted.
    pub give_up_after: Duration,
}

impl OpenLoad {
    /// The arrival rate as a curve over the load's own time.
    ///
    /// # Errors
    /// When the stages together are longer or faster than a curve may be.
    pub fn curve(&self) -> Result<Curve, CurveError> {
        Curve::new(self.stages.iter().flat_map(|stage| stage.shape.pieces()).collect())
    }
}

/// One stage of an arrival rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Given, or the shape's word and the stage's number: `hold 2`.
    pub name: String,
    /// The rate over time.
    pub shape: StageShape,
}

/// The shape of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StageShape {
    /// Linear from one rate to another.
    Ramp {
        /// Rate at the beginning.
        from: Rate,
        /// Rate at the end.
        to: Rate,
        /// Length.
        over: Duration,
    },
    /// A constant rate.
    Hold {
        /// The rate.
        rate: Rate,
        /// Length.
        length: Duration,
    },
    /// A sudden higher (or lower) rate between two stretches of the base rate.
    Spike {
        /// Rate before and after.
        base: Rate,
        /// Rate of the spike.
        to: Rate,
        /// Length of the base rate before the spike.
        before: Duration,
        /// Length of the spike.
        length: Duration,
        /// Length of the base rate after the spike.
        after: Duration,
    },
    /// Equal steps from one rate to another.
    Step {
        /// Rate of the first step.
        from: Rate,
        /// Rate of the last step.
        to: Rate,
        /// Number of steps, at least 2.
        steps: u32,
        /// Length of each step.
        each: Duration,
    },
    /// No arrivals.
    Pause {
        /// Length.
        length: Duration,
    },
}

impl StageShape {
    /// Length of the stage.
    pub fn length(&self) -> Duration {
        match self {
            Self::Ramp { over, .. } => *over,
            Self::Hold { length, .. } | Self::Pause { length } => *length,
            Self::Spike {
                before, length, after, ..
            } => *before + *length + *after,
            Self::Step { steps, each, .. } => each.saturating_mul(*steps),
        }
    }

    /// Whether the rate is constant and not zero by design: such stages make up the steady state.
    pub fn is_hold(&self) -> bool {
        matches!(self, Self::Hold { .. })
    }

    /// The word used in plans.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ramp { .. } => "ramp",
            Self::Hold { .. } => "hold",
            Self::Spike { .. } => "spike",
            Self::Step { .. } => "step",
            Self::Pause { .. } => "pause",
        }
    }

    /// The pieces of the rate curve.
    pub fn pieces(&self) -> Vec<Piece> {
        let flat = |rate: Rate, over: Duration| Piece {
            from: rate,
            to: rate,
            over,
        };
        match self {
            Self::Ramp { from, to, over } => vec![Piece {
                from: *from,
                to: *to,
                over: *over,
            }],
            Self::Hold { rate, length } => vec![flat(*rate, *length)],
            Self::Pause { length } => vec![flat(Rate::default(), *length)],
            Self::Spike {
                base,
                to,
                before,
                length,
                after,
            } => {
                vec![flat(*base, *before), flat(*to, *length), flat(*base, *after)]
            }
            Self::Step { from, to, steps, each } => {
                let last = i128::from(steps.saturating_sub(1).max(1));
                let (low, high) = (i128::from(from.micro()), i128::from(to.micro()));
                (0..*steps)
                    .map(|n| {
                        let micro = low + (high - low) * i128::from(n) / last;
                        let rate = Rate::from_micro(u64::try_from(micro).unwrap_or(0));
                        flat(rate.unwrap_or(*to), *each)
                    })
                    .collect()
            }
        }
    }
}

/// The closed model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsersLoad {
    /// The number of users over time; at least one.
    pub stages: Vec<UserStage>,
    /// Pause after each iteration.
    pub think: Option<Delay>,
    /// An iteration begins at least this long after the one before of the same user.
    pub pace: Option<Duration>,
}

/// One stage of a number of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserStage {
    /// Given, or the shape's word and the stage's number.
    pub name: String,
    /// The number over time.
    pub shape: UserStageShape,
}

/// The shape of a stage of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserStageShape {
    /// Linear from one number to another.
    Ramp {
        /// Users at the beginning.
        from: u32,
        /// Users at the end.
        to: u32,
        /// Length.
        over: Duration,
    },
    /// A constant number.
    Hold {
        /// The number.
        users: u32,
        /// Length.
        length: Duration,
    },
    /// Equal steps from one number to another.
    Step {
        /// Users of the first step.
        from: u32,
        /// Users of the last step.
        to: u32,
        /// Number of steps, at least 2.
        steps: u32,
        /// Length of each step.
        each: Duration,
    },
    /// No users.
    Pause {
        /// Length.
        length: Duration,
    },
}

impl UserStageShape {
    /// Length of the stage.
    pub fn length(&self) -> Duration {
        match self {
            Self::Ramp { over, .. } => *over,
            Self::Hold { length, .. } | Self::Pause { length } => *length,
            Self::Step { steps, each, .. } => each.saturating_mul(*steps),
        }
    }

    /// The word used in plans.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ramp { .. } => "ramp",
            Self::Hold { .. } => "hold",
            Self::Step { .. } => "step",
            Self::Pause { .. } => "pause",
        }
    }

    /// The pieces of the user curve.
    pub fn pieces(&self) -> Vec<UserPiece> {
        let flat = |users: u32, over: Duration| UserPiece {
            from: users,
            to: users,
            over,
        };
        match self {
            Self::Ramp { from, to, over } => vec![UserPiece {
                from: *from,
                to: *to,
                over: *over,
            }],
            Self::Hold { users, length } => vec![flat(*users, *length)],
            Self::Pause { length } => vec![flat(0, *length)],
            Self::Step { from, to, steps, each } => {
                let last = i64::from(steps.saturating_sub(1).max(1));
                let (low, high) = (i64::from(*from), i64::from(*to));
                (0..*steps)
                    .map(|n| {
                        flat(
                            u32::try_from(low + (high - low) * i64::from(n) / last).unwrap_or(*to),
                            *each,
                        )
                    })
                    .collect()
            }
        }
    }
}

/// A counted number of iterations, as fast as possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IterationsLoad {
    /// How many, whole fleet.
    pub count: u64,
    /// Users that share them, whole fleet.
    pub users: u32,
    /// The load ends after this long even when iterations are left.
    pub at_most: Duration,
}

/// A fixed or uniformly drawn pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// Shortest.
    pub min: Duration,
    /// Longest; equal to `min` for a fixed pause.
    pub max: Duration,
}
