//! Which engine sends a request, and why.

use barrage_model::plan::{EngineChoice, Plan, Request};

use super::super::error::StepProblem;

/// An engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// The raw HTTP/1.1 engine.
    Http1,
    /// The raw HTTP/2 engine.
    Http2,
    /// The full client.
    Reqwest,
}

impl Engine {
    /// The word used in plans and reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Reqwest => "reqwest",
        }
    }
}

/// What of the request only the full client does.
fn needs(plan: &Plan, request: &Request) -> Option<&'static str> {
    if plan.network.proxy.is_some() {
        return Some("the plan uses a proxy");
    }
    if plan.network.cookies {
        return Some("the plan keeps cookies");
    }
    if request.redirects > 0 {
        return Some("the step follows redirects");
    }
    request.decompress.then_some("the step undoes content encodings")
}

/// The engine that will send a request of the plan, and why it is that one.
pub fn engine_of(plan: &Plan, request: &Request) -> (Engine, &'static str) {
    match request.engine {
        EngineChoice::Http1 => (Engine::Http1, "the step asks for it"),
        EngineChoice::Http2 => (Engine::Http2, "the step asks for it"),
        EngineChoice::Reqwest => (Engine::Reqwest, "the step asks for it"),
        EngineChoice::Auto => match needs(plan, request) {
            Some(why) => (Engine::Reqwest, why),
            None => (Engine::Http1, "nothing asks for a full client"),
        },
    }
}

/// As [`engine_of`], but refuses an engine that would silently leave something out.
pub(super) fn checked(plan: &Plan, request: &Request) -> Result<Engine, StepProblem> {
    let (engine, _) = engine_of(plan, request);
    match needs(plan, request) {
        Some(why) if engine != Engine::Reqwest => Err(StepProblem::Engine {
            engine: engine.word(),
            why,
        }),
        _ => Ok(engine),
    }
}
