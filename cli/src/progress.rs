//! The live view on stderr: a block that redraws on a terminal, plain lines elsewhere. At most four drawings a second,
//! since drawing takes processor time from the generator.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use barrage_model::units::format_duration;
use barrage_proto::v1::Snapshot;
use rustix::termios::tcgetwinsize;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::clock;

/// Between two drawings on a terminal.
const REDRAW: Duration = Duration::from_millis(250);
/// Between two plain lines.
const PLAIN: Duration = Duration::from_secs(5);
/// Longest foreign text shown.
const TEXT_MAX: usize = 60;
/// Longest sentence from a coordinator shown.
const SENTENCE_MAX: usize = 160;
/// Reasons against the generator shown at once.
const REASONS_MAX: usize = 2;

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Hidden,
    Plain,
    Block,
}

/// The live view.
#[derive(Debug)]
pub(crate) struct Progress {
    style: Style,
    drawn_at: Option<Instant>,
    lines: usize,
    state: String,
    generator: String,
}

impl Progress {
    /// Chooses the style by the terminal and the flags.
    pub(crate) fn new(quiet: bool, plain: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb") || std::env::var_os("CI").is_some();
        let style = match (quiet, plain || dumb || !std::io::stderr().is_terminal()) {
            (true, _) => Style::Hidden,
            (false, true) => Style::Plain,
            (false, false) => Style::Block,
        };
        Self {
            style,
            drawn_at: None,
            lines: 0,
            state: String::new(),
            generator: String::new(),
        }
    }

    /// A line that stays.
    pub(crate) fn say(&mut self, text: &str) {
        if self.style != Style::Hidden {
            self.clear();
            write_all(&format!("{text}\n"));
        }
    }

    /// Shows a snapshot unless the last drawing was a moment ago.
    pub(crate) fn show(&mut self, snapshot: &Snapshot) {
        let changed = self.state != snapshot.state || self.generator != snapshot.generator;
        let now = clock::now();
        let since = self.drawn_at.map(|at| now.duration_since(at));
        match self.style {
            Style::Hidden => {}
            Style::Plain => {
                if changed || since.is_none_or(|since| since >= PLAIN) {
                    write_all(&format!("{}\n", plain(snapshot)));
                    self.drawn_at = Some(now);
                }
            }
            Style::Block => {
                if changed || since.is_none_or(|since| since >= REDRAW) {
                    let width = columns();
                    let lines: Vec<String> = block(snapshot).into_iter().map(|line| cut(line, width)).collect();
                    let text = format!("{}{}\n", self.rewind(), lines.join("\n"));
                    self.lines = lines.len();
                    write_all(&text);
                    self.drawn_at = Some(now);
                }
            }
        }
        self.state.clone_from(&snapshot.state);
        self.generator.clone_from(&snapshot.generator);
    }

    /// Takes the block away, so that the result stands alone.
    pub(crate) fn clear(&mut self) {
        if self.style == Style::Block && self.lines > 0 {
            let text = self.rewind();
            self.lines = 0;
            write_all(&text);
        }
    }

    /// Moves to the block's first line and clears from there.
    fn rewind(&self) -> String {
        if self.lines == 0 {
            String::new()
        } else {
            format!("\x1b[{}A\r\x1b[J", self.lines)
        }
    }
}

/// Columns of the terminal on stderr; as many as any line may have where it does not say.
fn columns() -> usize {
    match tcgetwinsize(std::io::stderr()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => usize::MAX,
    }
}

/// A line of the block, no wider than the terminal: the block is rewound by lines, and one that wraps would leave a part of itself.
fn cut(line: String, columns: usize) -> String {
    if line.width() <= columns {
        return line;
    }
    let room = columns.saturating_sub(1);
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= room
    };
    line.chars().take_while(fits).chain(['…']).collect()
}

/// Says on stderr what the user should know.
pub(crate) fn warn(text: &str) {
    write_all(&clean_lines(&format!("warning: {text}\n")));
}

/// Foreign text of several lines with every control character but the newline escaped.
pub(crate) fn clean_lines(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if c == '\n' || !(c.is_control() || is_bidi(c)) {
            safe.push(c);
        } else {
            safe.extend(c.escape_default());
        }
    }
    safe
}

/// Says on stderr why a command failed. Control characters of foreign text come through escaped; newlines stay, since
/// plan diagnostics have several lines, the first of which begins as every error does.
pub(crate) fn complain(text: &str) {
    let text = text.strip_prefix("error: ").unwrap_or(text).trim_end();
    write_all(&clean_lines(&format!("error: {text}\n")));
}

