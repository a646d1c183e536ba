//! Text for a terminal: at most [`WIDTH`] columns, no colours.

mod table;
mod wrap;

use barrage_metrics::summary::Summary;

use crate::clean::{MESSAGE_MAX, NAME_MAX, clean};
use crate::put::put;
use crate::section::{Head, TERMINAL, Tone, head, sections};
use wrap::{width, wrap};

/// Widest line, in columns of a terminal.
const WIDTH: usize = 120;
/// Most lines that one sentence takes.
const LINES_MAX: usize = 5;

pub(crate) fn render(summary: &Summary) -> String {
    let mut out = String::new();
    write_head(&mut out, &head(summary, &TERMINAL), summary);
    for section in sections(summary, &TERMINAL) {
        put!(out, "\n{}\n", section.title.to_uppercase());
        for note in &section.notes {
            let mark = match note.tone {
                Tone::Plain => "",
                Tone::Good => "✓ ",
                Tone::Warn => "! ",
                Tone::Bad => "✗ ",
            };
            sentence(&mut out, &format!("  {mark}"), &note.text);
        }
        for table in &section.tables {
            table::write(&mut out, table);
        }
    }
    out
}

fn write_head(out: &mut String, head: &Head, summary: &Summary) {
    let name = clean(&summary.run.name, NAME_MAX);
    let first = format!("{} {name} (exit code {})", head.verdict, summary.exit_code.number());
    let mut reasons = head.reasons.as_slice();
    // The deciding reason stands on the first line when it fits there.
    let mut line = first.clone();
    if let Some((deciding, rest)) = reasons.split_first() {
        let with_reason = format!("{first}: {}", clean(deciding, MESSAGE_MAX));
        if width(&with_reason) <= WIDTH {
            line = with_reason;
            reasons = rest;
        }
    }
    sentence(out, "", &line);
    sentence(out, "", &head.generator.text);
    for reason in reasons {
        sentence(out, "  - ", reason);
    }
    for strain in &head.strains {
        sentence(out, "  - ", &strain.text);
    }
    let facts: Vec<String> = head
        .facts
        .iter()
        .map(|(name, value)| format!("{name} {}", clean(value, NAME_MAX)))
        .collect();
    let mut line = String::new();
    for fact in &facts {
        if !line.is_empty() && 2 + width(&line) + 3 + width(fact) > WIDTH {
            sentence(out, "  ", &std::mem::take(&mut line));
        }
        let apart = if line.is_empty() { "" } else { " · " };
        put!(line, "{apart}{fact}");
    }
    sentence(out, "  ", &line);
}

/// Writes a sentence on as many lines as it needs, the later ones indented.
fn sentence(out: &mut String, start: &str, text: &str) {
    let indent = width(start);
    let lines = wrap(&clean(text, 2 * MESSAGE_MAX), WIDTH - indent, LINES_MAX);
    for (n, line) in lines.iter().enumerate() {
        if n == 0 {
            put!(out, "{start}{line}\n");
        } else {
            put!(out, "{:indent$}{line}\n", "");
        }
    }
}
