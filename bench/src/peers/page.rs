//! `docs/benchmarks.md`: one part per section between marks, each with its own date, machine and versions.

use std::fmt::Write as _;

use super::bench::Bench;
use super::options::Section;
use super::stats::{Interval, Verdict};
use super::table::{Table, grouped};
use super::tools::Tool;
use super::{clock, machine};

/// One judged figure.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Judged {
    /// What is compared with what.
    pub(crate) what: String,
    /// The bar, as text.
    pub(crate) bar: String,
    /// What was seen, as text.
    pub(crate) seen: String,
    /// The verdict.
    pub(crate) verdict: Verdict,
}

impl Judged {
    /// Values with their interval beside a bar.
    pub(crate) fn new(what: &str, bar: String, values: &[f64], decimals: usize, verdict: Verdict) -> Self {
        Self {
            what: what.to_owned(),
            bar,
            seen: interval(values, decimals),
            verdict,
        }
    }
}

/// `1.21 (1.15–1.30, 98 %)`: the median and its interval.
fn interval(values: &[f64], decimals: usize) -> String {
    let number = |value| grouped(value, decimals);
    match Interval::of(values) {
        Some(found) => {
            let coverage = (found.coverage * 100.0).floor();
            format!(
                "{} ({}–{}, {coverage} %)",
                number(found.median),
                number(found.low),
                number(found.high)
            )
        }
        None => super::table::spread(values, decimals),
    }
}

/// What one section says.
#[derive(Clone, Debug)]
pub(crate) struct SectionText {
    section: Section,
    title: String,
    runs: Option<String>,
    paragraphs: Vec<String>,
    tables: Vec<(String, Table)>,
    judged: Vec<Judged>,
    missing: Vec<String>,
    /// A run of ours ended otherwise than it must.
    wrong: bool,
    commands: Vec<String>,
}

impl SectionText {
    /// An empty section.
    pub(crate) fn new(section: Section, title: &str) -> Self {
        Self {
            section,
            title: title.to_owned(),
            runs: None,
            paragraphs: Vec::new(),
            tables: Vec::new(),
            judged: Vec::new(),
            missing: Vec::new(),
            wrong: false,
            commands: Vec::new(),
        }
    }

    /// A section that could not be measured.
    pub(crate) fn failed(section: Section, reason: &str) -> Self {
        let mut text = Self::new(section, section.word());
        text.missing("the whole section", reason);
        text
    }

    /// Says how it was measured, where that is not the number of rounds and the length that was asked for.
    pub(crate) fn runs(&mut self, text: String) {
        self.runs = Some(text);
    }

    /// Adds a paragraph.
    pub(crate) fn paragraph(&mut self, text: &str) {
        self.paragraphs.push(text.to_owned());
    }

    /// Adds a table under a heading.
    pub(crate) fn table(&mut self, heading: &str, table: Table) {
        if !table.is_empty() {
            self.tables.push((heading.to_owned(), table));
        }
    }

    /// Adds a judged figure.
    pub(crate) fn judge(&mut self, judged: Judged) {
        self.judged.push(judged);
    }

    /// Says what was not measured, and why.
    pub(crate) fn missing(&mut self, what: &str, reason: &str) {
        let line = format!("{what}: {reason}");
        if !self.missing.contains(&line) {
            self.missing.push(line);
        }
    }

    /// Says that a run of ours failed, or did not count what the server did: no bar makes up for that.
    pub(crate) fn went_wrong(&mut self) {
        self.wrong = true;
    }

    /// Adds what a contestant says about itself, once.
    pub(crate) fn note(&mut self, who: &str, note: &str) {
        let line = format!("{who}: {note}.");
        if !self.paragraphs.contains(&line) {
            self.paragraphs.push(line);
        }
    }

    /// Adds a command line or a file that belongs to one; ports differ from run to run and are left out.
    pub(crate) fn command(&mut self, command: &str) {
        let command = without_ports(command);
        if !self.commands.contains(&command) {
            self.commands.push(command);
        }
    }

    /// Whether a bar was missed, a run of ours went wrong, or nothing could be measured at all. In a full run a bar that could not be judged, for want
    /// of runs that count, is not passed either.
    pub(crate) fn missed(&self, full: bool) -> bool {
        let missed = |judged: &Judged| match judged.verdict {
            Verdict::Met | Verdict::NotAsked(_) => false,
            Verdict::Missed => true,
            Verdict::NotJudged(_) => full,
        };
        self.wrong || !self.has_figures() || self.judged.iter().any(missed)
    }

    /// Whether anything was measured.
    pub(crate) fn has_figures(&self) -> bool {
        !self.tables.is_empty()
    }

