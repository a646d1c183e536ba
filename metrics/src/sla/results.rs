//! What is said of an SLA: its verdict, what was seen and why.

use barrage_model::expr::Observed;
use barrage_model::plan::{Sla, SlaWindow};
use barrage_model::time::Moment;

use super::judge::{self, ARRIVALS_MISSED, Filters, Judged, is_offer, is_on_wire};
use super::{Track, second, show};
use crate::ledger::Ledger;
use crate::query::Window;
use crate::summary::{SlaResult, SlaVerdict};

impl Track {
    pub(super) fn whole(&self, seen: &Judged) -> SlaResult {
        let (verdict, reason) = match seen.holds {
            Some(true) => (SlaVerdict::Passed, format!("held over {} samples", seen.samples)),
            Some(false) if seen.doubtful => (SlaVerdict::NotJudged, self.doubt("breached")),
            Some(false) => (SlaVerdict::Failed, format!("breached over {} samples", seen.samples)),
            None if seen.lack.is_some() => (SlaVerdict::NotJudged, too_few(&self.sla, seen)),
            None => (SlaVerdict::NotEnoughSamples, too_few(&self.sla, seen)),
        };
        self.result(Some(seen), verdict, reason, None)
    }

    /// Whether the run was long enough for a window, but too little of it is kept second by second.
    fn is_forgotten(&self, ledger: &Ledger) -> bool {
        let (from, to) = (ledger.timeline.fine_from(), ledger.next_interval());
        self.length()
            .is_some_and(|length| length <= to && length > to.saturating_sub(from))
    }

    /// The verdict over all windows. Without a single full one, what there is can fail but not pass.
    pub(super) fn windows(&mut self, ledger: &Ledger, filters: &Filters) -> SlaResult {
        if self.breach.is_some() {
            return self.breached();
        }
        if let Some(before) = self.doubted {
            let reason = self.doubt(&format!("breached at {before}s"));
            return self.result(self.worst.as_ref(), SlaVerdict::NotJudged, reason, None);
        }
        if self.any_judged && !self.any_held && self.sla.in_a_row > 1 {
            let reason = format!(
                "breached in every window, but there were no {} in a row; the worst is shown",
                self.sla.in_a_row
            );
            return self.result(self.worst.as_ref(), SlaVerdict::NotEnoughSamples, reason, None);
        }
        if self.any_judged {
            let breached = self.worst.as_ref().is_some_and(|worst| worst.holds == Some(false));
            let reason = if breached {
                format!(
                    "never breached {} times in a row; the worst is shown",
                    self.sla.in_a_row
                )
            } else {
                "held in every window; the worst is shown".to_owned()
            };
            return self.result(self.worst.as_ref(), SlaVerdict::Passed, reason, None);
        }
        let window = Window::Whole;
        let seen = self.see(ledger, filters, &window);
        let (verdict, reason) = match seen.holds {
            _ if self.is_forgotten(ledger) => (
                SlaVerdict::NotEnoughSamples,
                "its window is longer than the seconds that are kept apart".to_owned(),
            ),
            Some(false) if seen.doubtful => (SlaVerdict::NotJudged, self.doubt("breached, though no window was full")),
            Some(false) if self.sla.in_a_row <= 1 && !judge::is_short(&self.sla.that, &seen) => {
                let lacked = match self.latest {
                    Some(_) => "had enough of them",
                    None => "was full",
                };
                (
                    SlaVerdict::Failed,
                    format!("breached over {} samples, though no window {lacked}", seen.samples),
                )
            }
            None if self.latest.is_none() => (SlaVerdict::NotEnoughSamples, too_few(&self.sla, &seen)),
            _ => match &self.latest {
                Some(latest) => (SlaVerdict::NotEnoughSamples, too_few(&self.sla, latest)),
                None => (SlaVerdict::NotEnoughSamples, "no window was full".to_owned()),
            },
        };
        self.result(Some(&seen), verdict, reason, None)
    }

