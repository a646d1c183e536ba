//! Requests: what is sent, what is expected, what is kept.

use std::time::Duration;

use super::FileRef;
use crate::template::Template;

/// One HTTP request of a scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Shown in reports; several steps may share it only in different scenarios. Default: `GET /path`.
    pub name: String,
    /// The method.
    pub method: Method,
    /// Index into the plan's targets; not used when the URL is absolute.
    pub target: u16,
    /// A path (with or without query) on the target, or an absolute `http(s)://` URL.
    pub url: Template,
    /// Query parameters, percent-encoded and appended to the URL in order.
    pub query: Vec<(String, Template)>,
    /// Header fields in order, the plan's defaults included; names as written.
    pub headers: Vec<(String, Template)>,
    /// The body.
    pub body: Body,
    /// Credentials; become an `authorization` header.
    pub auth: Option<Auth>,
    /// For the whole exchange: connecting, where a connection has to be made, sending, and the answer to its end.
    pub timeout: Duration,
    /// What the answer must be. Without a status check, 200 to 399 is expected.
    pub expect: Vec<Check>,
    /// What is kept from the answer.
    pub extract: Vec<Extract>,
    /// What a failure does to the iteration.
    pub on_failure: OnFailure,
    /// Redirects to follow; 0 = none.
    pub redirects: u8,
    /// Ask for and undo content encodings.
    pub decompress: bool,
    /// Which engine sends it.
    pub engine: EngineChoice,
}

/// The request methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// GET.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
    /// HEAD: the answer has no body.
    Head,
    /// OPTIONS.
    Options,
}

impl Method {
    /// Every method, in wire order.
    pub const ALL: [Self; 7] = [
        Self::Get,
        Self::Post,
        Self::Put,
        Self::Patch,
        Self::Delete,
        Self::Head,
        Self::Options,
    ];

    /// As sent: upper case. In plans the lower-case word is the key of the step.
    pub fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
        }
    }

    /// Position in [`Method::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// A request body.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// None.
    Empty,
    /// JSON text; splices inside strings are JSON-escaped, a string that is one `| json` splice is replaced whole.
    Json(Template),
    /// `application/x-www-form-urlencoded` pairs.
    Form(Vec<(String, Template)>),
    /// `multipart/form-data` parts.
    Multipart(Vec<Part>),
    /// Text as written.
    Raw(Template),
    /// A file's bytes as they are.
    File(FileRef),
}

impl Body {
    /// The files it names.
    pub fn files(&self) -> impl Iterator<Item = &FileRef> {
        let (whole, parts): (Option<&FileRef>, &[Part]) = match self {
            Self::File(file) => (Some(file), &[]),
            Self::Multipart(parts) => (None, parts),
            _ => (None, &[]),
        };
        whole
            .into_iter()
            .chain(parts.iter().filter_map(|part| match &part.body {
                PartBody::File(file) => Some(file),
                PartBody::Text(_) => None,
            }))
    }
}

/// One part of a multipart body.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Field name.
    pub name: String,
    /// File name sent with it.
    pub filename: Option<String>,
    /// Content type sent with it.
    pub content_type: Option<String>,
    /// Text or file.
    pub body: PartBody,
}

/// The content of a multipart part.
#[derive(Clone, Debug, PartialEq)]
pub enum PartBody {
    /// Text.
    Text(Template),
    /// A file's bytes.
    File(FileRef),
}

/// Credentials.
#[derive(Clone, Debug, PartialEq)]
pub enum Auth {
    /// RFC 7617.
    Basic {
        /// User name.
        user: Template,
        /// Password.
        password: Template,
    },
    /// RFC 6750.
    Bearer(Template),
}

/// What happens to the iteration when the step fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It ends as broken off.
    End,
    /// It goes on with the next step.
    Continue,
}

/// Whether a header field belongs to a connection, which HTTP/2 does not know (RFC 9113, section 8.2.2). `value` is `None`
/// where it is known at run time only.
pub fn is_connection_field(name: &str, value: Option<&[u8]>) -> bool {
    const ALWAYS: [&str; 5] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ];
    let is = |field: &str| name.eq_ignore_ascii_case(field);
    ALWAYS.into_iter().any(is) || (is("te") && value != Some(b"trailers"))
}

/// Which engine sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EngineChoice {
    /// The raw HTTP/1.1 engine, or `reqwest` where the step needs redirects, cookies, a proxy or decompression.
    Auto,
    /// The raw HTTP/1.1 engine.
    Http1,
    /// The raw HTTP/2 engine (prior knowledge in the clear, ALPN under TLS).
    Http2,
    /// The full client.
    Reqwest,
}

/// One expectation on an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// The status is in the set; class `status` when it is not.
    Status(StatusSet),
    /// A header field; the name in lower case.
    Header {
        /// Field name, lower case.
        name: String,
        /// What its value must be.
        matcher: Matcher,
    },
    /// The body contains the text.
    BodyContains(Template),
    /// The body matches the regular expression (checked when the plan was read).
    BodyMatches(String),
    /// The value at a JSONPath (RFC 9535; checked when the plan was read).
    Json {
        /// The path.
        path: String,
        /// What the value must be.
        matcher: Matcher,
    },
    /// Body length in bytes.
    BodySize {
        /// At least.
        min: u64,
        /// At most.
        max: u64,
    },
    /// Service time at most this long.
    MaxTime(Duration),
}

/// What a header or a JSON value must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Matcher {
    /// There.
    Present,
    /// Not there.
    Absent,
    /// Equal: text, or for JSON the value written as JSON text.
    Equals(Template),
    /// Contains the text.
    Contains(Template),
    /// Matches the regular expression.
    Matches(String),
}

/// A set of statuses as sorted inclusive ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSet(Vec<(u16, u16)>);

impl StatusSet {
    /// Takes 1 to 64 inclusive ranges within 100..=599, in any order.
    pub fn new(mut ranges: Vec<(u16, u16)>) -> Option<Self> {
        ranges.sort_unstable();
        let fits = |&(low, high): &(u16, u16)| (100..=599).contains(&low) && low <= high && high <= 599;
        (!ranges.is_empty() && ranges.len() <= 64 && ranges.iter().all(fits)).then_some(Self(ranges))
    }

    /// Whether the status is in the set.
    pub fn holds(&self, status: u16) -> bool {
        self.0.iter().any(|&(low, high)| (low..=high).contains(&status))
    }

    /// The ranges.
    pub fn ranges(&self) -> &[(u16, u16)] {
        &self.0
    }
}

/// A value kept from an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Extract {
    /// The variable.
    pub name: String,
    /// Where it comes from.
    pub from: ExtractFrom,
    /// The value when nothing is found; without one a miss fails the step with class `extract`.
    pub default: Option<String>,
}

/// Where an extracted value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExtractFrom {
    /// First match of a JSONPath: text as is, other values as JSON.
    Json(String),
    /// A header field; the name in lower case.
    Header(String),
    /// A regular expression over the body: the first group, or the whole match.
    Regex(String),
    /// A cookie set by this answer.
    Cookie(String),
}
