//! Figures as Markdown, which is also what a terminal gets.

use std::fmt::Write as _;
use std::path::Path;

use super::deltas::{SAMPLES, STEPS};
use super::{Figures, Minute};
use crate::peers::page::commit;
use crate::peers::{clock, machine};

const MIB: f64 = 1_048_576.0;

/// The whole page.
pub(super) fn page(all: &[Figures], root: &Path) -> String {
    let mut page = format!(
        "# The coordinator under a large fleet\n\n\
         Made by `cargo xtask bench-fleet`. A real `barrage coordinator` (release) and simulated workers, on cores as said\n\
         below, over the real protocol on loopback. The watermark lag is the most that it can have been between two looks, which are\n\
         250 ms apart. Every worker uploads a delta for each second: {STEPS} steps of {SAMPLES} requests with\n\
         response, service and first-byte times (lognormal, median 20 ms, σ 0.8), dispatch lag and iteration time; encoded\n\
         before the run. All upload at the interval's end, at the same instant, as real workers do: nothing is staggered.\n\
         The figures stand only because the report said exactly what the workers had sent: counts, and p50, p99 and p99.9\n\
         of response and service time against the bench's own merge.\n\n\
         Memory is judged over what comes after the first five minutes: until then the coordinator keeps the series of ever\n\
         more seconds, up to 64 MiB.\n\n\
         Measured on {}: {}. Barrage{}.\n",
        clock::today(),
        machine::description(),
        commit(root)
    );
    for figures in all {
        page.push('\n');
        page.push_str(&section(figures));
    }
    page
}

/// One measurement.
pub(super) fn section(figures: &Figures) -> String {
    let mut text = String::new();
    write_section(&mut text, figures).expect("a string takes everything");
    text
}

fn write_section(text: &mut String, figures: &Figures) -> std::fmt::Result {
    let place = if figures.pinned {
        "each on a core of its own"
    } else {
        "sharing their cores"
    };
    writeln!(
        text,
        "## {} workers, {} s\n\n{} deltas a second of {:.1} KiB, coordinator and workers {place}.\n",
        figures.workers,
        figures.seconds,
        figures.workers,
        figures.delta_bytes as f64 / 1_024.0
    )?;
    writeln!(text, "| bar | seen | |\n|---|---|---|")?;
    for bar in figures.bars() {
        let word = bar
            .holds
            .map_or("not judged", |holds| if holds { "holds" } else { "MISSED" });
        writeln!(text, "| {} | {} | {word} |", bar.name, bar.seen)?;
    }
    writeln!(
        text,
        "\n| | CPU, cores | RSS, MiB | store, MiB | interval's end to commit: p50 / p99 / max, ms | watermark lag: p50 / p99 / max, ms |"
    )?;
    writeln!(text, "|---|---|---|---|---|---|")?;
    for (number, minute) in figures.minutes.iter().enumerate() {
        row(text, &format!("minute {}", number + 1), minute)?;
    }
    row(text, "whole run", &figures.whole)?;
    let growth = figures.whole.store_bytes as f64 / MIB / f64::from(figures.seconds) * 60.0;
    let slope = figures.slope_bytes.map_or(String::new(), |slope| {
        format!(" Memory after five minutes: {:+.2} MiB a minute.", slope / MIB)
    });
    writeln!(
        text,
        "\nStore: {growth:.0} MiB a minute, {:.0} MiB once closed. Memory once the fleet has joined: {:.0} MiB.{slope}\n\
         Busiest second of the coordinator: {:.2} cores. The bench itself: {:.2} cores, deltas handed over {:.0} ms late at p99.",
        figures.store_bytes as f64 / MIB,
        figures.joined_rss_bytes as f64 / MIB,
        figures.cpu_max,
        figures.own_cpu,
        figures.own_late_p99_us as f64 / 1e3
    )
}

fn row(text: &mut String, name: &str, minute: &Minute) -> std::fmt::Result {
    let times = |[p50, p99, max]: [u64; 3]| format!("{} / {} / {}", p50 / 1_000, p99 / 1_000, max / 1_000);
    writeln!(
        text,
        "| {name} | {:.2} | {:.0} | {:.0} | {} | {} |",
        minute.cpu,
        minute.rss_bytes as f64 / MIB,
        minute.store_bytes as f64 / MIB,
        times(minute.commit_us),
        times(minute.lag_us)
    )
}
