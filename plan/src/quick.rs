//! A plan from arguments: `barrage run -r 2000/s -d 30s -c 64 URL`.

use std::time::Duration;

use barrage_model::plan::{Method, Plan};
use barrage_model::schedule::{Curve, Piece};
use barrage_model::units::{Rate, format_duration};

use crate::problem::Problem;
use crate::read::key_of;
use crate::show::tree::Tree;
use crate::{Diagnostic, Overrides, Source, read};

/// How long a load lasts when neither its length nor its number is given.
pub const DURATION_DEFAULT: Duration = Duration::from_secs(10);
/// Users of a closed load when their number is not given.
pub const CONNECTIONS_DEFAULT: u32 = 50;

/// What the arguments say. With a rate the load is open and `connections` bounds the iterations in progress; with a
/// count and no rate so many requests are sent as fast as `connections` users can; otherwise so many users work for
/// `duration`.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own on the command line"
)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quick {
    /// Where to; `http://` is put before a URL without a scheme. May use `${…}` behind the host.
    pub url: String,
    /// `-r`: arrivals per second.
    pub rate: Option<Rate>,
    /// `-d`: how long.
    pub duration: Option<Duration>,
    /// `-n`: how many requests.
    pub count: Option<u64>,
    /// `-c`: users, or the most iterations in progress.
    pub connections: Option<u32>,
    /// `-m`, `-X`: GET, or POST with a body.
    pub method: Option<Method>,
    /// `-H`: `name: value`, each; those of the same name become one field (RFC 9110, section 5.3).
    pub headers: Vec<String>,
    /// `-b`: a text body.
    pub body: Option<String>,
    /// `-t`: of each request.
    pub timeout: Option<Duration>,
    /// Accept any certificate.
    pub insecure: bool,
    /// Speak HTTP/2.
    pub http2: bool,
    /// Look at the clock for the last 100 µs before each arrival.
    pub precise: bool,
    /// `-p`: streams of each connection, HTTP/2 only: so many times `connections` users are active.
    pub streams: Option<u32>,
    /// Redirects to follow.
    pub redirects: Option<u8>,
    /// `user:password`.
    pub basic_auth: Option<String>,
    /// A bearer token.
    pub bearer: Option<String>,
    /// A connection for each request.
    pub no_reuse: bool,
    /// Ask for and undo content encodings.
    pub decompress: bool,
    /// A proxy.
    pub proxy: Option<String>,
    /// Random gaps between arrivals.
    pub poisson: bool,
}

/// An argument that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{argument}: {problem}")]
pub struct QuickError {
    /// The argument, such as `-H`.
    pub argument: &'static str,
    /// What is wrong with it.
    pub problem: Box<Problem>,
}

impl QuickError {
    fn new(argument: &'static str, problem: Problem) -> Self {
        Self {
            argument,
            problem: Box::new(problem),
        }
    }
}

/// Where in the plan the value of an argument stands; the first prefix that fits decides.
const ARGUMENTS: [(&str, &str); 15] = [
    ("target", "URL"),
    ("load.rate", "-r"),
    ("load.for", "-d"),
    ("load.max_active", "-c"),
    ("users.count", "-c"),
    ("users.for", "-d"),
    ("iterations.count", "-n"),
    ("iterations.users", "-c"),
    ("iterations.at_most", "-d"),
    ("network.proxy", "--proxy"),
    ("network.streams_per_connection", "--streams"),
    ("defaults.headers", "-H"),
    ("defaults.timeout", "-t"),
    ("defaults.redirects", "--redirects"),
    ("defaults.auth", "--auth"),
];

