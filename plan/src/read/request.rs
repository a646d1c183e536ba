//! Requests with their defaults.

use std::fmt::Write as _;

use std::time::Duration;

use barrage_model::plan::{Auth, Body, Check, EngineChoice, Method, OnFailure, Request, is_connection_field};
use barrage_model::syntax::nearest;
use barrage_model::template::{Part as TemplatePart, Template};

use super::checks::{order, same_kind};
use super::scalars::is_map;
use super::steps::Within;
use super::{Fields, Got, Reader, Reported, Value};
use crate::language::{DEFAULTS, REQUEST};
use crate::problem::{Problem, either, quoted};
use crate::value;
use crate::yaml::{Node, Span};

/// Timeout and waiting together stay below the longest latency that can be recorded.
const LATENCY_MAX: Duration = Duration::from_hours(1);

/// Templates whose names are still to be checked, with the places they stand at.
pub(crate) type Uses<'n> = Vec<(&'n Node, Template)>;

/// Keys that stand beside an action.
pub(crate) struct Beside<'n> {
    pub(crate) name: Option<Value<'n>>,
    pub(crate) timeout: Option<Value<'n>>,
    pub(crate) expect: Option<Value<'n>>,
    pub(crate) extract: Option<Value<'n>>,
    pub(crate) on_failure: Option<Value<'n>>,
}

