//! The canonical text of a plan: every default filled in, and it reads back to an equal plan.

mod steps;
pub(crate) mod tree;

use std::time::Duration;

use barrage_model::plan::{
    Ceilings, DataFormat, Delay, DnsPolicy, Load, LoadModel, Network, OnEnd, OnLoss, OpenLoad, Pacing, Pick, Plan,
    Reuse, Sla, SlaWindow, Stage, StageShape, Target, UserStage, UserStageShape, UsersLoad, WorkerPolicy,
};
use barrage_model::schedule::Arrivals;
use barrage_model::units::{Bytes, format_duration};

use steps::{steps, template};
use tree::Tree;

/// What stands in for a value given with `-e`.
pub(crate) const REDACTED: &str = "[redacted]";

/// The plan in canonical YAML. Values given with `-e` are replaced by `[redacted]`; apart from them, and from the places
/// of SLAs, it reads back to an equal plan.
pub fn show(plan: &Plan) -> String {
    let whole = whole_load(plan);
    let (load_key, load) = match whole {
        Some(load) => model(&load.model),
        None => ("load", Tree::Map(Vec::new())),
    };
    let map = Tree::map([
        ("name", Some(Tree::text(&plan.name))),
        ("seed", plan.seed.map(Tree::plain)),
        (
            "targets",
            Some(named(plan.targets.iter().map(|one| (one.name.as_str(), target(one))))),
        ),
        ("variables", variables(plan).some()),
        ("data", data(plan).some()),
        ("warm_up", Some(duration(plan.warm_up))),
        (load_key, load.some()),
        ("setup", steps(plan, &plan.setup).some()),
        ("scenarios", Some(scenarios(plan))),
        ("teardown", steps(plan, &plan.teardown).some()),
        ("sla", Tree::List(plan.sla.iter().map(sla).collect()).some()),
        ("tags", tags(plan).some()),
        ("network", Some(network(&plan.network))),
        ("workers", Some(workers(&plan.workers))),
        ("ceilings", ceilings(plan.ceilings).some()),
        ("graceful_stop", Some(duration(plan.graceful_stop))),
        ("min_started", Some(Tree::plain(plan.min_started))),
        ("pacing", Some(Tree::plain(pacing(plan.pacing)))),
    ]);
    map.document()
}

/// The load that stands for the whole plan, if there is one.
fn whole_load(plan: &Plan) -> Option<&Load> {
    match plan.loads.as_slice() {
        [load] => {
            let whole = load.name == "load" && load.start_at.is_zero() && load.scenarios.len() == plan.scenarios.len();
            whole.then_some(load)
        }
        _ => None,
    }
}

fn pacing(pacing: Pacing) -> &'static str {
    match pacing {
        Pacing::Timer => "timer",
        Pacing::Precise => "precise",
    }
}

fn duration(duration: Duration) -> Tree {
    Tree::plain(format_duration(duration))
}

fn delay(delay: Delay) -> Tree {
    let (min, max) = (format_duration(delay.min), format_duration(delay.max));
    Tree::plain(if min == max { min } else { format!("{min}..{max}") })
}

fn named<'t>(entries: impl Iterator<Item = (&'t str, Tree)>) -> Tree {
    Tree::Map(entries.map(|(name, value)| (name.to_owned(), value)).collect())
}

fn target(target: &Target) -> Tree {
    match &target.host_override {
        None => Tree::text(target.url()),
        host => Tree::map([
            ("url", Some(Tree::text(target.url()))),
            ("host", host.as_ref().map(Tree::text)),
        ]),
    }
}

fn variables(plan: &Plan) -> Tree {
    named(plan.variables.iter().map(|variable| {
        let value = if variable.secret {
            Tree::text(REDACTED)
        } else {
            template(&variable.value)
        };
        (variable.name.as_str(), value)
    }))
}

fn data(plan: &Plan) -> Tree {
    named(plan.data.iter().map(|source| {
        let format = match source.format {
            DataFormat::Csv => "csv",
            DataFormat::JsonLines => "jsonl",
        };
        let pick = match source.pick {
            Pick::Sequential => "sequential",
            Pick::Random => "random",
            Pick::OncePerUser => "once-per-user",
        };
        let on_end = match source.on_end {
            OnEnd::Stop => "stop",
            OnEnd::Wrap => "wrap",
            OnEnd::Error => "error",
        };
        let on_end = (source.pick != Pick::Random).then(|| Tree::plain(on_end));
        let map = Tree::map([
            (format, Some(Tree::text(&source.file.path))),
            ("pick", Some(Tree::plain(pick))),
            ("on_end", on_end),
        ]);
        (source.name.as_str(), map)
    }))
}

