//! Takes known secrets out of texts that people see.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::encode::Encoding;

/// What stands where a secret stood.
pub(super) const HIDDEN: &str = "***";
/// Shorter values are not looked for: they stand in every text, and protect nothing.
const SECRET_MIN: usize = 4;

/// The secrets of a run in every form in which a request may carry them.
#[derive(Clone, Default)]
pub(super) struct Redactor {
    /// Longest first, so that a secret inside another cannot leave the rest of the longer one.
    forms: Vec<String>,
}

impl Redactor {
    pub(super) fn new(secrets: &[String]) -> Self {
        let mut forms: Vec<String> = secrets.iter().flat_map(|secret| forms(secret)).collect();
        forms.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Self { forms }
    }

    /// The text without secrets.
    pub(super) fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        if text.is_empty() {
            return text;
        }
        for form in &self.forms {
            if text.contains(form.as_str()) {
                text = Cow::Owned(text.replace(form.as_str(), HIDDEN));
            }
        }
        text
    }
}

impl Redactor {
    fn longest(&self) -> usize {
        self.forms.first().map_or(0, String::len)
    }

    /// So many bytes of a longer text are enough for [`Redactor::beginning`].
    pub(super) fn window(&self, max: usize) -> usize {
        max.saturating_add(self.longest().saturating_mul(2)).saturating_add(4)
    }

    /// The first `max` bytes of the text without secrets, and whether there is more; never a part of a secret, which
    /// could not be recognised any more.
    pub(super) fn beginning(&self, text: &str, max: usize) -> (String, bool) {
        let longest = self.longest();
        let looked_at = text.floor_char_boundary(max.saturating_add(longest.saturating_mul(2)));
        let mut clean = self.clean(&text[..looked_at]).into_owned();
        if looked_at < text.len() {
            // A secret may have been cut in two here.
            clean.truncate(clean.floor_char_boundary(clean.len().saturating_sub(longest)));
        }
        let end = clean.floor_char_boundary(max);
        let more = looked_at < text.len() || end < clean.len();
        clean.truncate(end);
        (clean, more)
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} forms)", self.forms.len())
    }
}

fn forms(secret: &str) -> Vec<String> {
    let mut found = vec![
        secret.to_owned(),
        secret.to_uppercase(),
        secret.to_lowercase(),
        secret.trim().to_owned(),
    ];
    for how in [Encoding::Percent, Encoding::Url, Encoding::Form, Encoding::Json] {
        let mut out = Vec::new();
        if how.append(secret, &mut out).is_ok()
            && let Ok(text) = String::from_utf8(out)
        {
            found.push(text);
        }
    }
    let slashes = |text: String| text.replace('/', "\\/");
    let escaped = [
        slashes(secret.replace('\\', "\\\\").replace('"', "\\\"")),
        ascii_json(secret, false),
        ascii_json(secret, true),
        slashes(ascii_json(secret, false)),
        html(secret, "&quot;", "&#39;"),
        html(secret, "&quot;", "&#x27;"),
        html(secret, "&#34;", "&#39;"),
        html(secret, "\"", "'"),
    ];
    found.extend(escaped);
    let percent: Vec<String> = found.iter().filter_map(|form| lower_percent(form)).collect();
    found.extend(percent);
    // Base64 depends on where in the encoded text the secret begins: what is the same for any neighbours is looked for.
    for before in 0..3 {
        let mut bytes = vec![0; before];
        bytes.extend_from_slice(secret.as_bytes());
        let encoded = STANDARD.encode(&bytes);
        let first = [0, 2, 3][before];
        let last = bytes.len() * 8 / 6;
        if let Some(form) = encoded.get(first..last) {
            found.push(form.to_owned());
        }
    }
    // Messages show control characters as spaces.
    let shown: String = secret
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    found.push(shown);
    found.retain(|form| form.len() >= SECRET_MIN);
    found
}

/// JSON as programs write it that keep to ASCII: all else as `\\u00e4`.
fn ascii_json(secret: &str, upper: bool) -> String {
    let mut out = String::with_capacity(secret.len());
    for letter in secret.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            ' '..='~' => out.push(letter),
            _ => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    let code = format!("{unit:04x}");
                    out.push_str("\\u");
                    out.push_str(&if upper { code.to_uppercase() } else { code });
                }
            }
        }
    }
    out
}

fn html(secret: &str, quote: &str, apostrophe: &str) -> String {
    let text = secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', quote).replace('\'', apostrophe)
}

/// The text with its percent escapes in lower case, as `%2f`; `None` for one without any.
fn lower_percent(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut out = parts.next()?.to_owned();
    let mut any = false;
    for part in parts {
        out.push('%');
        let digits = part.bytes().take_while(u8::is_ascii_hexdigit).count().min(2);
        any |= digits == 2;
        out.push_str(&part[..digits].to_ascii_lowercase());
        out.push_str(&part[digits..]);
    }
    any.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_a_secret_is_left() {
        let secret = "p\u{e4}ss wo&rd\"1";
        let redactor = Redactor::new(&["pa".to_owned(), secret.to_owned(), format!("{secret}long")]);
        for (text, want) in [
            (format!("a {secret} b"), "a *** b"),
            (format!("a {secret}long b"), "a *** b"),
            ("p%C3%A4ss%20wo%26rd%221".to_owned(), "***"),
            ("p%C3%A4ss+wo%26rd%221".to_owned(), "***"),
            ("{\"p\u{e4}ss wo&rd\\\"1\"}".to_owned(), "{\"***\"}"),
            ("pa".to_owned(), "pa"),
            ("p%c3%a4ss%20wo%26rd%221".to_owned(), "***"),
            ("{\"p\\u00e4ss wo&rd\\\"1\"}".to_owned(), "{\"***\"}"),
            ("{\"p\\u00E4ss wo&rd\\\"1\"}".to_owned(), "{\"***\"}"),
            ("<i>p\u{e4}ss wo&amp;rd&quot;1</i>".to_owned(), "<i>***</i>"),
        ] {
            assert_eq!(redactor.clean(&text), want);
        }
        for user in ["", "a", "ab", "abc", "abcd"] {
            for after in ["", "x", "xy"] {
                let text = STANDARD.encode(format!("{user}{secret}{after}"));
                let cleaned = redactor.clean(&text);
                assert!(
                    cleaned.contains(HIDDEN) && cleaned.len() < text.len() - 10,
                    "{text} {cleaned}"
                );
            }
        }
        assert_eq!(format!("{redactor:?}").matches("rd").count(), 0);
    }
}