    pub(super) fn breached(&self) -> SlaResult {
        if let Some(stop) = &self.stopped {
            return SlaResult {
                observed: stop.observed.clone(),
                ..self.result(None, SlaVerdict::Failed, stop.reason.clone(), Some(stop.at))
            };
        }
        let (seen, at) = self
            .breach
            .as_ref()
            .map(|breach| (&breach.seen, second(breach.before)))
            .unzip();
        self.result(seen, SlaVerdict::Failed, self.breach_text(), at)
    }

    pub(super) fn breach_text(&self) -> String {
        let Some(breach) = &self.breach else {
            return String::new();
        };
        let row = match self.sla.in_a_row {
            0 | 1 => String::new(),
            n => format!(", breached {n} times in a row"),
        };
        let partial = if breach.partial {
            ", counts of some workers still missing"
        } else {
            ""
        };
        let seen = self.observed(Some(&breach.seen));
        format!(
            "{seen} at {}s over {} samples{row}{partial}",
            breach.before, breach.seen.samples
        )
    }

    pub(super) fn live(&self) -> SlaResult {
        // Over the whole run a breach can still be made good unless it has stopped it.
        if self.stopped.is_some() || self.breach.is_some() && self.length().is_some() {
            return self.breached();
        }
        match &self.latest {
            Some(seen) if seen.holds.is_some() => {
                let state = if seen.holds == Some(true) {
                    "holds so far"
                } else {
                    "does not hold so far"
                };
                self.result(
                    Some(seen),
                    SlaVerdict::Provisional,
                    format!("{state}, {} samples", seen.samples),
                    None,
                )
            }
            Some(seen) => self.result(Some(seen), SlaVerdict::NotEnoughSamples, too_few(&self.sla, seen), None),
            None => self.result(None, SlaVerdict::NotEnoughSamples, "not evaluated yet".to_owned(), None),
        }
    }

    pub(super) fn observed(&self, seen: Option<&Judged>) -> String {
        match seen.and_then(|seen| seen.observed.as_ref()) {
            Some(value) => format!("{} {}", self.sla.that.left, show::observed(value)),
            None => format!("{} unknown", self.sla.that.left),
        }
    }

    fn doubt(&self, breached: &str) -> String {
        let its_own = match judge::latency_of(&self.sla.that) {
            Some(_) => "these latencies may be its own",
            None => "that may be its own doing",
        };
        format!("{breached}, where the generator was strained: {its_own}")
    }

    fn result(
        &self,
        seen: Option<&Judged>,
        verdict: SlaVerdict,
        reason: String,
        breached_at: Option<Moment>,
    ) -> SlaResult {
        SlaResult {
            that: self.sla.that.to_string(),
            during: self.sla.during.as_ref().map(ToString::to_string),
            over: match self.sla.window {
                SlaWindow::Whole => None,
                SlaWindow::Sliding(over) => Some(over),
            },
            in_a_row: self.sla.in_a_row,
            stop: self.sla.stop,
            implicit: false,
            observed: self.observed(seen),
            verdict,
            reason,
            at: self.sla.at,
            breached_at,
        }
    }
}

fn too_few(sla: &Sla, seen: &Judged) -> String {
    if let Some(lack) = seen.lack {
        return lack.reason().to_owned();
    }
    match seen.observed {
        Some(Observed::PerSecond { micros: 0, .. } | Observed::BytesPerSecond { micros: 0, .. }) => {
            "no whole second of the load lies in it, so it has no rate".to_owned()
        }
        None if is_on_wire(&sla.that) => "an engine of its steps does not see the bytes on the wire".to_owned(),
        None if is_offer(&sla.that, true) => ARRIVALS_MISSED.to_owned(),
        None => "there is nothing to judge".to_owned(),
        Some(_) => format!("{} samples, at least {} needed", seen.samples, seen.needed.max(1)),
    }
}
