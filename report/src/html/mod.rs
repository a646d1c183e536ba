//! One self-contained page: tables as in the text report, charts as inline SVG, no scripts, nothing fetched.
//!
//! Every string passes [`escape()`]; the page forbids scripts and loads by its content security policy as well.

mod axis;
mod chart;
mod curve;
mod escape;
mod generator;
mod overview;
mod svg;
mod timeline;

use barrage_metrics::summary::Summary;

use crate::clean::NAME_MAX;
use crate::number::{percent, quantile, rate};
use crate::put::put;
use crate::section::{Column, Note, PAGE, Row, Section, Table, Tone, head, sections};
use escape::escape;

const STYLE: &str = include_str!("style.css");

pub(crate) fn render(summary: &Summary) -> String {
    let mut out = String::with_capacity(64 * 1024);
    let head = head(summary, &PAGE);
    let name = escape(&summary.run.name, NAME_MAX);
    out.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    out.push_str(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
    );
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    out.push_str(
        "<meta name=\"referrer\" content=\"no-referrer\">\n<meta name=\"color-scheme\" content=\"light dark\">\n",
    );
    put!(
        out,
        "<title>{} {name}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        head.verdict
    );
    overview::write(&mut out, summary, &head);
    let mut rest = sections(summary, &PAGE).into_iter().peekable();
    if rest.peek().is_some_and(|section| section.title == "SLA")
        && let Some(sla) = rest.next()
    {
        section(&mut out, &sla);
    }
    charts(&mut out, summary);
    for part in rest {
        section(&mut out, &part);
    }
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn charts(out: &mut String, summary: &Summary) {
    let charts = timeline::charts(summary)
        .into_iter()
        .chain(curve::chart(&summary.curves, &summary.latency));
    for (n, chart) in charts.enumerate() {
        chart.write(out, n);
    }
}

fn tone_class(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "plain",
        Tone::Good => "good",
        Tone::Warn => "warn",
        Tone::Bad => "bad",
    }
}

fn section(out: &mut String, section: &Section) {
    put!(out, "<section>\n<h2>{}</h2>\n", section.title);
    for line in &section.notes {
        note(out, line);
    }
    for part in &section.tables {
        table(out, part);
    }
    out.push_str("</section>\n");
}

fn note(out: &mut String, note: &Note) {
    let text = escape(&note.text, crate::clean::MESSAGE_MAX);
    put!(out, "<p class=\"note {}\">{text}</p>\n", tone_class(note.tone));
}

fn table(out: &mut String, table: &Table) {
    if !table.caption.is_empty() {
        put!(out, "<h3>{}</h3>\n", table.caption);
    }
    out.push_str("<div class=\"scroll\"><table>\n<thead><tr>");
    for column in &table.columns {
        put!(
            out,
            "<th scope=\"col\" class=\"{}\">{}</th>",
            column_class(*column),
            column.head()
        );
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for line in &table.rows {
        row(out, &table.columns, line);
    }
    out.push_str("</tbody></table></div>\n");
    if table.left_out > 0 {
        put!(out, "<p class=\"note\">{} more rows left out</p>\n", table.left_out);
    }
}

fn column_class(column: Column) -> &'static str {
    match column {
        Column::Text(_) => "text",
        Column::Number(_) => "number",
    }
}

fn row(out: &mut String, columns: &[Column], row: &Row) {
    put!(out, "<tr class=\"{}\">", tone_class(row.tone));
    for (column, cell) in columns.iter().zip(&row.cells) {
        let cell = escape(cell, crate::clean::MESSAGE_MAX);
        put!(out, "<td class=\"{}\">{cell}</td>", column_class(*column));
    }
    out.push_str("</tr>\n");
    if let Some(note) = &row.note {
        let (span, note) = (columns.len(), escape(note, crate::clean::MESSAGE_MAX));
        put!(
            out,
            "<tr class=\"aside {}\"><td colspan=\"{span}\">{note}</td></tr>\n",
            tone_class(row.tone)
        );
    }
}

/// The numbers that are looked for first.
fn figures(summary: &Summary) -> [(&'static str, String); 6] {
    let response = &summary.latency.response;
    [
        ("response p50", quantile(response.p50)),
        ("response p95", quantile(response.p95)),
        ("response p99", quantile(response.p99)),
        ("service p50", quantile(summary.latency.service.p50)),
        ("served", rate(summary.rates.goodput_per_s)),
        ("error rate", percent(summary.rates.error_rate)),
    ]
}
