//! Steps and requests on their way out.

use std::fmt::Write as _;

use barrage_model::plan::{
    Action, Auth, Body, Check, EngineChoice, Extract, ExtractFrom, Matcher, OnFailure, Part, PartBody, Plan, Request,
    Step,
};
use barrage_model::template::{Part as TemplatePart, Template};
use barrage_model::units::Bytes;

use super::tree::Tree;
use super::{delay, duration, named};
use crate::read::{escaped, key_of};

pub(super) fn steps(plan: &Plan, steps: &[Step]) -> Tree {
    Tree::List(steps.iter().map(|one| step(plan, one)).collect())
}

/// A text with splices. Always in quotes: a plain `1` would be the same, but a reader should not have to know.
pub(super) fn template(template: &Template) -> Tree {
    Tree::text(template.to_string())
}

fn step(plan: &Plan, step: &Step) -> Tree {
    match &step.action {
        Action::Request(request) => self::request(plan, request),
        Action::Think(pause) => Tree::only("think", delay(*pause)),
        Action::Set(all) => Tree::only(
            "set",
            named(all.iter().map(|(name, value)| (name.as_str(), template(value)))),
        ),
        Action::Repeat { times, steps: inner } => {
            let map = Tree::map([("times", Some(Tree::plain(times))), ("steps", Some(steps(plan, inner)))]);
            Tree::only("repeat", map)
        }
        Action::If { that, then, otherwise } => {
            let map = Tree::map([
                ("that", Some(Tree::quoted(that.to_string()))),
                ("then", Some(steps(plan, then))),
                ("else", steps(plan, otherwise).some()),
            ]);
            Tree::only("if", map)
        }
        Action::Until {
            that,
            at_most,
            every,
            steps: inner,
        } => {
            let map = Tree::map([
                ("that", Some(Tree::quoted(that.to_string()))),
                ("at_most", Some(Tree::plain(at_most))),
                ("every", Some(duration(*every))),
                ("steps", Some(steps(plan, inner))),
            ]);
            Tree::only("until", map)
        }
        Action::Group { name, steps: inner } => {
            let map = Tree::map([("name", Some(Tree::text(name))), ("steps", Some(steps(plan, inner)))]);
            Tree::only("group", map)
        }
    }
}

fn request(plan: &Plan, request: &Request) -> Tree {
    let pairs = |pairs: &[(String, Template)]| {
        Tree::Map(
            pairs
                .iter()
                .map(|(name, value)| (name.clone(), template(value)))
                .collect(),
        )
    };
    let target = plan
        .targets
        .get(usize::from(request.target))
        .filter(|_| request.target > 0);
    let (body_key, body) = body(&request.body);
    let engine = match request.engine {
        EngineChoice::Auto => "auto",
        EngineChoice::Http1 => "http1",
        EngineChoice::Http2 => "http2",
        EngineChoice::Reqwest => "reqwest",
    };
    let map = Tree::map([
        ("name", Some(Tree::text(&request.name))),
        ("url", Some(template(&request.url))),
        ("target", target.map(|target| Tree::text(&target.name))),
        ("query", pairs(&request.query).some()),
        ("headers", pairs(&request.headers).some()),
        (body_key, body),
        ("auth", request.auth.as_ref().map(auth)),
        ("timeout", Some(duration(request.timeout))),
        (
            "redirects",
            (request.redirects > 0).then(|| Tree::plain(request.redirects)),
        ),
        ("decompress", request.decompress.then(|| Tree::plain(true))),
        ("engine", Some(Tree::plain(engine))),
    ]);
    let on_failure = match request.on_failure {
        OnFailure::End => None,
        OnFailure::Continue => Some(Tree::plain("continue")),
    };
    Tree::map([
        (key_of(request.method), Some(map)),
        ("expect", expect(&request.expect).some()),
        ("extract", extract(&request.extract).some()),
        ("on_failure", on_failure),
    ])
}

/// A body with the key it stands under.
fn body(body: &Body) -> (&'static str, Option<Tree>) {
    match body {
        Body::Empty => ("body", None),
        Body::Json(text) => ("json", Some(json(text))),
        Body::Form(pairs) => {
            let pairs = pairs.iter().map(|(name, value)| (name.as_str(), template(value)));
            ("form", Some(named(pairs)))
        }
        Body::Multipart(parts) => {
            let parts = parts.iter().map(|one| (one.name.as_str(), part(one)));
            ("multipart", Some(named(parts)))
        }
        Body::Raw(text) => ("body", Some(template(text))),
        Body::File(file) => ("file", Some(Tree::text(&file.path))),
    }
}

