//! The plan itself, its loads, data and SLAs.

use super::load::{CLOSED, COUNTED, OPEN};
use super::network::{CEILINGS, NETWORK, TAG, WORKERS};
use super::request::{AUTH, EXPECT};
use super::steps::steps;
use super::{FULL_SHARE, HOUR, MICRO, Object, Shape, TEXT, UP_TO_HOUR, WEEK, at_most_one, key, need, one_of, or};

/// The whole plan.
pub(crate) static PLAN: Object = Object {
    name: "plan",
    doc: "A load test: where to send what, how often, and what must hold.",
    keys: &[
        or("name", TEXT, "the file's name", "Names the run in every report."),
        key(
            "target",
            Shape::OneOf(&[Shape::Url, Shape::Object(&TARGET)]),
            "Where requests go; `--target` replaces it.",
        ),
        key(
            "targets",
            Shape::Map {
                of: &Shape::OneOf(&[Shape::Url, Shape::Object(&TARGET)]),
                max: 100,
            },
            "Several named places; the first is the default, a request chooses with `target`.",
        ),
        or(
            "seed",
            Shape::Whole { min: 0, max: u64::MAX },
            "drawn, and printed",
            "Everything random derives from it.",
        ),
        key(
            "variables",
            Shape::Map {
                of: &Shape::Template,
                max: 1_000,
            },
            "Values for `${name}`; may use `${env:X}`, `${file:/x}` and earlier variables; `-e` and `--set` replace them.",
        ),
        key(
            "defaults",
            Shape::Object(&DEFAULTS),
            "What every request does unless it says otherwise.",
        ),
        or(
            "warm_up",
            Shape::Duration {
                min: std::time::Duration::ZERO,
                max: WEEK,
            },
            "0s",
            "The beginning that SLAs leave out unless they name it.",
        ),
        OPEN,
        CLOSED,
        COUNTED,
        key(
            "data",
            Shape::Map {
                of: &Shape::Object(&DATA),
                max: 100,
            },
            "Rows for `${name.column}`.",
        ),
        key(
            "scenarios",
            Shape::List {
                of: &Shape::Object(&SCENARIO),
                min: 1,
                max: 100,
            },
            "What an iteration may do; one is chosen by weight for each.",
        ),
        key("steps", steps(), "The steps of the only scenario, in short."),
        key(
            "setup",
            steps(),
            "Done once per run before the first arrival; what it extracts goes to all workers.",
        ),
        key("teardown", steps(), "Done once per run after the last iteration."),
        key(
            "sla",
            Shape::OneOf(&[
                Shape::Object(&SLA),
                Shape::List {
                    of: &Shape::OneOf(&[Shape::Expression, Shape::Object(&SLA)]),
                    min: 0,
                    max: 1_000,
                },
            ]),
            "What must hold for the run to pass.",
        ),
        key(
            "tags",
            Shape::Map {
                of: &Shape::Object(&TAG),
                max: 16,
            },
            "Splits every series by an answer header.",
        ),
        key("network", Shape::Object(&NETWORK), "How connections are made."),
        key(
            "workers",
            Shape::Object(&WORKERS),
            "How many workers take part, and what happens when one is lost.",
        ),
        key(
            "ceilings",
            Shape::Object(&CEILINGS),
            "Upper bounds that hold back arrivals, whatever the load says.",
        ),
        or(
            "graceful_stop",
            UP_TO_HOUR,
            "30s",
            "How long what is due may still start and be answered after the load's end.",
        ),
        or(
            "min_started",
            Shape::Ratio { max_ppb: FULL_SHARE },
            "99%",
            "The share of scheduled arrivals that must be started for the run to pass.",
        ),
        or(
            "pacing",
            Shape::Word(&["timer", "precise"]),
            "timer",
            "How a load thread waits for the next arrival; `precise` looks at the clock for the last 100 µs before it, which costs up to \
             a processor.",
        ),
        key("circuit_breaker", Shape::Later, "Circuit breakers per target."),
        key("chaos", Shape::Later, "Faults to inject during the run."),
    ],
    choices: &[
        at_most_one(&["target", "targets"]),
        at_most_one(&["load", "users", "iterations"]),
        one_of(&["scenarios", "steps"]),
    ],
};

/// A target with options.
pub(crate) static TARGET: Object = Object {
    name: "target",
    doc: "A place that requests go to.",
    keys: &[
        need(
            "url",
            Shape::Url,
            "Scheme, host, port and a path that is put before each request's path.",
        ),
        or(
            "host",
            Shape::Text { max: 255 },
            "the URL's host",
            "The `host` header and TLS name to use; with https not for steps that need the full client.",
        ),
    ],
    choices: &[],
};