fn scenarios(plan: &Plan) -> Tree {
    let whole = whole_load(plan);
    let all = plan.scenarios.iter().enumerate().map(|(n, scenario)| {
        let mine = |load: &&Load| load.scenarios.iter().any(|(id, _)| usize::from(id.0) == n);
        let own = plan.loads.iter().find(mine);
        let weight = own.and_then(|load| load.scenarios.iter().find(|(id, _)| usize::from(id.0) == n));
        let own = own.filter(|_| whole.is_none());
        let (key, load) = own.map_or(("load", None), |load| {
            let (key, tree) = model(&load.model);
            (key, Some(tree))
        });
        let weight = weight
            .filter(|_| whole.is_some())
            .map(|(_, weight)| Tree::plain(weight));
        Tree::map([
            ("name", Some(Tree::text(&scenario.name))),
            ("weight", weight),
            ("start_at", own.map(|load| duration(load.start_at))),
            (key, load),
            ("on_start", steps(plan, &scenario.on_start).some()),
            ("steps", Some(steps(plan, &scenario.steps))),
        ])
    });
    Tree::List(all.collect())
}

/// A load with the key it stands under.
fn model(model: &LoadModel) -> (&'static str, Tree) {
    match model {
        LoadModel::Open(open) => ("load", open_load(open)),
        LoadModel::Users(users) => ("users", users_load(users)),
        LoadModel::Iterations(iterations) => {
            let map = Tree::map([
                ("count", Some(Tree::plain(iterations.count))),
                ("users", Some(Tree::plain(iterations.users))),
                ("at_most", Some(duration(iterations.at_most))),
            ]);
            ("iterations", map)
        }
    }
}

fn open_load(open: &OpenLoad) -> Tree {
    let arrivals = match open.arrivals {
        Arrivals::Even => "even",
        Arrivals::Poisson => "poisson",
    };
    Tree::map([
        ("arrivals", Some(Tree::plain(arrivals))),
        ("stages", Some(Tree::List(open.stages.iter().map(stage).collect()))),
        ("max_active", Some(Tree::plain(open.max_active))),
        ("give_up_after", Some(duration(open.give_up_after))),
    ])
}

fn stage(stage: &Stage) -> Tree {
    let name = ("name", Some(Tree::text(&stage.name)));
    let map = match &stage.shape {
        StageShape::Ramp { from, to, over } => Tree::map([
            name,
            ("from", Some(Tree::plain(from))),
            ("to", Some(Tree::plain(to))),
            ("over", Some(duration(*over))),
        ]),
        StageShape::Hold { rate, length } => Tree::map([
            name,
            ("rate", Some(Tree::plain(rate))),
            ("for", Some(duration(*length))),
        ]),
        StageShape::Spike {
            base,
            to,
            before,
            length,
            after,
        } => Tree::map([
            name,
            ("base", Some(Tree::plain(base))),
            ("to", Some(Tree::plain(to))),
            ("before", Some(duration(*before))),
            ("for", Some(duration(*length))),
            ("after", Some(duration(*after))),
        ]),
        StageShape::Step { from, to, steps, each } => Tree::map([
            name,
            ("from", Some(Tree::plain(from))),
            ("to", Some(Tree::plain(to))),
            ("steps", Some(Tree::plain(steps))),
            ("each", Some(duration(*each))),
        ]),
        StageShape::Pause { length } => Tree::map([name, ("for", Some(duration(*length)))]),
    };
    Tree::only(stage.shape.word(), map)
}

fn users_load(users: &UsersLoad) -> Tree {
    Tree::map([
        (
            "stages",
            Some(Tree::List(users.stages.iter().map(user_stage).collect())),
        ),
        ("think", users.think.map(delay)),
        ("pace", users.pace.map(duration)),
    ])
}

fn user_stage(stage: &UserStage) -> Tree {
    let name = ("name", Some(Tree::text(&stage.name)));
    let map = match &stage.shape {
        UserStageShape::Ramp { from, to, over } => Tree::map([
            name,
            ("from", Some(Tree::plain(from))),
            ("to", Some(Tree::plain(to))),
            ("over", Some(duration(*over))),
        ]),
        UserStageShape::Hold { users, length } => Tree::map([
            name,
            ("users", Some(Tree::plain(users))),
            ("for", Some(duration(*length))),
        ]),
        UserStageShape::Step { from, to, steps, each } => Tree::map([
            name,
            ("from", Some(Tree::plain(from))),
            ("to", Some(Tree::plain(to))),
            ("steps", Some(Tree::plain(steps))),
            ("each", Some(duration(*each))),
        ]),
        UserStageShape::Pause { length } => Tree::map([name, ("for", Some(duration(*length)))]),
    };
    Tree::only(stage.shape.word(), map)
}

