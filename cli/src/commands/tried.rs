//! What `barrage plan try` prints.

use std::fmt::Write as _;
use std::time::Duration;

use barrage_model::outcome::{IterationEnd, Outcome};
use barrage_model::units::{Bytes, format_duration};
use barrage_worker::net::Timings;
use barrage_worker::scenario::TryEvent;

use crate::progress::latency;

/// One event in lines of text.
pub(crate) fn told(event: &TryEvent) -> String {
    match event {
        TryEvent::Begin { name } => format!("== {name}\n"),
        TryEvent::Request {
            step,
            engine,
            origin,
            head,
            body,
            body_bytes,
        } => {
            let bytes = Bytes(*body_bytes);
            let (head, body) = (marked("> ", head), marked("> ", body));
            format!("\n-- {step} ({engine} to {origin}, body {bytes})\n{head}{body}\n")
        }
        TryEvent::Answer {
            status,
            headers,
            body,
            body_bytes,
            timings,
            service,
        } => {
            let status = status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
            let mut text = format!("< {status} in {} ({}), ", micros(*service), parts(timings));
            let _infallible = writeln!(text, "body {}", Bytes(*body_bytes));
            for (name, value) in headers {
                let _infallible = writeln!(text, "< {name}: {value}");
            }
            text + &marked("< ", body) + "\n"
        }
        TryEvent::Check { name, problem: None } => format!("  ok      {name}\n"),
        TryEvent::Check {
            name,
            problem: Some(problem),
        } => format!("  FAILED  {name}: {problem}\n"),
        TryEvent::Value {
            name,
            value: Some(value),
        } => format!("  value   {name} = {value}\n"),
        TryEvent::Value { name, value: None } => format!("  value   {name} is not set any more\n"),
        TryEvent::Step { step, outcome, message } => {
            let colon = if message.is_empty() { "" } else { ": " };
            format!("  {step}: {}{colon}{message}\n", ended(*outcome))
        }
        TryEvent::Think { pause } => format!("  think   {}\n", format_duration(*pause)),
        TryEvent::NoRow => "  no row of the data belongs to this iteration\n".to_owned(),
        TryEvent::End {
            name,
            end: IterationEnd::Completed,
        } => format!("\n== {name}: completed\n\n"),
        TryEvent::End {
            name,
            end: IterationEnd::BrokenOff,
        } => format!("\n== {name}: BROKEN OFF\n\n"),
        TryEvent::End {
            name,
            end: IterationEnd::Cancelled,
        } => format!("\n== {name}: cancelled\n\n"),
    }
}

fn ended(outcome: Outcome) -> String {
    match outcome {
        Outcome::Ok => "ok".to_owned(),
        Outcome::Failed(class) => format!("FAILED ({})", class.word()),
        Outcome::Timeout => "TIMEOUT".to_owned(),
        Outcome::Cancelled => "cancelled".to_owned(),
    }
}

/// Where the time of an exchange went.
fn parts(timings: &Timings) -> String {
    let parts = [
        ("dns", timings.dns),
        ("connect", timings.connect),
        ("tls", timings.tls),
        ("first byte", timings.first_byte),
    ];
    let known = parts
        .iter()
        .filter_map(|(name, time)| Some(format!("{name} {}", micros((*time)?))));
    known.collect::<Vec<_>>().join(", ")
}

fn micros(time: Duration) -> String {
    latency(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

fn marked(mark: &str, text: &str) -> String {
    text.lines().fold(String::new(), |mut marked, line| {
        let _infallible = writeln!(marked, "{mark}{line}");
        marked
    })
}
