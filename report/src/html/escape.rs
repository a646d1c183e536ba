//! The one way of a string into the page.

use crate::clean::clean;

/// Cleans a string, cuts it to `max` characters, and escapes it for element content and quoted attributes.
pub(super) fn escape(text: &str, max: usize) -> String {
    let text = clean(text, max);
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '`' => out.push_str("&#96;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_text() {
        let hostile = "<script>alert('1')</script> & \"`\u{1b}";
        let want = "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;&#96;\\u{1b}";
        assert_eq!(escape(hostile, 100), want);
    }
}
