//! HTTP/2 requests: whole where nothing changes, else a frame and what is filled into it.

use barrage_model::plan::{Method, is_connection_field};
use http::uri::{Authority, PathAndQuery, Scheme as UriScheme};
use http::{HeaderName, HeaderValue, Request, Uri, Version};

use super::super::error::StepProblem;
use super::super::render::{Given, RenderError};
use super::super::text::Text;
use super::super::values::Scope;
use crate::engine::http_method;
use crate::net::{Origin, Scheme};

/// Method, URL and fields of a request.
#[derive(Debug)]
pub(in crate::scenario) enum Head {
    /// The same always.
    Fixed(Box<Request<()>>),
    /// Made anew for each request.
    Made(Box<Frame>),
}

/// A request with gaps.
#[derive(Debug)]
pub(in crate::scenario) struct Frame {
    method: http::Method,
    /// The authority asked for; the origin's own unless the plan gives a `host`.
    host: Option<Value>,
    target: Text,
    fields: Vec<(HeaderName, Value)>,
}

#[derive(Debug)]
enum Value {
    Fixed(HeaderValue),
    Made(Text),
}

impl Value {
    fn new(name: &str, text: Text) -> Result<Self, StepProblem> {
        let Some(bytes) = text.as_static() else {
            return Ok(Self::Made(text));
        };
        let value = HeaderValue::from_bytes(bytes).map_err(|_| StepProblem::Header {
            name: name.to_owned(),
            problem: "has a value that is not valid",
        })?;
        Ok(Self::Fixed(value))
    }

    fn render(&self, scope: &Scope<'_>, given: Given<'_>, buffer: &mut Vec<u8>) -> Result<HeaderValue, RenderError> {
        match self {
            Self::Fixed(value) => Ok(value.clone()),
            Self::Made(text) => {
                buffer.clear();
                text.render(scope, given, buffer)?;
                HeaderValue::from_bytes(buffer).map_err(|_| RenderError::Other("a header value is not valid"))
            }
        }
    }

    fn is_fixed(&self) -> bool {
        matches!(self, Self::Fixed(_))
    }
}

impl Head {
    /// Lays out a request. `origin` is where it goes, when that is known; `fields` may hold a `host`.
    pub(super) fn compile(
        method: Method,
        origin: Option<&Origin>,
        target: Text,
        fields: Vec<(String, Text)>,
    ) -> Result<Self, StepProblem> {
        let mut frame = Frame {
            method: http_method(method),
            host: None,
            target,
            fields: Vec::with_capacity(fields.len()),
        };
        for (name, text) in fields {
            let refused = |problem| StepProblem::Header {
                name: name.clone(),
                problem,
            };
            if is_connection_field(&name, text.as_static()) {
                return Err(refused("belongs to a connection of HTTP/1 and has no place in HTTP/2"));
            }
            let value = Value::new(&name, text)?;
            if name.eq_ignore_ascii_case("host") {
                frame.host = Some(value);
                continue;
            }
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused("is not a valid field name"))?;
            frame.fields.push((name, value));
        }
        let is_fixed = frame.target.as_static().is_some()
            && frame.host.iter().all(Value::is_fixed)
            && frame.fields.iter().all(|(_, value)| value.is_fixed());
        match (origin.filter(|_| is_fixed), frame.target.as_static()) {
            (Some(origin), Some(target)) => Ok(Self::Fixed(Box::new(frame.fixed(origin, target)?))),
            _ => Ok(Self::Made(Box::new(frame))),
        }
    }
}

impl Frame {
    fn fixed(&self, origin: &Origin, target: &[u8]) -> Result<Request<()>, StepProblem> {
        let host = match &self.host {
            Some(Value::Fixed(host)) => host.as_bytes(),
            _ => origin.authority.as_bytes(),
        };
        let uri = uri(origin.scheme, host, target).map_err(|problem| StepProblem::Url(problem.to_owned()))?;
        let mut request = self.empty(uri);
        for (name, value) in &self.fields {
            if let Value::Fixed(value) = value {
                request.headers_mut().append(name, value.clone());
            }
        }
        Ok(request)
    }

    fn empty(&self, uri: Uri) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
        request.headers_mut().reserve(self.fields.len());
        request
    }

    /// Fills the gaps.
    pub(in crate::scenario) fn render(
        &self,
        origin: &Origin,
        scope: &Scope<'_>,
        given: Given<'_>,
        buffer: &mut Vec<u8>,
    ) -> Result<Request<()>, RenderError> {
        let host = match &self.host {
            Some(host) => Some(host.render(scope, given, buffer)?),
            None => None,
        };
        let host = host.as_ref().map_or(origin.authority.as_bytes(), HeaderValue::as_bytes);
        buffer.clear();
        self.target.render(scope, given, buffer)?;
        let mut request = self.empty(uri(origin.scheme, host, buffer).map_err(RenderError::Other)?);
        for (name, value) in &self.fields {
            let value = value.render(scope, given, buffer)?;
            request.headers_mut().append(name, value);
        }
        Ok(request)
    }
}

fn uri(scheme: Scheme, host: &[u8], target: &[u8]) -> Result<Uri, &'static str> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(match scheme {
        Scheme::Http => UriScheme::HTTP,
        Scheme::Https => UriScheme::HTTPS,
    });
    parts.authority = Some(Authority::try_from(host).map_err(|_| "its host is not valid")?);
    parts.path_and_query = Some(PathAndQuery::try_from(target).map_err(|_| "its URL is not valid")?);
    Uri::from_parts(parts).map_err(|_| "its URL is not valid")
}