fn part(part: &Part) -> Tree {
    let (key, content) = match &part.body {
        PartBody::Text(text) => ("text", template(text)),
        PartBody::File(file) => ("file", Tree::text(&file.path)),
    };
    Tree::map([
        (key, Some(content)),
        ("filename", part.filename.as_ref().map(Tree::text)),
        ("content_type", part.content_type.as_ref().map(Tree::text)),
    ])
}

fn auth(auth: &Auth) -> Tree {
    match auth {
        Auth::Bearer(token) => Tree::only("bearer", template(token)),
        Auth::Basic { user, password } => {
            let map = Tree::map([("user", Some(template(user))), ("password", Some(template(password)))]);
            Tree::only("basic", map)
        }
    }
}

fn expect(checks: &[Check]) -> Tree {
    let mut all: Vec<(String, Tree)> = Vec::new();
    for check in checks {
        let (key, value) = match check {
            Check::Header { name, matcher } => ("header", Tree::only(name, header_matcher(matcher))),
            Check::Json { path, matcher } => ("json", Tree::only(path, json_matcher(matcher))),
            Check::Status(set) => {
                let entry = |&(low, high): &(u16, u16)| {
                    if low == high {
                        Tree::plain(low)
                    } else {
                        Tree::plain(format!("{low}..{high}"))
                    }
                };
                ("status", Tree::List(set.ranges().iter().map(entry).collect()))
            }
            Check::BodyContains(text) => ("body_contains", template(text)),
            Check::BodyMatches(pattern) => ("body_matches", Tree::quoted(pattern)),
            Check::BodySize { min, max } => {
                let max = (*max < u64::MAX).then(|| Tree::plain(Bytes(*max)));
                (
                    "size",
                    Tree::map([("min", Some(Tree::plain(Bytes(*min)))), ("max", max)]),
                )
            }
            Check::MaxTime(time) => ("max_time", duration(*time)),
        };
        // Checks of several headers or paths stand under one key.
        match (all.iter_mut().find(|(known, _)| known == key), value) {
            (Some((_, Tree::Map(entries))), Tree::Map(more)) => entries.extend(more),
            (_, value) => all.push((key.to_owned(), value)),
        }
    }
    Tree::Map(all)
}

fn header_matcher(matcher: &Matcher) -> Tree {
    match matcher {
        Matcher::Equals(text) => Tree::only("equals", template(text)),
        other => common_matcher(other),
    }
}

fn json_matcher(matcher: &Matcher) -> Tree {
    match matcher {
        Matcher::Equals(text) => Tree::only("equals", json(text)),
        other => common_matcher(other),
    }
}

fn common_matcher(matcher: &Matcher) -> Tree {
    match matcher {
        Matcher::Present => Tree::plain("present"),
        Matcher::Absent => Tree::plain("absent"),
        Matcher::Equals(text) => Tree::only("equals", template(text)),
        Matcher::Contains(text) => Tree::only("contains", template(text)),
        Matcher::Matches(pattern) => Tree::only("matches", Tree::quoted(pattern)),
    }
}

fn extract(all: &[Extract]) -> Tree {
    named(all.iter().map(|one| {
        let (key, from) = match &one.from {
            ExtractFrom::Json(path) => ("json", path),
            ExtractFrom::Header(name) => ("header", name),
            ExtractFrom::Regex(pattern) => ("regex", pattern),
            ExtractFrom::Cookie(name) => ("cookie", name),
        };
        let map = Tree::map([
            (key, Some(Tree::quoted(from))),
            ("default", one.default.as_ref().map(Tree::quoted)),
        ]);
        (one.name.as_str(), map)
    }))
}

/// JSON text with splices as a YAML flow value: every splice stands inside quotes again.
fn json(text: &Template) -> Tree {
    let mut out = String::new();
    for (n, part) in text.parts().iter().enumerate() {
        match part {
            TemplatePart::Splice(splice) if splice.is_json() => {
                write!(out, "\"{}\"", escaped(&format!("${{{splice}}}"))).expect("writing to a string cannot fail");
            }
            TemplatePart::Splice(splice) => out.push_str(&escaped(&format!("${{{splice}}}"))),
            TemplatePart::Literal(literal) => {
                // A whole template, so that dollar signs are doubled where they have to be.
                let next = text
                    .parts()
                    .get(n + 1)
                    .filter(|next| matches!(next, TemplatePart::Splice(_)));
                let own = std::iter::once(part.clone()).chain(next.cloned());
                let shown = Template::from_parts(own).to_string();
                let tail = next.map_or(0, |next| Template::from_parts([next.clone()]).to_string().len());
                out.push_str(&shown[..shown.len() - tail]);
                debug_assert!(shown.len() >= literal.len());
            }
        }
    }
    Tree::Raw(out)
}