/// What requests do unless they say otherwise.
pub(crate) static DEFAULTS: Object = Object {
    name: "defaults",
    doc: "What every request does unless it says otherwise.",
    keys: &[
        or(
            "timeout",
            Shape::Duration { min: MICRO, max: HOUR },
            "30s",
            "For connecting, sending and the whole answer.",
        ),
        key(
            "headers",
            Shape::Map {
                of: &Shape::Template,
                max: 100,
            },
            "Header fields; a request's own of the same name wins.",
        ),
        or(
            "redirects",
            Shape::Whole { min: 0, max: 20 },
            "0",
            "Redirects to follow; more than 0 uses the full client.",
        ),
        or(
            "decompress",
            Shape::Flag,
            "false",
            "Ask for and undo content encodings; uses the full client.",
        ),
        or(
            "on_failure",
            Shape::Word(&["end", "continue"]),
            "end",
            "Whether a failed step ends its iteration.",
        ),
        or(
            "engine",
            Shape::Word(&["auto", "http1", "http2", "reqwest"]),
            "auto",
            "Which client sends the requests.",
        ),
        key(
            "auth",
            Shape::Object(&AUTH),
            "Credentials of every request that has none of its own.",
        ),
        key(
            "expect",
            Shape::Object(&EXPECT),
            "Checks of every answer; a step's own of the same kind win.",
        ),
    ],
    choices: &[],
};

/// Rows.
pub(crate) static DATA: Object = Object {
    name: "data",
    doc: "A file with rows for `${name.column}`, at most 256 MiB.",
    keys: &[
        key("csv", Shape::Path, "Comma-separated values with a header line."),
        key("jsonl", Shape::Path, "One JSON object per line."),
        or(
            "pick",
            Shape::Word(&["sequential", "random", "once-per-user"]),
            "sequential",
            "Which row an iteration gets.",
        ),
        or(
            "on_end",
            Shape::Word(&["stop", "wrap", "error"]),
            "wrap",
            "When the rows run out (users have every n-th row each, n being the most users that there are): begin again, stop the run, or let each iteration fail at its first request; not with `pick: random`.",
        ),
    ],
    choices: &[one_of(&["csv", "jsonl"])],
};

/// A scenario.
pub(crate) static SCENARIO: Object = Object {
    name: "scenario",
    doc: "One way through the target that an iteration may take.",
    keys: &[
        or(
            "name",
            TEXT,
            "`default`, or `scenario` and its number",
            "Names it in reports and SLAs; unique.",
        ),
        or(
            "weight",
            Shape::Whole { min: 1, max: 1_000_000 },
            "1",
            "How often it is chosen, relative to the others.",
        ),
        OPEN,
        CLOSED,
        COUNTED,
        or(
            "start_at",
            Shape::Duration {
                min: std::time::Duration::ZERO,
                max: WEEK,
            },
            "0s",
            "When the scenario's own load begins.",
        ),
        key(
            "on_start",
            steps(),
            "Done once by each virtual user before its first iteration of this scenario.",
        ),
        need("steps", steps(), "The steps in order."),
    ],
    choices: &[at_most_one(&["load", "users", "iterations"])],
};

/// The keys of a scenario that make a load of its own.
pub(crate) const SCENARIO_LOAD: [&str; 3] = ["load", "users", "iterations"];

/// An SLA.
pub(crate) static SLA: Object = Object {
    name: "sla",
    doc: "What must hold: an expression with its options, or the shorthand keys.",
    keys: &[
        key("that", Shape::Expression, "What must hold."),
        key(
            "during",
            Shape::Phase,
            "The phase it is about; the whole run without warm-up when absent.",
        ),
        key(
            "over",
            Shape::Duration {
                min: std::time::Duration::from_secs(1),
                max: HOUR,
            },
            "A sliding window of whole seconds instead of the whole.",
        ),
        or("stop", Shape::Flag, "false", "A breach stops the run."),
        or(
            "for",
            Shape::Whole { min: 1, max: 1_000 },
            "1",
            "Breached only after so many evaluations in a row; needs `over`.",
        ),
        key(
            "min_samples",
            Shape::Whole {
                min: 1,
                max: 1_000_000_000_000,
            },
            "Samples needed for a verdict; by default 10 beyond the percentile.",
        ),
        key(
            "max_response_time_p95",
            Shape::Decimal,
            "Shorthand, in seconds: `p95 <= …`; of the steady state when the plan ramps.",
        ),
        key(
            "max_error_rate",
            Shape::Decimal,
            "Shorthand, a share: `error_rate <= …`; of the steady state when the plan ramps.",
        ),
        key(
            "min_throughput_rps",
            Shape::Decimal,
            "Shorthand, answers per second: `throughput >= …`; of the steady state when the plan ramps.",
        ),
    ],
    choices: &[],
};
