//! SLAs: what must hold.

use std::time::Duration;

use crate::expr::{Expr, PhaseSelector};

/// One SLA.
#[derive(Clone, Debug, PartialEq)]
pub struct Sla {
    /// What must hold.
    pub that: Expr,
    /// The phases it is about; `None` = the whole run without warm-up.
    pub during: Option<PhaseSelector>,
    /// Whole run or sliding window.
    pub window: SlaWindow,
    /// Breached only after this many evaluations in a row (windows only); at least 1.
    pub in_a_row: u32,
    /// A breach stops the run.
    pub stop: bool,
    /// Samples needed for a verdict; the default of semantics 6 when absent.
    pub min_samples: Option<u64>,
    /// Line and column in the plan, from 1; for annotations.
    pub at: Option<(u32, u32)>,
}

/// Over what time an SLA is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlaWindow {
    /// Everything so far.
    Whole,
    /// The last so many seconds of completions (whole intervals), each second.
    Sliding(Duration),
}
