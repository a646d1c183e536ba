//! SLAs and their shorthand.

use std::time::Duration;

use barrage_model::delta::Measure;
use barrage_model::expr::{Count, Expr, MetricKind, Named, Operand, PhaseSelector, Selector};
use barrage_model::plan::{Plan, Sla, SlaWindow};
use barrage_model::syntax::nearest;

use super::scalars::is_map;
use super::{Fields, Got, Reader, Value};
use crate::language::SLA;
use crate::problem::{Problem, either, quoted};
use crate::yaml::{Kind, Node};

/// A shorthand key, the metric with its comparison, and the unit that its number is in.
const SHORTHAND: [(&str, &str, &str); 3] = [
    ("max_response_time_p95", "p95 <= ", "s"),
    ("max_error_rate", "error_rate <= ", ""),
    ("min_throughput_rps", "throughput >= ", "/s"),
];

/// What SLAs may name.
pub(crate) struct Known {
    scenarios: Vec<String>,
    steps: Vec<KnownStep>,
    stages: Vec<String>,
    tags: Vec<(String, Vec<String>)>,
    /// Whether the plan has holds as well as other stages.
    ramps: bool,
    /// Whole seconds up to the end of the last load and of its graceful stop, and some for what is reported last.
    seconds: u64,
}

/// A request or group.
struct KnownStep {
    scenario: String,
    name: String,
    group: bool,
}

/// Seconds after the graceful stop in which something may still be reported.
const REPORTED_LATE: u64 = 2;

impl Known {
    /// What the SLAs of a plan may name.
    pub(crate) fn of(plan: &Plan) -> Self {
        let mut known = Self {
            scenarios: plan.scenarios.iter().map(|scenario| scenario.name.clone()).collect(),
            steps: Vec::new(),
            stages: Vec::new(),
            tags: plan
                .tags
                .iter()
                .map(|rule| (rule.name.clone(), rule.values.clone()))
                .collect(),
            ramps: false,
            seconds: 0,
        };
        let end = plan.loads.iter().map(barrage_model::plan::Load::end).max();
        let end = end.unwrap_or_default() + plan.graceful_stop;
        known.seconds = end.as_micros().div_ceil(1_000_000) + REPORTED_LATE;
        let steps = plan.named_steps();
        known.steps.extend(steps.iter().map(|step| KnownStep {
            scenario: step.scenario.to_owned(),
            name: step.name.to_owned(),
            group: step.group,
        }));
        known.scenarios.extend(["setup".to_owned(), "teardown".to_owned()]);
        let (mut holds, mut moves) = (false, false);
        for load in &plan.loads {
            for stretch in load.stretches() {
                known.stages.push(stretch.name.to_owned());
                holds |= stretch.holds && !stretch.counted;
                moves |= !stretch.holds;
            }
        }
        known.ramps = holds && moves;
        known
    }

    /// The name, if groups alone have it.
    fn group<'n>(&self, named: &'n Named) -> Option<&'n str> {
        let (scenario, name) = match named {
            Named::Any(name) if self.scenarios.contains(name) => return None,
            Named::Any(name) | Named::Step(name) => (None, name),
            Named::StepOf { scenario, step } => (Some(scenario), step),
            Named::Scenario(_) => return None,
        };
        let in_it = |step: &&KnownStep| scenario.is_none_or(|scenario| step.scenario == *scenario);
        let mut steps = self.steps.iter().filter(in_it).filter(|step| step.name == *name);
        steps.all(|step| step.group).then_some(name)
    }
}

/// Whether an expression counts what lost workers left behind.
fn is_about_losses(that: &Expr) -> bool {
    let lost = |count| matches!(count, Count::Unknown | Count::Unsent);
    match &that.left {
        Operand::Metric(metric) => matches!(metric.kind, MetricKind::Count(count) if lost(count)),
        Operand::Quotient { part, whole } => lost(part.count) || lost(whole.count),
    }
}

