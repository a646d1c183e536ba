//! The server stands still for a second: what does each tool say its p99 was?

use anyhow::Result;

use super::account;
use crate::peers::bench::{Bench, Sample};
use crate::peers::options::Section;
use crate::peers::page::{self, Judged, SectionText};
use crate::peers::rounds::{self, Entry, Series};
use crate::peers::server::Server;
use crate::peers::stats;
use crate::peers::table::{Table, spread};
use crate::peers::tools::ours::Work;
use crate::peers::tools::{Load, Tool};

const RATE: u32 = 5_000;
const SECONDS: u32 = 10;
const EVERYBODY: [Tool; 7] = [
    Tool::Barrage,
    Tool::BarrageRun,
    Tool::Wrk2,
    Tool::Oha,
    Tool::H2load,
    Tool::Hey,
    Tool::K6,
];

/// Runs the freeze.
pub(super) fn measure(bench: &mut Bench) -> Result<SectionText> {
    let mut text = SectionText::new(Section::Freeze, "A server that stands still for a second");
    text.paragraph(
        "5,000/s for 10 s on 64 connections; the light server stops for 1 s, 4 s after the first request. Whoever is due in \
         that second waits until it is over, so with the standstill T that the server measured the true p99 is T − 0.1 s and \
         the true p99.9 is T − 0.01 s.",
    );
    text.runs(page::rounds(bench.options.rounds, SECONDS));
    let mut light = bench.light(&["--freeze-at-ms", "4000", "--freeze-ms", "1000"])?;
    let load = Load::rate(&light.url(), SECONDS, RATE);
    let mut entries: Vec<Entry> = EVERYBODY.map(|tool| Entry::new(tool, Work::Load(load.clone()))).into();
    let corrected = Load {
        corrected: true,
        ..load
    };
    entries.push(Entry::named(Tool::Oha, "oha, corrected", Work::Load(corrected)));
    let closed = Load::closed(&light.url(), SECONDS);
    entries.push(Entry::named(Tool::Wrk, "wrk (closed loop)", Work::Load(closed)));
    let series = rounds::run(bench, &entries, &mut light)?;
    text.table("what each tool reports, ms", table(&series));
    for tool in [Tool::Barrage, Tool::BarrageRun] {
        if let Some(own) = rounds::of(&series, tool) {
            let off = own.known(|sample| Some((sample.said.p99_us? / truth_us(sample, 0.99)? - 1.0).abs() * 100.0));
            let what = format!("{}: distance of its p99 from the true one, %", tool.name());
            text.judge(Judged::new(&what, "≤ 5".to_owned(), &off, 2, stats::at_most(5.0, &off)));
        }
    }
    account(&mut text, bench, &series, "freeze");
    Ok(text)
}

fn table(series: &[Series]) -> Table {
    let mut table = Table::new(&[
        "client",
        "requests",
        "p50",
        "p99",
        "p99.9",
        "max",
        "true p99",
        "p99 / true p99",
        "foreign cores",
    ]);
    for row in series
        .iter()
        .filter(|series| series.samples.iter().any(Option::is_some))
    {
        let ms = |of: fn(&Sample) -> Option<f64>| spread(&row.known(|sample| of(sample).map(|us| us / 1e3)), 2);
        table.row(vec![
            row.label.clone(),
            spread(&row.values(|sample| sample.counted.requests as f64), 0),
            ms(|sample| sample.said.p50_us),
            ms(|sample| sample.said.p99_us),
            ms(|sample| sample.said.p999_us),
            ms(|sample| sample.said.max_us),
            ms(|sample| truth_us(sample, 0.99)),
            spread(
                &row.known(|sample| Some(sample.said.p99_us? / truth_us(sample, 0.99)?)),
                3,
            ),
            spread(&row.values(|sample| sample.foreign.cores()), 2),
        ]);
    }
    table
}

/// The quantile that an open load of this length must show for the standstill that the server measured.
fn truth_us(sample: &Sample, quantile: f64) -> Option<f64> {
    theory_us(sample.counted.state.as_ref()?.frozen_us? as f64, quantile)
}

/// Waits during a standstill of T fall evenly from T to 0, over all other answers: (1 − q) of the whole load lies above
/// T − (1 − q)·length. `None` when the standstill is too short to reach down to the quantile.
fn theory_us(frozen_us: f64, quantile: f64) -> Option<f64> {
    let truth = frozen_us - (1.0 - quantile) * f64::from(SECONDS) * 1e6;
    (truth > 0.0).then_some(truth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn theory_by_counting_waits() {
        // 50,000 arrivals, 5,000 of them in the standstill; those after rank 49,500 waited longest: 500 × 0.2 ms.
        let mut waits: Vec<f64> = vec![0.0; 45_000];
        waits.extend((0..5_000).map(|index| 1e6 - f64::from(index) * 200.0));
        waits.sort_unstable_by(f64::total_cmp);
        assert!((waits[49_500 - 1] - theory_us(1e6, 0.99).unwrap()).abs() <= 200.0);
        assert!((waits[49_950 - 1] - theory_us(1e6, 0.999).unwrap()).abs() <= 200.0);
        assert_eq!(theory_us(1e6, 0.5), None);
    }
}
