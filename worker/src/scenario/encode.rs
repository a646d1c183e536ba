//! How a value is written at its place, so that it cannot leave it.

use std::fmt::Write as _;

/// The syntax around a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As it is.
    Plain,
    /// In a header line: line ends and control characters are refused.
    Header,
    /// In a segment of a path, or in a query: everything but letters, digits and `-._~` becomes `%XX`.
    Percent,
    /// As (the beginning of) a URL: only what cannot stand in one becomes `%XX`; a fragment is refused.
    Url,
    /// In a form body: as `Percent`, a space becomes `+`.
    Form,
    /// Inside the quotes of a JSON string.
    Json,
}

/// A value that cannot stand at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadValue {
    #[error("a line end or control character")]
    Control,
    #[error("a `#`")]
    Fragment,
}

impl Encoding {
    /// Appends `value` to `out`.
    pub(super) fn append(self, value: &str, out: &mut Vec<u8>) -> Result<(), BadValue> {
        match self {
            Self::Plain => out.extend_from_slice(value.as_bytes()),
            Self::Header => {
                if value.bytes().any(|byte| byte != b'\t' && byte.is_ascii_control()) {
                    return Err(BadValue::Control);
                }
                out.extend_from_slice(value.as_bytes());
            }
            Self::Percent => percent(value, out, is_unreserved),
            Self::Url => {
                if value.contains('#') {
                    return Err(BadValue::Fragment);
                }
                percent(value, out, is_url_byte);
            }
            Self::Form => {
                for (at, part) in value.split(' ').enumerate() {
                    if at > 0 {
                        out.push(b'+');
                    }
                    percent(part, out, is_unreserved);
                }
            }
            Self::Json => json(value, out),
        }
        Ok(())
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// What a literal URL may keep: all printable ASCII but space and the delimiters that no URL contains.
pub(super) fn is_url_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"<>`{}".contains(&byte)
}

pub(super) fn percent(value: &str, out: &mut Vec<u8>, keep: impl Fn(u8) -> bool) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value.bytes() {
        if keep(byte) {
            out.push(byte);
        } else {
            out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
}

fn json(value: &str, out: &mut Vec<u8>) {
    let mut plain_from = 0;
    for (at, byte) in value.bytes().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..=0x1f => b"",
            _ => continue,
        };
        out.extend_from_slice(&value.as_bytes()[plain_from..at]);
        plain_from = at + 1;
        if escape.is_empty() {
            let mut code = String::with_capacity(6);
            // Writing into a string cannot fail.
            let _ = write!(code, "\\u{byte:04x}");
            out.extend_from_slice(code.as_bytes());
        } else {
            out.extend_from_slice(escape);
        }
    }
    out.extend_from_slice(&value.as_bytes()[plain_from..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_at_their_place() {
        for (how, value, want) in [
            (Encoding::Plain, "a\r\nb", Ok("a\r\nb")),
            (Encoding::Header, "a\tb \u{e4}", Ok("a\tb \u{e4}")),
            (Encoding::Header, "a\nb", Err(BadValue::Control)),
            (Encoding::Header, "a\rb", Err(BadValue::Control)),
            (Encoding::Header, "a\0", Err(BadValue::Control)),
            (Encoding::Header, "\u{7f}", Err(BadValue::Control)),
            (
                Encoding::Percent,
                "a/b?c&d=\u{e4} %~",
                Ok("a%2Fb%3Fc%26d%3D%C3%A4%20%25~"),
            ),
            (Encoding::Percent, "\r\n\0", Ok("%0D%0A%00")),
            (
                Encoding::Url,
                "/a b?c=%20&d[]=\u{e4}\"",
                Ok("/a%20b?c=%20&d[]=%C3%A4%22"),
            ),
            (Encoding::Url, "/a\r\nx: y", Ok("/a%0D%0Ax:%20y")),
            (Encoding::Url, "/a#b", Err(BadValue::Fragment)),
            (Encoding::Form, "a b&c=+\u{e4}", Ok("a+b%26c%3D%2B%C3%A4")),
            (Encoding::Form, " ", Ok("+")),
            (
                Encoding::Json,
                "a\"b\\c\n\r\t\u{1}\u{7f}\u{2028}/",
                Ok("a\\\"b\\\\c\\n\\r\\t\\u0001\u{7f}\u{2028}/"),
            ),
        ] {
            let mut out = Vec::new();
            let got = how.append(value, &mut out).map(|()| String::from_utf8(out).unwrap());
            assert_eq!(got.as_deref(), want.as_ref().map(|text| *text), "{how:?} {value:?}");
        }
    }
}
