//! The one table of verdicts and exit codes, and the order in which they win (semantics 6).

/// What a finished run is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Every SLA held, and the numbers can be trusted.
    Passed,
    /// At least one SLA was breached.
    Failed,
    /// Not enough samples, or more arrivals lost than the plan tolerates.
    Inconclusive,
    /// The generator could not do what the plan asks, so latencies are its own.
    Invalid,
    /// Stopped by an operator, a signal or a guard.
    Aborted,
    /// A rollout was taken back.
    RolledBack,
    /// A fault could not be undone.
    UndoFailed,
    /// An equation of a ledger does not hold.
    Inconsistent,
}

impl Verdict {
    /// The word used in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Inconclusive => "inconclusive",
            Self::Invalid => "invalid",
            Self::Aborted => "aborted",
            Self::RolledBack => "rolled_back",
            Self::UndoFailed => "undo_failed",
            Self::Inconsistent => "inconsistent",
        }
    }

    /// Reads [`Verdict::word`].
    pub fn from_word(word: &str) -> Option<Self> {
        [
            Self::Passed,
            Self::Failed,
            Self::Inconclusive,
            Self::Invalid,
            Self::Aborted,
            Self::RolledBack,
            Self::UndoFailed,
            Self::Inconsistent,
        ]
        .into_iter()
        .find(|verdict| verdict.word() == word)
    }
}

/// The exit code of a process that followed a run to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitCode {
    /// 0
    Passed,
    /// 94
    Inconsistent,
    /// 95: invalid generator, not enough samples, or loss beyond the plan's tolerance.
    Untrusted,
    /// 96: stopped by a chaos guard or an operator.
    Aborted,
    /// 97
    RolledBack,
    /// 98: worse than the run it was compared with.
    Regression,
    /// 99
    SlaFailed,
    /// 100
    UndoFailed,
    /// 130
    Interrupted,
    /// 143
    Terminated,
}

impl ExitCode {
    /// Every code, the strongest first: 100 > 94 > 95 > 97 > 96 > 99 > 98 > 130 > 143 > 0.
    pub const PRECEDENCE: [Self; 10] = [
        Self::UndoFailed,
        Self::Inconsistent,
        Self::Untrusted,
        Self::RolledBack,
        Self::Aborted,
        Self::SlaFailed,
        Self::Regression,
        Self::Interrupted,
        Self::Terminated,
        Self::Passed,
    ];

    /// The number that the process exits with.
    pub fn number(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Inconsistent => 94,
            Self::Untrusted => 95,
            Self::Aborted => 96,
            Self::RolledBack => 97,
            Self::Regression => 98,
            Self::SlaFailed => 99,
            Self::UndoFailed => 100,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// The code with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::PRECEDENCE.into_iter().find(|code| code.number() == number)
    }

    /// The stronger of two codes.
    #[must_use]
    pub fn or_stronger(self, other: Self) -> Self {
        Self::PRECEDENCE
            .into_iter()
            .find(|code| *code == self || *code == other)
            .unwrap_or(self)
    }
}