    /// The section as Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut out = format!("## {}\n", self.title);
        for paragraph in &self.paragraphs {
            let _ = write!(out, "\n{paragraph}\n");
        }
        for (heading, table) in &self.tables {
            let _ = write!(out, "\n**{heading}**\n\n{}", table.markdown());
        }
        if !self.judged.is_empty() {
            let mut table = Table::new(&["judged", "bar", "median (interval)", "verdict"]);
            for judged in &self.judged {
                let Judged {
                    what,
                    bar,
                    seen,
                    verdict,
                } = judged;
                table.row(vec![what.clone(), bar.clone(), seen.clone(), verdict.shown()]);
            }
            let _ = write!(out, "\n{}", table.markdown());
        }
        if !self.missing.is_empty() {
            let _ = write!(out, "\nNot measured:\n\n");
            for line in &self.missing {
                let _ = writeln!(out, "- {}", line.replace('\n', " "));
            }
        }
        if !self.commands.is_empty() {
            let _ = write!(out, "\n```text\n{}\n```\n", self.commands.join("\n"));
        }
        out
    }
}

/// The page, or the parts of it that were measured.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    machine: String,
    runs: String,
    conditions: String,
    parts: Vec<(Section, String)>,
}

impl Page {
    /// Nothing yet, with the conditions that hold for every section of this run.
    pub(crate) fn new(bench: &Bench) -> Self {
        let found = &bench.toolbox.found;
        let versions: Vec<String> = Tool::ALL
            .into_iter()
            .filter(|tool| !matches!(tool, Tool::BarrageRun | Tool::Timerfd))
            .filter_map(|tool| Some(format!("{} ({})", tool.name(), found.get(&tool)?.version)))
            .collect();
        let options = &bench.options;
        let conditions = format!(
            "contestant on core {}, servers and coordinator on core {}. Barrage{}. Versions: {}; {}.",
            bench.client_core,
            bench.server_core,
            commit(&options.root),
            versions.join(", "),
            nginx_version(),
        );
        Self {
            machine: format!("Measured on {}: {}.", clock::today(), machine::description()),
            runs: rounds(options.rounds, options.seconds),
            conditions,
            parts: Vec::new(),
        }
    }

    /// Adds a section.
    pub(crate) fn put(&mut self, text: &SectionText) {
        let Self {
            machine, conditions, ..
        } = self;
        let runs = text.runs.as_ref().unwrap_or(&self.runs);
        let part = format!("{}\n{machine} {runs}, {conditions}\n", text.markdown());
        self.parts.push((text.section, part));
    }

    /// The page with its sections replaced by those of this run; other sections stay as they are.
    pub(crate) fn update(&self, before: &str) -> String {
        let mut out = INTRODUCTION.to_owned();
        for section in super::sections::ALL {
            let new = self
                .parts
                .iter()
                .find(|(part, _)| *part == section)
                .map(|(_, text)| text.as_str());
            if let Some(text) = new.or_else(|| between(before, section)) {
                let _ = write!(out, "\n{}\n{}\n{}\n", begin(section), text.trim(), end(section));
            }
        }
        out
    }
}

/// How a section is measured.
pub(crate) fn rounds(rounds: u32, seconds: u32) -> String {
    format!("{rounds} interleaved rounds of {seconds} s")
}

/// Every `127.0.0.1:12345` with `PORT` instead of the digits.
fn without_ports(text: &str) -> String {
    let mut parts = text.split(LOOPBACK);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let port = if rest.len() == part.len() { "" } else { "PORT" };
        let _ = write!(out, "{LOOPBACK}{port}{rest}");
    }
    out
}

/// The commit that is measured, as far as git knows one.
pub(crate) fn commit(root: &std::path::Path) -> String {
    let root = root.to_string_lossy();
    let said = super::tools::output(
        std::path::Path::new("git"),
        &["-C", &root, "describe", "--always", "--dirty"],
    );
    let commit = said.trim();
    let known = !commit.is_empty()
        && commit
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "-.".contains(letter));
    if known { format!(" at {commit}") } else { String::new() }
}

fn nginx_version() -> String {
    let said = super::tools::find_program("nginx").map(|nginx| super::tools::output(&nginx, &["-v"]));
    said.and_then(|said| Some(said.trim().strip_prefix("nginx version: ")?.to_owned()))
        .unwrap_or_else(|| "no nginx".to_owned())
}

fn begin(section: Section) -> String {
    format!("<!-- begin {} -->", section.word())
}

fn end(section: Section) -> String {
    format!("<!-- end {} -->", section.word())
}

/// The text of a section in an older page.
fn between(page: &str, section: Section) -> Option<&str> {
    let (_, rest) = page.split_once(&begin(section))?;
    Some(rest.split_once(&end(section))?.0)
}

const LOOPBACK: &str = "127.0.0.1:";

const INTRODUCTION: &str = "\
# Barrage beside other load generators

