//! The places that a plan's requests may go to: its targets, then the origins of its absolute URLs.

use barrage_model::plan::Plan;
use url::Url;

use super::super::error::{PrepareError, StepProblem};
use crate::net::{Origin, Scheme};

/// Every origin of a run, by number.
#[derive(Clone, Debug)]
pub(in crate::scenario) struct Origins {
    list: Vec<Origin>,
    /// `http://host:port` of each, as the full client needs it.
    bases: Vec<String>,
    /// The path in front of each target's paths.
    base_paths: Vec<String>,
}

impl Origins {
    pub(super) fn new(plan: &Plan) -> Result<Self, PrepareError> {
        let mut origins = Self {
            list: Vec::new(),
            bases: Vec::new(),
            base_paths: Vec::new(),
        };
        for target in &plan.targets {
            let refused = |problem: String| PrepareError::Target {
                name: target.name.clone(),
                problem,
            };
            if target.host_override.as_ref().is_some_and(|host| !is_host(host)) {
                return Err(refused("the `host` to be sent is not a host".to_owned()));
            }
            let number = origins.list.len() as u32;
            let origin = Origin::from_target(number, target).map_err(|error| refused(error.to_string()))?;
            let base = target.url();
            let base = base.strip_suffix(&target.base_path).unwrap_or(&base).to_owned();
            // Also keeps line ends and spaces out of the `host` header.
            Url::parse(&base).map_err(|error| refused(error.to_string()))?;
            if !is_host(&origin.authority) {
                return Err(refused("its host is not a host".to_owned()));
            }
            origins.push(origin, base, target.base_path.clone());
        }
        Ok(origins)
    }

    fn push(&mut self, origin: Origin, base: String, base_path: String) {
        self.list.push(origin);
        self.bases.push(base);
        self.base_paths.push(base_path);
    }

    /// The number of a plan's target.
    pub(super) fn target(&self, target: u16) -> Result<u32, StepProblem> {
        let known = usize::from(target) < self.list.len();
        known
            .then_some(u32::from(target))
            .ok_or(StepProblem::UnknownTarget(target))
    }

    /// The number of the origin of an absolute URL of the plan; a new one if it is none of the targets.
    pub(super) fn absolute(&mut self, url: &str) -> Result<u32, StepProblem> {
        let refused = |problem: String| StepProblem::Url(problem);
        let url = Url::parse(url).map_err(|error| refused(error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("credentials belong into `auth`".to_owned()));
        }
        let number = self.list.len() as u32;
        let origin = Origin::from_url(number, &url).map_err(|error| refused(error.to_string()))?;
        let same = |known: &&Origin| known.authority == origin.authority && is_same(known, &origin);
        if let Some(known) = self.list.iter().find(same) {
            return Ok(known.index);
        }
        let base = url.origin().ascii_serialization();
        self.push(origin, base, String::new());
        Ok(number)
    }

    /// The origin that a URL made in an iteration leads to, by its own name or the one that its requests carry.
    pub(super) fn find(&self, url: &Url) -> Option<u32> {
        if !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        let origin = Origin::from_url(0, url).ok()?;
        let shown = |known: &&Origin| known.scheme == origin.scheme && known.authority == origin.authority;
        let found = self
            .list
            .iter()
            .find(shown)
            .or_else(|| self.list.iter().find(|known| is_same(known, &origin)));
        found.map(|known| known.index)
    }

    /// The path in front of a target's paths.
    pub(super) fn base_path(&self, origin: u32) -> &str {
        self.base_paths.get(origin as usize).map_or("", String::as_str)
    }

    /// The host that an origin is asked for instead of its own.
    pub(super) fn shown_host(&self, origin: u32) -> Option<&str> {
        let authority = self.get(origin).authority.as_str();
        let own = self.base(origin).ends_with(&format!("//{authority}"));
        (!own).then_some(authority)
    }

    /// Whether the full client would reach an origin under another TLS name than the plan says: it takes the name from the URL.
    pub(in crate::scenario) fn hides_tls_name(&self, origin: u32) -> bool {
        self.get(origin).scheme == Scheme::Https && self.shown_host(origin).is_some()
    }

    /// `http://host:port`.
    pub(in crate::scenario) fn base(&self, origin: u32) -> &str {
        &self.bases[origin as usize]
    }

    pub(in crate::scenario) fn get(&self, origin: u32) -> &Origin {
        &self.list[origin as usize]
    }

    /// All of them, the plan's targets first.
    pub(in crate::scenario) fn all(&self) -> &[Origin] {
        &self.list
    }
}

fn is_same(one: &Origin, other: &Origin) -> bool {
    let key = |origin: &Origin| (origin.scheme == Scheme::Https, origin.port);
    key(one) == key(other) && one.host == other.host
}

/// Whether a text can be the value of a `host` header.
fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"/?#@\\\"<>`{}".contains(&byte))
}
