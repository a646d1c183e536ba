//! The plan as a whole.

use barrage_model::expr::{Expr, PhaseSelector};
use barrage_model::plan::{
    Ceilings, DataFormat, DataSource, FileRef, OnEnd, OnLoss, Pacing, Pick, Plan, Sla, SlaWindow, TagRule, Variable,
    WorkerPolicy,
};
use barrage_model::units::{Rate, Ratio};

use super::{BadMessage, Result, bad, each, micros, missing, span, template};
use crate::v1;

impl From<&Plan> for v1::Plan {
    fn from(plan: &Plan) -> Self {
        Self {
            name: plan.name.clone(),
            seed: plan.seed,
            targets: plan.targets.iter().map(Into::into).collect(),
            variables: plan.variables.iter().map(Into::into).collect(),
            data: plan.data.iter().map(Into::into).collect(),
            warm_up_us: micros(plan.warm_up),
            loads: plan.loads.iter().map(Into::into).collect(),
            scenarios: plan.scenarios.iter().map(Into::into).collect(),
            setup: plan.setup.iter().map(Into::into).collect(),
            teardown: plan.teardown.iter().map(Into::into).collect(),
            sla: plan.sla.iter().map(Into::into).collect(),
            tags: plan.tags.iter().map(Into::into).collect(),
            network: Some((&plan.network).into()),
            workers: Some((&plan.workers).into()),
            ceilings: Some((&plan.ceilings).into()),
            min_started_ppb: plan.min_started.ppb(),
            graceful_stop_us: micros(plan.graceful_stop),
            pacing: v1::plan::Pacing::from(plan.pacing).into(),
            circuit_breakers: Vec::new(),
        }
    }
}

impl TryFrom<v1::Plan> for Plan {
    type Error = BadMessage;

    fn try_from(wire: v1::Plan) -> Result<Self> {
        let pacing = wire.pacing().try_into()?;
        let plan = Self {
            name: wire.name,
            seed: wire.seed,
            targets: each(wire.targets, TryInto::try_into)?,
            variables: each(wire.variables, TryInto::try_into)?,
            data: each(wire.data, TryInto::try_into)?,
            warm_up: span("warm_up_us", wire.warm_up_us)?,
            loads: each(wire.loads, TryInto::try_into)?,
            scenarios: each(wire.scenarios, TryInto::try_into)?,
            setup: each(wire.setup, TryInto::try_into)?,
            teardown: each(wire.teardown, TryInto::try_into)?,
            sla: each(wire.sla, TryInto::try_into)?,
            tags: wire.tags.into_iter().map(Into::into).collect(),
            network: wire.network.ok_or_else(|| missing("network"))?.try_into()?,
            workers: wire.workers.ok_or_else(|| missing("workers"))?.try_into()?,
            ceilings: wire.ceilings.unwrap_or_default().try_into()?,
            min_started: Ratio::from_ppb(wire.min_started_ppb),
            graceful_stop: span("graceful_stop_us", wire.graceful_stop_us)?,
            pacing,
        };
        check(&plan)?;
        Ok(plan)
    }
}

impl From<Pacing> for v1::plan::Pacing {
    fn from(pacing: Pacing) -> Self {
        match pacing {
            Pacing::Timer => Self::Timer,
            Pacing::Precise => Self::Precise,
        }
    }
}

impl TryFrom<v1::plan::Pacing> for Pacing {
    type Error = BadMessage;

    fn try_from(wire: v1::plan::Pacing) -> Result<Self> {
        match wire {
            v1::plan::Pacing::Timer => Ok(Self::Timer),
            v1::plan::Pacing::Precise => Ok(Self::Precise),
            v1::plan::Pacing::Unspecified => Err(missing("pacing")),
        }
    }
}

