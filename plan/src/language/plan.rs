//! The plan itself, its loads, data and SLAs.

use super::network::{CEILINGS, NETWORK, TAG, WORKERS};
use super::request::{AUTH, EXPECT};
use super::steps::steps;
use super::{
    FULL_SHARE, HOUR, Key, LENGTH, LEVEL, MICRO, Object, Shape, TEXT, UP_TO_HOUR, USERS_RANGE, WEEK, at_most_one, key,
    need, one_of, or,
};

const OPEN: Key = key(
    "load",
    Shape::Object(&LOAD),
    "The open model: arrivals at given rates that never wait for answers.",
);
const CLOSED: Key = key(
    "users",
    Shape::Object(&USERS),
    "The closed model: so many users, each beginning again when it is through.",
);
const COUNTED: Key = key(
    "iterations",
    Shape::Object(&ITERATIONS),
    "A number of iterations as fast as possible.",
);

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
            "The `host` header and TLS name to use.",
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
            "From the send to the end of the answer.",
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

/// The open model.
pub(crate) static LOAD: Object = Object {
    name: "load",
    doc: "Arrivals at given rates, for the whole fleet; they never wait for answers.",
    keys: &[
        or(
            "arrivals",
            Shape::Word(&["even", "poisson"]),
            "even",
            "Evenly spaced, or with random gaps of the same mean.",
        ),
        key(
            "stages",
            Shape::List {
                of: &Shape::Object(&STAGE),
                min: 1,
                max: 1_000,
            },
            "The rate over time.",
        ),
        key(
            "rate",
            Shape::Rate { zero: false },
            "A constant rate, in short for one `hold`; needs `for`.",
        ),
        key("for", LENGTH, "How long the constant rate lasts."),
        or(
            "max_active",
            USERS_RANGE,
            "10000",
            "Iterations in progress, whole fleet; arrivals beyond it wait.",
        ),
        or(
            "give_up_after",
            Shape::Duration { min: MICRO, max: HOUR },
            "10s",
            "An arrival that has waited this long is dropped and counted.",
        ),
    ],
    choices: &[one_of(&["stages", "rate"])],
};

/// A stage of arrivals.
pub(crate) static STAGE: Object = Object {
    name: "stage",
    doc: "A stretch of the arrival rate; exactly one key.",
    keys: &[
        key(
            "ramp",
            Shape::Object(&RAMP),
            "A straight line from one rate to another.",
        ),
        key(
            "hold",
            Shape::Object(&HOLD),
            "A constant rate; holds make up the steady state.",
        ),
        key(
            "spike",
            Shape::Object(&SPIKE),
            "A sudden other rate between two stretches of the base rate.",
        ),
        key("step", Shape::Object(&STEPPED), "Equal steps from one rate to another."),
        key("pause", Shape::OneOf(&[LENGTH, Shape::Object(&PAUSE)]), "No arrivals."),
    ],
    choices: &[one_of(&["ramp", "hold", "spike", "step", "pause"])],
};

const STAGE_NAME: Key = or(
    "name",
    TEXT,
    "the word and the stage's number",
    "Names the stage in reports and SLAs.",
);

/// A ramp of arrivals.
pub(crate) static RAMP: Object = Object {
    name: "ramp",
    doc: "A straight line from one rate to another.",
    keys: &[
        or(
            "from",
            Shape::Rate { zero: true },
            "the end of the stage before, or 0/s",
            "Rate at the beginning.",
        ),
        need("to", Shape::Rate { zero: true }, "Rate at the end."),
        need("over", LENGTH, "Length."),
        STAGE_NAME,
    ],
    choices: &[],
};

/// A constant rate.
pub(crate) static HOLD: Object = Object {
    name: "hold",
    doc: "A constant rate.",
    keys: &[
        need("rate", Shape::Rate { zero: false }, "The rate."),
        need("for", LENGTH, "Length."),
        STAGE_NAME,
    ],
    choices: &[],
};

/// A spike.
pub(crate) static SPIKE: Object = Object {
    name: "spike",
    doc: "A sudden other rate between two stretches of the base rate.",
    keys: &[
        or(
            "base",
            Shape::Rate { zero: true },
            "the end of the stage before, or 0/s",
            "Rate before and after.",
        ),
        need("to", Shape::Rate { zero: true }, "Rate of the spike."),
        or(
            "before",
            Shape::Duration {
                min: std::time::Duration::ZERO,
                max: WEEK,
            },
            "0s",
            "Length of the base rate before it.",
        ),
        need("for", LENGTH, "Length of the spike."),
        or(
            "after",
            Shape::Duration {
                min: std::time::Duration::ZERO,
                max: WEEK,
            },
            "0s",
            "Length of the base rate after it.",
        ),
        STAGE_NAME,
    ],
    choices: &[],
};

