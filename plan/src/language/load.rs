//! Loads and their stages.

use super::{HOUR, Key, LENGTH, LEVEL, MICRO, Object, Shape, TEXT, USERS_RANGE, WEEK, key, need, one_of, or};

pub(super) const OPEN: Key = key(
    "load",
    Shape::Object(&LOAD),
    "The open model: arrivals at given rates that never wait for answers.",
);
pub(super) const CLOSED: Key = key(
    "users",
    Shape::Object(&USERS),
    "The closed model: so many users, each beginning again when it is through.",
);
pub(super) const COUNTED: Key = key(
    "iterations",
    Shape::Object(&ITERATIONS),
    "A number of iterations as fast as possible.",
);

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
