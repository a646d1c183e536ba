//! Which engine sends a request, and why.

use super::{EngineChoice, Plan, Request};

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
    /// Whether it knows what passes through its connections: the full client keeps them to itself.
    pub fn sees_wire(self) -> bool {
        self != Self::Reqwest
    }

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
pub fn needs_full_client(plan: &Plan, request: &Request) -> Option<&'static str> {
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
        EngineChoice::Http1 => (Engine::Http1, "the plan asks for it"),
        EngineChoice::Http2 => (Engine::Http2, "the plan asks for it"),
        EngineChoice::Reqwest => (Engine::Reqwest, "the plan asks for it"),
        EngineChoice::Auto => match needs_full_client(plan, request) {
            Some(why) => (Engine::Reqwest, why),
            None => (Engine::Http1, "nothing asks for a full client"),
        },
    }
}
