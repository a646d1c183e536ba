//! Exact comparison of decimal numbers that are texts.

use std::cmp::Ordering;

/// A number in the grammar of JSON, taken apart: the digits stand for `0.digits × 10^point`.
struct Number<'a> {
    negative: bool,
    whole: &'a str,
    part: &'a str,
    zeros: usize,
    point: i64,
}

impl<'a> Number<'a> {
    /// `None` unless the whole text is a number whose exponent has at most nine digits.
    fn read(text: &'a str) -> Option<Self> {
        let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match rest.find(['e', 'E']) {
            Some(at) => (&rest[..at], read_exponent(&rest[at + 1..])?),
            None => (rest, 0),
        };
        let (whole, part) = match mantissa.split_once('.') {
            Some((whole, part)) if is_digits(part) => (whole, part),
            Some(_) => return None,
            None => (mantissa, ""),
        };
        if !is_digits(whole) || (whole.len() > 1 && whole.starts_with('0')) {
            return None;
        }
        let zeros = whole.bytes().chain(part.bytes()).take_while(|&b| b == b'0').count();
        let point = i64::try_from(whole.len()).ok()? - i64::try_from(zeros).ok()? + exponent;
        Some(Self {
            negative,
            whole,
            part,
            zeros,
            point,
        })
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        self.whole.bytes().chain(self.part.bytes()).skip(self.zeros)
    }

    fn is_zero(&self) -> bool {
        self.zeros == self.whole.len() + self.part.len()
    }

    /// -1, 0 or 1.
    fn sign(&self) -> i8 {
        match (self.is_zero(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    /// The order of the sizes of two numbers that are not zero.
    fn size_order(&self, other: &Self) -> Ordering {
        self.point.cmp(&other.point).then_with(|| {
            let (mut left, mut right) = (self.digits(), other.digits());
            loop {
                match (left.next(), right.next()) {
                    (None, None) => return Ordering::Equal,
                    (a, b) => match a.unwrap_or(b'0').cmp(&b.unwrap_or(b'0')) {
                        Ordering::Equal => {}
                        order => return order,
                    },
                }
            }
        })
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn read_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !is_digits(digits) || digits.len() > 9 {
        return None;
    }
    let size: i64 = digits.parse().ok()?;
    Some(if text.starts_with('-') { -size } else { size })
}

/// Whether a text is a number in the grammar of JSON.
pub(super) fn is_number(text: &str) -> bool {
    Number::read(text).is_some()
}

/// The order of two numbers; `None` unless both texts are numbers.
pub(super) fn compare(left: &str, right: &str) -> Option<Ordering> {
    let (left, right) = (Number::read(left)?, Number::read(right)?);
    Some(left.sign().cmp(&right.sign()).then_with(|| match left.sign() {
        0 => Ordering::Equal,
        1 => left.size_order(&right),
        _ => right.size_order(&left),
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_those_of_json() {
        for text in [
            "0",
            "-0",
            "10",
            "1.50",
            "1e3",
            "1E-3",
            "-2.5e+10",
            "123456789012345678901234567890",
        ] {
            assert!(is_number(text), "{text}");
        }
        for text in [
            "",
            "-",
            "007",
            "+1",
            ".5",
            "5.",
            "1e",
            "1e+",
            "0x10",
            "1_000",
            " 1",
            "1 ",
            "NaN",
            "1e9999999999",
        ] {
            assert!(!is_number(text), "{text}");
        }
    }

    #[test]
    fn order_is_exact() {
        for (left, right, want) in [
            ("1", "1.0", Ordering::Equal),
            ("100", "1e2", Ordering::Equal),
            ("0.001", "1e-3", Ordering::Equal),
            ("-0", "0.0", Ordering::Equal),
            ("0e5", "0", Ordering::Equal),
            ("9007199254740993", "9007199254740992", Ordering::Greater),
            ("0.1", "0.10000000000000000000000000001", Ordering::Less),
            ("-5", "3", Ordering::Less),
            ("-5", "-3", Ordering::Less),
            ("10", "9", Ordering::Greater),
            ("0.09", "0.1", Ordering::Less),
            ("1e999999999", "1e999999998", Ordering::Greater),
        ] {
            assert_eq!(compare(left, right), Some(want), "{left} to {right}");
            assert_eq!(compare(right, left), Some(want.reverse()), "{right} to {left}");
        }
    }

    proptest! {
        #[test]
        fn order_agrees_with_integers(left: i64, right: i64, shift in 0..6_usize) {
            let scaled = |n: i64| format!("{n}{}e-{shift}", "0".repeat(shift));
            prop_assert_eq!(compare(&left.to_string(), &right.to_string()), Some(left.cmp(&right)));
            if left != 0 {
                prop_assert_eq!(compare(&scaled(left), &left.to_string()), Some(Ordering::Equal));
            }
        }

        #[test]
        fn no_text_panics(left in "\\PC*|[-+0-9.eE]{0,12}", right in "[-+0-9.eE]{0,12}") {
            let _ = compare(&left, &right);
        }
    }
}
