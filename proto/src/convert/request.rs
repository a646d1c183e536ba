//! Requests, checks and extracts.

use barrage_model::plan::{
    Auth, Body, Check, EngineChoice, Extract, ExtractFrom, Matcher, Method, OnFailure, Part, PartBody, Request,
    StatusSet,
};
use barrage_model::template::Template;

use super::{BadMessage, Result, bad, each, micros, missing, narrow, span, template};
use crate::v1;

fn fields_out(fields: &[(String, Template)]) -> Vec<v1::Field> {
    fields
        .iter()
        .map(|(name, value)| v1::Field {
            name: name.clone(),
            value: value.to_string(),
        })
        .collect()
}

fn fields_in(fields: Vec<v1::Field>) -> Result<Vec<(String, Template)>> {
    each(fields, |field| Ok((field.name, template("field.value", &field.value)?)))
}

impl From<&Request> for v1::Request {
    fn from(request: &Request) -> Self {
        Self {
            name: request.name.clone(),
            method: request.method.word().to_owned(),
            target: u32::from(request.target),
            url: request.url.to_string(),
            query: fields_out(&request.query),
            headers: fields_out(&request.headers),
            body: Some((&request.body).into()),
            auth: request.auth.as_ref().map(Into::into),
            timeout_us: micros(request.timeout),
            expect: request.expect.iter().map(Into::into).collect(),
            extract: request.extract.iter().map(Into::into).collect(),
            go_on_after_failure: request.on_failure == OnFailure::Continue,
            redirects: u32::from(request.redirects),
            decompress: request.decompress,
            engine: match request.engine {
                EngineChoice::Auto => v1::request::Engine::Auto,
                EngineChoice::Http1 => v1::request::Engine::Http1,
                EngineChoice::Http2 => v1::request::Engine::Http2,
                EngineChoice::Reqwest => v1::request::Engine::Reqwest,
            }
            .into(),
        }
    }
}

impl TryFrom<v1::Request> for Request {
    type Error = BadMessage;

    fn try_from(wire: v1::Request) -> Result<Self> {
        let engine = match wire.engine() {
            v1::request::Engine::Auto => EngineChoice::Auto,
            v1::request::Engine::Http1 => EngineChoice::Http1,
            v1::request::Engine::Http2 => EngineChoice::Http2,
            v1::request::Engine::Reqwest => EngineChoice::Reqwest,
        };
        let method = Method::ALL
            .into_iter()
            .find(|method| method.word() == wire.method)
            .ok_or_else(|| bad("request.method", format!("{:?} is no method", wire.method)))?;
        Ok(Self {
            name: wire.name,
            method,
            target: narrow("request.target", wire.target)?,
            url: template("request.url", &wire.url)?,
            query: fields_in(wire.query)?,
            headers: fields_in(wire.headers)?,
            body: wire.body.unwrap_or_default().try_into()?,
            auth: wire.auth.map(TryInto::try_into).transpose()?,
            timeout: span("request.timeout_us", wire.timeout_us)?,
            expect: each(wire.expect, TryInto::try_into)?,
            extract: each(wire.extract, TryInto::try_into)?,
            on_failure: if wire.go_on_after_failure {
                OnFailure::Continue
            } else {
                OnFailure::End
            },
            redirects: narrow("request.redirects", wire.redirects)?,
            decompress: wire.decompress,
            engine,
        })
    }
}

impl From<&Body> for v1::Body {
    fn from(body: &Body) -> Self {
        use v1::body::Content;
        let content = match body {
            Body::Empty => None,
            Body::Json(text) => Some(Content::Json(text.to_string())),
            Body::Form(fields) => Some(Content::Form(v1::Form {
                fields: fields_out(fields),
            })),
            Body::Multipart(parts) => Some(Content::Multipart(v1::Multipart {
                parts: parts.iter().map(Into::into).collect(),
            })),
            Body::Raw(text) => Some(Content::Raw(text.to_string())),
            Body::File(file) => Some(Content::File(file.into())),
        };
        Self { content }
    }
}

impl TryFrom<v1::Body> for Body {
    type Error = BadMessage;

    fn try_from(wire: v1::Body) -> Result<Self> {
        use v1::body::Content;
        Ok(match wire.content {
            None => Self::Empty,
            Some(Content::Json(text)) => Self::Json(template("body.json", &text)?),
            Some(Content::Form(form)) => Self::Form(fields_in(form.fields)?),
            Some(Content::Multipart(multipart)) => Self::Multipart(each(multipart.parts, TryInto::try_into)?),
            Some(Content::Raw(text)) => Self::Raw(template("body.raw", &text)?),
            Some(Content::File(file)) => Self::File(file.try_into()?),
        })
    }
}

impl From<&Part> for v1::Part {
    fn from(part: &Part) -> Self {
        Self {
            name: part.name.clone(),
            filename: part.filename.clone(),
            content_type: part.content_type.clone(),
            body: Some(match &part.body {
                PartBody::Text(text) => v1::part::Body::Text(text.to_string()),
                PartBody::File(file) => v1::part::Body::File(file.into()),
            }),
        }
    }
}

impl TryFrom<v1::Part> for Part {
    type Error = BadMessage;

    fn try_from(wire: v1::Part) -> Result<Self> {
        let body = match wire.body.ok_or_else(|| missing("part.body"))? {
            v1::part::Body::Text(text) => PartBody::Text(template("part.text", &text)?),
            v1::part::Body::File(file) => PartBody::File(file.try_into()?),
        };
        Ok(Self {
            name: wire.name,
            filename: wire.filename,
            content_type: wire.content_type,
            body,
        })
    }
}

