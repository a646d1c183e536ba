//! Connections, workers, ceilings and tags.

use barrage_model::plan::STREAMS_PER_CONNECTION_MAX;

use super::{HOUR, LENGTH, MICRO, Object, Shape, TEXT, UP_TO_HOUR, key, need, one_of, or};

/// How connections are made.
pub(crate) static NETWORK: Object = Object {
    name: "network",
    doc: "How connections are made.",
    keys: &[
        key(
            "resolve",
            Shape::List {
                of: &Shape::Resolve,
                min: 0,
                max: 1_000,
            },
            "Fixed answers of name resolution; port `*` is any.",
        ),
        key(
            "source_addresses",
            Shape::List {
                of: &Shape::Address,
                min: 0,
                max: 1_000,
            },
            "Local addresses to connect from, in turn; with the full client one for each user.",
        ),
        or(
            "dns",
            Shape::OneOf(&[Shape::Word(&["once", "per_connection"]), Shape::Object(&DNS)]),
            "once",
            "How often names are resolved.",
        ),
        or(
            "reuse",
            Shape::OneOf(&[Shape::Word(&["always", "never"]), Shape::Object(&CLIENT_REUSE)]),
            "always",
            "How long a connection is used.",
        ),
        or(
            "streams_per_connection",
            Shape::Whole {
                min: 1,
                max: STREAMS_PER_CONNECTION_MAX as u64,
            },
            "1",
            "Users (open model: iterations in progress) that share one connection of the `http2` engine, each with one \
             stream; by load thread.",
        ),
        key("tls", Shape::Object(&TLS), "TLS settings."),
        key(
            "proxy",
            Shape::ProxyUrl,
            "A proxy for every request; uses the full client.",
        ),
        or(
            "cookies",
            Shape::Flag,
            "false",
            "Keep cookies within a user of `users`, otherwise within an iteration, which begins with those that the \
             `on_start` of its scenario has left; up to 256KiB, beyond which new ones are ignored; uses the full client.",
        ),
        or(
            "body_limit",
            Shape::Size { max: 1 << 30 },
            "64MiB",
            "Most body bytes taken from one answer.",
        ),
    ],
    choices: &[],
};

/// Name resolution.
pub(crate) static DNS: Object = Object {
    name: "dns",
    doc: "How often names are resolved.",
    keys: &[need("ttl", LENGTH, "Again when the answer is older.")],
    choices: &[],
};

/// Use of connections.
pub(crate) static CLIENT_REUSE: Object = Object {
    name: "reuse",
    doc: "How long a connection is used.",
    keys: &[
        key(
            "max_requests",
            Shape::Whole {
                min: 1,
                max: 1_000_000_000,
            },
            "For this many requests.",
        ),
        key("max_age", Shape::Duration { min: MICRO, max: HOUR }, "For this long."),
    ],
    choices: &[one_of(&["max_requests", "max_age"])],
};

/// TLS.
pub(crate) static TLS: Object = Object {
    name: "tls",
    doc: "TLS settings of all targets.",
    keys: &[
        or("insecure", Shape::Flag, "false", "Accept any certificate."),
        key(
            "ca",
            Shape::Path,
            "PEM file of certificate authorities, beside the built-in ones.",
        ),
        key(
            "cert",
            Shape::Path,
            "PEM file of the client's certificate chain; needs `key`.",
        ),
        key("key", Shape::Path, "PEM file of the client's key; needs `cert`."),
    ],
    choices: &[],
};

/// Workers.
pub(crate) static WORKERS: Object = Object {
    name: "workers",
    doc: "How many workers take part, and what happens when one is lost.",
    keys: &[
        or(
            "min",
            Shape::Whole { min: 1, max: 10_000 },
            "1",
            "The run waits for at least this many.",
        ),
        key(
            "max",
            Shape::Whole { min: 1, max: 10_000 },
            "At most this many take part.",
        ),
        key(
            "labels",
            Shape::Map { of: &TEXT, max: 100 },
            "Labels a worker must carry, all of them.",
        ),
        or("wait", UP_TO_HOUR, "60s", "How long the run waits for workers."),
        or(
            "on_loss",
            Shape::Word(&["abort", "continue"]),
            "abort",
            "What happens when a worker is lost.",
        ),
        or(
            "loss_tolerance",
            Shape::Ratio {
                max_ppb: super::FULL_SHARE,
            },
            "0%",
            "Share that may be lost before the run is inconclusive: arrivals, iterations that lost workers leave in progress, and of \
             `users` the time in which they begin none.",
        ),
    ],
    choices: &[],
};

/// Ceilings.
pub(crate) static CEILINGS: Object = Object {
    name: "ceilings",
    doc: "Upper bounds on iterations per second that hold back arrivals.",
    keys: &[
        key("per_worker", Shape::Rate { zero: false }, "For each worker."),
        key(
            "per_target",
            Shape::Rate { zero: false },
            "For all workers together, by target.",
        ),
    ],
    choices: &[],
};

/// A tag.
pub(crate) static TAG: Object = Object {
    name: "tag",
    doc: "Splits every series by an answer header.",
    keys: &[
        need("header", Shape::Text { max: 255 }, "The answer header."),
        need(
            "values",
            Shape::List {
                of: &TEXT,
                min: 1,
                max: 16,
            },
            "The values with a series of their own; all others count as `other`.",
        ),
    ],
    choices: &[],
};
