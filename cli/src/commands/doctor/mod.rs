//! `barrage doctor`: whether this machine is fit to make load, and what stops it where it is not.

mod facts;
mod judge;

use serde::Serialize;

use self::judge::{Capacity, Check, Level, capacity, checks, grouped};
use crate::args::{DoctorArgs, DoctorFormat};
use crate::exit::{Failure, Outcome};
use crate::progress::clean_lines;
use crate::stdout;

/// Looks at the machine; fails when something would make runs fail, or worthless.
pub(crate) async fn doctor(args: &DoctorArgs) -> Outcome {
    let facts = facts::gather(args.coordinator.as_deref()).await?;
    let (checks, capacity) = (checks(&facts), capacity(&facts));
    match args.format {
        DoctorFormat::Text => stdout::write(clean_lines(&text(&checks, &capacity)).as_bytes())?,
        DoctorFormat::Json => stdout::line(&json(&checks, &capacity)?)?,
    }
    let failed: Vec<&str> = checks
        .iter()
        .filter(|check| check.level == Level::Fail)
        .map(|check| check.name)
        .collect();
    if failed.is_empty() {
        return Ok(0);
    }
    let names = failed.join(", ");
    Err(Failure::CouldNotStart(format!(
        "this machine is not fit to make load: {names}"
    )))
}

fn text(checks: &[Check], capacity: &Capacity) -> String {
    let mut lines = Vec::new();
    for check in checks {
        lines.push(format!("{:<4}  {:<13} {}", check.level.word(), check.name, check.found));
        if !check.advice.is_empty() {
            lines.push(format!("{:20}→ {}", "", check.advice));
        }
    }
    lines.push(String::new());
    lines.push(format!(
        "up to {} connections to one target address from one source address, limited by {}",
        grouped(capacity.connections),
        capacity.stopped_by
    ));
    lines.push(format!(
        "up to {} new connections per second to one target address, where ports wait for a minute after use",
        capacity
            .new_per_s
            .map_or_else(|| "an unknown number of".to_owned(), grouped)
    ));
    lines.push(format!(
        "about {} small requests per second on kept connections, by {} load thread{} (a rule of thumb)",
        grouped(capacity.requests_per_s),
        capacity.threads,
        if capacity.threads == 1 { "" } else { "s" }
    ));
    lines.push(String::new());
    lines.join("\n")
}

#[derive(Serialize)]
struct Document<'a> {
    verdict: &'static str,
    checks: Vec<Line<'a>>,
    capacity: Limits,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'static str,
    level: &'static str,
    found: &'a str,
    advice: &'static str,
}

#[derive(Serialize)]
struct Limits {
    connections_per_target: u64,
    stopped_by: &'static str,
    new_connections_per_s: Option<u64>,
    load_threads: u32,
    requests_per_s: u64,
}

fn json(checks: &[Check], capacity: &Capacity) -> Result<String, Failure> {
    let worst = checks.iter().map(|check| check.level).max().unwrap_or(Level::Ok);
    let document = Document {
        verdict: worst.word(),
        checks: checks
            .iter()
            .map(|check| Line {
                name: check.name,
                level: check.level.word(),
                found: &check.found,
                advice: check.advice,
            })
            .collect(),
        capacity: Limits {
            connections_per_target: capacity.connections,
            stopped_by: capacity.stopped_by,
            new_connections_per_s: capacity.new_per_s,
            load_threads: capacity.threads,
            requests_per_s: capacity.requests_per_s,
        },
    };
    serde_json::to_string_pretty(&document).map_err(|error| Failure::own("could not render the findings", &error))
}
