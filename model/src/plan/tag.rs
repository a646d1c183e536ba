//! Combinations of tag values as one number: mixed radix, the first rule the lowest place.

use super::Plan;
use crate::ids::TagId;

impl Plan {
    /// Number of combinations of tag values; every [`TagId`] of the run is below it. 1 without tag rules.
    pub fn tag_count(&self) -> usize {
        self.tags
            .iter()
            .fold(1usize, |product, rule| product.saturating_mul(rule.digits()))
    }

    /// The combination of one digit for each rule ([`super::TagRule::digit`]), in the order of [`Plan::tags`].
    pub fn tag_id(&self, digits: impl IntoIterator<Item = usize>) -> TagId {
        let (mut id, mut place) = (0usize, 1usize);
        for (rule, digit) in self.tags.iter().zip(digits) {
            id = id.saturating_add(digit.min(rule.digits() - 1).saturating_mul(place));
            place = place.saturating_mul(rule.digits());
        }
        TagId(u16::try_from(id).unwrap_or(u16::MAX))
    }

    /// Name and value of each tag of a combination; an empty value = the answer had no such header.
    pub fn tag_values(&self, id: TagId) -> Vec<(&str, &str)> {
        let mut rest = usize::from(id.0);
        self.tags
            .iter()
            .map(|rule| {
                let digit = rest % rule.digits();
                rest /= rule.digits();
                (rule.name.as_str(), rule.label(digit))
            })
            .collect()
    }
}
