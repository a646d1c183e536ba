//! Hosts of absolute URLs, which are known before the run: connections are opened and names looked up by origin.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use barrage_model::plan::Plan;
use barrage_model::template::{Function, Part, Source, Splice, Template};

use super::{Got, Reader};
use crate::problem::Problem;
use crate::value;
use crate::yaml::Node;

/// What can be said of a value here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    /// It is this one.
    Text(String),
    /// It is the same in all iterations, but only a worker knows it.
    OnWorkers,
    /// It is made in the iteration.
    InIteration,
}

/// The variables of a plan.
struct Variables<'p> {
    written: BTreeSet<&'p str>,
    known: BTreeMap<&'p str, Known>,
}

impl<'p> Variables<'p> {
    fn new(plan: &'p Plan) -> Self {
        let mut all = Self {
            written: plan.written(),
            known: BTreeMap::new(),
        };
        for variable in &plan.variables {
            let known = match all.template(&variable.value) {
                // A secret is not shown, so nothing is said of it here.
                Known::Text(_) if variable.secret => Known::OnWorkers,
                known => known,
            };
            all.known.insert(&variable.name, known);
        }
        all
    }

    fn source(&self, source: &Source) -> Option<Known> {
        match source {
            Source::Variable(name) if self.written.contains(name.as_str()) => Some(Known::InIteration),
            Source::Variable(name) => self.known.get(name.as_str()).cloned(),
            Source::Env(_) | Source::File(_) => Some(Known::OnWorkers),
            Source::Call(Function::Worker | Function::Scenario | Function::RunId | Function::Target) => {
                Some(Known::OnWorkers)
            }
            Source::Column { .. } | Source::Call(_) => Some(Known::InIteration),
        }
    }

    fn splice(&self, splice: &Splice) -> Known {
        let text = match self.source(&splice.source) {
            Some(Known::Text(text)) => Some(text),
            None => None,
            Some(other) => return other,
        };
        let value = splice.resolve(&|_| text.as_deref().map(Cow::Borrowed));
        value.map_or(Known::OnWorkers, |value| Known::Text(value.into_owned()))
    }

    fn template(&self, template: &Template) -> Known {
        let mut whole = String::new();
        let mut on_workers = false;
        for part in template.parts() {
            match part {
                Part::Literal(text) => whole.push_str(text),
                Part::Splice(splice) => match self.splice(splice) {
                    Known::Text(text) => whole.push_str(&text),
                    Known::OnWorkers => on_workers = true,
                    Known::InIteration => return Known::InIteration,
                },
            }
        }
        if on_workers {
            Known::OnWorkers
        } else {
            Known::Text(whole)
        }
    }
}

impl Reader<'_> {
    /// Keeps a URL for [`Reader::check_hosts`], which needs the whole plan.
    pub(super) fn remember_url(&self, node: &Node, template: &Template) {
        if !template.is_static() {
            self.urls.borrow_mut().push((node.clone(), template.clone()));
        }
    }

    /// Refuses URLs whose scheme is known and whose host is not.
    pub(super) fn check_hosts(&self, plan: &Plan) -> Got<()> {
        let urls = self.urls.borrow();
        if urls.is_empty() {
            return Ok(());
        }
        let variables = Variables::new(plan);
        urls.iter()
            .map(|(node, url)| self.check_host(node, url, &variables))
            .fold(Ok(()), Result::and)
    }

    fn check_host(&self, node: &Node, url: &Template, variables: &Variables<'_>) -> Got<()> {
        let mut beginning = String::new();
        let mut judged = false;
        for part in url.parts() {
            let changing = match part {
                Part::Literal(text) => {
                    beginning.push_str(text);
                    None
                }
                Part::Splice(splice) => match variables.splice(splice) {
                    Known::Text(text) => {
                        beginning.push_str(&text);
                        None
                    }
                    Known::OnWorkers => return Ok(()),
                    Known::InIteration => Some(&splice.source),
                },
            };
            let Some(authority) = authority(&beginning) else {
                // A path, or a value at the very beginning, which may lead to any host that the plan names.
                if changing.is_some() || beginning.starts_with('/') {
                    return Ok(());
                }
                continue;
            };
            judged = true;
            if authority < beginning.len() {
                beginning.truncate(authority);
                break;
            }
            if let Some(source) = changing {
                let found = format!("found `${{{source}}}` in the host of a URL");
                let problem = Problem::new(found, "a host that is known before the run")
                    .help("a URL that is a value from its beginning on may lead to any host that the plan names");
                return Err(self.fail_at_source(node, source, problem));
            }
        }
        if !judged {
            return Ok(());
        }
        let target = value::target("url", &beginning);
        target
            .map(|_| ())
            .map_err(|problem| self.fail(node.span, Problem { at: None, ..problem }))
    }
}

/// Length of scheme and authority of an absolute URL.
fn authority(beginning: &str) -> Option<usize> {
    let is_http = beginning.starts_with("http://") || beginning.starts_with("https://");
    let start = beginning.find("://").filter(|_| is_http)? + "://".len();
    let rest = &beginning[start..];
    Some(start + rest.find(['/', '?', '#']).unwrap_or(rest.len()))
}