impl From<&Auth> for v1::Auth {
    fn from(auth: &Auth) -> Self {
        Self {
            kind: Some(match auth {
                Auth::Basic { user, password } => v1::auth::Kind::Basic(v1::Basic {
                    user: user.to_string(),
                    password: password.to_string(),
                }),
                Auth::Bearer(token) => v1::auth::Kind::Bearer(token.to_string()),
            }),
        }
    }
}

impl TryFrom<v1::Auth> for Auth {
    type Error = BadMessage;

    fn try_from(wire: v1::Auth) -> Result<Self> {
        Ok(match wire.kind.ok_or_else(|| missing("auth.kind"))? {
            v1::auth::Kind::Basic(basic) => Self::Basic {
                user: template("basic.user", &basic.user)?,
                password: template("basic.password", &basic.password)?,
            },
            v1::auth::Kind::Bearer(token) => Self::Bearer(template("auth.bearer", &token)?),
        })
    }
}

impl From<&Check> for v1::Check {
    fn from(check: &Check) -> Self {
        use v1::check::Kind;
        let field = |name: &str, matcher: &Matcher| v1::FieldCheck {
            name: name.to_owned(),
            matcher: Some(matcher.into()),
        };
        let kind = match check {
            Check::Status(set) => Kind::Status(v1::StatusSet {
                ranges: set
                    .ranges()
                    .iter()
                    .map(|&(low, high)| v1::StatusRange {
                        low: u32::from(low),
                        high: u32::from(high),
                    })
                    .collect(),
            }),
            Check::Header { name, matcher } => Kind::Header(field(name, matcher)),
            Check::BodyContains(text) => Kind::BodyContains(text.to_string()),
            Check::BodyMatches(pattern) => Kind::BodyMatches(pattern.clone()),
            Check::Json { path, matcher } => Kind::Json(field(path, matcher)),
            Check::BodySize { min, max } => Kind::BodySize(v1::SizeRange {
                min_bytes: *min,
                max_bytes: *max,
            }),
            Check::MaxTime(limit) => Kind::MaxTimeUs(micros(*limit)),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::Check> for Check {
    type Error = BadMessage;

    fn try_from(wire: v1::Check) -> Result<Self> {
        use v1::check::Kind;
        let matcher = |field: Option<v1::Matcher>| field.ok_or_else(|| missing("check.matcher"))?.try_into();
        Ok(match wire.kind.ok_or_else(|| missing("check.kind"))? {
            Kind::Status(set) => {
                let ranges = each(set.ranges, |range| {
                    Ok((narrow("status", range.low)?, narrow("status", range.high)?))
                })?;
                Self::Status(StatusSet::new(ranges).ok_or_else(|| bad("check.status", "is no set of statuses"))?)
            }
            Kind::Header(field) => Self::Header {
                matcher: matcher(field.matcher)?,
                name: field.name,
            },
            Kind::BodyContains(text) => Self::BodyContains(template("check.body_contains", &text)?),
            Kind::BodyMatches(pattern) => Self::BodyMatches(pattern),
            Kind::Json(field) => Self::Json {
                matcher: matcher(field.matcher)?,
                path: field.name,
            },
            Kind::BodySize(range) => Self::BodySize {
                min: range.min_bytes,
                max: range.max_bytes,
            },
            Kind::MaxTimeUs(limit) => Self::MaxTime(span("check.max_time_us", limit)?),
        })
    }
}

impl From<&Matcher> for v1::Matcher {
    fn from(matcher: &Matcher) -> Self {
        use v1::matcher::Kind;
        Self {
            kind: Some(match matcher {
                Matcher::Present => Kind::Present(true),
                Matcher::Absent => Kind::Absent(true),
                Matcher::Equals(text) => Kind::Equals(text.to_string()),
                Matcher::Contains(text) => Kind::Contains(text.to_string()),
                Matcher::Matches(pattern) => Kind::Matches(pattern.clone()),
            }),
        }
    }
}

impl TryFrom<v1::Matcher> for Matcher {
    type Error = BadMessage;

    fn try_from(wire: v1::Matcher) -> Result<Self> {
        use v1::matcher::Kind;
        Ok(match wire.kind.ok_or_else(|| missing("matcher.kind"))? {
            Kind::Present(_) => Self::Present,
            Kind::Absent(_) => Self::Absent,
            Kind::Equals(text) => Self::Equals(template("matcher.equals", &text)?),
            Kind::Contains(text) => Self::Contains(template("matcher.contains", &text)?),
            Kind::Matches(pattern) => Self::Matches(pattern),
        })
    }
}

impl From<&Extract> for v1::Extract {
    fn from(extract: &Extract) -> Self {
        use v1::extract::From as Wire;
        Self {
            name: extract.name.clone(),
            from: Some(match &extract.from {
                ExtractFrom::Json(path) => Wire::Json(path.clone()),
                ExtractFrom::Header(name) => Wire::Header(name.clone()),
                ExtractFrom::Regex(pattern) => Wire::Regex(pattern.clone()),
                ExtractFrom::Cookie(name) => Wire::Cookie(name.clone()),
            }),
            default: extract.default.clone(),
        }
    }
}

impl TryFrom<v1::Extract> for Extract {
    type Error = BadMessage;

    fn try_from(wire: v1::Extract) -> Result<Self> {
        use v1::extract::From as Wire;
        let from = match wire.from.ok_or_else(|| missing("extract.from"))? {
            Wire::Json(path) => ExtractFrom::Json(path),
            Wire::Header(name) => ExtractFrom::Header(name),
            Wire::Regex(pattern) => ExtractFrom::Regex(pattern),
            Wire::Cookie(name) => ExtractFrom::Cookie(name),
        };
        Ok(Self {
            name: wire.name,
            from,
            default: wire.default,
        })
    }
}
