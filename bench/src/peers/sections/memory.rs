//! Memory over time, at full speed against nginx.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::account;
use crate::peers::bench::Bench;
use crate::peers::machine::rss_anon_kib;
use crate::peers::options::Section;
use crate::peers::page::{Judged, SectionText};
use crate::peers::server::Server;
use crate::peers::stats::Verdict;
use crate::peers::table::{Table, grouped};
use crate::peers::tools::ours::Work;
use crate::peers::tools::{Load, Tool};
use crate::peers::{clock, say};

const EARLY: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_mins(1);
const LONG: Duration = Duration::from_mins(10);
/// The load goes on so much longer than the last look.
const MARGIN_S: u32 = 5;
const LIMIT_MB: f64 = 20.0;
const GROWTH_MB: f64 = 1.0;

/// Looks at everybody once.
pub(super) fn measure(bench: &mut Bench) -> Result<SectionText> {
    let mut text = SectionText::new(Section::Memory, "Memory");
    text.paragraph(
        "64 connections as fast as they go against nginx, one run each. RssAnon is the memory that is the process's own, from \
         `/proc`, so long after its start. Only what is judged is looked at after 10 minutes.",
    );
    text.runs("One run each".to_owned());
    let mut nginx = bench.nginx()?;
    let mut table = Table::new(&["client", "after", "requests so far", "RssAnon MB"]);
    for tool in [Tool::Barrage, Tool::BarrageRun, Tool::Wrk, Tool::Oha] {
        if !bench.options.asks_for(tool) || !bench.toolbox.found.contains_key(&tool) {
            continue;
        }
        let looks = match tool {
            Tool::Barrage if bench.options.long => vec![EARLY, MINUTE, LONG],
            _ => vec![EARLY, MINUTE],
        };
        match look(bench, tool, &mut nginx, &looks) {
            Ok(seen) => {
                for look in &seen {
                    table.row(vec![
                        tool.name().to_owned(),
                        format!("{} s", look.after.as_secs()),
                        grouped(look.requests as f64, 0),
                        grouped(look.megabytes, 1),
                    ]);
                }
                if tool == Tool::Barrage {
                    judge(&mut text, &seen);
                }
            }
            Err(error) => {
                let reason = format!("{error:#}");
                text.missing(tool.name(), &reason);
                if tool.is_ours() {
                    text.went_wrong();
                }
                if tool == Tool::Barrage {
                    let verdict = Verdict::NotJudged(reason);
                    text.judge(Judged::new(
                        "barrage: RssAnon, MB",
                        format!("≤ {LIMIT_MB}"),
                        &[],
                        2,
                        verdict,
                    ));
                }
            }
        }
    }
    text.table("RssAnon", table);
    account(&mut text, bench, &[], "memory");
    Ok(text)
}

#[derive(Clone, Copy, Debug)]
struct Look {
    after: Duration,
    requests: u64,
    megabytes: f64,
}

fn look(bench: &mut Bench, tool: Tool, nginx: &mut dyn Server, looks: &[Duration]) -> Result<Vec<Look>> {
    let last = looks.last().map_or(0, Duration::as_secs);
    let load = Load::closed(&nginx.url(), u32::try_from(last).unwrap_or(u32::MAX) + MARGIN_S);
    nginx.begin()?;
    let started = clock::now();
    let running = bench.begin(tool, &Work::Load(load))?;
    let mut seen = Vec::new();
    for after in looks {
        let left = after.saturating_sub(started.elapsed());
        ensure!(
            !running.measured().ended_within(left)?,
            "it ended before {} s",
            after.as_secs()
        );
        let kib = rss_anon_kib(running.measured().pid()).context("its memory could not be read")?;
        let requests = nginx.finish(None)?.requests;
        seen.push(Look {
            after: *after,
            requests,
            megabytes: kib as f64 * 1024.0 / 1e6,
        });
        say::progress(&format!("{} after {} s: {kib} KiB", tool.name(), after.as_secs()));
    }
    let said = running.finish()?.said;
    if tool.is_ours() {
        // Each look at the counters was one more request.
        let counted = nginx.finish(None)?.requests - looks.len() as u64;
        ensure!(said.errors == 0, "{} of its requests went wrong", said.errors);
        ensure!(
            said.requests == Some(counted),
            "it says {:?} requests, the server counted {counted}",
            said.requests
        );
    }
    Ok(seen)
}

fn judge(text: &mut SectionText, seen: &[Look]) {
    let at = |after: Duration| seen.iter().find(|look| look.after == after).map(|look| look.megabytes);
    let mut limit = |what: &str, bar: f64, value: Option<f64>| {
        let verdict = match value {
            None => Verdict::NotJudged("takes --long".to_owned()),
            Some(value) if value <= bar => Verdict::Met,
            Some(_) => Verdict::Missed,
        };
        let values: Vec<f64> = value.into_iter().collect();
        text.judge(Judged::new(what, format!("≤ {bar}"), &values, 2, verdict));
    };
    limit("barrage: RssAnon after 60 s, MB", LIMIT_MB, at(MINUTE));
    limit("barrage: RssAnon after 10 min, MB", LIMIT_MB, at(LONG));
    let growth = at(MINUTE).zip(at(LONG)).map(|(early, late)| (late - early).abs());
    limit("barrage: difference of the two, MB", GROWTH_MB, growth);
}
