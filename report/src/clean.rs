//! Strings from outside, made safe to show.

/// Longest name that a report shows, in characters.
pub(crate) const NAME_MAX: usize = 200;
/// Longest sentence or message that a report shows, in characters.
pub(crate) const MESSAGE_MAX: usize = 400;

/// Makes a string from outside one line of visible characters, at most `max` of them and an ellipsis.
///
/// Control characters (escape sequences, line ends), characters that turn the direction of writing and other invisible
/// ones become their Rust escapes, such as `\u{202e}`. Nothing else changes, so clean text stays as it is.
pub(crate) fn clean(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(4 * max));
    for (n, c) in text.chars().enumerate() {
        if n == max {
            out.push('…');
            break;
        }
        if is_hidden(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Characters that are not shown as themselves: controls, format characters and those that no interchange allows.
///
/// The joiners U+200C and U+200D stay, because several scripts cannot be written without them.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            u32::from(c),
            0xad | 0x600..=0x605
                | 0x61c
                | 0x6dd
                | 0x70f
                | 0x115f..=0x1160
                | 0x180b..=0x180f
                | 0x200b
                | 0x200e..=0x200f
                | 0x2028..=0x202e
                | 0x2060..=0x206f
                | 0x3164
                | 0xfdd0..=0xfdef
                | 0xfeff
                | 0xffa0
                | 0xfff0..=0xfffb
                | 0x1_d173..=0x1_d17a
                | 0xe_0000..=0xe_0fff
        )
        || u32::from(c) & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_spelled_out() {
        for (dirty, want) in [
            ("list tools", "list tools"),
            ("größe 漢字 🦀 ✓", "größe 漢字 🦀 ✓"),
            ("\u{1b}[31mred\u{1b}[0m", "\\u{1b}[31mred\\u{1b}[0m"),
            ("a\nb\r\n\tc", "a\\nb\\r\\n\\tc"),
            ("user\u{202e}gnp.exe", "user\\u{202e}gnp.exe"),
            ("c1\u{9b}31m", "c1\\u{9b}31m"),
            ("null\0", "null\\u{0}"),
            (
                "bom\u{feff} tag\u{e0041} end\u{ffff}",
                "bom\\u{feff} tag\\u{e0041} end\\u{ffff}",
            ),
            ("0123456789abc", "0123456789ab…"),
        ] {
            let max = if dirty.starts_with("0123") { 12 } else { 60 };
            assert_eq!(clean(dirty, max), want);
        }
    }
}
