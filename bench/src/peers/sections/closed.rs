//! As fast as it goes: 64 keep-alive connections, GET, 100 bytes, against nginx and against the light server.

use anyhow::Result;

use super::{Bar, account, concerned, explain_rounds, judge, speed_table};
use crate::peers::bench::{Bench, Sample};
use crate::peers::options::{Section, Which};
use crate::peers::page::SectionText;
use crate::peers::rounds::{self, Entry};
use crate::peers::server::Server;
use crate::peers::tools::ours::Work;
use crate::peers::tools::{Load, Tool};

const EVERYBODY: [Tool; 9] = [
    Tool::Wrk,
    Tool::Barrage,
    Tool::BarrageRun,
    Tool::Oha,
    Tool::H2load,
    Tool::Ab,
    Tool::Wrk2,
    Tool::Hey,
    Tool::K6,
];

const PER_CPU: &str = "requests per CPU second";
const RATE: &str = "rate";

/// Runs both servers.
pub(super) fn measure(bench: &mut Bench) -> Result<SectionText> {
    let mut text = SectionText::new(Section::Closed, "As fast as it goes");
    text.paragraph(
        "64 keep-alive connections, GET, 100-byte answer. Server s per 1M times the rate is the part of its core that the \
         server used: where that is close to 1 the rate is as much the server's as the contestant's.",
    );
    explain_rounds(&mut text, bench);
    if bench.options.serves(Which::Nginx) {
        let mut nginx = bench.nginx()?;
        let bars = [
            bar(Tool::Wrk, PER_CPU, Sample::per_cpu, 1.15),
            bar(Tool::Wrk, RATE, Sample::rate, 0.97),
            bar(Tool::Oha, PER_CPU, Sample::per_cpu, 1.3),
        ];
        one(bench, &mut text, &mut nginx, &bars)?;
    }
    if bench.options.serves(Which::Light) {
        let mut light = bench.light(&[])?;
        let bars = [
            bar(Tool::Wrk, PER_CPU, Sample::per_cpu, 1.2),
            bar(Tool::Wrk, RATE, Sample::rate, 1.1),
            bar(Tool::Oha, PER_CPU, Sample::per_cpu, 1.3),
        ];
        one(bench, &mut text, &mut light, &bars)?;
    }
    Ok(text)
}

fn bar(other: Tool, what: &'static str, of: fn(&Sample) -> f64, least: f64) -> Bar {
    Bar {
        own: Tool::Barrage,
        other,
        what,
        of,
        least,
    }
}

fn one(bench: &mut Bench, text: &mut SectionText, server: &mut dyn Server, bars: &[Bar]) -> Result<()> {
    let load = Load::closed(&server.url(), bench.options.seconds);
    let judged = concerned(bars);
    let entries = EVERYBODY.map(|tool| Entry::new(tool, Work::Load(load.clone())).beside(&judged));
    let series = rounds::run(bench, &entries, server)?;
    text.table(
        &format!("against the {}", server.name()),
        speed_table(&series, Tool::Wrk),
    );
    judge(text, &series, server.name(), bars);
    account(text, bench, &series, server.name());
    Ok(())
}