/// What requests do unless they say otherwise. Names are checked where a default is used.
pub(crate) struct Defaults<'n> {
    timeout: Duration,
    headers: Vec<(String, Template, &'n Node)>,
    redirects: u8,
    decompress: bool,
    on_failure: OnFailure,
    engine: EngineChoice,
    auth: Option<(Auth, Uses<'n>)>,
    expect: Vec<(Check, Uses<'n>)>,
}

impl Reader<'_> {
    /// The plan's defaults; `node` is an empty map when the plan has none.
    pub(crate) fn defaults<'n>(&self, node: &'n Node) -> Got<Defaults<'n>> {
        let fields = self.object(node, &DEFAULTS)?;
        let timeout = fields.or_default("timeout", |value| self.duration(value));
        let headers = fields.or("headers", Vec::new(), |value| self.headers(value));
        let redirects = fields.or_default("redirects", |value| self.whole(value));
        let decompress = fields.or_default("decompress", |value| self.flag(value));
        let on_failure = fields.or_default("on_failure", |value| self.on_failure(value));
        let engine = fields.or_default("engine", |value| self.engine(value));
        let auth = fields.opt("auth", |value| self.auth(value.node));
        let expect = fields.or("expect", Vec::new(), |value| self.expect(value.node));
        Ok(Defaults {
            timeout: timeout?,
            headers: headers?,
            redirects: redirects? as u8,
            decompress: decompress?,
            on_failure: on_failure?,
            engine: engine?,
            auth: auth?,
            expect: expect?,
        })
    }

    /// One request.
    pub(crate) fn request(
        &self,
        method: Method,
        value: Value<'_>,
        beside: &Beside<'_>,
        within: &Within<'_, '_>,
    ) -> Got<Request> {
        let defaults = &within.shared.defaults;
        let mut request = Request {
            name: String::new(),
            method,
            target: 0,
            url: Template::default(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Body::Empty,
            auth: None,
            timeout: defaults.timeout,
            expect: Vec::new(),
            extract: Vec::new(),
            on_failure: defaults.on_failure,
            redirects: defaults.redirects,
            decompress: defaults.decompress,
            engine: defaults.engine,
        };
        let mut own = None;
        let read = if is_map(value.node) {
            let fields = self.object(value.node, &REQUEST)?;
            let headers = self.long_form(&fields, beside, within, &mut request);
            headers.map(|headers| own = Some(headers))
        } else {
            self.url(value).map(|url| request.url = url)
        };
        let named = if is_map(value.node) {
            Ok(())
        } else {
            self.name_request(None, beside, within, &mut request)
        };
        let timeout = beside.timeout.map(|value| self.duration(value)).transpose();
        let on_failure = beside.on_failure.map(|value| self.on_failure(value)).transpose();
        let checks = beside.expect.map(|value| self.expect(value.node)).transpose();
        let extract = beside.extract.map(|value| self.extracts(value)).transpose();
        read.and(named)?;
        request.timeout = timeout?.unwrap_or(request.timeout);
        request.on_failure = on_failure?.unwrap_or(request.on_failure);
        request.extract = extract?.unwrap_or_default();
        self.merge_checks(checks?.unwrap_or_default(), defaults, &mut request)?;
        self.merge_headers(&own.unwrap_or_default(), defaults, &mut request)?;
        if let (None, Some((auth, uses))) = (&request.auth, &defaults.auth) {
            self.check_uses(uses)?;
            request.auth = Some(auth.clone());
        }
        self.check_request(value.node, &request, within)?;
        Ok(request)
    }

    /// The keys of a request that is a map; returns its own headers.
    fn long_form<'n>(
        &self,
        fields: &Fields<'n, '_>,
        beside: &Beside<'_>,
        within: &Within<'_, '_>,
        request: &mut Request,
    ) -> Got<Vec<(String, Template, &'n Node)>> {
        let url = fields.need("url", |value| self.url(value));
        let target = fields.opt("target", |value| self.target_index(value, within));
        let query = fields.or("query", Vec::new(), |value| self.templates(value));
        let headers = fields.or("headers", Vec::new(), |value| self.headers(value));
        let body = self.body(fields);
        let auth = fields.opt("auth", |value| self.auth(value.node));
        let once = self.only_once("timeout", fields.value("timeout"), beside.timeout);
        let timeout = fields.opt("timeout", |value| self.duration(value));
        let redirects = fields.opt("redirects", |value| self.whole(value));
        let decompress = fields.opt("decompress", |value| self.flag(value));
        let engine = fields.opt("engine", |value| self.engine(value));
        request.url = url?;
        let named = self.name_request(fields.value("name"), beside, within, request);
        once?;
        named?;
        request.target = target?.unwrap_or(0);
        request.query = query?;
        request.body = body?;
        if let Some((auth, uses)) = auth? {
            self.check_uses(&uses)?;
            request.auth = Some(auth);
        }
        request.timeout = timeout?.unwrap_or(request.timeout);
        request.redirects = redirects?.map_or(request.redirects, |number| number as u8);
        request.decompress = decompress?.unwrap_or(request.decompress);
        request.engine = engine?.unwrap_or(request.engine);
        headers
    }

    fn name_request(
        &self,
        inside: Option<Value<'_>>,
        beside: &Beside<'_>,
        within: &Within<'_, '_>,
        request: &mut Request,
    ) -> Got<()> {
        request.name = match self.one_name(inside, beside.name, within)? {
            Some(name) => name,
            None => within.free_name(&default_name(request.method, &request.url)),
        };
        Ok(())
    }

    /// A path on the target or an absolute URL.
    pub(crate) fn url(&self, value: Value<'_>) -> Got<Template> {
        let template = self.template(value)?;
        let problem = match template.parts().first() {
            Some(TemplatePart::Literal(first)) => url_problem(first, template.as_static()),
            _ => None,
        };
        let problem = problem.or_else(|| {
            let literals = template.parts().iter().filter_map(|part| match part {
                TemplatePart::Literal(text) => Some(text.as_str()),
                TemplatePart::Splice(_) => None,
            });
            literals.into_iter().find_map(literal_problem)
        });
        match problem {
            None => {
                self.remember_url(value.node, &template);
                Ok(template)
            }
            Some(problem) => Err(self.fail(value.node.span, problem)),
        }
    }

    fn target_index(&self, value: Value<'_>, within: &Within<'_, '_>) -> Got<u16> {
        let names = || within.shared.targets.iter().map(|target| target.name.as_str());
        self.parse(value, |text| {
            let found = names().position(|name| name == text);
            found.map(|index| index as u16).ok_or_else(|| {
                Problem::new(format!("unknown target {}", quoted(text)), either(names()))
                    .nearest(nearest(text, names()))
            })
        })
    }

    /// Header fields with the places of their values.
    fn headers<'n>(&self, value: Value<'n>) -> Got<Vec<(String, Template, &'n Node)>> {
        let mut all: Vec<Got<(String, Template, &'n Node)>> = Vec::new();
        let mut seen = Vec::new();
        for (entry, value) in self.entries(value)? {
            let name = value::settable_header(&entry.key).map_err(|problem| self.fail(entry.key_span, problem));
            if seen.contains(&entry.key.to_ascii_lowercase()) {
                let found = format!("duplicate header {}", quoted(&entry.key));
                self.fail(entry.key_span, Problem::new(found, "each header once"));
            }
            seen.push(entry.key.to_ascii_lowercase());
            let template = self
                .unscoped(value)
                .and_then(|template| self.header_text(value, template));
            all.push(name.and_then(|name| Ok((name, template?, value.node))));
        }
        all.into_iter().collect()
    }

    pub(crate) fn header_text(&self, value: Value<'_>, template: Template) -> Got<Template> {
        for part in template.parts() {
            if let TemplatePart::Literal(text) = part {
                value::header_value(text).map_err(|problem| self.fail(value.node.span, problem))?;
            }
        }
        Ok(template)
    }

    /// Puts a request's own headers behind the defaults that it does not replace, and adds the body's content type.
    fn merge_headers(
        &self,
        own: &[(String, Template, &Node)],
        defaults: &Defaults<'_>,
        request: &mut Request,
    ) -> Got<()> {
        let kept = defaults
            .headers
            .iter()
            .filter(|(name, ..)| !own.iter().any(|(mine, ..)| mine.eq_ignore_ascii_case(name)));
        let mut uses = Uses::new();
        for (name, template, node) in kept.chain(own.iter()) {
            uses.push((node, template.clone()));
            request.headers.push((name.clone(), template.clone()));
        }
        self.check_uses(&uses)?;
        let content_type = match &request.body {
            Body::Json(_) => "application/json",
            Body::Form(_) => "application/x-www-form-urlencoded",
            _ => return Ok(()),
        };
        if !request
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        {
            request
                .headers
                .push(("content-type".to_owned(), Template::literal(content_type)));
        }
        Ok(())
    }

    fn merge_checks(&self, own: Vec<(Check, Uses<'_>)>, defaults: &Defaults<'_>, request: &mut Request) -> Got<()> {
        for (check, uses) in &defaults.expect {
            if !own.iter().any(|(mine, _)| same_kind(mine, check)) {
                self.check_uses(uses)?;
                request.expect.push(check.clone());
            }
        }
        for (check, uses) in own {
            self.check_uses(&uses)?;
            request.expect.push(check);
        }
        request.expect.sort_by_key(order);
        Ok(())
    }

    /// Checks the names of templates against what is known here.
    pub(crate) fn check_uses(&self, uses: &Uses<'_>) -> Got<()> {
        uses.iter()
            .try_for_each(|(node, template)| self.in_scope(node, template.splices()))
    }

    fn on_failure(&self, value: Value<'_>) -> Got<OnFailure> {
        Ok(if self.word(value)? == "continue" {
            OnFailure::Continue
        } else {
            OnFailure::End
        })
    }

    fn engine(&self, value: Value<'_>) -> Got<EngineChoice> {
        Ok(match self.word(value)? {
            "http1" => EngineChoice::Http1,
            "http2" => EngineChoice::Http2,
            "reqwest" => EngineChoice::Reqwest,
            _ => EngineChoice::Auto,
        })
    }

    /// What must hold between the keys of a request.
    fn check_request(&self, node: &Node, request: &Request, within: &Within<'_, '_>) -> Got<()> {
        let at = |key: &str| {
            node.get(key)
                .map_or_else(|| super::fields::head(node), |value| value.span)
        };
        if request.timeout + within.give_up_after > LATENCY_MAX {
            let shown = barrage_model::units::format_duration(request.timeout + within.give_up_after);
            let problem = Problem::new(
                format!("timeout and give_up_after are {shown} together"),
                "at most 1h, the longest latency that is recorded",
            );
            return Err(self.fail(at("timeout"), problem));
        }
        let raw = matches!(request.engine, EngineChoice::Http1 | EngineChoice::Http2);
        let needs = if request.redirects > 0 {
            Some("redirects")
        } else {
            request.decompress.then_some("decompress")
        };
        if let (true, Some(key)) = (raw, needs) {
            let problem = Problem::new(
                format!("found `{key}` with a raw engine"),
                "`engine: auto` or `engine: reqwest`",
            );
            return Err(self.fail(at(key), problem));
        }
        let refused =
            |(name, value): &&(String, Template)| is_connection_field(name, value.as_static().map(str::as_bytes));
        if request.engine == EngineChoice::Http2
            && let Some((name, _)) = request.headers.iter().find(refused)
        {
            let problem = Problem::new(
                format!("found the header {} with `engine: http2`", quoted(name)),
                "no header that belongs to a connection; HTTP/2 has none of them but `te: trailers`",
            );
            return Err(self.fail(at("headers"), problem));
        }
        let authorization = request
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        if authorization && request.auth.is_some() {
            let problem = Problem::new("found `auth` beside the header `authorization`", "only one of them");
            return Err(self.fail(at("auth"), problem));
        }
        Ok(())
    }

    /// Refuses raw engines where the whole plan needs the full client.
    pub(crate) fn refuse_raw_engine(&self, span: Span, key: &str, requests: &[&Request]) -> Result<(), Reported> {
        let raw = |request: &&&Request| matches!(request.engine, EngineChoice::Http1 | EngineChoice::Http2);
        match requests.iter().find(raw) {
            None => Ok(()),
            Some(request) => {
                let found = format!(
                    "found `{key}`, but the step {} asks for a raw engine",
                    quoted(&request.name)
                );
                Err(self.fail(span, Problem::new(found, "`engine: auto` or `engine: reqwest`")))
            }
        }
    }
}

/// The name of a request without one.
pub(crate) fn default_name(method: Method, url: &Template) -> String {
    let shown = url.to_string();
    let path = shown.split('?').next().unwrap_or("");
    let path: String = path.chars().filter(|c| !c.is_control()).collect();
    format!("{} {path}", method.word())
}

/// What is wrong with the beginning of a URL; `whole` is the URL if nothing is filled in.
fn url_problem(first: &str, whole: Option<&str>) -> Option<Problem> {
    const EXPECTED: &str = "a path such as /health, or an absolute URL";
    if first.starts_with('/') && !first.starts_with("//") {
        return None;
    }
    let absolute = first.starts_with("http://") || first.starts_with("https://");
    if absolute {
        let base = whole?.split(['?', '#']).next().unwrap_or("");
        return value::target("url", base)
            .err()
            .map(|problem| Problem { at: None, ..problem });
    }
    let problem = Problem::value(first, EXPECTED);
    let scheme = first.contains("://") || first.starts_with("//");
    Some(if scheme {
        problem
    } else {
        problem.nearest(Some(format!("/{first}")))
    })
}

/// What is wrong with literal text of a URL.
fn literal_problem(text: &str) -> Option<Problem> {
    let bad = text
        .chars()
        .find(|&c| c.is_whitespace() || c.is_control() || !c.is_ascii() || "#\"<>\\^`{|}".contains(c))?;
    if bad == '#' {
        return Some(Problem::new(
            "found `#` in a URL",
            "a URL without a fragment, which is never sent",
        ));
    }
    let mut encoded = String::new();
    let mut buffer = [0; 4];
    for byte in bad.encode_utf8(&mut buffer).bytes() {
        write!(encoded, "%{byte:02X}").expect("writing to a string cannot fail");
    }
    let mut shown = String::new();
    crate::problem::push_escaped(&mut shown, bad);
    Some(Problem::new(format!("found `{shown}` in a URL"), "a percent-encoded URL").nearest(Some(encoded)))
}
