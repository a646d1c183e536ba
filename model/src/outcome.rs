//! How an attempted step or a due arrival ended.

/// Why a sent step failed. The first cause that applies wins, in the order of the variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureClass {
    /// The target's name could not be resolved.
    Dns,
    /// No TCP connection could be made (refused, unreachable, no local port or descriptor).
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// The connection broke after the request had begun.
    Reset,
    /// A kept-alive connection had been closed by the server before the request was answered at all.
    ClosedOnReuse,
    /// The answer was not valid HTTP or went over a limit.
    Protocol,
    /// The answer's status is not among the expected ones.
    Status,
    /// An `expect` other than the status did not hold.
    Check,
    /// An `extract` found nothing.
    Extract,
}

impl FailureClass {
    /// Every class, in the order of [`FailureClass::index`].
    pub const ALL: [Self; 9] = [
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Reset,
        Self::ClosedOnReuse,
        Self::Protocol,
        Self::Status,
        Self::Check,
        Self::Extract,
    ];

    /// Position in [`FailureClass::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The word used in plans, reports and on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Reset => "reset",
            Self::ClosedOnReuse => "closed_on_reuse",
            Self::Protocol => "protocol",
            Self::Status => "status",
            Self::Check => "check",
            Self::Extract => "extract",
        }
    }
}

/// How a sent step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Answered, and every expectation held.
    Ok,
    /// Failed for the given reason.
    Failed(FailureClass),
    /// No complete answer within the step's timeout.
    Timeout,
    /// Given up by us: the run ended before the answer was there.
    Cancelled,
}

impl Outcome {
    /// The group under which the latency is kept.
    pub fn group(self) -> OutcomeGroup {
        match self {
            Self::Ok => OutcomeGroup::Ok,
            Self::Failed(_) => OutcomeGroup::Failed,
            Self::Timeout => OutcomeGroup::Timeout,
            Self::Cancelled => OutcomeGroup::Cancelled,
        }
    }
}

/// The part of a series key that says how the samples ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OutcomeGroup {
    /// Answered as expected.
    Ok,
    /// Any failure class.
    Failed,
    /// Timed out.
    Timeout,
    /// Given up by us at the end of the run.
    Cancelled,
    /// Never sent: the age that a dropped arrival had reached, a lower bound of its response time.
    Censored,
}

impl OutcomeGroup {
    /// Every group, in wire order.
    pub const ALL: [Self; 5] = [Self::Ok, Self::Failed, Self::Timeout, Self::Cancelled, Self::Censored];

    /// Position in [`OutcomeGroup::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// How a started iteration ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IterationEnd {
    /// Every step was gone through.
    Completed,
    /// A failed transport, expect or extract ended it early (`on_failure: end`).
    BrokenOff,
    /// The run ended first.
    Cancelled,
}

/// Why a due arrival was never started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DropReason {
    /// It waited `give_up_after`, or until the end, for the generator: that was behind, stood still, or held it back itself.
    Late,
    /// It waited `give_up_after` because `max_active` iterations were in progress.
    NoSlot,
    /// A governor ceiling (worker or target) held it back for `give_up_after`.
    Ceiling,
    /// The run stopped while it was waiting.
    Stopped,
}

impl DropReason {
    /// Every reason, in wire order.
    pub const ALL: [Self; 4] = [Self::Late, Self::NoSlot, Self::Ceiling, Self::Stopped];

    /// Position in [`DropReason::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The word used in reports and on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::NoSlot => "no_slot",
            Self::Ceiling => "ceiling",
            Self::Stopped => "stopped",
        }
    }
}
