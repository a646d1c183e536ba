//! `expect`: what an answer must be.

use barrage_model::plan::{Check, Matcher, StatusSet};
use barrage_model::template::Template;

use super::request::Uses;
use super::{Fields, Got, Reader, Value};
use crate::language::{EXPECT, HEADER_MATCHER, JSON_MATCHER, SIZE_RANGE};
use crate::problem::Problem;
use crate::value;
use crate::yaml::{Entry, Kind, Node};

/// A check with the templates in it.
type Checks<'n> = Vec<(Check, Uses<'n>)>;

impl Reader<'_> {
    /// The checks of one `expect`; the names in them are checked by the caller.
    pub(crate) fn expect<'n>(&self, node: &'n Node) -> Got<Checks<'n>> {
        let fields = self.object(node, &EXPECT)?;
        let mut all: Vec<Got<Checks<'n>>> = Vec::new();
        let one = |check: Check| vec![(check, Uses::new())];
        let status = fields.opt("status", |value| Ok(one(Check::Status(self.status(value)?))));
        all.extend(status.transpose());
        all.extend(fields.opt("header", |value| self.header_checks(value)).transpose());
        let contains = fields.opt("body_contains", |value| {
            let text = self.unscoped(value)?;
            Ok(vec![(Check::BodyContains(text.clone()), vec![(value.node, text)])])
        });
        all.extend(contains.transpose());
        let matches = fields.opt("body_matches", |value| Ok(one(Check::BodyMatches(self.regex(value)?))));
        all.extend(matches.transpose());
        all.extend(fields.opt("json", |value| self.json_checks(value)).transpose());
        let size = fields.opt("size", |value| {
            let (min, max) = self.size_range(value)?;
            Ok(one(Check::BodySize { min, max }))
        });
        all.extend(size.transpose());
        let time = fields.opt("max_time", |value| Ok(one(Check::MaxTime(self.duration(value)?))));
        all.extend(time.transpose());
        let all: Vec<Checks<'n>> = all.into_iter().collect::<Got<_>>()?;
        Ok(all.into_iter().flatten().collect())
    }

    fn status(&self, value: Value<'_>) -> Got<StatusSet> {
        let ranges = match &value.node.kind {
            Kind::List(items) => {
                let read: Vec<Got<(u16, u16)>> = items
                    .iter()
                    .map(|node| self.parse(Value { node, ..value }, value::status))
                    .collect();
                read.into_iter().collect::<Got<Vec<_>>>()?
            }
            _ => vec![self.parse(value, value::status)?],
        };
        StatusSet::new(ranges)
            .ok_or_else(|| self.fail(value.node.span, Problem::new(value.node.describe(), "1 to 64 statuses")))
    }

    fn size_range(&self, value: Value<'_>) -> Got<(u64, u64)> {
        if !matches!(value.node.kind, Kind::Map(_)) {
            return self.parse(value, value::size_span);
        }
        let fields = self.object(value.node, &SIZE_RANGE)?;
        let min = fields.or_default("min", |value| self.size(value));
        let max = fields.or("max", u64::MAX, |value| self.size(value));
        let (min, max) = (min?, max?);
        if min > max {
            return Err(self.fail(
                value.node.span,
                Problem::new("found a `min` above `max`", "the smaller size as `min`"),
            ));
        }
        Ok((min, max))
    }

    fn header_checks<'n>(&self, value: Value<'n>) -> Got<Checks<'n>> {
        let read: Vec<Got<(Check, Uses<'n>)>> = self
            .entries(value)?
            .map(|(entry, value)| {
                let name = value::header_name(&entry.key).map_err(|problem| self.fail(entry.key_span, problem));
                let found = self.header_matcher(value);
                let name = name?.to_ascii_lowercase();
                let (matcher, uses) = found?;
                Ok((Check::Header { name, matcher }, uses))
            })
            .collect();
        self.distinct(value, read)
    }

    fn header_matcher<'n>(&self, value: Value<'n>) -> Got<(Matcher, Uses<'n>)> {
        if let Some(word) = bare_word(value.node) {
            return Ok((word, Uses::new()));
        }
        if !matches!(value.node.kind, Kind::Map(_)) {
            let text = self.unscoped(value)?;
            return Ok((Matcher::Equals(text.clone()), vec![(value.node, text)]));
        }
        let fields = self.object(value.node, &HEADER_MATCHER)?;
        let equals = fields.opt("equals", |value| {
            let text = self.unscoped(value)?;
            Ok((Matcher::Equals(text.clone()), vec![(value.node, text)]))
        });
        self.common_matcher(&fields, equals)
    }

    fn json_checks<'n>(&self, value: Value<'n>) -> Got<Checks<'n>> {
        let read: Vec<Got<(Check, Uses<'n>)>> = self
            .entries(value)?
            .map(|(entry, value)| {
                let path = self.json_path_key(entry);
                let found = self.json_matcher(value);
                let path = path?;
                let (matcher, uses) = found?;
                Ok((Check::Json { path, matcher }, uses))
            })
            .collect();
        self.distinct(value, read)
    }

    fn json_path_key(&self, entry: &Entry) -> Got<String> {
        value::json_path(&entry.key).map_err(|problem| {
            let kind = Kind::Scalar(crate::yaml::Scalar {
                text: entry.key.clone(),
                plain: true,
            });
            self.fail_in(
                &Node {
                    span: entry.key_span,
                    kind,
                },
                &entry.key,
                problem,
            )
        })
    }

    fn json_matcher<'n>(&self, value: Value<'n>) -> Got<(Matcher, Uses<'n>)> {
        if let Some(word) = bare_word(value.node) {
            return Ok((word, Uses::new()));
        }
        if !matches!(value.node.kind, Kind::Map(_)) {
            let mut uses = Uses::new();
            let json = self.json(value.node, &mut uses)?;
            return Ok((Matcher::Equals(json), uses));
        }
        let fields = self.object(value.node, &JSON_MATCHER)?;
        let equals = fields.opt("equals", |value| {
            let mut uses = Uses::new();
            let json = self.json(value.node, &mut uses)?;
            Ok((Matcher::Equals(json), uses))
        });
        self.common_matcher(&fields, equals)
    }

    /// The forms of a matcher that headers and JSON values share.
    fn common_matcher<'n>(
        &self,
        fields: &Fields<'n, '_>,
        equals: Got<Option<(Matcher, Uses<'n>)>>,
    ) -> Got<(Matcher, Uses<'n>)> {
        let contains = fields.opt("contains", |value| {
            let text: Template = self.unscoped(value)?;
            Ok((Matcher::Contains(text.clone()), vec![(value.node, text)]))
        });
        let matches = fields.opt("matches", |value| {
            Ok((Matcher::Matches(self.regex(value)?), Uses::new()))
        });
        let found = [equals?, contains?, matches?].into_iter().flatten().next();
        found.ok_or_else(|| fields.missing("equals"))
    }

    /// Refuses two checks of the same header.
    fn distinct<'n>(&self, value: Value<'_>, read: Vec<Got<(Check, Uses<'n>)>>) -> Got<Checks<'n>> {
        let all: Checks<'n> = read.into_iter().collect::<Got<_>>()?;
        for (n, (check, _)) in all.iter().enumerate() {
            if all[..n].iter().any(|(before, _)| same_kind(before, check)) {
                let problem = Problem::new("found two checks of one header", "each header once");
                return Err(self.fail(value.node.span, problem));
            }
        }
        Ok(all)
    }
}

/// `present` or `absent`, written without quotes.
fn bare_word(node: &Node) -> Option<Matcher> {
    match &node.kind {
        Kind::Scalar(scalar) if scalar.plain && scalar.text == "present" => Some(Matcher::Present),
        Kind::Scalar(scalar) if scalar.plain && scalar.text == "absent" => Some(Matcher::Absent),
        _ => None,
    }
}

/// Whether two checks look at the same thing, so that the one of a step replaces the one of the defaults.
pub(crate) fn same_kind(one: &Check, other: &Check) -> bool {
    match (one, other) {
        (Check::Header { name: one, .. }, Check::Header { name: other, .. })
        | (Check::Json { path: one, .. }, Check::Json { path: other, .. }) => one == other,
        _ => std::mem::discriminant(one) == std::mem::discriminant(other),
    }
}

/// The order in which checks are made: what is cheap and says most first.
pub(crate) fn order(check: &Check) -> u8 {
    match check {
        Check::Status(_) => 0,
        Check::Header { .. } => 1,
        Check::BodyContains(_) => 2,
        Check::BodyMatches(_) => 3,
        Check::Json { .. } => 4,
        Check::BodySize { .. } => 5,
        Check::MaxTime(_) => 6,
    }
}
