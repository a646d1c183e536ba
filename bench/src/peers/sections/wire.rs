//! Closed loops beside a single rival: a scenario of two steps, TLS, HTTP/2.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Bar, account, concerned, explain_rounds, judge, speed_table};
use crate::peers::bench::{Bench, Sample};
use crate::peers::options::Section;
use crate::peers::page::SectionText;
use crate::peers::rounds::{self, Entry};
use crate::peers::server::nginx::Nginx;
use crate::peers::server::{ITEM_PATH, Server};
use crate::peers::tools::ours::Work;
use crate::peers::tools::{Load, Protocol, Tool};

const PLAN: &str = "two-steps.yaml";
const PER_CPU: &str = "requests per CPU second";

/// Two steps, a value taken from JSON and put into the next URL, statuses checked; beside wrk's plain requests.
pub(super) fn scenario(bench: &mut Bench) -> Result<SectionText> {
    let mut text = SectionText::new(Section::Scenario, "A scenario of two steps");
    text.paragraph(
        "64 users against nginx: a JSON answer, a value extracted from it into the next URL, the status of that checked. Every \
         request counts, two per iteration. wrk sends its plain requests.",
    );
    explain_rounds(&mut text, bench);
    let mut nginx = bench.nginx()?;
    let seconds = bench.options.seconds;
    let plan = plan(&nginx.url(), seconds);
    // Everybody is started in this folder.
    std::fs::write(bench.folder().join(PLAN), &plan).context("could not write the plan")?;
    let path = PathBuf::from(PLAN);
    let load = Load::closed(&nginx.url(), seconds);
    let entries = [
        Entry::new(Tool::Wrk, Work::Load(load)),
        Entry::new(Tool::Barrage, Work::Plan(path.clone(), seconds)),
        Entry::new(Tool::BarrageRun, Work::Plan(path, seconds)),
    ];
    let bar = Bar {
        own: Tool::Barrage,
        other: Tool::Wrk,
        what: PER_CPU,
        of: Sample::per_cpu,
        least: 0.5,
    };
    compare(bench, &mut text, &mut nginx, &entries, "nginx", &[bar])?;
    text.command(&format!("\n{}", plan.trim_end()));
    Ok(text)
}

fn plan(url: &str, seconds: u32) -> String {
    format!(
        "name: two-steps
target: {url}
users: {{ count: 64, for: {seconds}s }}
steps:
  - get: {{ name: item, url: {ITEM_PATH} }}
    extract: {{ id: {{ json: $.result.id }} }}
  - get: {{ name: detail, url: '/items/${{id}}' }}
    expect: {{ status: 200 }}
"
    )
}

/// HTTP/1.1 under TLS on connections that stay.
pub(super) fn tls(bench: &mut Bench) -> Result<SectionText> {
    let mut text = SectionText::new(Section::Tls, "TLS, keep-alive");
    text.paragraph(
        "64 keep-alive connections under TLS 1.3 against nginx with a P-256 certificate of its own, HTTP/1.1.",
    );
    explain_rounds(&mut text, bench);
    let mut nginx = bench.nginx()?;
    let url = format!("https://127.0.0.1:{}", nginx.ports().tls);
    let load = Load::closed(&url, bench.options.seconds);
    let everybody = [
        Tool::Wrk,
        Tool::Barrage,
        Tool::BarrageRun,
        Tool::Oha,
        Tool::H2load,
        Tool::Ab,
        Tool::Hey,
        Tool::K6,
    ];
    let entries = everybody.map(|tool| Entry::new(tool, Work::Load(load.clone())));
    let bar = Bar {
        own: Tool::Barrage,
        other: Tool::Wrk,
        what: PER_CPU,
        of: Sample::per_cpu,
        least: 1.0,
    };
    compare(bench, &mut text, &mut nginx, &entries, "nginx, TLS", &[bar])?;
    Ok(text)
}

/// HTTP/2 in the clear, few connections with many streams.
pub(super) fn http2(bench: &mut Bench) -> Result<SectionText> {
    let mut text = SectionText::new(Section::Http2, "HTTP/2");
    text.paragraph("Prior knowledge in the clear against nginx; connections × streams in flight on each.");
    explain_rounds(&mut text, bench);
    for (connections, streams) in [(8, 8), (1, 64)] {
        let mut nginx = bench.nginx()?;
        let url = format!("http://127.0.0.1:{}", nginx.ports().h2c);
        let closed = Load::closed(&url, bench.options.seconds);
        let load = Load {
            protocol: Protocol::Http2,
            connections,
            streams,
            ..closed
        };
        let everybody = [Tool::H2load, Tool::Barrage, Tool::BarrageRun, Tool::Oha];
        let entries = everybody.map(|tool| Entry::new(tool, Work::Load(load.clone())));
        let bar = Bar {
            own: Tool::Barrage,
            other: Tool::H2load,
            what: PER_CPU,
            of: Sample::per_cpu,
            least: 0.95,
        };
        compare(
            bench,
            &mut text,
            &mut nginx,
            &entries,
            &format!("{connections} × {streams}"),
            &[bar],
        )?;
    }
    Ok(text)
}

fn compare(
    bench: &mut Bench,
    text: &mut SectionText,
    server: &mut Nginx,
    entries: &[Entry],
    against: &str,
    bars: &[Bar],
) -> Result<()> {
    let base = entries.first().map_or(Tool::Wrk, |entry| entry.tool);
    let judged = concerned(bars);
    let entries: Vec<Entry> = entries.iter().cloned().map(|entry| entry.beside(&judged)).collect();
    let series = rounds::run(bench, &entries, server)?;
    text.table(against, speed_table(&series, base));
    judge(text, &series, against, bars);
    account(text, bench, &series, against);
    Ok(())
}