impl Quick {
    /// The plan that the arguments describe, with the same defaults as a file.
    ///
    /// # Errors
    /// The first argument that cannot be used, or arguments that contradict each other.
    pub fn plan(&self, overrides: &Overrides) -> Result<Plan, QuickError> {
        let (target, path) = split(&self.url);
        let target = target.map_err(|problem| QuickError::new("URL", problem))?;
        let (host, headers) = self.header_map()?;
        let (load_key, load) = self.load()?;
        let body = self.body.as_ref().map(Tree::quoted);
        let request = Tree::map([("url", Some(Tree::quoted(path))), ("body", body)]);
        let usual = if self.body.is_some() { Method::Post } else { Method::Get };
        let method = self.method.unwrap_or(usual);
        let target = Tree::map([("url", Some(Tree::quoted(target))), ("host", host.map(Tree::quoted))]);
        let plan = Tree::map([
            ("name", Some(Tree::text("quick"))),
            ("target", Some(target)),
            ("defaults", self.defaults(headers)?.some()),
            ("network", self.network()?.some()),
            ("pacing", self.precise.then(|| Tree::plain("precise"))),
            (load_key, Some(load)),
            ("steps", Some(Tree::List(vec![Tree::only(key_of(method), request)]))),
        ]);
        let text = plan.document();
        let file = "arguments";
        read(Source { file, text: &text }, overrides).map_err(|errors| blamed(errors.first()))
    }

    fn defaults(&self, headers: Tree) -> Result<Tree, QuickError> {
        let timeout = self.timeout.map(|timeout| Tree::plain(format_duration(timeout)));
        Ok(Tree::map([
            ("timeout", timeout),
            ("headers", headers.some()),
            ("redirects", self.redirects.map(Tree::plain)),
            ("decompress", self.decompress.then(|| Tree::plain(true))),
            ("engine", self.http2.then(|| Tree::plain("http2"))),
            ("auth", self.auth()?),
        ]))
    }

    fn network(&self) -> Result<Tree, QuickError> {
        if self.streams.is_some() && !self.http2 {
            let problem = Problem::new("found `--streams` without `--http2`", "both; HTTP/1.1 has no streams");
            return Err(QuickError::new("--streams", problem));
        }
        let insecure = Tree::only("insecure", Tree::plain(true));
        Ok(Tree::map([
            ("reuse", self.no_reuse.then(|| Tree::plain("never"))),
            ("streams_per_connection", self.streams.map(Tree::plain)),
            ("tls", self.insecure.then_some(insecure)),
            ("proxy", self.proxy.as_ref().map(Tree::quoted)),
        ]))
    }

    /// Users of so many connections: one for each stream.
    fn users(&self, connections: u32) -> Tree {
        Tree::plain(u64::from(connections) * u64::from(self.streams.unwrap_or(1)))
    }

    /// The load and the key it stands under.
    fn load(&self) -> Result<(&'static str, Tree), QuickError> {
        let shown = |duration: Duration| Some(Tree::plain(format_duration(duration)));
        if self.poisson {
            let problem = match (self.rate, self.count) {
                (None, _) => Some(Problem::new(
                    "found `--arrivals` without `-r`",
                    "both; a closed load has no arrivals",
                )),
                (_, Some(_)) => Some(Problem::new(
                    "found `-n` beside `--arrivals poisson`",
                    "`-d`; how many Poisson arrivals fall into a time is random",
                )),
                _ => None,
            };
            if let Some(problem) = problem {
                return Err(QuickError::new("--arrivals", problem));
            }
        }
        match (self.rate, self.count) {
            (Some(rate), count) => {
                let length = match (count, self.duration) {
                    (Some(_), Some(_)) => {
                        let problem = Problem::new("found `-n` beside `-r` and `-d`", "two of `-r`, `-d` and `-n`");
                        return Err(QuickError::new("-n", problem));
                    }
                    (Some(count), None) => length_of(count, rate)?,
                    (None, duration) => duration.unwrap_or(DURATION_DEFAULT),
                };
                let map = Tree::map([
                    ("arrivals", self.poisson.then(|| Tree::plain("poisson"))),
                    ("rate", Some(Tree::plain(rate))),
                    ("for", shown(length)),
                    (
                        "max_active",
                        self.connections.map(|connections| self.users(connections)),
                    ),
                ]);
                Ok(("load", map))
            }
            (None, Some(count)) => {
                let users = self.users(self.connections.unwrap_or(CONNECTIONS_DEFAULT));
                let map = Tree::map([
                    ("count", Some(Tree::plain(count))),
                    ("users", Some(users)),
                    ("at_most", self.duration.and_then(shown)),
                ]);
                Ok(("iterations", map))
            }
            (None, None) => {
                let map = Tree::map([
                    (
                        "count",
                        Some(self.users(self.connections.unwrap_or(CONNECTIONS_DEFAULT))),
                    ),
                    ("for", shown(self.duration.unwrap_or(DURATION_DEFAULT))),
                ]);
                Ok(("users", map))
            }
        }
    }

