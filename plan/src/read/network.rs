//! Connections, workers, ceilings and tags.

use barrage_model::plan::{
    Ceilings, DnsPolicy, Network, OnLoss, Proxy, Reuse, TAG_COMBINATIONS_MAX, TagRule, Tls, WorkerPolicy,
};

use super::scalars::is_map;
use super::{Got, Reader, Value};
use crate::language::{CEILINGS, CLIENT_REUSE, DNS, NETWORK, TAG, TLS, WORKERS};
use crate::problem::{Problem, quoted};
use crate::value;
use crate::yaml::Node;

impl Reader<'_> {
    pub(crate) fn network(&self, node: &Node) -> Got<Network> {
        let fields = self.object(node, &NETWORK)?;
        let resolve = fields.or("resolve", Vec::new(), |value| {
            self.list(value, |value| self.parse(value, value::resolve))
        });
        let sources = fields.or("source_addresses", Vec::new(), |value| {
            self.list(value, |value| self.parse(value, value::address))
        });
        let dns = fields.or_default("dns", |value| self.dns(value));
        let reuse = fields.or_default("reuse", |value| self.reuse(value));
        let streams = fields.or_default("streams_per_connection", |value| {
            Ok((value.node.span, self.whole32(value)?))
        });
        let tls = fields.or("tls", Tls::default(), |value| self.tls(value.node));
        let proxy = fields.opt("proxy", |value| {
            Ok(Proxy {
                url: self.parse(value, value::proxy)?,
            })
        });
        let cookies = fields.or_default("cookies", |value| self.flag(value));
        let body_limit = fields.or_default("body_limit", |value| self.size(value));
        let (reuse, (span, streams)) = (reuse?, streams?);
        if reuse == Reuse::Never && streams > 1 {
            let problem = Problem::new(
                format!("found {streams} with `reuse: never`, which gives each request a connection"),
                "1, or another `reuse`",
            );
            return Err(self.fail(span, problem));
        }
        Ok(Network {
            resolve: resolve?,
            source_addresses: sources?,
            dns: dns?,
            reuse,
            streams_per_connection: streams,
            tls: tls?,
            proxy: proxy?,
            cookies: cookies?,
            body_limit_bytes: body_limit?,
        })
    }

    /// The word of a value that is a word or a map.
    fn word_of(&self, value: Value<'_>) -> Got<&'static str> {
        match value.shape {
            crate::language::Shape::OneOf(shapes) if !is_map(value.node) => {
                let first = shapes.first().expect("a table lists at least one shape");
                let known = match first {
                    crate::language::Shape::Word(words) => *words,
                    _ => &[],
                };
                self.parse(value, |text| {
                    known.iter().copied().find(|word| *word == text).ok_or_else(|| {
                        let near = barrage_model::syntax::nearest(text, known.iter().copied());
                        Problem::value(text, value.shape.expected()).nearest(near)
                    })
                })
            }
            _ => self.word(value),
        }
    }

    fn dns(&self, value: Value<'_>) -> Got<DnsPolicy> {
        if is_map(value.node) {
            let fields = self.object(value.node, &DNS)?;
            return Ok(DnsPolicy::Ttl(fields.need("ttl", |value| self.duration(value))?));
        }
        Ok(if self.word_of(value)? == "per_connection" {
            DnsPolicy::PerConnection
        } else {
            DnsPolicy::Once
        })
    }

    fn reuse(&self, value: Value<'_>) -> Got<Reuse> {
        if is_map(value.node) {
            let fields = self.object(value.node, &CLIENT_REUSE)?;
            let requests = fields.opt("max_requests", |value| self.whole32(value));
            let age = fields.opt("max_age", |value| self.duration(value));
            return match (requests?, age?) {
                (Some(requests), _) => Ok(Reuse::MaxRequests(requests)),
                (None, Some(age)) => Ok(Reuse::MaxAge(age)),
                (None, None) => Err(fields.missing("max_requests")),
            };
        }
        Ok(if self.word_of(value)? == "never" {
            Reuse::Never
        } else {
            Reuse::Always
        })
    }

    fn tls(&self, node: &Node) -> Got<Tls> {
        let fields = self.object(node, &TLS)?;
        let insecure = fields.or_default("insecure", |value| self.flag(value));
        let ca = fields.opt("ca", |value| self.file(value));
        let certificate = fields.opt("cert", |value| self.file(value));
        let key = fields.opt("key", |value| self.file(value));
        let (certificate, key) = (certificate?, key?);
        match (&certificate, &key) {
            (Some(_), None) => return Err(fields.missing("key")),
            (None, Some(_)) => return Err(fields.missing("cert")),
            _ => {}
        }
        Ok(Tls {
            insecure: insecure?,
            ca: ca?,
            certificate,
            key,
        })
    }

    pub(crate) fn workers(&self, node: &Node) -> Got<WorkerPolicy> {
        let fields = self.object(node, &WORKERS)?;
        let min = fields.or_default("min", |value| self.whole32(value));
        let max = fields.opt("max", |value| Ok((value.node, self.whole32(value)?)));
        let labels = fields.or("labels", Vec::new(), |value| self.labels(value));
        let wait = fields.or_default("wait", |value| self.duration(value));
        let on_loss = fields.or_default("on_loss", |value| self.on_loss(value));
        let loss_tolerance = fields.or_default("loss_tolerance", |value| self.ratio(value));
        let min = self.overrides.min_workers.unwrap_or(min?);
        let max = match max? {
            Some((node, max)) if max < min => {
                let problem = Problem::value(&max.to_string(), format!("at least {min}, the least number of workers"));
                return Err(self.fail(node.span, problem));
            }
            max => max.map(|(_, max)| max),
        };
        self.least_workers.set(min);
        Ok(WorkerPolicy {
            min,
            max,
            labels: labels?,
            wait: wait?,
            on_loss: on_loss?,
            loss_tolerance: loss_tolerance?,
        })
    }

    fn on_loss(&self, value: Value<'_>) -> Got<OnLoss> {
        self.parse(value, |text| match text {
            "continue" => Ok(OnLoss::Continue),
            "abort" => Ok(OnLoss::Abort),
            "redistribute" => Err(Problem::new(
                "found `redistribute`, which arrives with a later version",
                value.shape.expected(),
            )),
            _ => {
                let near = barrage_model::syntax::nearest(text, ["abort", "continue"]);
                Err(Problem::value(text, value.shape.expected()).nearest(near))
            }
        })
    }

    fn labels(&self, value: Value<'_>) -> Got<Vec<(String, String)>> {
        let read: Vec<Got<(String, String)>> = self
            .entries(value)?
            .map(|(entry, value)| {
                let name = self.key_name(entry);
                let label = self.text(value)?;
                Ok((name?, label))
            })
            .collect();
        read.into_iter().collect()
    }

    pub(crate) fn ceilings(&self, node: &Node) -> Got<Ceilings> {
        let fields = self.object(node, &CEILINGS)?;
        let per_worker = fields.opt("per_worker", |value| self.rate(value));
        let per_target = fields.opt("per_target", |value| self.rate(value));
        Ok(Ceilings {
            per_worker: per_worker?,
            per_target: per_target?,
        })
    }

    pub(crate) fn tags(&self, value: Value<'_>) -> Got<Vec<TagRule>> {
        let read: Vec<Got<TagRule>> = self
            .entries(value)?
            .map(|(entry, value)| {
                let name = self.key_name(entry);
                let fields = self.object(value.node, &TAG)?;
                let header = fields.need("header", |value| self.parse(value, value::header_name));
                let values = fields.need("values", |value| self.tag_values(value));
                Ok(TagRule {
                    name: name?,
                    header: header?.to_ascii_lowercase(),
                    values: values?,
                })
            })
            .collect();
        let rules: Vec<TagRule> = read.into_iter().collect::<Got<_>>()?;
        let combinations = rules
            .iter()
            .fold(1_usize, |product, rule| product.saturating_mul(rule.digits()));
        if combinations > TAG_COMBINATIONS_MAX {
            let found = format!("found {combinations} combinations of tag values");
            let expected = format!("at most {TAG_COMBINATIONS_MAX}, `other` and no header included");
            return Err(self.fail(super::fields::head(value.node), Problem::new(found, expected)));
        }
        Ok(rules)
    }

    fn tag_values(&self, value: Value<'_>) -> Got<Vec<String>> {
        let mut seen: Vec<String> = Vec::new();
        self.list(value, |value| {
            let text = self.text(value)?;
            if text == "other" || seen.contains(&text) {
                let found = if text == "other" {
                    "found `other`".to_owned()
                } else {
                    format!("found {} twice", quoted(&text))
                };
                return Err(self.fail(value.node.span, Problem::new(found, "each value once, and not `other`")));
            }
            seen.push(text.clone());
            Ok(text)
        })
    }
}
