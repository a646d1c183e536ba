//! The sections of the measurement: what is run, what is shown, what is judged.

mod closed;
mod freeze;
mod memory;
mod paced;
mod wire;

use anyhow::Result;

use super::bench::{Bench, Sample};
use super::options::Section;
use super::page::{Judged, SectionText};
use super::rounds::{self, Series};
use super::stats;
use super::table::{Table, spread};
use super::tools::Tool;

/// Every section, in the order of the page.
pub(crate) const ALL: [Section; 8] = [
    Section::Closed,
    Section::Fixed,
    Section::Freeze,
    Section::Scenario,
    Section::Tls,
    Section::Http2,
    Section::Pacing,
    Section::Memory,
];

/// Measures a section.
pub(crate) fn measure(section: Section, bench: &mut Bench) -> Result<SectionText> {
    match section {
        Section::Closed => closed::measure(bench),
        Section::Fixed => paced::fixed(bench),
        Section::Freeze => freeze::measure(bench),
        Section::Scenario => wire::scenario(bench),
        Section::Tls => wire::tls(bench),
        Section::Http2 => wire::http2(bench),
        Section::Pacing => paced::pacing(bench),
        Section::Memory => memory::measure(bench),
    }
}

/// A bar on the ratio of one contestant to another.
#[derive(Clone, Copy, Debug)]
struct Bar {
    own: Tool,
    other: Tool,
    what: &'static str,
    of: fn(&Sample) -> f64,
    least: f64,
}

/// Who is judged or judged by.
fn concerned(bars: &[Bar]) -> Vec<Tool> {
    bars.iter().flat_map(|bar| [bar.own, bar.other]).collect()
}

/// Says that not everybody takes part in each round, when that is so.
fn explain_rounds(text: &mut SectionText, bench: &Bench) {
    if bench.options.rounds as usize > stats::ROUNDS_MIN {
        text.paragraph(&format!(
            "Whoever no bar is about takes part in the first {} rounds only.",
            stats::ROUNDS_MIN
        ));
    }
}

/// Judges bars.
fn judge(text: &mut SectionText, series: &[Series], against: &str, bars: &[Bar]) {
    for bar in bars {
        let both = rounds::of(series, bar.own).zip(rounds::of(series, bar.other));
        let ratios = both.map_or_else(Vec::new, |(own, other)| own.ratios(other, bar.of));
        let what = format!("{} / {}, {}, {against}", bar.own.name(), bar.other.name(), bar.what);
        let verdict = stats::at_least(bar.least, &ratios);
        text.judge(Judged::new(&what, format!("≥ {:.2}", bar.least), &ratios, 2, verdict));
    }
}

/// The table of a closed loop: rate, CPU and memory, and the ratios to one contestant.
fn speed_table(series: &[Series], base: Tool) -> Table {
    let base_name = base.name();
    let mut table = Table::new(&[
        "client",
        "requests/s",
        "CPU s per 1M",
        "of it user",
        "peak RSS MiB",
        "server s per 1M",
        &format!("per CPU s / {base_name}"),
        &format!("rate / {base_name}"),
        "foreign cores",
    ]);
    for row in series
        .iter()
        .filter(|series| series.samples.iter().any(Option::is_some))
    {
        let per_million = |sample: &Sample, cpu_s: f64| cpu_s * 1e6 / sample.counted.requests as f64;
        let ratio = |of: fn(&Sample) -> f64| {
            rounds::of(series, base)
                .map(|base| row.ratios(base, of))
                .unwrap_or_default()
        };
        table.row(vec![
            row.label.clone(),
            spread(&row.values(Sample::rate), 0),
            spread(&row.values(|sample| per_million(sample, sample.usage.cpu_s())), 2),
            spread(&row.values(|sample| per_million(sample, sample.usage.user_s)), 2),
            spread(&row.values(|sample| sample.usage.peak_rss_kib as f64 / 1024.0), 1),
            spread(&row.values(|sample| per_million(sample, sample.server_cpu_s)), 2),
            spread(&ratio(Sample::per_cpu), 2),
            spread(&ratio(Sample::rate), 2),
            spread(&row.values(|sample| sample.foreign.cores()), 2),
        ]);
    }
    table
}

/// Names who did not take part or was given up, refused runs, disturbed runs, and everybody's command.
fn account(text: &mut SectionText, bench: &Bench, series: &[Series], against: &str) {
    for (tool, reason) in bench
        .toolbox
        .missing
        .iter()
        .filter(|(tool, _)| bench.options.asks_for(**tool))
    {
        text.missing(tool.name(), reason);
    }
    for row in series {
        if row.tool.is_ours() && (row.failed.is_some() || !row.refused.is_empty()) {
            text.went_wrong();
        }
        if let Some(reason) = &row.failed {
            text.missing(&format!("{} ({against})", row.label), reason);
        }
        for reason in &row.refused {
            text.missing(&format!("a run of {} ({against}), refused", row.label), reason);
        }
        let measured = || row.samples.iter().flatten();
        let repeats: u32 = measured().map(|sample| sample.repeats).sum();
        let disturbed = measured()
            .filter(|sample| sample.foreign.cores() > bench.options.foreign_max)
            .count();
        if repeats > 0 {
            text.paragraph(&format!(
                "{} ({against}): {repeats} runs repeated because others used more than {} cores; {disturbed} of those \
                 shown stayed disturbed.",
                row.label, bench.options.foreign_max
            ));
        }
        let coordinator = row.known(|sample| Some(sample.coordinator_cpu_s? / sample.seconds * 100.0));
        if !coordinator.is_empty() {
            let share = spread(&coordinator, 1);
            text.paragraph(&format!(
                "{} ({against}): its coordinator used {share} % of the other core.",
                row.label
            ));
        }
        if !row.tool.is_ours() {
            let wrong: u64 = measured().map(|sample| sample.said.errors).sum();
            if wrong > 0 {
                text.note(
                    &format!("{} ({against})", row.label),
                    &format!("{wrong} of its requests went wrong, by its own account; they are in its rate"),
                );
            }
        }
        for note in measured().filter_map(|sample| sample.said.note.as_ref()) {
            text.note(&format!("{} ({against})", row.label), note);
        }
        if let Some(sample) = measured().next() {
            text.command(&sample.shown);
        }
    }
}
