//! Every format of four runs, word for word. `UPDATE_EXPECT=1` rewrites the files.

use barrage_metrics::summary::Summary;
use barrage_report::{Format, render};
use expect_test::{ExpectFile, expect_file};

use crate::fixture::{checkout, empty, lost_worker, with_text};

/// What a hostile target or plan would like to have in a report.
const HOSTILE: &str = "=<script>alert(1)</script>\u{1b}[31m|`\u{202e}@ops\n\"'&";

#[track_caller]
fn check(summary: &Summary, format: Format, want: &ExpectFile) {
    let rendered = render(summary, format).expect("it renders");
    let rendered = String::from_utf8(rendered).expect("reports are UTF-8");
    // The golden files of CSV are kept with the line ends of the repository.
    assert_eq!(rendered.contains('\r'), matches!(format, Format::Csv | Format::Health));
    want.assert_eq(&rendered.replace("\r\n", "\n"));
}

#[test]
fn text() {
    check(&checkout(), Format::Text, &expect_file!["../golden/checkout.txt"]);
    check(&lost_worker(), Format::Text, &expect_file!["../golden/lost-worker.txt"]);
    check(&empty(), Format::Text, &expect_file!["../golden/empty.txt"]);
    check(
        &with_text(HOSTILE),
        Format::Text,
        &expect_file!["../golden/hostile.txt"],
    );
}

#[test]
fn json() {
    check(&checkout(), Format::Json, &expect_file!["../golden/checkout.json"]);
    check(
        &lost_worker(),
        Format::Json,
        &expect_file!["../golden/lost-worker.json"],
    );
    check(&empty(), Format::Json, &expect_file!["../golden/empty.json"]);
}

#[test]
fn html() {
    check(
        &lost_worker(),
        Format::Html,
        &expect_file!["../golden/lost-worker.html"],
    );
    check(&empty(), Format::Html, &expect_file!["../golden/empty.html"]);
}

#[test]
fn markdown() {
    check(
        &lost_worker(),
        Format::Markdown,
        &expect_file!["../golden/lost-worker.md"],
    );
    check(&empty(), Format::Markdown, &expect_file!["../golden/empty.md"]);
    check(
        &with_text(HOSTILE),
        Format::Markdown,
        &expect_file!["../golden/hostile.md"],
    );
}

#[test]
fn junit() {
    check(&checkout(), Format::Junit, &expect_file!["../golden/checkout.xml"]);
    check(
        &lost_worker(),
        Format::Junit,
        &expect_file!["../golden/lost-worker.xml"],
    );
    check(&empty(), Format::Junit, &expect_file!["../golden/empty.xml"]);
    check(
        &with_text(HOSTILE),
        Format::Junit,
        &expect_file!["../golden/hostile.xml"],
    );
}

#[test]
fn csv() {
    check(&lost_worker(), Format::Csv, &expect_file!["../golden/lost-worker.csv"]);
    check(&empty(), Format::Csv, &expect_file!["../golden/empty.csv"]);
    check(&with_text(HOSTILE), Format::Csv, &expect_file!["../golden/hostile.csv"]);
}

#[test]
fn health() {
    check(
        &lost_worker(),
        Format::Health,
        &expect_file!["../golden/lost-worker-health.csv"],
    );
    check(&empty(), Format::Health, &expect_file!["../golden/empty-health.csv"]);
}