const STEP_COUNT: Key = need("steps", Shape::Whole { min: 2, max: 1_000 }, "Number of steps.");
const STEP_LENGTH: Key = need("each", LENGTH, "Length of each step.");

/// Steps of arrivals.
pub(crate) static STEPPED: Object = Object {
    name: "step_stage",
    doc: "Equal steps from one rate to another.",
    keys: &[
        or(
            "from",
            Shape::Rate { zero: true },
            "the end of the stage before, or 0/s",
            "Rate of the first step.",
        ),
        need("to", Shape::Rate { zero: true }, "Rate of the last step."),
        STEP_COUNT,
        STEP_LENGTH,
        STAGE_NAME,
    ],
    choices: &[],
};

/// A pause.
pub(crate) static PAUSE: Object = Object {
    name: "pause",
    doc: "Nothing for a while.",
    keys: &[need("for", LENGTH, "Length."), STAGE_NAME],
    choices: &[],
};

/// The closed model.
pub(crate) static USERS: Object = Object {
    name: "users",
    doc: "So many users, whole fleet, each beginning its next iteration when it is through with the last one.",
    keys: &[
        key(
            "stages",
            Shape::List {
                of: &Shape::Object(&USER_STAGE),
                min: 1,
                max: 1_000,
            },
            "The number over time.",
        ),
        key(
            "count",
            USERS_RANGE,
            "A constant number, in short for one `hold`; needs `for`.",
        ),
        key("for", LENGTH, "How long the constant number lasts."),
        or("think", Shape::Delay, "none", "Pause after each iteration."),
        or(
            "pace",
            LENGTH,
            "none",
            "An iteration begins at least this long after the one before of the same user.",
        ),
    ],
    choices: &[one_of(&["stages", "count"])],
};

/// A stage of users.
pub(crate) static USER_STAGE: Object = Object {
    name: "user_stage",
    doc: "A stretch of the number of users; exactly one key.",
    keys: &[
        key(
            "ramp",
            Shape::Object(&USER_RAMP),
            "A straight line from one number to another.",
        ),
        key(
            "hold",
            Shape::Object(&USER_HOLD),
            "A constant number; holds make up the steady state.",
        ),
        key(
            "step",
            Shape::Object(&USER_STEPPED),
            "Equal steps from one number to another.",
        ),
        key("pause", Shape::OneOf(&[LENGTH, Shape::Object(&PAUSE)]), "No users."),
    ],
    choices: &[one_of(&["ramp", "hold", "step", "pause"])],
};

/// A ramp of users.
pub(crate) static USER_RAMP: Object = Object {
    name: "user_ramp",
    doc: "A straight line from one number of users to another.",
    keys: &[
        or(
            "from",
            LEVEL,
            "the end of the stage before, or 0",
            "Users at the beginning.",
        ),
        need("to", LEVEL, "Users at the end."),
        need("over", LENGTH, "Length."),
        STAGE_NAME,
    ],
    choices: &[],
};

/// A constant number of users.
pub(crate) static USER_HOLD: Object = Object {
    name: "user_hold",
    doc: "A constant number of users.",
    keys: &[
        need("users", USERS_RANGE, "The number."),
        need("for", LENGTH, "Length."),
        STAGE_NAME,
    ],
    choices: &[],
};

/// Steps of users.
pub(crate) static USER_STEPPED: Object = Object {
    name: "user_step_stage",
    doc: "Equal steps from one number of users to another.",
    keys: &[
        or(
            "from",
            LEVEL,
            "the end of the stage before, or 0",
            "Users of the first step.",
        ),
        need("to", LEVEL, "Users of the last step."),
        STEP_COUNT,
        STEP_LENGTH,
        STAGE_NAME,
    ],
    choices: &[],
};

/// A number of iterations.
pub(crate) static ITERATIONS: Object = Object {
    name: "iterations",
    doc: "A number of iterations as fast as possible.",
    keys: &[
        need(
            "count",
            Shape::Whole {
                min: 1,
                max: 1_000_000_000_000,
            },
            "How many, whole fleet.",
        ),
        or("users", USERS_RANGE, "1", "Users that share them, whole fleet."),
        or(
            "at_most",
            LENGTH,
            "1h",
            "The load ends after this long even when iterations are left.",
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
            "What happens when the rows run out; not with `pick: random`.",
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
