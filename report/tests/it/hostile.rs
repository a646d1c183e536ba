//! No string from outside acts on what shows the report.

use std::collections::BTreeSet;

use barrage_metrics::summary::Summary;
use barrage_report::{Format, render};
use proptest::prelude::*;

use crate::fixture::with_text;

fn text_of(summary: &Summary, format: Format) -> String {
    String::from_utf8(render(summary, format).expect("it renders")).expect("reports are UTF-8")
}

/// Strings with the marks of every format in them, between whatever else there is.
fn hostile() -> impl Strategy<Value = String> {
    let marks = prop::sample::select(vec![
        "<zz>",
        "</td>",
        "<",
        ">",
        "&",
        "\"",
        "'",
        "]]>",
        "-->",
        "`",
        "|",
        "\u{1b}[2J",
        "\u{9b}31m",
        "\u{202e}",
        "\u{2066}",
        "\n",
        "\r",
        "\t",
        "\0",
        "=cmd()",
        "+",
        "-",
        "@",
        ",",
        "\\",
        "\u{2028}",
        "\u{feff}",
        "\u{ffff}",
        "漢",
        "é",
        "🦀",
        "www.a",
        "https://a",
    ]);
    prop::collection::vec(prop_oneof![marks.prop_map(str::to_owned), any::<String>()], 0..8)
        .prop_map(|parts| parts.concat())
}

/// Characters that move a cursor or turn the direction of writing.
fn acts(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}

/// The names of all tags; panics at a `<` that begins none.
fn tags(page: &str) -> BTreeSet<String> {
    let starts = page.split('<').skip(1);
    let names = starts.map(|rest| {
        let name = rest.trim_start_matches(['/', '!', '?']);
        let end = name
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .unwrap_or(name.len());
        assert!(end > 0, "a raw < before {rest:?}");
        name[..end].to_owned()
    });
    names.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nothing_acts_on_a_terminal(text in hostile()) {
        let summary = with_text(&text);
        for format in [Format::Text, Format::Markdown, Format::Html, Format::Json, Format::Junit] {
            let rendered = text_of(&summary, format);
            prop_assert!(!rendered.chars().any(acts), "{}", format.word());
        }
        for format in [Format::Csv, Format::Health] {
            let csv = text_of(&summary, format);
            prop_assert!(!csv.replace("\r\n", "\n").chars().any(acts), "{}", format.word());
        }
    }

    #[test]
    fn text_keeps_its_width(text in hostile()) {
        let rendered = text_of(&with_text(&text), Format::Text);
        for line in rendered.lines() {
            prop_assert!(unicode_width::UnicodeWidthStr::width(line) <= 120, "{line}");
        }
    }

    #[test]
    fn no_string_becomes_a_tag(text in hostile()) {
        let (hostile, tame) = (with_text(&text), with_text("x"));
        for format in [Format::Html, Format::Junit, Format::Markdown] {
            let mut known = tags(&text_of(&tame, format));
            // Elements that a page has only where there is room for a label, or a cell is not empty.
            known.extend(["text", "title", "code", "p", "system-out", "failure", "error"].map(str::to_owned));
            let found = tags(&text_of(&hostile, format));
            prop_assert!(found.is_subset(&known), "{}: {:?}", format.word(), found.difference(&known));
        }
    }

    #[test]
    fn rows_stay_rows(text in hostile()) {
        let summary = with_text(&text);
        let csv = text_of(&summary, Format::Csv);
        prop_assert_eq!(csv.lines().count(), summary.timeline.len() + 1);
        let health = text_of(&summary, Format::Health);
        prop_assert_eq!(health.lines().count(), summary.health.len() + 1);
        let tame = text_of(&with_text("x"), Format::Markdown);
        let markdown = text_of(&summary, Format::Markdown);
        let pipes = |text: &str| text.matches('|').count();
        prop_assert_eq!(pipes(&markdown), pipes(&tame));
    }

    #[test]
    fn json_gives_every_string_back(text in hostile()) {
        let rendered = text_of(&with_text(&text), Format::Json);
        let document: barrage_report::document::Document = serde_json::from_str(&rendered).expect("it is JSON");
        prop_assert_eq!(&document.run.name, &text);
        prop_assert_eq!(&document.errors[0].message, &text);
    }
}