fn sla(sla: &Sla) -> Tree {
    let over = match sla.window {
        SlaWindow::Whole => None,
        SlaWindow::Sliding(over) => Some(duration(over)),
    };
    Tree::map([
        ("that", Some(Tree::text(sla.that.to_string()))),
        ("during", sla.during.as_ref().map(|phase| Tree::text(phase.to_string()))),
        ("over", over),
        ("for", (sla.in_a_row > 1).then(|| Tree::plain(sla.in_a_row))),
        ("stop", sla.stop.then(|| Tree::plain(true))),
        ("min_samples", sla.min_samples.map(Tree::plain)),
    ])
}

fn tags(plan: &Plan) -> Tree {
    named(plan.tags.iter().map(|rule| {
        let map = Tree::map([
            ("header", Some(Tree::text(&rule.header))),
            ("values", Some(Tree::List(rule.values.iter().map(Tree::text).collect()))),
        ]);
        (rule.name.as_str(), map)
    }))
}

fn network(network: &Network) -> Tree {
    let resolve = network.resolve.iter().map(|entry| {
        let port = entry.port.map_or_else(|| "*".to_owned(), |port| port.to_string());
        Tree::quoted(format!("{}:{port}:{}", entry.host, entry.address))
    });
    let dns = match network.dns {
        DnsPolicy::Once => Tree::plain("once"),
        DnsPolicy::PerConnection => Tree::plain("per_connection"),
        DnsPolicy::Ttl(ttl) => Tree::only("ttl", duration(ttl)),
    };
    let reuse = match network.reuse {
        Reuse::Always => Tree::plain("always"),
        Reuse::Never => Tree::plain("never"),
        Reuse::MaxRequests(requests) => Tree::only("max_requests", Tree::plain(requests)),
        Reuse::MaxAge(age) => Tree::only("max_age", duration(age)),
    };
    let file = |file: &Option<barrage_model::plan::FileRef>| file.as_ref().map(|file| Tree::text(&file.path));
    let tls = Tree::map([
        ("insecure", network.tls.insecure.then(|| Tree::plain(true))),
        ("ca", file(&network.tls.ca)),
        ("cert", file(&network.tls.certificate)),
        ("key", file(&network.tls.key)),
    ]);
    let sources = network
        .source_addresses
        .iter()
        .map(|address| Tree::quoted(address.to_string()));
    Tree::map([
        ("resolve", Tree::List(resolve.collect()).some()),
        ("source_addresses", Tree::List(sources.collect()).some()),
        ("dns", Some(dns)),
        ("reuse", Some(reuse)),
        (
            "streams_per_connection",
            Some(Tree::plain(network.streams_per_connection)),
        ),
        ("tls", tls.some()),
        ("proxy", network.proxy.as_ref().map(|proxy| Tree::text(&proxy.url))),
        ("cookies", Some(Tree::plain(network.cookies))),
        ("body_limit", Some(Tree::plain(Bytes(network.body_limit_bytes)))),
    ])
}

fn workers(workers: &WorkerPolicy) -> Tree {
    let labels = named(
        workers
            .labels
            .iter()
            .map(|(name, value)| (name.as_str(), Tree::text(value))),
    );
    let on_loss = match workers.on_loss {
        OnLoss::Redistribute => "redistribute",
        OnLoss::Continue => "continue",
        OnLoss::Abort => "abort",
    };
    Tree::map([
        ("min", Some(Tree::plain(workers.min))),
        ("max", workers.max.map(Tree::plain)),
        ("labels", labels.some()),
        ("wait", Some(duration(workers.wait))),
        ("on_loss", Some(Tree::plain(on_loss))),
        ("loss_tolerance", Some(Tree::plain(workers.loss_tolerance))),
    ])
}

fn ceilings(ceilings: Ceilings) -> Tree {
    Tree::map([
        ("per_worker", ceilings.per_worker.map(Tree::plain)),
        ("per_target", ceilings.per_target.map(Tree::plain)),
    ])
}