/// Progress is a courtesy: a closed stderr must not end a run.
fn write_all(text: &str) {
    let _closed = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Foreign text without control characters, cut to a bounded length.
pub(crate) fn clean(text: &str) -> String {
    clean_to(text, TEXT_MAX)
}

fn clean_to(text: &str, max: usize) -> String {
    let safe = |c: char| if c.is_control() || is_bidi(c) { '\u{fffd}' } else { c };
    if text.chars().nth(max).is_some() {
        text.chars().take(max - 1).map(safe).chain(['…']).collect()
    } else {
        text.chars().map(safe).collect()
    }
}

/// What strains the generator, worst first; nothing while it is valid.
fn strains(snapshot: &Snapshot) -> impl Iterator<Item = String> {
    let reasons = snapshot.generator_reasons.iter().take(REASONS_MAX);
    reasons.map(|reason| clean_to(reason, SENTENCE_MAX))
}

fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A latency in the unit that suits it.
pub(crate) fn latency(micros: u64) -> String {
    match micros {
        0 => "-".to_owned(),
        1..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.2} s", micros as f64 / 1e6),
    }
}

fn time(snapshot: &Snapshot) -> String {
    let whole = |micros: u64| format_duration(Duration::from_secs(micros / 1_000_000));
    format!("{}/{}", whole(snapshot.run_time_us), whole(snapshot.duration_us))
}

fn plain(snapshot: &Snapshot) -> String {
    let mut line = format!("{} {}", clean(&snapshot.name), snapshot.state);
    if !snapshot.detail.is_empty() {
        let _infallible = write!(line, ": {}", clean(&snapshot.detail));
    }
    if snapshot.state == "running" || snapshot.state == "draining" {
        let _infallible = write!(
            line,
            " {} {} sent {:.0}/s served {:.0}/s active {} p50 {} p99 {} errors {} dropped {}",
            time(snapshot),
            clean(&snapshot.stage),
            snapshot.sent_per_s,
            snapshot.served_per_s,
            snapshot.active,
            latency(snapshot.p50_us),
            latency(snapshot.p99_us),
            snapshot.errors,
            snapshot.dropped,
        );
        for strain in strains(snapshot) {
            let _infallible = write!(line, " · generator {strain}");
        }
    }
    line
}

fn block(snapshot: &Snapshot) -> Vec<String> {
    let detail = if snapshot.detail.is_empty() {
        String::new()
    } else {
        format!(" · {}", clean(&snapshot.detail))
    };
    let mut lines = vec![format!("{} · {}{detail}", clean(&snapshot.name), snapshot.state)];
    let so_far = snapshot.run_time_us.min(snapshot.duration_us).saturating_mul(30);
    if let Some(done) = so_far.checked_div(snapshot.duration_us) {
        let done = done.min(30) as usize;
        let bar = format!("{}{}", "█".repeat(done), "░".repeat(30 - done));
        lines.push(format!("  {bar} {} {}", time(snapshot), clean(&snapshot.stage)));
    }
    lines.push(format!(
        "  offered {:.0}/s  sent {:.0}/s  served {:.0}/s  active {}",
        snapshot.offered_per_s, snapshot.sent_per_s, snapshot.served_per_s, snapshot.active
    ));
    lines.push(format!(
        "  p50 {}  p99 {}  errors {} ({:.2} %)  dropped {}  generator {}",
        latency(snapshot.p50_us),
        latency(snapshot.p99_us),
        snapshot.errors,
        snapshot.error_rate * 100.0,
        snapshot.dropped,
        clean(&snapshot.generator),
    ));
    lines.extend(strains(snapshot).map(|strain| format!("  generator {strain}")));
    for sla in snapshot.sla.iter().take(6) {
        lines.push(format!(
            "  {:<20} {}  ({})",
            clean(&sla.verdict).replace('_', " "),
            clean(&sla.that),
            clean(&sla.observed)
        ));
    }
    let workers: Vec<String> = snapshot
        .workers
        .iter()
        .take(8)
        .map(|worker| format!("{} {}", clean(&worker.name), clean(&worker.state)))
        .collect();
    if !workers.is_empty() {
        lines.push(format!("  workers: {}", workers.join(", ")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_no_wider_than_the_terminal() {
        let cut = |line: &str, columns| cut(line.to_owned(), columns);
        assert_eq!(cut("offered 10/s", 12), "offered 10/s");
        assert_eq!(cut("offered 10/s", 11), "offered 10…");
        assert_eq!(cut("日本語", 6), "日本語");
        // A wide character has no half.
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("ab", 1), "…");
        assert_eq!(cut("ab", usize::MAX), "ab");
    }
}
