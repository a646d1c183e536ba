//! What a plan may do that its author may not expect.

use std::collections::BTreeSet;

use barrage_model::expr::PhaseSelector;
use barrage_model::plan::{Action, EngineChoice, Load, LoadModel, Plan, Request, Step};
use barrage_model::units::Bytes;

use crate::read::is_full;

/// A slot with its connection and buffers.
const SLOT_BYTES: u64 = 24 * 1024;
/// A slot of the full client.
const FULL_SLOT_BYTES: u64 = 64 * 1024;
/// A sketch of one series with the pages that a usual spread of latencies touches.
const SKETCH_BYTES: u64 = 16 * 1024;
/// Above this a plan is warned about.
const MEMORY_MAX: u64 = 2 << 30;

/// An estimate of the memory that the whole fleet needs for slots and series, in bytes.
///
/// Every load at its peak: `max_active` slots or all users; five sketches for each step, tag value and live segment.
pub fn memory_estimate_bytes(plan: &Plan) -> u64 {
    let requests = requests(plan);
    let full = requests.iter().any(|request| is_full(plan, request));
    let slot = if full { FULL_SLOT_BYTES } else { SLOT_BYTES };
    let slots: u64 = plan.loads.iter().map(|load| peak_slots(&load.model)).sum();
    let tags = plan
        .tags
        .iter()
        .fold(1_u64, |product, rule| product.saturating_mul(rule.digits() as u64));
    let series = (plan.named_steps().len() as u64 + plan.scenarios.len() as u64).saturating_mul(tags);
    // Two segments are live at a stage's end.
    slots
        .saturating_mul(slot)
        .saturating_add(series.saturating_mul(2 * 5 * SKETCH_BYTES))
}

/// What is worth a second look before the run; the plan is valid all the same.
pub fn warnings(plan: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    let memory = memory_estimate_bytes(plan);
    if memory > MEMORY_MAX {
        let shown = Bytes((memory >> 20) << 20);
        found.push(format!(
            "the fleet may need about {shown} of memory; lower max_active, users or the number of tag values"
        ));
    }
    let length = plan.loads.iter().map(length).max().unwrap_or_default();
    if plan.warm_up >= length && !plan.warm_up.is_zero() {
        found.push("warm_up covers the whole load, so SLAs that do not name it have nothing to judge".to_owned());
    }
    if plan.sla.is_empty() {
        found.push("no sla: the run can only fail through min_started".to_owned());
    }
    let absolute = requests(plan)
        .iter()
        .any(|request| request.url.to_string().starts_with("http"));
    if absolute && plan.targets.len() == 1 {
        found.push("some requests use absolute URLs, which --target does not replace".to_owned());
    }
    let multiplexed = requests(plan)
        .iter()
        .any(|request| request.engine == EngineChoice::Http2);
    if plan.network.streams_per_connection > 1 && !multiplexed {
        found.push("network.streams_per_connection has no effect: no step says `engine: http2`".to_owned());
    }
    for request in requests(plan) {
        if is_full(plan, request) && has_dot_segments(&request.url.to_string()) {
            let name = crate::problem::quoted(&request.name);
            found.push(format!(
                "the step {name} needs the full client, which takes `.` and `..` out of the path before it sends it"
            ));
        }
    }
    found.extend(shared_stages(plan));
    if plan.network.tls.insecure {
        found.push("network.tls.insecure accepts any certificate".to_owned());
    }
    let used = used_data(plan);
    for source in &plan.data {
        if !used.contains(source.name.as_str()) {
            found.push(format!("data {} is not used", crate::problem::quoted(&source.name)));
        }
    }
    found
}

/// SLAs about a stage of which there are several.
fn shared_stages(plan: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    for sla in &plan.sla {
        let Some(PhaseSelector::Stage(name)) = &sla.during else {
            continue;
        };
        let loads = plan.loads.iter();
        let of = |load: &&Load| load.stretches().iter().any(|stretch| stretch.name == name);
        let count = loads.filter(of).count();
        let name = crate::problem::quoted(name);
        let warning =
            format!("{count} loads have a stage {name}: an SLA during it is about the requests of all of them");
        if count > 1 && !found.contains(&warning) {
            found.push(warning);
        }
    }
    found
}

/// Whether a URL's path has segments that normalising it removes (RFC 3986, section 5.2.4).
fn has_dot_segments(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or("").to_ascii_lowercase();
    path.replace("%2e", ".")
        .split('/')
        .any(|segment| matches!(segment, "." | ".."))
}

fn peak_slots(model: &LoadModel) -> u64 {
    match model {
        LoadModel::Open(open) => u64::from(open.max_active),
        LoadModel::Users(users) => {
            let pieces = users.stages.iter().flat_map(|stage| stage.shape.pieces());
            pieces
                .map(|piece| u64::from(piece.from.max(piece.to)))
                .max()
                .unwrap_or(0)
        }
        LoadModel::Iterations(iterations) => u64::from(iterations.users).min(iterations.count),
    }
}

/// The run time at which a load ends at the latest.
fn length(load: &Load) -> std::time::Duration {
    let own = match &load.model {
        LoadModel::Open(open) => open.stages.iter().map(|stage| stage.shape.length()).sum(),
        LoadModel::Users(users) => users.stages.iter().map(|stage| stage.shape.length()).sum(),
        LoadModel::Iterations(iterations) => iterations.at_most,
    };
    load.start_at + own
}

/// All requests of the plan, in reading order.
pub(crate) fn requests(plan: &Plan) -> Vec<&Request> {
    let mut found = Vec::new();
    for steps in plan.step_lists() {
        visit(steps, &mut |step| {
            if let Action::Request(request) = &step.action {
                found.push(request.as_ref());
            }
        });
    }
    found
}

/// Goes through steps and the steps inside.
pub(crate) fn visit<'p>(steps: &'p [Step], see: &mut impl FnMut(&'p Step)) {
    for step in steps {
        see(step);
        for inner in step.action.inner() {
            visit(inner, see);
        }
    }
}

/// The data sources that templates and conditions use. The canonical text names them as `name.`.
fn used_data(plan: &Plan) -> BTreeSet<&str> {
    let shown = crate::show::show(plan);
    let used = |name: &str| shown.contains(&format!("${{{name}."));
    plan.data
        .iter()
        .map(|source| source.name.as_str())
        .filter(|name| used(name))
        .collect()
}
