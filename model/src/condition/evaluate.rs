//! The truth of a condition.

use std::borrow::Cow;

use super::{Condition, Term, Test, number};
use crate::expr::Cmp;
use crate::template::Source;

impl Condition {
    /// Whether the condition holds.
    ///
    /// `lookup` gives a value or `None` where there is none; `matcher` says whether a pattern (first) is found in a
    /// text. Two sides that are both numbers in the grammar of JSON compare as numbers, exactly; else as texts, byte by
    /// byte. No comparison with an absent value holds, neither `==` nor `!=`, except with `null`.
    pub fn is_met<'v>(
        &self,
        lookup: &dyn Fn(&Source) -> Option<Cow<'v, str>>,
        matcher: &dyn Fn(&str, &str) -> bool,
    ) -> bool {
        self.evaluate(&mut |test| Some(test.holds(lookup, matcher)))
            .unwrap_or(false)
    }
}

impl Test {
    fn holds<'v>(
        &self,
        lookup: &dyn Fn(&Source) -> Option<Cow<'v, str>>,
        matcher: &dyn Fn(&str, &str) -> bool,
    ) -> bool {
        match self {
            Self::Exists(source) => lookup(source).is_some(),
            Self::Compare {
                left: Term::Null,
                cmp,
                right: term,
            }
            | Self::Compare {
                left: term,
                cmp,
                right: Term::Null,
            } => {
                let is_null = term.value(lookup).is_none_or(|text| text == "null");
                match cmp {
                    Cmp::Eq => is_null,
                    Cmp::Ne => !is_null,
                    _ => false,
                }
            }
            Self::Compare { left, cmp, right } => match (left.value(lookup), right.value(lookup)) {
                (Some(left), Some(right)) => {
                    let order = number::compare(&left, &right).unwrap_or_else(|| left.as_ref().cmp(right.as_ref()));
                    cmp.accepts(order)
                }
                _ => false,
            },
            Self::Contains { value, part } => match (value.value(lookup), part.value(lookup)) {
                (Some(value), Some(part)) => value.contains(part.as_ref()),
                _ => false,
            },
            Self::Matches { value, pattern } => value.value(lookup).is_some_and(|value| matcher(pattern, &value)),
        }
    }
}

impl Term {
    fn value<'s, 'v: 's>(&'s self, lookup: &dyn Fn(&Source) -> Option<Cow<'v, str>>) -> Option<Cow<'s, str>> {
        match self {
            Self::Splice(splice) => splice.resolve(lookup),
            Self::Text(text) | Self::Number(text) => Some(Cow::Borrowed(text)),
            Self::Bool(truth) => Some(Cow::Borrowed(if *truth { "true" } else { "false" })),
            Self::Null => None,
        }
    }
}
