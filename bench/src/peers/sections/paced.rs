//! Constant rates: how evenly requests arrive, as the server sees it, and what that costs.

use anyhow::Result;

use super::account;
use crate::peers::bench::{Bench, Sample};
use crate::peers::machine::Awake;
use crate::peers::options::Section;
use crate::peers::page::{self, Judged, SectionText};
use crate::peers::rounds::{self, Entry, Series};
use crate::peers::server::Server;
use crate::peers::server::process::LightProcess;
use crate::peers::server::spacing::Spacing;
use crate::peers::stats::{self, Spread, Verdict};
use crate::peers::table::{Table, spread};
use crate::peers::tools::ours::Work;
use crate::peers::tools::{Load, Tool};

/// Requests per second.
const RATES: [u32; 3] = [1_000, 5_000, 20_000];
/// A rate is judged over at least this, s.
const PACING_SECONDS: u32 = 10;
/// Arrivals that the server can record: 20,000/s for the longest load, and what a tool sends too much.
const RECORD_PER_S: u32 = 40_000;

const EVERYBODY: [Tool; 8] = [
    Tool::Timerfd,
    Tool::Barrage,
    Tool::BarrageRun,
    Tool::Wrk2,
    Tool::Oha,
    Tool::H2load,
    Tool::Hey,
    Tool::K6,
];
const PACED: [Tool; 5] = [Tool::Timerfd, Tool::Barrage, Tool::Wrk2, Tool::Oha, Tool::H2load];

/// Everybody who knows rates.
pub(super) fn fixed(bench: &mut Bench) -> Result<SectionText> {
    let mut text = SectionText::new(Section::Fixed, "A constant rate");
    explain(&mut text);
    let seconds = bench.options.seconds;
    let mut light = recording(bench, seconds)?;
    for rate in RATES {
        one(bench, &mut text, &mut light, &EVERYBODY, seconds, rate)?;
    }
    Ok(text)
}

/// The bare loop, ourselves and the peers with the best pacing, judged.
pub(super) fn pacing(bench: &mut Bench) -> Result<SectionText> {
    let mut text = SectionText::new(Section::Pacing, "Pacing beside a bare timer loop");
    explain(&mut text);
    text.paragraph(
        "`timerfd` is the bare loop: a write at each instant of a timerfd, answers read and forgotten. Differences to it, and \
         the ratio to oha, are within rounds; oha is taken beside its best-fitting schedule, where it looks better, and we \
         beside the offered rate.",
    );
    // How fast this machine, or its hypervisor, wakes a sleeping core is not what is compared.
    let awake = Awake::hold();
    text.paragraph(&match &awake {
        Ok(_) => {
            "No core is put to sleep meanwhile (`/dev/cpu_dma_latency` is held at 0), so that who is compared is not \
                  measured by how fast this machine, or its hypervisor, wakes one."
                .to_owned()
        }
        Err(error) => {
            format!("Cores were put to sleep whenever nothing ran: /dev/cpu_dma_latency could not be held ({error}).")
        }
    });
    let seconds = bench.options.seconds.max(PACING_SECONDS);
    text.runs(page::rounds(bench.options.rounds, seconds));
    let mut light = recording(bench, seconds)?;
    for rate in RATES {
        let series = one(bench, &mut text, &mut light, &PACED, seconds, rate)?;
        judge(&mut text, &series, rate);
    }
    Ok(text)
}

fn recording(bench: &Bench, seconds: u32) -> Result<LightProcess> {
    bench.light(&["--record", &(RECORD_PER_S * seconds).to_string()])
}

fn explain(text: &mut SectionText) {
    text.paragraph(
        "64 connections against the light server, which notes the instant at which each request arrived. *Deviation* is the \
         distance to an even schedule at the offered rate whose offset is the median; *fitted* is the distance to the even \
         schedule that fits best, which leaves a drift of the rate out. *CV* is the spread of the counts per ms (0 = even). *Core* is \
         CPU per second of load. *Lag* is actual − due, by the contestant's own account.",
    );
}

fn one(
    bench: &mut Bench,
    text: &mut SectionText,
    light: &mut dyn Server,
    tools: &[Tool],
    seconds: u32,
    rate: u32,
) -> Result<Vec<Series>> {
    let load = Load::rate(&light.url(), seconds, rate);
    let entries: Vec<Entry> = tools
        .iter()
        .map(|tool| Entry::new(*tool, Work::Load(load.clone())))
        .collect();
    let series = rounds::run(bench, &entries, light)?;
    let against = format!("{rate}/s");
    text.table(&against, table(&series, rate));
    account(text, bench, &series, &against);
    Ok(series)
}

