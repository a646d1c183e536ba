//! Steps.

use super::request::{EXPECT, EXTRACT, REQUEST};
use super::{HOUR, Key, MICRO, Object, Shape, TEXT, UP_TO_HOUR, key, need, one_of, or};

static STEP_SHAPE: Shape = Shape::Object(&STEP);

/// A list of steps. A function, since a constant would contain itself.
pub(super) const fn steps() -> Shape {
    Shape::List {
        of: &STEP_SHAPE,
        min: 1,
        max: 1_000,
    }
}

/// The path alone, or the request in full.
static REQUEST_FORMS: [Shape; 2] = [Shape::Template, Shape::Object(&REQUEST)];

const fn request(name: &'static str, doc: &'static str) -> Key {
    key(name, Shape::OneOf(&REQUEST_FORMS), doc)
}

/// The keys of a step of which exactly one is given.
const ACTIONS: [&str; 13] = [
    "get", "post", "put", "patch", "delete", "head", "options", "think", "set", "repeat", "if", "until", "group",
];

/// A step.
pub(crate) static STEP: Object = Object {
    name: "step",
    doc: "One step: exactly one action, and for requests what is expected of and kept from the answer.",
    keys: &[
        request("get", "Sends a GET request; the path, or a map."),
        request("post", "Sends a POST request."),
        request("put", "Sends a PUT request."),
        request("patch", "Sends a PATCH request."),
        request("delete", "Sends a DELETE request."),
        request("head", "Sends a HEAD request."),
        request("options", "Sends an OPTIONS request."),
        key("think", Shape::Delay, "Pauses."),
        key(
            "set",
            Shape::Map {
                of: &Shape::Template,
                max: 100,
            },
            "Gives values to variables of this iteration.",
        ),
        key(
            "repeat",
            Shape::Object(&REPEAT),
            "Goes through steps a number of times.",
        ),
        key("if", Shape::Object(&IF), "Goes through one of two lists of steps."),
        key(
            "until",
            Shape::Object(&UNTIL),
            "Goes through steps until a condition holds.",
        ),
        key("group", Shape::Object(&GROUP), "Measures steps together."),
        key(
            "name",
            TEXT,
            "Names the request or group; may stand inside the action as well.",
        ),
        key(
            "timeout",
            Shape::Duration { min: MICRO, max: HOUR },
            "Of the request; may stand inside the action as well.",
        ),
        key(
            "expect",
            Shape::Object(&EXPECT),
            "What the answer must be; without `status`, 200 to 399.",
        ),
        key(
            "extract",
            Shape::Map {
                of: &Shape::Object(&EXTRACT),
                max: 100,
            },
            "Values to keep from the answer, by variable.",
        ),
        key(
            "on_failure",
            Shape::Word(&["end", "continue"]),
            "Whether the failed step ends its iteration.",
        ),
    ],
    choices: &[one_of(&ACTIONS)],
};

/// Repetition.
pub(crate) static REPEAT: Object = Object {
    name: "repeat",
    doc: "Goes through steps a number of times.",
    keys: &[
        need("times", Shape::Whole { min: 1, max: 10_000 }, "How often."),
        need("steps", steps(), "What."),
    ],
    choices: &[],
};

/// A branch.
pub(crate) static IF: Object = Object {
    name: "if",
    doc: "Goes through one of two lists of steps.",
    keys: &[
        need("that", Shape::Condition, "The condition."),
        need("then", steps(), "When it holds."),
        key("else", steps(), "When it does not."),
    ],
    choices: &[],
};

/// A loop with a condition.
pub(crate) static UNTIL: Object = Object {
    name: "until",
    doc: "Goes through steps until the condition holds after them.",
    keys: &[
        need("that", Shape::Condition, "The condition."),
        need(
            "at_most",
            Shape::Whole { min: 1, max: 10_000 },
            "Most rounds; the iteration goes on after them.",
        ),
        or("every", UP_TO_HOUR, "1s", "Pause between two rounds."),
        need("steps", steps(), "What."),
    ],
    choices: &[],
};

/// A group.
pub(crate) static GROUP: Object = Object {
    name: "group",
    doc: "Measures steps together.",
    keys: &[
        key("name", TEXT, "Names its latency; required here or beside `group`."),
        need("steps", steps(), "What."),
    ],
    choices: &[],
};
