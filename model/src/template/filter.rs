//! What is done to a value before it goes in.

use std::borrow::Cow;
use std::fmt::Write as _;

/// A filter: `${value | filter}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// `json`: leaves the value alone, and says that it *is* JSON: in a `json` body, a string that consists of this
    /// one splice becomes the value itself, without quotes. Other values in a `json` body are escaped as strings.
    Json,
    /// `base64`: standard alphabet, with padding, of the UTF-8 bytes.
    Base64,
    /// `urlencode`: percent-encodes every byte but letters, digits and `-._~`.
    UrlEncode,
    /// `upper`: upper case.
    Upper,
    /// `lower`: lower case.
    Lower,
    /// `trim`: without white space at both ends.
    Trim,
    /// `default("text")`: this text where there is no value; an empty value stays empty.
    Default(String),
}

impl Filter {
    /// Every filter's word, in the order in which they are documented.
    pub const WORDS: [&'static str; 7] = ["json", "base64", "urlencode", "upper", "lower", "trim", "default"];

    /// The filter of this word that takes no arguments.
    pub(super) fn without_arguments(word: &str) -> Option<Self> {
        Some(match word {
            "json" => Self::Json,
            "base64" => Self::Base64,
            "urlencode" => Self::UrlEncode,
            "upper" => Self::Upper,
            "lower" => Self::Lower,
            "trim" => Self::Trim,
            _ => return None,
        })
    }

    /// The word by which the filter is called.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Base64 => "base64",
            Self::UrlEncode => "urlencode",
            Self::Upper => "upper",
            Self::Lower => "lower",
            Self::Trim => "trim",
            Self::Default(_) => "default",
        }
    }

    /// The value after this filter; an absent value stays absent except under `default`.
    pub fn apply<'v>(&self, value: Option<Cow<'v, str>>) -> Option<Cow<'v, str>> {
        let Some(value) = value else {
            return match self {
                Self::Default(text) => Some(Cow::Owned(text.clone())),
                _ => None,
            };
        };
        Some(match self {
            Self::Json | Self::Default(_) => value,
            Self::Base64 => Cow::Owned(base64(value.as_bytes())),
            Self::UrlEncode => Cow::Owned(url_encoded(&value)),
            Self::Upper => Cow::Owned(value.to_uppercase()),
            Self::Lower => Cow::Owned(value.to_lowercase()),
            Self::Trim => match value {
                Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
                Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
            },
        })
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |bits, &b| bits << 8 | u32::from(b)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            if place <= chunk.len() {
                let six_bits = group >> (18 - 6 * place) & 0x3f;
                out.push(char::from(ALPHABET[six_bits as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

fn url_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a string cannot fail");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_do_what_their_words_say() {
        for (filter, value, want) in [
            (Filter::Json, Some("{}"), Some("{}")),
            (Filter::Base64, Some(""), Some("")),
            (Filter::Base64, Some("f"), Some("Zg==")),
            (Filter::Base64, Some("fo"), Some("Zm8=")),
            (Filter::Base64, Some("foo"), Some("Zm9v")),
            (Filter::Base64, Some("foob"), Some("Zm9vYg==")),
            (Filter::Base64, Some("user:p\u{e4}ss"), Some("dXNlcjpww6Rzcw==")),
            (Filter::UrlEncode, Some("a b/\u{e4}~-._"), Some("a%20b%2F%C3%A4~-._")),
            (Filter::Upper, Some("stra\u{df}e"), Some("STRASSE")),
            (Filter::Lower, Some("ABC"), Some("abc")),
            (Filter::Trim, Some(" a b\n"), Some("a b")),
            (Filter::Default("x".into()), Some(""), Some("")),
            (Filter::Default("x".into()), None, Some("x")),
            (Filter::Upper, None, None),
        ] {
            for owned in [false, true] {
                let given = value.map(|v| {
                    if owned {
                        Cow::Owned(v.to_owned())
                    } else {
                        Cow::Borrowed(v)
                    }
                });
                assert_eq!(filter.apply(given).as_deref(), want, "{filter:?} of {value:?}");
            }
        }
    }
}
