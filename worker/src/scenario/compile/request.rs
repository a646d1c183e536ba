//! Requests as bytes with gaps.

use std::time::Duration;

use barrage_model::ids::StepId;
use barrage_model::plan::{Auth, Body as PlanBody, Engine, Method, OnFailure, Request as PlanRequest};
use http::HeaderName;

use super::super::checks::Checks;
use super::super::encode::Encoding;
use super::super::error::StepProblem;
use super::super::exchange::{Form, Rendered};
use super::super::extracts::Extract;
use super::super::text::{Layout, Piece, Text};
use super::body::{Body, body};
use super::engine::checked;
use super::http2::Head;
use super::link::Linker;
use super::origins::Origins;
use super::url::{Destination, locate};

/// The value of `user-agent` unless the plan says another.
const USER_AGENT: &str = concat!("barrage/", env!("CARGO_PKG_VERSION"));

/// A request that is ready to be rendered.
#[derive(Debug)]
pub(in crate::scenario) struct Request {
    pub(in crate::scenario) id: StepId,
    pub(in crate::scenario) name: String,
    pub(in crate::scenario) method: Method,
    pub(in crate::scenario) engine: Engine,
    pub(in crate::scenario) destination: Destination,
    pub(in crate::scenario) wire: Wire,
    pub(in crate::scenario) body: Body,
    pub(in crate::scenario) timeout: Duration,
    pub(in crate::scenario) checks: Checks,
    pub(in crate::scenario) extracts: Vec<Extract>,
    pub(in crate::scenario) on_failure: OnFailure,
    pub(in crate::scenario) redirects: u16,
    pub(in crate::scenario) decompress: bool,
    pub(in crate::scenario) wants: Wants,
}

impl Request {
    /// Whether it is the same bytes in every iteration, and nothing of its answer but the status matters to anybody.
    pub(super) fn is_plain(&self) -> bool {
        let nothing_kept = !self.wants.body && !self.wants.headers && self.extracts.is_empty();
        nothing_kept && self.checks.ask_only_for_status() && self.constant().is_some()
    }

    /// The request as it is sent each time, if it has no gap and a raw engine takes it.
    pub(in crate::scenario) fn constant(&self) -> Option<Rendered<'_>> {
        let (Body::Fixed(body), Destination::Fixed(origin)) = (&self.body, &self.destination) else {
            return None;
        };
        let form = match &self.wire {
            Wire::Http1(head) => Form::Http1 {
                head: head.as_static()?,
            },
            Wire::Http2(Head::Fixed(head)) => Form::Http2 { head, body },
            Wire::Http2(Head::Made(_)) | Wire::Full { .. } => return None,
        };
        Some(Rendered {
            origin: *origin,
            body,
            form,
        })
    }
}

/// What of an answer has to be kept.
#[derive(Clone, Copy, Debug)]
pub(in crate::scenario) struct Wants {
    pub(in crate::scenario) body: bool,
    pub(in crate::scenario) headers: bool,
}

/// A request in the form that its engine takes.
#[derive(Debug)]
pub(in crate::scenario) enum Wire {
    /// The whole head.
    Http1(Text),
    /// The whole head, or a frame for it.
    Http2(Head),
    /// Path and query, and the header fields.
    Full {
        target: Text,
        fields: Vec<(HeaderName, Text)>,
    },
}

/// A header field.
struct Field {
    name: String,
    value: Text,
}

impl Request {
    pub(super) fn compile(
        linker: &mut Linker<'_>,
        origins: &mut Origins,
        id: StepId,
        plan: &PlanRequest,
    ) -> Result<Self, StepProblem> {
        linker.target = plan.target;
        let engine = checked(linker.plan, plan)?;
        let located = locate(linker, origins, plan)?;
        let (body, content_type) = body(linker, id.0, &plan.body)?;
        let mut fields = own_fields(linker, plan)?;
        if let Some(content_type) = content_type.filter(|_| !has(&fields, "content-type")) {
            fields.push(fixed("content-type", &content_type));
        }
        let destination = &located.destination;
        let wire = match engine {
            Engine::Http1 => Wire::Http1(head(plan, origins, destination, &located.path, fields, &body)),
            Engine::Http2 => {
                let origin = match destination {
                    Destination::Fixed(origin) => Some(origins.get(*origin)),
                    Destination::Dynamic { .. } => None,
                };
                let fields = all_fields(plan, fields, &body).into_iter();
                let fields = fields.map(|field| (field.name, field.value)).collect();
                Wire::Http2(Head::compile(plan.method, origin, located.path, fields)?)
            }
            Engine::Reqwest => full(located.path, fields, full_host(origins, destination)?)?,
        };
        let checks = Checks::compile(linker, &plan.expect)?;
        let extracts = plan.extract.iter().map(|extract| Extract::compile(linker, extract));
        let extracts: Vec<Extract> = extracts.collect::<Result<_, _>>()?;
        let tagged = !linker.plan.tags.is_empty();
        let wants = Wants {
            body: checks.needs_body() || extracts.iter().any(Extract::needs_body),
            headers: tagged || checks.needs_headers() || extracts.iter().any(Extract::needs_headers),
        };
        Ok(Self {
            id,
            name: plan.name.clone(),
            method: plan.method,
            engine,
            destination: located.destination,
            wire,
            body,
            timeout: plan.timeout,
            wants,
            checks,
            extracts,
            on_failure: plan.on_failure,
            redirects: u16::from(plan.redirects),
            decompress: plan.decompress,
        })
    }
}

