//! What the network and the targets ask of the engines.

use std::net::IpAddr;

use barrage_model::plan::{EngineChoice, Plan, Request, Resolve};
use barrage_model::template::Part;

use super::{Fields, Got, Reader};
use crate::problem::{Problem, quoted};
use crate::warnings::requests;
use crate::yaml::Span;

impl Reader<'_> {
    /// What the network asks of the engines.
    pub(super) fn check_engines(&self, fields: &Fields<'_, '_>, plan: &Plan) -> Got<()> {
        let key = match (&plan.network.proxy, plan.network.cookies) {
            (Some(_), _) => "proxy",
            (None, true) => "cookies",
            (None, false) => return Ok(()),
        };
        let network = fields.value("network").map(|value| value.node);
        let span = network
            .and_then(|node| node.get(key))
            .map_or(Span::default(), |node| node.span);
        self.refuse_raw_engine(span, key, &requests(plan))
    }

    /// The full client takes the TLS name from the URL, so a target that says another is not for it.
    pub(super) fn check_tls_names(&self, fields: &Fields<'_, '_>, plan: &Plan) -> Got<()> {
        for request in requests(plan) {
            let Some(target) = plan.targets.get(usize::from(request.target)) else {
                continue;
            };
            let host = target.host_override.as_ref().filter(|_| target.https);
            let other = host.is_some_and(|host| *host != target.authority());
            if !other || !is_full(plan, request) || is_absolute(request) {
                continue;
            }
            let one = fields.value("target").map(|value| value.node);
            let several = fields.value("targets").map(|value| value.node);
            let node = one.or_else(|| several.and_then(|node| node.get(&target.name)));
            let span = node
                .and_then(|node| node.get("host"))
                .map_or(Span::default(), |node| node.span);
            let found = format!(
                "found a `host` for an https target, but the step {} needs the full client, which cannot use it as the TLS name",
                quoted(&request.name)
            );
            return Err(self.fail(
                span,
                Problem::new(found, "no `host`, or steps that a raw engine can send"),
            ));
        }
        Ok(())
    }

    /// The full client connects to an address as it is written, so an answer that is fixed for one is not for it.
    pub(super) fn check_fixed_addresses(&self, fields: &Fields<'_, '_>, plan: &Plan) -> Got<()> {
        let is_address = |fixed: &Resolve| fixed.host.parse::<IpAddr>().is_ok();
        let Some(at) = plan.network.resolve.iter().position(is_address) else {
            return Ok(());
        };
        let all = requests(plan);
        let Some(request) = all.iter().find(|request| is_full(plan, request)) else {
            return Ok(());
        };
        let found = format!(
            "found {}, an address, but the step {} needs the full client, which connects to addresses as they are written",
            quoted(&plan.network.resolve[at].host),
            quoted(&request.name)
        );
        let problem = Problem::new(found, "a name, or steps that a raw engine can send");
        // Those of the command line come first.
        if at < self.overrides.resolve.len() {
            return Err(self.refuse_override("--resolve", problem));
        }
        let network = fields.value("network").map(|value| value.node);
        let span = network
            .and_then(|node| node.get("resolve"))
            .map_or(Span::default(), |node| node.span);
        Err(self.fail(span, problem))
    }
}

/// Whether the full client sends it.
pub(crate) fn is_full(plan: &Plan, request: &Request) -> bool {
    let network = &plan.network;
    request.engine == EngineChoice::Reqwest
        || network.proxy.is_some()
        || network.cookies
        || request.redirects > 0
        || request.decompress
}

/// Whether its URL names another place than its target.
fn is_absolute(request: &Request) -> bool {
    let first = request.url.parts().first();
    matches!(first, Some(Part::Literal(text)) if text.starts_with("http://") || text.starts_with("https://"))
}