/// What holds between the parts of a plan, so that an index never leaves its list.
fn check(plan: &Plan) -> Result<()> {
    if plan.targets.is_empty() || plan.loads.is_empty() || plan.scenarios.is_empty() {
        return Err(bad("plan", "needs a target, a load and a scenario"));
    }
    for load in &plan.loads {
        let known = load
            .scenarios
            .iter()
            .all(|(id, weight)| usize::from(id.0) < plan.scenarios.len() && *weight > 0);
        if load.scenarios.is_empty() || !known {
            return Err(bad("loads.scenarios", "names a scenario that does not exist, or none"));
        }
    }
    let steps = plan.named_steps();
    if steps.iter().enumerate().any(|(n, step)| step.id.0 as usize != n) {
        return Err(bad("steps.id", "are not numbered in reading order"));
    }
    super::step::check_targets(plan)
}

impl From<&Variable> for v1::Variable {
    fn from(variable: &Variable) -> Self {
        Self {
            name: variable.name.clone(),
            value: variable.value.to_string(),
            secret: variable.secret,
        }
    }
}

impl TryFrom<v1::Variable> for Variable {
    type Error = BadMessage;

    fn try_from(wire: v1::Variable) -> Result<Self> {
        Ok(Self {
            value: template("variables.value", &wire.value)?,
            name: wire.name,
            secret: wire.secret,
        })
    }
}

impl From<&FileRef> for v1::FileRef {
    fn from(file: &FileRef) -> Self {
        Self {
            path: file.path.clone(),
            sha256: file.sha256.map(|hash| hash.to_vec()),
        }
    }
}

impl TryFrom<v1::FileRef> for FileRef {
    type Error = BadMessage;

    fn try_from(wire: v1::FileRef) -> Result<Self> {
        let sha256 = match wire.sha256 {
            None => None,
            Some(bytes) => Some(bytes.try_into().map_err(|_| bad("sha256", "is not 32 bytes long"))?),
        };
        Ok(Self {
            path: wire.path,
            sha256,
        })
    }
}

impl From<&DataSource> for v1::DataSource {
    fn from(source: &DataSource) -> Self {
        use v1::data_source as wire;
        Self {
            name: source.name.clone(),
            format: match source.format {
                DataFormat::Csv => wire::Format::Csv,
                DataFormat::JsonLines => wire::Format::JsonLines,
            }
            .into(),
            file: Some((&source.file).into()),
            pick: match source.pick {
                Pick::Sequential => wire::Pick::Sequential,
                Pick::Random => wire::Pick::Random,
                Pick::OncePerUser => wire::Pick::OncePerUser,
            }
            .into(),
            on_end: match source.on_end {
                OnEnd::Stop => wire::OnEnd::Stop,
                OnEnd::Wrap => wire::OnEnd::Wrap,
                OnEnd::Error => wire::OnEnd::Error,
            }
            .into(),
        }
    }
}

impl TryFrom<v1::DataSource> for DataSource {
    type Error = BadMessage;

    fn try_from(wire: v1::DataSource) -> Result<Self> {
        use v1::data_source as w;
        Ok(Self {
            format: match wire.format() {
                w::Format::Csv => DataFormat::Csv,
                w::Format::JsonLines => DataFormat::JsonLines,
                w::Format::Unspecified => return Err(missing("data.format")),
            },
            pick: match wire.pick() {
                w::Pick::Sequential => Pick::Sequential,
                w::Pick::Random => Pick::Random,
                w::Pick::OncePerUser => Pick::OncePerUser,
                w::Pick::Unspecified => return Err(missing("data.pick")),
            },
            on_end: match wire.on_end() {
                w::OnEnd::Stop => OnEnd::Stop,
                w::OnEnd::Wrap => OnEnd::Wrap,
                w::OnEnd::Error => OnEnd::Error,
                w::OnEnd::Unspecified => return Err(missing("data.on_end")),
            },
            file: wire.file.ok_or_else(|| missing("data.file"))?.try_into()?,
            name: wire.name,
        })
    }
}

impl From<&Sla> for v1::Sla {
    fn from(sla: &Sla) -> Self {
        Self {
            that: sla.that.to_string(),
            during: sla.during.as_ref().map(ToString::to_string),
            over_us: match sla.window {
                SlaWindow::Whole => 0,
                SlaWindow::Sliding(over) => micros(over),
            },
            in_a_row: sla.in_a_row,
            stop: sla.stop,
            min_samples: sla.min_samples,
            line: sla.at.map(|(line, _)| line),
            column: sla.at.map(|(_, column)| column),
        }
    }
}

