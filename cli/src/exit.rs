//! The one table from errors to exit codes. The codes of finished runs come from `barrage_metrics::exit`.

use std::fmt::Display;

/// Why a command did not reach the end of a run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Exit 1.
    #[error("{0}")]
    Own(String),
    /// Exit 2.
    #[error("{0}")]
    Usage(String),
    /// Exit 3: rendered diagnostics, one or more lines.
    #[error("{0}")]
    BadPlan(String),
    /// Exit 4.
    #[error("{0}")]
    CouldNotStart(String),
    /// Exit 5.
    #[error("{0}")]
    Refused(String),
}

impl Failure {
    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Own(_) => 1,
            Self::Usage(_) => 2,
            Self::BadPlan(_) => 3,
            Self::CouldNotStart(_) => 4,
            Self::Refused(_) => 5,
        }
    }

    /// Our own failure while trying to do something: the whole chain of causes in one line.
    pub(crate) fn own(trying: impl Display, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Own(format!("{trying}: {}", chain(error)))
    }

    /// A start that failed: the whole chain of causes in one line.
    pub(crate) fn start(trying: impl Display, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::CouldNotStart(format!("{trying}: {}", chain(error)))
    }
}

/// An error and its causes in one line, each said once.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let more = next.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = next.source();
    }
    text
}

/// What a command comes to: the process's exit code, or a failure to print.
pub(crate) type Outcome = Result<u8, Failure>;