    /// The `host` header, which belongs to the target, and all others.
    fn header_map(&self) -> Result<(Option<String>, Tree), QuickError> {
        let mut host = None;
        let mut all: Vec<(String, String)> = Vec::new();
        for header in &self.headers {
            let Some((name, value)) = header.split_once(':') else {
                let problem = Problem::value(header, "`name: value`");
                return Err(QuickError::new("-H", problem));
            };
            let (name, value) = (name.trim(), value.trim());
            if name.eq_ignore_ascii_case("host") {
                host = Some(value.to_owned());
                continue;
            }
            match all.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
                Some((_, before)) => {
                    // The one field that is a list of its own kind (RFC 6265, section 5.4).
                    let joint = if name.eq_ignore_ascii_case("cookie") {
                        "; "
                    } else {
                        ", "
                    };
                    *before = format!("{before}{joint}{value}");
                }
                None => all.push((name.to_owned(), value.to_owned())),
            }
        }
        let all = all.into_iter().map(|(name, value)| (name, Tree::quoted(value)));
        Ok((host, Tree::Map(all.collect())))
    }

    fn auth(&self) -> Result<Option<Tree>, QuickError> {
        match (&self.basic_auth, &self.bearer) {
            (Some(_), Some(_)) => {
                let problem = Problem::new("found a bearer token beside `--auth`", "only one of them");
                Err(QuickError::new("--auth", problem))
            }
            (Some(pair), None) => {
                let (user, password) = pair.split_once(':').unwrap_or((pair, ""));
                let map = Tree::map([
                    ("user", Some(Tree::quoted(user))),
                    ("password", Some(Tree::quoted(password))),
                ]);
                Ok(Some(Tree::only("basic", map)))
            }
            (None, Some(token)) => Ok(Some(Tree::only("bearer", Tree::quoted(token)))),
            (None, None) => Ok(None),
        }
    }
}

/// An error in the plan, as an error in the argument that it came from.
fn blamed(error: &Diagnostic) -> QuickError {
    let of = |(path, _): &&(&str, &str)| error.what.starts_with(path);
    let body = if error.what.contains(".body") { "-b" } else { "URL" };
    let argument = ARGUMENTS.iter().find(of).map_or(body, |(_, name)| name);
    let mut problem = Problem::new(error.found.clone(), error.expected.clone());
    problem.nearest.clone_from(&error.nearest);
    problem.help.clone_from(&error.help);
    QuickError::new(argument, problem)
}

/// The length of a constant rate that makes so many arrivals.
fn length_of(count: u64, rate: Rate) -> Result<Duration, QuickError> {
    // Arrival n falls due at n / rate: the last one, count − 1, has to lie within, the next one must not.
    let micros = (u128::from(count) * 1_000_000_000_000).checked_div(u128::from(rate.micro()));
    let length = micros
        .and_then(|micros| u64::try_from(micros).ok())
        .map(Duration::from_micros);
    // At more than one in a microsecond, no length may make exactly so many.
    let makes = |length: &Duration| {
        let curve = Curve::new(vec![Piece::hold(rate, *length)]);
        curve.is_ok_and(|curve| curve.total() == count)
    };
    length.filter(makes).ok_or_else(|| {
        let problem = Problem::new(
            format!("{count} requests at {rate}"),
            "a load of 1us to 7d, in whole microseconds",
        );
        QuickError::new("-n", problem)
    })
}

/// A URL as its target and the rest; a fragment is left out, as it is never sent.
fn split(url: &str) -> (Result<String, Problem>, String) {
    let url = url.split('#').next().unwrap_or("");
    let whole = if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    };
    let start = whole.find("://").map_or(0, |at| at + 3);
    let end = whole[start..].find(['/', '?']).map_or(whole.len(), |at| start + at);
    let (target, rest) = whole.split_at(end);
    let path = if rest.starts_with('/') {
        rest.to_owned()
    } else {
        format!("/{rest}")
    };
    let checked = crate::value::target("default", target).map(|_| target.to_owned());
    (checked.map_err(|problem| Problem { at: None, ..problem }), path)
}
