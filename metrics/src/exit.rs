//! The one table of verdicts and exit codes, and the order in which they win (semantics 6).

use crate::summary::{GeneratorVerdict, SlaResult, SlaVerdict};

/// What a finished run is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Every SLA held, and the numbers can be trusted.
    Passed,
    /// At least one SLA was breached.
    Failed,
    /// Not enough samples, more lost than the plan tolerates, or the run goes on.
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

/// Why a run ended before its plan did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopCause {
    /// An SLA with `stop: true` was breached.
    SlaBreached,
    /// An operator said so.
    Operator,
    /// A chaos guard said so.
    Guard,
    /// A worker was lost, and the plan says `on_loss: abort`.
    WorkerLost,
    /// SIGINT.
    Interrupted,
    /// SIGTERM.
    Terminated,
    /// The plan's own end: data rows ran out with `on_end: stop`. Counts as a complete run.
    DataEnded,
}

impl StopCause {
    /// The word under which it is stored.
    pub fn word(self) -> &'static str {
        match self {
            Self::SlaBreached => "sla_breached",
            Self::Operator => "operator",
            Self::Guard => "guard",
            Self::WorkerLost => "worker_lost",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
            Self::DataEnded => "data_ended",
        }
    }

    /// Reads [`StopCause::word`].
    pub fn from_word(word: &str) -> Option<Self> {
        [
            Self::SlaBreached,
            Self::Operator,
            Self::Guard,
            Self::WorkerLost,
            Self::Interrupted,
            Self::Terminated,
            Self::DataEnded,
        ]
        .into_iter()
        .find(|cause| cause.word() == word)
    }
}

/// What an experiment or a rollout left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Aftermath {
    /// A rollout was taken back.
    RolledBack,
    /// A fault could not be undone.
    UndoFailed,
}

/// Everything that decides an exit code.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence<'a> {
    pub(crate) sla: &'a [SlaResult],
    pub(crate) generator: GeneratorVerdict,
    /// Equations that do not hold.
    pub(crate) mismatches: &'a [String],
    /// Set when more was lost than the plan tolerates.
    pub(crate) loss: Option<String>,
    pub(crate) stop: Option<(StopCause, &'a str)>,
    pub(crate) aftermath: &'a [Aftermath],
    /// `--accept-invalid`: 95 does not count.
    pub(crate) accept_untrusted: bool,
}

/// What a run comes to.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    pub(crate) verdict: Verdict,
    pub(crate) exit_code: ExitCode,
    /// The exit code under `--accept-invalid`, whether or not it was given.
    pub(crate) accepted: ExitCode,
    /// Why, the deciding reason first.
    pub(crate) reasons: Vec<String>,
}

impl Decision {
    /// That of a run which goes on and has nothing against it so far: it can still fail, so it has not passed.
    pub(crate) fn open() -> Self {
        Self {
            verdict: Verdict::Inconclusive,
            exit_code: ExitCode::Untrusted,
            accepted: ExitCode::Untrusted,
            reasons: vec!["the run goes on: nothing is against it so far".to_owned()],
        }
    }
}

/// Draws the verdict and the exit code.
pub(crate) fn decide(evidence: &Evidence<'_>) -> Decision {
    let mut found = findings(evidence);
    let rank = |code: ExitCode| ExitCode::PRECEDENCE.iter().position(|known| *known == code);
    found.sort_by_key(|(code, _, _)| rank(*code));
    let verdict = found.first().map_or(Verdict::Passed, |(_, verdict, _)| *verdict);
    let strongest = |accepts: bool| {
        let mut codes = found.iter().map(|(code, ..)| *code);
        codes
            .find(|code| !(accepts && *code == ExitCode::Untrusted))
            .unwrap_or(ExitCode::Passed)
    };
    Decision {
        verdict,
        exit_code: strongest(evidence.accept_untrusted),
        accepted: strongest(true),
        reasons: found.into_iter().map(|(_, _, reason)| reason).collect(),
    }
}

type Finding = (ExitCode, Verdict, String);

fn findings(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    let mut add = |code, verdict, reason: String| found.push((code, verdict, reason));
    if evidence.aftermath.contains(&Aftermath::UndoFailed) {
        add(
            ExitCode::UndoFailed,
            Verdict::UndoFailed,
            "a fault could not be undone".to_owned(),
        );
    }
    if let Some(first) = evidence.mismatches.first() {
        add(
            ExitCode::Inconsistent,
            Verdict::Inconsistent,
            format!("the ledgers do not add up: {first}"),
        );
    }
    if evidence.generator == GeneratorVerdict::Invalid {
        let reason = "the load generator could not do what the plan asks".to_owned();
        add(ExitCode::Untrusted, Verdict::Invalid, reason);
    }
    if let Some(loss) = &evidence.loss {
        add(ExitCode::Untrusted, Verdict::Inconclusive, loss.clone());
    }
    if evidence.aftermath.contains(&Aftermath::RolledBack) {
        add(
            ExitCode::RolledBack,
            Verdict::RolledBack,
            "the rollout was taken back".to_owned(),
        );
    }
    let failed: Vec<&SlaResult> = evidence
        .sla
        .iter()
        .filter(|sla| sla.verdict == SlaVerdict::Failed)
        .collect();
    for sla in &failed {
        add(
            ExitCode::SlaFailed,
            Verdict::Failed,
            format!("{}: {}", sla.that, sla.observed),
        );
    }
    let unjudged = evidence.sla.iter().filter(|sla| match sla.verdict {
        SlaVerdict::NotEnoughSamples => true,
        // With an invalid generator that is said once for all.
        SlaVerdict::NotJudged => evidence.generator != GeneratorVerdict::Invalid,
        SlaVerdict::Passed | SlaVerdict::Failed | SlaVerdict::Provisional => false,
    });
    if failed.is_empty() {
        for sla in unjudged {
            add(
                ExitCode::Untrusted,
                Verdict::Inconclusive,
                format!("{}: {}", sla.that, sla.reason),
            );
        }
    }
    found.extend(
        evidence
            .stop
            .and_then(|(cause, reason)| stop_finding(cause, reason, failed.is_empty())),
    );
    found
}

/// What an early stop adds to the reasons; a breached SLA speaks for itself.
fn stop_finding(cause: StopCause, reason: &str, nothing_failed: bool) -> Option<Finding> {
    let (code, verdict) = match cause {
        StopCause::SlaBreached if nothing_failed => (ExitCode::SlaFailed, Verdict::Failed),
        StopCause::SlaBreached | StopCause::DataEnded => return None,
        StopCause::Operator | StopCause::Guard => (ExitCode::Aborted, Verdict::Aborted),
        StopCause::WorkerLost => (ExitCode::Untrusted, Verdict::Inconclusive),
        StopCause::Interrupted => (ExitCode::Interrupted, Verdict::Aborted),
        StopCause::Terminated => (ExitCode::Terminated, Verdict::Aborted),
    };
    Some((code, verdict, reason.to_owned()))
}

#[cfg(test)]
mod tests;