fn table(series: &[Series], rate: u32) -> Table {
    let mut table = Table::new(&[
        "client",
        "rate",
        "rate error %",
        "deviation p50 µs",
        "deviation p99 µs",
        "fitted p99 µs",
        "CV",
        "core %",
        "lag p99 µs",
        "foreign cores",
    ]);
    for row in series
        .iter()
        .filter(|series| series.samples.iter().any(Option::is_some))
    {
        let of = |value: fn(&Spacing) -> f64| row.known(|sample| spaced(sample).map(|spacing| value(&spacing)));
        let errors = row.known(|sample| Some(rate_error(&spaced(sample)?, rate)));
        table.row(vec![
            row.label.clone(),
            spread(&of(|spacing| spacing.rate_per_s), 1),
            spread(&errors, 3),
            spread(&of(|spacing| spacing.deviation_p50_us), 0),
            spread(&of(|spacing| spacing.deviation_p99_us), 0),
            spread(&of(|spacing| spacing.fitted_p99_us), 0),
            spread(&of(|spacing| spacing.cv), 2),
            spread(&row.values(|sample| core(sample) * 100.0), 0),
            spread(&row.known(lag), 0),
            spread(&row.values(|sample| sample.foreign.cores()), 2),
        ]);
    }
    table
}

fn spaced(sample: &Sample) -> Option<Spacing> {
    sample.counted.state.as_ref()?.spacing
}

/// Part of a core in use while the load lasted.
fn core(sample: &Sample) -> f64 {
    sample.usage.cpu_s() / sample.seconds
}

fn deviation(sample: &Sample) -> Option<f64> {
    Some(spaced(sample)?.deviation_p99_us)
}

/// A number of a run, when it has one.
type Of = fn(&Sample) -> Option<f64>;

/// A tail of lateness by two witnesses.
const WITNESSES: [(&str, Of); 2] = [("deviation p99 at the server", deviation), ("dispatch lag p99", lag)];

fn lag(sample: &Sample) -> Option<f64> {
    sample.said.lag_p99_us
}

fn judge(text: &mut SectionText, series: &[Series], rate: u32) {
    let Some(own) = rounds::of(series, Tool::Barrage) else {
        return;
    };
    let mut limit = |what: &str, bar: &str, values: &[f64], decimals: usize, verdict: Verdict| {
        let what = format!("{rate}/s: {what}");
        text.judge(Judged::new(&what, bar.to_owned(), values, decimals, verdict));
    };
    for (name, of) in WITNESSES {
        let (seen, bare) = (own.known(of), rounds::of(series, Tool::Timerfd));
        let more = bare.map_or_else(Vec::new, |bare| own.paired(bare, of, |own, bare| own - bare));
        let what = format!("{name} − the bare loop's, µs");
        limit(&what, "≤ 60", &more, 0, stats::at_most(60.0, &more));
        if rate <= 5_000 {
            let bare = bare.map_or_else(Vec::new, |bare| bare.known(of));
            let verdict = where_bare_is_good(&bare, stats::below(100.0, &seen));
            limit(
                &format!("{name}, µs"),
                "< 100 where the bare loop shows < 40",
                &seen,
                0,
                verdict,
            );
        }
        if rate == 20_000 {
            limit(&format!("{name}, µs"), "< 250", &seen, 0, stats::below(250.0, &seen));
        }
    }
    if rate == 20_000 {
        let cores = own.values(|sample| core(sample) * 100.0);
        limit("part of the core, %", "≤ 55", &cores, 0, stats::at_most(55.0, &cores));
    }
    let errors = own.known(|sample| Some(rate_error(&spaced(sample)?, rate).abs()));
    limit("rate error, %", "< 0.1", &errors, 4, stats::below(0.1, &errors));
    if rate == 5_000 {
        let better = rounds::of(series, Tool::Oha).map_or_else(Vec::new, |oha| oha_beside(own, oha));
        let verdict = stats::at_least(8.0, &better);
        limit("oha's deviation p99 at the server / ours", "≥ 8", &better, 1, verdict);
    }
}

/// How far the rate that was reached is from the one that was asked for, %.
fn rate_error(spacing: &Spacing, rate: u32) -> f64 {
    (spacing.rate_per_s / f64::from(rate) - 1.0) * 100.0
}

/// oha beside the schedule that fits it best, we beside the offered rate.
fn oha_beside(own: &Series, oha: &Series) -> Vec<f64> {
    let rounds = own.samples.iter().zip(&oha.samples);
    rounds
        .filter_map(|(own, oha)| {
            let fitted = spaced(oha.as_ref()?)?.fitted_p99_us;
            Some(fitted / deviation(own.as_ref()?)?)
        })
        .collect()
}

/// The machine must be able to do it: the bare loop's own median decides whether the limit applies.
fn where_bare_is_good(bare: &[f64], verdict: Verdict) -> Verdict {
    match Spread::of(bare) {
        Some(found) if found.median < 40.0 => verdict,
        Some(found) => Verdict::NotAsked(format!("the bare loop shows {:.0} µs here", found.median)),
        None => Verdict::NotJudged("no bare loop beside it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_applies_only_where_the_machine_can_keep_it() {
        assert_eq!(where_bare_is_good(&[39.0; 7], Verdict::Missed), Verdict::Missed);
        assert_eq!(
            where_bare_is_good(&[30.0, 50.0, 45.0], Verdict::Missed),
            Verdict::NotAsked("the bare loop shows 45 µs here".to_owned())
        );
        assert_eq!(
            where_bare_is_good(&[], Verdict::Met),
            Verdict::NotJudged("no bare loop beside it".to_owned())
        );
    }
}