impl TryFrom<v1::Sla> for Sla {
    type Error = BadMessage;

    fn try_from(wire: v1::Sla) -> Result<Self> {
        let during = match &wire.during {
            None => None,
            Some(text) => Some(PhaseSelector::parse(text).map_err(|error| bad("sla.during", error.to_string()))?),
        };
        Ok(Self {
            that: Expr::parse(&wire.that).map_err(|error| bad("sla.that", error.to_string()))?,
            during,
            window: if wire.over_us == 0 {
                SlaWindow::Whole
            } else {
                SlaWindow::Sliding(span("sla.over_us", wire.over_us)?)
            },
            in_a_row: wire.in_a_row.max(1),
            stop: wire.stop,
            min_samples: wire.min_samples,
            at: wire.line.zip(wire.column),
        })
    }
}

impl From<&TagRule> for v1::TagRule {
    fn from(rule: &TagRule) -> Self {
        Self {
            name: rule.name.clone(),
            header: rule.header.clone(),
            values: rule.values.clone(),
        }
    }
}

impl From<v1::TagRule> for TagRule {
    fn from(wire: v1::TagRule) -> Self {
        Self {
            name: wire.name,
            header: wire.header,
            values: wire.values,
        }
    }
}

impl From<&WorkerPolicy> for v1::WorkerPolicy {
    fn from(policy: &WorkerPolicy) -> Self {
        use v1::worker_policy::OnLoss as Wire;
        Self {
            min: policy.min,
            max: policy.max,
            labels: policy
                .labels
                .iter()
                .map(|(name, value)| v1::Field {
                    name: name.clone(),
                    value: value.clone(),
                })
                .collect(),
            wait_us: micros(policy.wait),
            on_loss: match policy.on_loss {
                OnLoss::Redistribute => Wire::Redistribute,
                OnLoss::Continue => Wire::Continue,
                OnLoss::Abort => Wire::Abort,
            }
            .into(),
            loss_tolerance_ppb: policy.loss_tolerance.ppb(),
        }
    }
}

impl TryFrom<v1::WorkerPolicy> for WorkerPolicy {
    type Error = BadMessage;

    fn try_from(wire: v1::WorkerPolicy) -> Result<Self> {
        use v1::worker_policy::OnLoss as Wire;
        Ok(Self {
            min: wire.min,
            max: wire.max,
            wait: span("workers.wait_us", wire.wait_us)?,
            on_loss: match wire.on_loss() {
                Wire::Redistribute => OnLoss::Redistribute,
                Wire::Continue => OnLoss::Continue,
                Wire::Abort => OnLoss::Abort,
                Wire::Unspecified => return Err(missing("workers.on_loss")),
            },
            loss_tolerance: Ratio::from_ppb(wire.loss_tolerance_ppb),
            labels: wire.labels.into_iter().map(|field| (field.name, field.value)).collect(),
        })
    }
}

impl From<&Ceilings> for v1::Ceilings {
    fn from(ceilings: &Ceilings) -> Self {
        Self {
            per_worker_micro_per_s: ceilings.per_worker.map(Rate::micro),
            per_target_micro_per_s: ceilings.per_target.map(Rate::micro),
        }
    }
}

impl TryFrom<v1::Ceilings> for Ceilings {
    type Error = BadMessage;

    fn try_from(wire: v1::Ceilings) -> Result<Self> {
        let rate = |micro: Option<u64>| match micro {
            None => Ok(None),
            Some(micro) => Rate::from_micro(micro)
                .map(Some)
                .ok_or_else(|| bad("ceilings", "a rate is too high")),
        };
        Ok(Self {
            per_worker: rate(wire.per_worker_micro_per_s)?,
            per_target: rate(wire.per_target_micro_per_s)?,
        })
    }
}