Written by `cargo xtask bench-peers`; do not edit. Every figure was measured in the run named below it: the same load for
everybody, on the same cores, in interleaved rounds where there are several. Requests are those that the *server* counted.
CPU is user + system time of the whole contestant from its start to its end, start-up and report included, as `wait4` tells
it. Values are medians with [smallest–largest].

A judged ratio is the median of the ratios within each round, with an interval that holds the true median with at least 90 %:
from the k-th smallest to the k-th largest of the ratios, k as large as that allows (exact, from the binomial distribution;
seven rounds give the whole range, 98 %, eleven leave out two at either end, 93 %). A bar is met when it lies below the
median and the interval's lower end lies above the bar − 0.05; a limit is met by the median.

`barrage` is a worker on the contestants' core that joins for one run, gets its plan from a live coordinator on the other
core and uploads its deltas to it: this is what the bars are judged on, and its CPU is that of the worker process from its
start to its end. `barrage-run` is `barrage run` with coordinator, control and load in one process on the one core: it pays for
everything. A run of ours whose own count is not the server's, to the request, is refused.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_run_replaces_its_own_sections_only() {
        let page = |section: Section, text: &str| Page {
            machine: String::new(),
            runs: String::new(),
            conditions: String::new(),
            parts: vec![(section, text.to_owned())],
        };
        let first = page(Section::Tls, "tls one").update("");
        let both = page(Section::Closed, "closed one").update(&first);
        let again = page(Section::Tls, "tls two").update(&both);
        let want = format!(
            "{INTRODUCTION}\n<!-- begin closed -->\nclosed one\n<!-- end closed -->\n\n<!-- begin tls -->\ntls two\n<!-- end tls -->\n"
        );
        assert_eq!(again, want);
    }

    #[test]
    fn ports_are_left_out() {
        let text = "wrk http://127.0.0.1:43210/ http://127.0.0.1:PORT 127.0.0.1:1";
        assert_eq!(
            without_ports(text),
            "wrk http://127.0.0.1:PORT/ http://127.0.0.1:PORT 127.0.0.1:PORT"
        );
    }

    #[test]
    fn a_section_shows_its_parts_in_order() {
        let mut text = SectionText::new(Section::Closed, "As fast as it goes");
        text.paragraph("Sixty-four connections.");
        let mut table = Table::new(&["client"]);
        table.row(vec!["wrk".to_owned()]);
        text.table("nginx", table);
        text.judge(Judged::new("rate", "≥ 1.00".to_owned(), &[1.0; 7], 2, Verdict::Met));
        text.missing("oha", "not installed");
        text.missing("oha", "not installed");
        text.command("wrk -t1");
        expect_test::expect![[r"
            ## As fast as it goes

            Sixty-four connections.

            **nginx**

            | client |
            |--------|
            | wrk    |

            | judged | bar    | median (interval)      | verdict |
            |--------|--------|------------------------|---------|
            | rate   | ≥ 1.00 | 1.00 (1.00–1.00, 98 %) | met     |

            Not measured:

            - oha: not installed

            ```text
            wrk -t1
            ```
        "]]
        .assert_eq(&text.markdown());
        assert!(text.has_figures() && !text.missed(true));
    }

    #[test]
    fn what_cannot_be_judged_is_not_passed_by_a_full_run() {
        let table = [
            (Verdict::Met, false, false),
            (Verdict::Missed, true, true),
            (Verdict::NotJudged("6 of 7 rounds".to_owned()), false, true),
            (
                Verdict::NotAsked("the bare loop shows 45 µs here".to_owned()),
                false,
                false,
            ),
        ];
        for (verdict, in_part, in_full) in table {
            let mut text = SectionText::new(Section::Closed, "As fast as it goes");
            let mut figures = Table::new(&["client"]);
            figures.row(vec!["wrk".to_owned()]);
            text.table("nginx", figures);
            text.judge(Judged::new("rate", "≥ 1.00".to_owned(), &[], 2, verdict.clone()));
            assert_eq!(
                (text.missed(false), text.missed(true)),
                (in_part, in_full),
                "{verdict:?}"
            );
        }
        let mut text = SectionText::new(Section::Closed, "As fast as it goes");
        let mut figures = Table::new(&["client"]);
        figures.row(vec!["wrk".to_owned()]);
        text.table("nginx", figures);
        text.judge(Judged::new("rate", "≥ 1.00".to_owned(), &[1.0; 7], 2, Verdict::Met));
        assert!(!text.missed(true));
        text.went_wrong();
        assert!(text.missed(false), "whatever else was met");
        let failed = SectionText::failed(Section::Closed, "no nginx");
        assert!(
            failed.missed(false) && !failed.has_figures(),
            "and it replaces nothing on the page"
        );
    }
}
