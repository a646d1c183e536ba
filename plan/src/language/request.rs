//! Requests, checks and extracts.

use super::{HOUR, MICRO, Object, Shape, TEXT, at_most_one, key, need, one_of, or};

/// A request in full.
pub(crate) static REQUEST: Object = Object {
    name: "request",
    doc: "A request; the short form is the path alone.",
    keys: &[
        or(
            "name",
            TEXT,
            "the method and the path",
            "Names it in reports and SLAs; unique in its scenario.",
        ),
        need("url", Shape::Template, "A path on the target, or an absolute URL."),
        or("target", Shape::Name, "the first", "One of the plan's `targets`."),
        key(
            "query",
            Shape::Map {
                of: &Shape::Template,
                max: 100,
            },
            "Query parameters, percent-encoded and appended.",
        ),
        key(
            "headers",
            Shape::Map {
                of: &Shape::Template,
                max: 100,
            },
            "Header fields; win over the defaults.",
        ),
        key(
            "json",
            Shape::Json,
            "A JSON body; texts in it may use `${…}`, `\"${x | json}\"` puts the value in unquoted.",
        ),
        key(
            "form",
            Shape::Map {
                of: &Shape::Template,
                max: 1_000,
            },
            "A form body (application/x-www-form-urlencoded).",
        ),
        key(
            "multipart",
            Shape::Map {
                of: &Shape::OneOf(&[Shape::Template, Shape::Object(&PART)]),
                max: 100,
            },
            "A multipart/form-data body: a text or a map per field.",
        ),
        key("body", Shape::Template, "A text body."),
        key("file", Shape::Path, "A body from a file, as it is."),
        key("auth", Shape::Object(&AUTH), "Credentials; win over the defaults."),
        key(
            "timeout",
            Shape::Duration { min: MICRO, max: HOUR },
            "For connecting, sending and the whole answer.",
        ),
        key(
            "redirects",
            Shape::Whole { min: 0, max: 20 },
            "Redirects to follow; one beyond them, or one that cannot be followed, is the answer, judged by its own status.",
        ),
        key("decompress", Shape::Flag, "Ask for and undo content encodings."),
        key(
            "engine",
            Shape::Word(&["auto", "http1", "http2", "reqwest"]),
            "Which client sends it.",
        ),
    ],
    choices: &[at_most_one(&["json", "form", "multipart", "body", "file"])],
};

/// One part of a multipart body.
pub(crate) static PART: Object = Object {
    name: "part",
    doc: "One field of a multipart body.",
    keys: &[
        key("text", Shape::Template, "Its content."),
        key("file", Shape::Path, "A file with its content."),
        key(
            "filename",
            Shape::Text { max: 255 },
            "The file name sent with it; of a file its own name when absent.",
        ),
        key(
            "content_type",
            Shape::Text { max: 255 },
            "The content type sent with it.",
        ),
    ],
    choices: &[one_of(&["text", "file"])],
};

/// Credentials.
pub(crate) static AUTH: Object = Object {
    name: "auth",
    doc: "Credentials; become an `authorization` header.",
    keys: &[
        key("basic", Shape::Object(&BASIC), "User and password (RFC 7617)."),
        key("bearer", Shape::Template, "A token (RFC 6750)."),
    ],
    choices: &[one_of(&["basic", "bearer"])],
};

/// User and password.
pub(crate) static BASIC: Object = Object {
    name: "basic",
    doc: "User and password.",
    keys: &[
        need("user", Shape::Template, "The user's name."),
        need("password", Shape::Template, "The password."),
    ],
    choices: &[],
};

/// Checks.
pub(crate) static EXPECT: Object = Object {
    name: "expect",
    doc: "What an answer must be.",
    keys: &[
        or(
            "status",
            Shape::OneOf(&[
                Shape::Status,
                Shape::List {
                    of: &Shape::Status,
                    min: 1,
                    max: 64,
                },
            ]),
            "200..399",
            "The status: a number, a range or a class, or a list of them.",
        ),
        key(
            "header",
            Shape::Map {
                of: &Shape::OneOf(&[Shape::Template, Shape::Object(&HEADER_MATCHER)]),
                max: 100,
            },
            "Header fields: a value, `present`, `absent` or a map.",
        ),
        key("body_contains", Shape::Template, "A text that the body contains."),
        key(
            "body_matches",
            Shape::Regex,
            "A regular expression that the body matches.",
        ),
        key(
            "json",
            Shape::Map {
                of: &Shape::OneOf(&[Shape::Json, Shape::Object(&JSON_MATCHER)]),
                max: 100,
            },
            "JSONPaths: a value, `present`, `absent` or a map. Whole numbers are compared exactly up to 64 bits, beyond as doubles.",
        ),
        key(
            "size",
            Shape::OneOf(&[Shape::SizeSpan, Shape::Object(&SIZE_RANGE)]),
            "The body's length.",
        ),
        key(
            "max_time",
            Shape::Duration { min: MICRO, max: HOUR },
            "The longest service time.",
        ),
    ],
    choices: &[],
};

/// What a header must be.
pub(crate) static HEADER_MATCHER: Object = Object {
    name: "header_matcher",
    doc: "What a header field must be.",
    keys: &[
        key("equals", Shape::Template, "This text."),
        key("contains", Shape::Template, "A text that contains this one."),
        key("matches", Shape::Regex, "A text that matches this regular expression."),
    ],
    choices: &[one_of(&["equals", "contains", "matches"])],
};

/// What a JSON value must be.
pub(crate) static JSON_MATCHER: Object = Object {
    name: "json_matcher",
    doc: "What the value at a JSONPath must be.",
    keys: &[
        key("equals", Shape::Json, "This value."),
        key("contains", Shape::Template, "A text that contains this one."),
        key("matches", Shape::Regex, "A text that matches this regular expression."),
    ],
    choices: &[one_of(&["equals", "contains", "matches"])],
};

/// Two sizes.
pub(crate) static SIZE_RANGE: Object = Object {
    name: "size_range",
    doc: "Bounds of a length.",
    keys: &[
        or("min", Shape::Size { max: u64::MAX }, "0B", "At least."),
        key("max", Shape::Size { max: u64::MAX }, "At most."),
    ],
    choices: &[],
};

/// A value to keep.
pub(crate) static EXTRACT: Object = Object {
    name: "extract",
    doc: "A value to keep from the answer.",
    keys: &[
        key("json", Shape::JsonPath, "The first match of a JSONPath."),
        key("header", Shape::Text { max: 255 }, "A header field."),
        key(
            "regex",
            Shape::Regex,
            "The first group of a regular expression over the body, or the whole match.",
        ),
        key("cookie", Shape::Text { max: 255 }, "A cookie set by this answer."),
        key(
            "default",
            Shape::Any,
            "The value when nothing is found; without it a miss fails the step.",
        ),
    ],
    choices: &[one_of(&["json", "header", "regex", "cookie"])],
};