/// The plan's own fields, with the credentials.
fn own_fields(linker: &mut Linker<'_>, plan: &PlanRequest) -> Result<Vec<Field>, StepProblem> {
    let mut fields = Vec::with_capacity(plan.headers.len() + 2);
    for (name, value) in &plan.headers {
        let refused = |problem| StepProblem::Header {
            name: name.clone(),
            problem,
        };
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused("is not a valid field name"))?;
        if ["content-length", "transfer-encoding"]
            .iter()
            .any(|own| name.eq_ignore_ascii_case(own))
        {
            return Err(refused("is set by the engine, so that it fits the body"));
        }
        let value = linker.encoded(value, Encoding::Header)?;
        fields.push(Field {
            name: name.clone(),
            value,
        });
    }
    if let Some(auth) = plan.auth.as_ref().filter(|_| !has(&fields, "authorization")) {
        fields.push(Field {
            name: "authorization".to_owned(),
            value: authorization(linker, auth)?,
        });
    }
    Ok(fields)
}

fn authorization(linker: &mut Linker<'_>, auth: &Auth) -> Result<Text, StepProblem> {
    let mut layout = Layout::new();
    match auth {
        Auth::Bearer(token) => {
            let token = linker.encoded(token, Encoding::Header)?;
            layout.bytes("Bearer ").text(&token);
        }
        Auth::Basic { user, password } => {
            let mut inner = Layout::new();
            let (user, password) = (
                linker.text(user, Encoding::Plain)?,
                linker.text(password, Encoding::Plain)?,
            );
            inner.text(&user).bytes(":").text(&password);
            let inner = inner.finish();
            layout.bytes("Basic ");
            match inner.as_static() {
                Some(bytes) => {
                    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
                    layout.bytes(encoded);
                }
                None => {
                    layout.piece(Piece::Base64(inner));
                }
            }
        }
    }
    Ok(layout.finish())
}

fn has(fields: &[Field], name: &str) -> bool {
    fields.iter().any(|field| field.name.eq_ignore_ascii_case(name))
}

fn fixed(name: &str, value: &str) -> Field {
    let mut layout = Layout::new();
    layout.bytes(value);
    Field {
        name: name.to_owned(),
        value: layout.finish(),
    }
}

/// The plan's own fields with those that every request has, but `host`.
fn all_fields(plan: &PlanRequest, mut fields: Vec<Field>, body: &Body) -> Vec<Field> {
    if !has(&fields, "user-agent") {
        fields.insert(0, fixed("user-agent", USER_AGENT));
    }
    let carries = matches!(plan.method, Method::Post | Method::Put | Method::Patch);
    if carries || plan.body != PlanBody::Empty {
        let mut length = Layout::new();
        match body {
            Body::Fixed(bytes) => length.bytes(bytes.len().to_string()),
            Body::Made(..) => length.piece(Piece::Length),
        };
        fields.push(Field {
            name: "content-length".to_owned(),
            value: length.finish(),
        });
    }
    fields
}

/// Lays out a whole HTTP/1.1 head: one stretch of bytes when nothing in it changes.
fn head(
    plan: &PlanRequest,
    origins: &Origins,
    destination: &Destination,
    path: &Text,
    fields: Vec<Field>,
    body: &Body,
) -> Text {
    let mut layout = Layout::new();
    layout
        .bytes(plan.method.word())
        .bytes(" ")
        .text(path)
        .bytes(" HTTP/1.1\r\n");
    if !has(&fields, "host") {
        layout.bytes("host: ");
        match destination {
            Destination::Fixed(origin) => layout.bytes(&origins.get(*origin).authority),
            Destination::Dynamic { .. } => layout.piece(Piece::Host),
        };
        layout.bytes("\r\n");
    }
    for field in all_fields(plan, fields, body) {
        layout.bytes(field.name).bytes(": ").text(&field.value).bytes("\r\n");
    }
    layout.bytes("\r\n");
    layout.finish()
}

/// The `host` that a target wants to be asked for instead of its own, when the full client asks.
fn full_host<'o>(origins: &'o Origins, destination: &Destination) -> Result<Option<&'o str>, StepProblem> {
    let (Destination::Fixed(origin) | Destination::Dynamic { target: origin, .. }) = destination;
    if origins.hides_tls_name(*origin) {
        return Err(StepProblem::Engine {
            engine: Engine::Reqwest.word(),
            why: "its https target has a `host` of its own, which only the raw engines use as the TLS name",
        });
    }
    Ok(origins.shown_host(*origin))
}

fn full(target: Text, mut fields: Vec<Field>, host: Option<&str>) -> Result<Wire, StepProblem> {
    if !has(&fields, "user-agent") {
        fields.insert(0, fixed("user-agent", USER_AGENT));
    }
    if let Some(host) = host.filter(|_| !has(&fields, "host")) {
        fields.insert(0, fixed("host", host));
    }
    let named = fields.into_iter().map(|field| {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let refused = |_| StepProblem::Header {
            name: field.name.clone(),
            problem: "is not a valid field name",
        };
        Ok((name.map_err(refused)?, field.value))
    });
    Ok(Wire::Full {
        target,
        fields: named.collect::<Result<_, StepProblem>>()?,
    })
}
