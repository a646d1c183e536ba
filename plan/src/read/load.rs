//! Loads: `load`, `users` and `iterations`, of the plan or of a scenario.

use std::collections::BTreeSet;
use std::time::Duration;

use barrage_model::plan::{
    IterationsLoad, LoadModel, OpenLoad, Stage, StageShape, UserStage, UserStageShape, UsersLoad,
};
use barrage_model::schedule::{Arrivals, CurveError, UserCurve};
use barrage_model::units::Rate;

use super::scalars::is_map;
use super::{Fields, Got, Reader, Value};
use crate::language::{
    HOLD, ITERATIONS, LOAD, PAUSE, RAMP, SPIKE, STAGE, STEPPED, USER_HOLD, USER_RAMP, USER_STAGE, USER_STEPPED, USERS,
};
use crate::problem::{Problem, quoted};
use crate::yaml::Node;

/// What the stages of a load share.
struct Stages {
    names: BTreeSet<String>,
    /// The number of the stage, from 1.
    number: usize,
}

impl Reader<'_> {
    /// The load of a plan or scenario, if it has one.
    pub(crate) fn load_model(&self, fields: &Fields<'_, '_>) -> Got<Option<LoadModel>> {
        let open = fields.opt("load", |value| {
            let open = self.open(value.node)?;
            self.check_divides(value.node, "max_active", open.max_active)?;
            Ok(open)
        });
        let users = fields.opt("users", |value| self.users(value.node));
        let iterations = fields.opt("iterations", |value| {
            let iterations = self.iterations(value.node)?;
            self.check_divides(value.node, "users", iterations.users)?;
            Ok(iterations)
        });
        Ok(match (open?, users?, iterations?) {
            (Some(open), _, _) => Some(LoadModel::Open(open)),
            (_, Some(users), _) => Some(LoadModel::Users(users)),
            (_, _, Some(iterations)) => Some(LoadModel::Iterations(iterations)),
            (None, None, None) => None,
        })
    }

    /// A limit that the workers share out among them has to have one for each.
    fn check_divides(&self, node: &Node, key: &str, limit: u32) -> Got<()> {
        let least = self.least_workers.get();
        if limit >= least {
            return Ok(());
        }
        let at = node
            .get(key)
            .map_or_else(|| super::fields::head(node), |limit| limit.span);
        let expected = format!("at least {least}, one for each worker that the run waits for");
        let problem = Problem::new(format!("found `{key}: {limit}`"), expected);
        Err(self.fail(at, problem))
    }

    fn open(&self, node: &Node) -> Got<OpenLoad> {
        let fields = self.object(node, &LOAD)?;
        let arrivals = fields.or_default("arrivals", |value| self.word(value));
        let max_active = fields.or_default("max_active", |value| self.whole32(value));
        let give_up_after = fields.or_default("give_up_after", |value| self.duration(value));
        let rate = fields.opt("rate", |value| self.rate(value));
        let stages = fields.opt("stages", |value| self.stages(value));
        let stages = match (rate?, stages?) {
            (Some(rate), _) => {
                let length = fields.need("for", |value| self.duration(value))?;
                vec![Stage {
                    name: "hold 1".to_owned(),
                    shape: StageShape::Hold { rate, length },
                }]
            }
            (None, stages) => {
                fields.refuse("for", "`for` inside a stage, or beside `rate`")?;
                stages.unwrap_or_default()
            }
        };
        let arrivals = if arrivals? == "poisson" {
            Arrivals::Poisson
        } else {
            Arrivals::Even
        };
        let load = OpenLoad {
            arrivals,
            stages,
            max_active: max_active?,
            give_up_after: give_up_after?,
        };
        if !load.stages.is_empty() {
            self.check_curve(node, load.curve().map(|curve| curve.total() > 0), "arrivals")?;
        }
        Ok(load)
    }

    /// Stages that are too long or do nothing are an error.
    fn check_curve(&self, node: &Node, does: Result<bool, CurveError>, what: &str) -> Got<()> {
        let problem = match does {
            Ok(true) => return Ok(()),
            Ok(false) => Problem::new(
                format!("found stages without {what}"),
                "at least one stage that is not zero",
            ),
            Err(CurveError::TooLong) => Problem::new("found stages of more than 7d", "at most 7d in all"),
            Err(CurveError::TooManyPieces(found)) => {
                let limit = barrage_model::schedule::PIECES_MAX;
                Problem::new(
                    format!("found stages of {found} pieces"),
                    format!("at most {limit} in all"),
                )
            }
        };
        let at = node.get("stages").map_or(node.span, super::fields::head);
        Err(self.fail(at, problem))
    }

    fn stages(&self, value: Value<'_>) -> Got<Vec<Stage>> {
        let mut shared = Stages {
            names: BTreeSet::new(),
            number: 0,
        };
        let mut level = Rate::ZERO;
        self.list(value, |value| {
            shared.number += 1;
            let stage = self.stage(value.node, level, &mut shared)?;
            level = match &stage.shape {
                StageShape::Ramp { to, .. } | StageShape::Step { to, .. } => *to,
                StageShape::Hold { rate, .. } => *rate,
                StageShape::Spike { base, to, after, .. } => {
                    if after.is_zero() {
                        *to
                    } else {
                        *base
                    }
                }
                StageShape::Pause { .. } => Rate::ZERO,
            };
            Ok(stage)
        })
    }

    fn stage(&self, node: &Node, level: Rate, shared: &mut Stages) -> Got<Stage> {
        let fields = self.object(node, &STAGE)?;
        let ramp = fields.opt("ramp", |value| {
            let fields = self.object(value.node, &RAMP)?;
            let from = fields.or("from", level, |value| self.rate(value));
            let to = fields.need("to", |value| self.rate(value));
            let over = fields.need("over", |value| self.duration(value));
            let name = self.stage_name(&fields, "ramp", shared);
            Ok(Stage {
                name: name?,
                shape: StageShape::Ramp {
                    from: from?,
                    to: to?,
                    over: over?,
                },
            })
        });
        let hold = fields.opt("hold", |value| {
            let fields = self.object(value.node, &HOLD)?;
            let rate = fields.need("rate", |value| self.rate(value));
            let length = fields.need("for", |value| self.duration(value));
            let name = self.stage_name(&fields, "hold", shared);
            Ok(Stage {
                name: name?,
                shape: StageShape::Hold {
                    rate: rate?,
                    length: length?,
                },
            })
        });
        let spike = fields.opt("spike", |value| self.spike(value.node, level, shared));
        let step = fields.opt("step", |value| {
            let fields = self.object(value.node, &STEPPED)?;
            let from = fields.or("from", level, |value| self.rate(value));
            let to = fields.need("to", |value| self.rate(value));
            let steps = fields.need("steps", |value| self.whole32(value));
            let each = fields.need("each", |value| self.duration(value));
            let name = self.stage_name(&fields, "step", shared);
            let shape = StageShape::Step {
                from: from?,
                to: to?,
                steps: steps?,
                each: each?,
            };
            Ok(Stage { name: name?, shape })
        });
        let pause = fields.opt("pause", |value| {
            let (name, length) = self.pause(value, shared)?;
            Ok(Stage {
                name,
                shape: StageShape::Pause { length },
            })
        });
        let found = [ramp?, hold?, spike?, step?, pause?].into_iter().flatten().next();
        found.ok_or_else(|| fields.missing("hold"))
    }

    fn spike(&self, node: &Node, level: Rate, shared: &mut Stages) -> Got<Stage> {
        let fields = self.object(node, &SPIKE)?;
        let base = fields.or("base", level, |value| self.rate(value));
        let to = fields.need("to", |value| self.rate(value));
        let before = fields.or_default("before", |value| self.duration(value));
        let length = fields.need("for", |value| self.duration(value));
        let after = fields.or_default("after", |value| self.duration(value));
        let name = self.stage_name(&fields, "spike", shared);
        let shape = StageShape::Spike {
            base: base?,
            to: to?,
            before: before?,
            length: length?,
            after: after?,
        };
        Ok(Stage { name: name?, shape })
    }

    fn pause(&self, value: Value<'_>, shared: &mut Stages) -> Got<(String, Duration)> {
        if !is_map(value.node) {
            let length = self.duration(Value {
                shape: &PAUSE.keys[0].shape,
                ..value
            })?;
            let name = format!("pause {}", shared.number);
            shared.names.insert(name.clone());
            return Ok((name, length));
        }
        let fields = self.object(value.node, &PAUSE)?;
        let length = fields.need("for", |value| self.duration(value));
        let name = self.stage_name(&fields, "pause", shared);
        Ok((name?, length?))
    }

    fn stage_name(&self, fields: &Fields<'_, '_>, word: &str, shared: &mut Stages) -> Got<String> {
        let given = fields.opt("name", |value| Ok((value.node, self.text(value)?)))?;
        let (node, name) = match given {
            Some((node, name)) => (node, name),
            None => (fields.node, format!("{word} {}", shared.number)),
        };
        if shared.names.insert(name.clone()) {
            return Ok(name);
        }
        let problem = Problem::new(format!("a second stage named {}", quoted(&name)), "a name of its own");
        Err(self.fail(node.span, problem))
    }

    fn users(&self, node: &Node) -> Got<UsersLoad> {
        let fields = self.object(node, &USERS)?;
        let think = fields.opt("think", |value| self.delay(value));
        let pace = fields.opt("pace", |value| self.duration(value));
        let count = fields.opt("count", |value| self.whole32(value));
        let stages = fields.opt("stages", |value| self.user_stages(value));
        let stages = match (count?, stages?) {
            (Some(users), _) => {
                let length = fields.need("for", |value| self.duration(value))?;
                vec![UserStage {
                    name: "hold 1".to_owned(),
                    shape: UserStageShape::Hold { users, length },
                }]
            }
            (None, stages) => {
                fields.refuse("for", "`for` inside a stage, or beside `count`")?;
                stages.unwrap_or_default()
            }
        };
        if !stages.is_empty() {
            let pieces = stages.iter().flat_map(|stage| stage.shape.pieces()).collect();
            self.check_curve(node, UserCurve::new(pieces).map(|curve| curve.peak() > 0), "users")?;
        }
        Ok(UsersLoad {
            stages,
            think: think?,
            pace: pace?,
        })
    }

    fn user_stages(&self, value: Value<'_>) -> Got<Vec<UserStage>> {
        let mut shared = Stages {
            names: BTreeSet::new(),
            number: 0,
        };
        let mut level = 0;
        self.list(value, |value| {
            shared.number += 1;
            let stage = self.user_stage(value.node, level, &mut shared)?;
            level = match &stage.shape {
                UserStageShape::Ramp { to, .. } | UserStageShape::Step { to, .. } => *to,
                UserStageShape::Hold { users, .. } => *users,
                UserStageShape::Pause { .. } => 0,
            };
            Ok(stage)
        })
    }

    fn user_stage(&self, node: &Node, level: u32, shared: &mut Stages) -> Got<UserStage> {
        let fields = self.object(node, &USER_STAGE)?;
        let ramp = fields.opt("ramp", |value| {
            let fields = self.object(value.node, &USER_RAMP)?;
            let from = fields.or("from", level, |value| self.whole32(value));
            let to = fields.need("to", |value| self.whole32(value));
            let over = fields.need("over", |value| self.duration(value));
            let name = self.stage_name(&fields, "ramp", shared);
            Ok(UserStage {
                name: name?,
                shape: UserStageShape::Ramp {
                    from: from?,
                    to: to?,
                    over: over?,
                },
            })
        });
        let hold = fields.opt("hold", |value| {
            let fields = self.object(value.node, &USER_HOLD)?;
            let users = fields.need("users", |value| self.whole32(value));
            let length = fields.need("for", |value| self.duration(value));
            let name = self.stage_name(&fields, "hold", shared);
            Ok(UserStage {
                name: name?,
                shape: UserStageShape::Hold {
                    users: users?,
                    length: length?,
                },
            })
        });
        let step = fields.opt("step", |value| {
            let fields = self.object(value.node, &USER_STEPPED)?;
            let from = fields.or("from", level, |value| self.whole32(value));
            let to = fields.need("to", |value| self.whole32(value));
            let steps = fields.need("steps", |value| self.whole32(value));
            let each = fields.need("each", |value| self.duration(value));
            let name = self.stage_name(&fields, "step", shared);
            let shape = UserStageShape::Step {
                from: from?,
                to: to?,
                steps: steps?,
                each: each?,
            };
            Ok(UserStage { name: name?, shape })
        });
        let pause = fields.opt("pause", |value| {
            let (name, length) = self.pause(value, shared)?;
            Ok(UserStage {
                name,
                shape: UserStageShape::Pause { length },
            })
        });
        let found = [ramp?, hold?, step?, pause?].into_iter().flatten().next();
        found.ok_or_else(|| fields.missing("hold"))
    }

    fn iterations(&self, node: &Node) -> Got<IterationsLoad> {
        let fields = self.object(node, &ITERATIONS)?;
        let count = fields.need("count", |value| self.whole(value));
        let users = fields.or_default("users", |value| self.whole32(value));
        let at_most = fields.or_default("at_most", |value| self.duration(value));
        Ok(IterationsLoad {
            count: count?,
            users: users?,
            at_most: at_most?,
        })
    }
}
