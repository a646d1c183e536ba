//! Why a plan cannot be prepared, or a step list that is done once did not succeed.

use std::io;

use crate::net::TlsError;

/// Why a worker cannot carry out a plan.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// A `${env:NAME}` that is not there.
    #[error("environment variable `{0}` is not set on this worker, or is not UTF-8")]
    NoEnv(String),
    /// A `${file:PATH}` that cannot be read.
    #[error("could not read the secret file `{path}` on this worker")]
    SecretFile {
        /// The path, as written.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A `${file:PATH}` that is something else than a text of at most 64 KiB.
    #[error("the secret file `{0}` is not a regular UTF-8 file of at most 64 KiB")]
    NotText(String),
    /// A file of the plan has not arrived.
    #[error("the plan's file `{0}` was not delivered to this worker")]
    NoFile(String),
    /// A data file cannot be used.
    #[error("data `{name}` from `{path}` cannot be used: {problem}")]
    Data {
        /// The data set.
        name: String,
        /// Its file.
        path: String,
        /// What is wrong, without values.
        problem: String,
    },
    /// A plan variable cannot be used.
    #[error("variable `{name}` cannot be prepared")]
    Variable {
        /// The variable.
        name: String,
        /// What is wrong.
        #[source]
        source: StepProblem,
    },
    /// A step cannot be used.
    #[error("step `{step}` of `{scenario}` cannot be prepared")]
    Step {
        /// The scenario, `setup` or `teardown`.
        scenario: String,
        /// The step, or the word of its action.
        step: String,
        /// What is wrong.
        #[source]
        source: StepProblem,
    },
    /// A target cannot be used.
    #[error("target `{name}` cannot be used: {problem}")]
    Target {
        /// The target.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// The TLS settings cannot be used.
    #[error("the TLS settings cannot be used")]
    Tls(#[source] TlsError),
}

/// What is wrong with a step.
#[derive(Debug, thiserror::Error)]
pub enum StepProblem {
    /// A variable that nothing gives a value.
    #[error("nothing gives `{0}` a value")]
    UnknownVariable(String),
    /// A data set that the plan does not have.
    #[error("there is no data set `{0}`")]
    UnknownData(String),
    /// A target that the plan does not have.
    #[error("there is no target number {0}")]
    UnknownTarget(u16),
    /// A constant value that cannot stand at its place.
    #[error("{shown} holds {problem}")]
    Value {
        /// The splice, as written, or a word for the text around it.
        shown: String,
        /// What is wrong with its value.
        problem: String,
    },
    /// The URL is not one that can be requested.
    #[error("the URL cannot be used: {0}")]
    Url(String),
    /// The header field's name or constant value is not valid, or belongs to the engine.
    #[error("header `{name}` {problem}")]
    Header {
        /// The field.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The regular expression is not valid or too large.
    #[error("the regular expression cannot be used")]
    Regex(#[source] Box<regex::Error>),
    /// The JSONPath is not valid.
    #[error("the JSONPath `{0}` is not valid")]
    JsonPath(String),
    /// The expected value of a JSON check is not JSON.
    #[error("the expected value of a JSON check is not JSON")]
    Json,
    /// The engine asked for cannot do what the step asks for.
    #[error("engine `{engine}` cannot be used: {why}")]
    Engine {
        /// The engine.
        engine: &'static str,
        /// What asks for another.
        why: &'static str,
    },
    /// A secret, or a file.
    #[error(transparent)]
    Outside(#[from] Box<PrepareError>),
    /// A request without a number has no ledger.
    #[error("it has no number")]
    NoNumber,
    /// More than the worker can number.
    #[error("there are too many {0}")]
    TooMany(&'static str),
}

/// Why `setup` or `teardown` did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OnceError {
    /// A step failed.
    #[error("step `{step}` failed: {message}")]
    Failed {
        /// The step.
        step: String,
        /// Why, without secrets.
        message: String,
    },
    /// It was given up.
    #[error("given up before its end")]
    Cancelled,
    /// A data set has no row for it.
    #[error("a data set has no row")]
    NoRow,
    /// What it extracted is more than travels to the workers.
    #[error("the extracted values are larger than {max} bytes together")]
    TooLarge {
        /// The bound.
        max: usize,
    },
}