impl Reader<'_> {
    /// All SLAs, from a list or from one map.
    pub(crate) fn slas(&self, value: Value<'_>, known: &Known) -> Got<Vec<Sla>> {
        let nodes: &[Node] = match &value.node.kind {
            Kind::List(nodes) => nodes,
            Kind::Map(_) => std::slice::from_ref(value.node),
            Kind::Scalar(_) => {
                let expected = "a list of expressions such as `- p95 < 250ms`";
                return Err(self.fail(value.node.span, Problem::new(value.node.describe(), expected)));
            }
        };
        if nodes.len() > 1_000 {
            let found = format!("found {} entries", nodes.len());
            return Err(self.fail(value.node.span, Problem::new(found, "at most 1000 entries")));
        }
        let read: Vec<Got<Vec<Sla>>> = nodes.iter().map(|node| self.sla(node, known)).collect();
        let all: Vec<Vec<Sla>> = read.into_iter().collect::<Got<_>>()?;
        Ok(all.into_iter().flatten().collect())
    }

    fn sla(&self, node: &Node, known: &Known) -> Got<Vec<Sla>> {
        let that = SLA.key("that").expect("the table has `that`");
        if !is_map(node) {
            let that = self.known_expression(
                Value {
                    node,
                    shape: &that.shape,
                },
                known,
            )?;
            return Ok(vec![self.plain(node, that)]);
        }
        let fields = self.object(node, &SLA)?;
        let that = fields.opt("that", |value| {
            Ok(vec![Sla {
                at: Some(self.place(value.node)),
                ..self.plain(node, self.known_expression(value, known)?)
            }])
        });
        let short: Vec<Got<Option<Sla>>> = SHORTHAND
            .into_iter()
            .map(|(key, metric, unit)| fields.opt(key, |value| self.shorthand(value, metric, unit, known)))
            .collect();
        let options = self.options(&fields, known);
        let short: Vec<Option<Sla>> = short.into_iter().collect::<Got<_>>()?;
        let short: Vec<Sla> = short.into_iter().flatten().collect();
        let mut all = match that? {
            Some(_) if !short.is_empty() => {
                let problem = Problem::new("found `that` beside shorthand keys", "each in an entry of its own");
                return Err(self.fail(super::fields::head(node), problem));
            }
            Some(that) => that,
            None if short.is_empty() => return Err(fields.missing("that")),
            None => short,
        };
        let options = options?;
        if all.iter().any(|sla| is_about_losses(&sla.that)) {
            let whole = "neither `over` nor `during` beside `unknown` or `unsent`: what lost workers left behind belongs to no part of the run";
            fields.refuse("over", whole)?;
            fields.refuse("during", whole)?;
        }
        for sla in &mut all {
            sla.during = options.during.clone().or(sla.during.take());
            sla.window = options.window;
            sla.in_a_row = options.in_a_row;
            sla.stop = options.stop;
            sla.min_samples = options.min_samples;
        }
        Ok(all)
    }

    fn plain(&self, node: &Node, that: Expr) -> Sla {
        Sla {
            that,
            during: None,
            window: SlaWindow::Whole,
            in_a_row: 1,
            stop: false,
            min_samples: None,
            at: Some(self.place(node)),
        }
    }

    /// The options, in an SLA whose expression does not count.
    fn options(&self, fields: &Fields<'_, '_>, known: &Known) -> Got<Sla> {
        let during = fields.opt("during", |value| self.known_phase(value, known));
        let over = fields.opt("over", |value| {
            let over = self.duration(value)?;
            if over.subsec_nanos() == 0 {
                return Ok(over);
            }
            let shown = barrage_model::units::format_duration(over);
            let whole = barrage_model::units::format_duration(Duration::from_secs(over.as_secs().max(1)));
            Err(self.fail(
                value.node.span,
                Problem::value(&shown, "whole seconds").nearest(Some(whole)),
            ))
        });
        let stop = fields.or_default("stop", |value| self.flag(value));
        let row_of = over.as_ref().ok().copied().flatten();
        let in_a_row = fields.or_default("for", |value| self.windows_in_a_row(value, row_of, known));
        let min_samples = fields.opt("min_samples", |value| self.whole(value));
        let window = over?.map_or(SlaWindow::Whole, SlaWindow::Sliding);
        let in_a_row = in_a_row?;
        if in_a_row > 1 && window == SlaWindow::Whole {
            fields.refuse("for", "`over` beside it: only sliding windows are evaluated in a row")?;
        }
        let that = Expr::parse("ok >= 0").expect("a valid expression");
        Ok(Sla {
            that,
            during: during?,
            window,
            in_a_row,
            stop: stop?,
            min_samples: min_samples?,
            at: None,
        })
    }

    /// As many windows as may come one after the other while the plan goes on.
    fn windows_in_a_row(&self, value: Value<'_>, over: Option<Duration>, known: &Known) -> Got<u32> {
        let row = self.whole32(value)?;
        let Some(over) = over else { return Ok(row) };
        let most = (known.seconds + 1).saturating_sub(over.as_secs()).max(1);
        if u64::from(row) <= most {
            return Ok(row);
        }
        let over = barrage_model::units::format_duration(over);
        let expected = format!("at most {most}: so many windows of {over} the run has at most, with its graceful stop");
        Err(self.fail(value.node.span, Problem::value(&row.to_string(), expected)))
    }

    fn shorthand(&self, value: Value<'_>, metric: &str, unit: &str, known: &Known) -> Got<Sla> {
        let that = self.parse(value, |text| {
            let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.') && super::json::is_number(text);
            let problem = || Problem::value(text, value.shape.expected());
            if !plain {
                return Err(problem().help("for a value with a unit write an expression such as p95 < 250ms"));
            }
            Expr::parse(&format!("{metric}{text}{unit}")).map_err(|error| Problem {
                at: None,
                ..error.into()
            })
        })?;
        let during = known.ramps.then_some(PhaseSelector::Steady);
        Ok(Sla {
            during,
            ..self.plain(value.node, that)
        })
    }

    fn known_expression(&self, value: Value<'_>, known: &Known) -> Got<Expr> {
        let that = self.expression(value)?;
        let selectors: Vec<&Selector> = match &that.left {
            Operand::Metric(metric) => vec![&metric.select],
            Operand::Quotient { part, whole } => vec![&part.select, &whole.select],
        };
        for select in selectors {
            self.known_name(value, select, known)?;
            for (tag, wanted) in &select.tags {
                self.known_tag(value, tag, wanted, known)?;
            }
        }
        self.judgeable(value, &that, known)?;
        Ok(that)
    }

    /// Refuses what there is no number of, whatever happens in the run.
    fn judgeable(&self, value: Value<'_>, that: &Expr, known: &Known) -> Got<()> {
        let narrowed = match &that.left {
            Operand::Metric(metric) => !metric.select.is_empty(),
            Operand::Quotient { part, whole } => !part.select.is_empty() || !whole.select.is_empty(),
        };
        if narrowed && is_about_losses(that) {
            let expected =
                "no name and no tag beside `unknown` or `unsent`: what lost workers left behind belongs to no step";
            return Err(self.fail(value.node.span, Problem::new(value.node.describe(), expected)));
        }
        let Operand::Metric(metric) = &that.left else {
            return Ok(());
        };
        let MetricKind::Latency { measure, .. } = metric.kind else {
            return Ok(());
        };
        let of_groups = matches!(measure, Measure::Response | Measure::Iteration | Measure::DispatchLag);
        match metric.select.name.as_ref().and_then(|named| known.group(named)) {
            Some(name) if !of_groups => {
                let found = format!("found `{}` of the group {}", measure.word(), quoted(name));
                let expected = "`response`, or a request in the group: a group as one has its response time alone";
                let text = &self.scalar(value)?.text;
                let problem = Problem {
                    at: text.find(measure.word()).map(|at| at..at + measure.word().len()),
                    ..Problem::new(found, expected)
                };
                Err(self.fail_in(value.node, text, problem))
            }
            _ => Ok(()),
        }
    }

    fn known_name(&self, value: Value<'_>, select: &Selector, known: &Known) -> Got<()> {
        let Some(named) = &select.name else { return Ok(()) };
        let scenarios = || known.scenarios.iter().map(String::as_str);
        let steps = || known.steps.iter().map(|step| step.name.as_str());
        match named {
            Named::Any(name) => self.one_of(value, "step, group or scenario", name, steps().chain(scenarios())),
            Named::Step(name) => self.one_of(value, "step", name, steps()),
            Named::Scenario(name) => self.one_of(value, "scenario", name, scenarios()),
            Named::StepOf { scenario, step } => {
                self.one_of(value, "scenario", scenario, scenarios())?;
                let inside = known
                    .steps
                    .iter()
                    .filter(|step| step.scenario == *scenario)
                    .map(|step| step.name.as_str());
                self.one_of(value, "step", step, inside)
            }
        }
    }

    fn known_tag(&self, value: Value<'_>, tag: &str, wanted: &str, known: &Known) -> Got<()> {
        self.one_of(value, "tag", tag, known.tags.iter().map(|(name, _)| name.as_str()))?;
        let values = known
            .tags
            .iter()
            .find(|(name, _)| name == tag)
            .map_or(&[][..], |(_, values)| values);
        self.one_of(
            value,
            "tag value",
            wanted,
            values.iter().map(String::as_str).chain(["other"]),
        )
    }

    fn known_phase(&self, value: Value<'_>, known: &Known) -> Got<PhaseSelector> {
        let phase = self.phase(value)?;
        match &phase {
            PhaseSelector::Stage(name) => {
                self.one_of(value, "stage", name, known.stages.iter().map(String::as_str))?;
            }
            PhaseSelector::Fault(_) | PhaseSelector::Recovery(_) | PhaseSelector::Baseline(_) => {
                let problem = Problem::new(value.node.describe(), "a phase of this plan, which injects no faults");
                return Err(self.fail(value.node.span, problem));
            }
            PhaseSelector::Whole | PhaseSelector::Steady | PhaseSelector::WarmUp => {}
        }
        Ok(phase)
    }

    /// Refuses a name that is not among the known ones, at the place where it stands.
    fn one_of<'k>(
        &self,
        value: Value<'_>,
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'k str> + Clone,
    ) -> Got<()> {
        if known.clone().any(|one| one == name) {
            return Ok(());
        }
        let mut names: Vec<&str> = known.clone().collect();
        names.dedup();
        let expected = match names.len() {
            0 => format!("a {what} of the plan, which has none"),
            1..=8 => either(names),
            _ => format!("a {what} of the plan"),
        };
        let mut problem = Problem::new(format!("unknown {what} {}", quoted(name)), expected);
        problem = problem.nearest(nearest(name, known));
        let text = &self.scalar(value)?.text;
        problem.at = text.find(name).map(|at| at..at + name.len());
        Err(self.fail_in(value.node, text, problem))
    }
}
