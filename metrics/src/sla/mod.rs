//! SLAs: judged live at the watermark, and once more over everything at the end.

mod implicit;
mod judge;
mod results;
mod seconds;
mod show;
#[cfg(test)]
mod tests;

use std::ops::Range;

use barrage_model::expr::Cmp;
use barrage_model::plan::{Sla, SlaWindow};
use barrage_model::time::{Moment, whole_micros};

pub(crate) use implicit::{Implicit, min_started};
pub use judge::BEYOND_QUANTILE;
use judge::{Filters, Judged, judge, judge_samples, latency_of};
use seconds::Seconds;

use crate::ledger::Ledger;
use crate::query::Window;
use crate::samples::Samples;
use crate::summary::{GeneratorVerdict, SlaResult, SlaVerdict};
use crate::watermark::Closed;

/// A breached SLA that stops the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopDecision {
    /// Its place among the plan's SLAs.
    pub sla: usize,
    /// Run time up to which it was judged.
    pub at: Moment,
    /// What it saw: `p99 = 1.2s`.
    pub observed: String,
    /// One sentence with what it saw.
    pub reason: String,
}

/// All SLAs of a plan while a run goes on.
#[derive(Clone, Debug)]
pub struct SlaEngine {
    tracks: Vec<Track>,
    /// First interval up to which [`SlaEngine::look`] has not judged.
    looked_before: u32,
    /// Whether one of them has stopped the run.
    decided: bool,
}

#[derive(Clone, Debug)]
struct Track {
    sla: Sla,
    /// Evaluations in a row that breached.
    streak: u32,
    /// The latest of them in a row that the generator cannot have made.
    certain: u32,
    /// Where the first row ended that was long enough with breaches which the generator may have made.
    doubted: Option<u32>,
    /// The latest evaluation.
    latest: Option<Judged>,
    /// Whether any window gave a verdict.
    any_judged: bool,
    /// Whether it held in any window.
    any_held: bool,
    worst: Option<Judged>,
    /// The evaluation that made the first breach.
    breach: Option<Breach>,
    /// The breach has stopped the run, whatever later data says.
    stopped: Option<StopDecision>,
    /// What [`Track::look`] has seen last.
    seconds: Option<Box<Seconds>>,
}

#[derive(Clone, Debug)]
struct Breach {
    /// First interval that was not part of the evaluation.
    before: u32,
    seen: Judged,
    partial: bool,
}

impl SlaEngine {
    /// Takes the plan's SLAs.
    pub fn new(slas: &[Sla]) -> Self {
        let track = |sla: &Sla| Track::new(sla.clone());
        Self {
            tracks: slas.iter().map(track).collect(),
            looked_before: 0,
            decided: false,
        }
    }

    /// Whether an SLA is about every stretch of a length.
    pub fn has_windows(&self) -> bool {
        self.tracks.iter().any(|track| track.length().is_some())
    }

    /// Judges the windows that are complete now and were not before; for a run that is gone through again, of which at its
    /// end no second before `forgotten` is kept apart. Windows whose seconds all are kept apart are left to [`SlaEngine::finish`].
    pub fn look(&mut self, ledger: &Ledger, forgotten: u32) {
        let complete = ledger.complete_before();
        for before in self.looked_before + 1..=complete {
            for track in &mut self.tracks {
                track.look(ledger, before, forgotten);
            }
        }
        self.looked_before = self.looked_before.max(complete);
    }

    /// Evaluates every SLA over the intervals up to one that has just been closed. Call it once for each, in order.
    ///
    /// Returns the first breached SLA that wants the run to stop, if none has said so before.
    pub fn at_watermark(&mut self, ledger: &Ledger, closed: &Closed) -> Option<StopDecision> {
        let before = closed.interval.saturating_add(1);
        let mut decision = None;
        for (place, track) in self.tracks.iter_mut().enumerate() {
            track.evaluate(ledger, before, closed.is_partial());
            if track.breach.is_some() && track.sla.stop && !self.decided && judge::is_unjudged(ledger, &track.sla) {
                // What the generator may have made stops nobody.
                (track.breach, track.streak, track.certain) = (None, 0, 0);
            }
            if let Some(breach) = track.breach.as_ref().filter(|_| track.sla.stop && !self.decided) {
                let made = StopDecision {
                    sla: place,
                    at: second(breach.before),
                    observed: track.observed(Some(&breach.seen)),
                    reason: track.breach_text(),
                };
                self.decided = true;
                track.stopped = Some(made.clone());
                decision = Some(made);
            }
        }
        decision
    }

    /// Takes back a decision that the store has kept: what stopped the run stays breached.
    pub fn restore_stop(&mut self, decision: StopDecision) {
        self.decided = true;
        if let Some(track) = self.tracks.get_mut(decision.sla) {
            track.stopped = Some(decision);
        }
    }

    /// No SLA has stopped the run, whatever one has wanted: something else had done so before, or it was at its end.
    pub fn forget_stop(&mut self) {
        self.tracks.iter_mut().for_each(|track| track.stopped = None);
    }

    /// The state of every SLA while the run goes on: breached, or holding so far.
    pub fn live(&self) -> Vec<SlaResult> {
        self.tracks.iter().map(Track::live).collect()
    }

    /// The final verdicts, from the complete ledger. What stopped the run stays breached; see [`SlaEngine::forget_stop`].
    ///
    /// With an invalid generator latencies are not judged.
    pub fn finish(&mut self, ledger: &Ledger, generator: GeneratorVerdict) -> Vec<SlaResult> {
        self.tracks
            .iter_mut()
            .map(|track| track.finish(ledger, generator))
            .collect()
    }
}

/// Whole seconds up to a moment, a part of one included.
fn seconds_of(moment: Moment) -> u32 {
    u32::try_from(moment.as_micros().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}

fn second(interval: u32) -> Moment {
    Moment::from_secs(interval.into())
}

/// Length of an SLA's sliding window in whole intervals, at least 1; `None` for the whole run.
pub(crate) fn window_length(sla: &Sla) -> Option<u32> {
    let SlaWindow::Sliding(over) = sla.window else {
        return None;
    };
    let intervals = whole_micros(over).div_ceil(1_000_000);
    Some(u32::try_from(intervals).unwrap_or(u32::MAX).max(1))
}

impl Track {
    fn new(sla: Sla) -> Self {
        Self {
            sla,
            streak: 0,
            certain: 0,
            doubted: None,
            latest: None,
            any_judged: false,
            any_held: false,
            worst: None,
            breach: None,
            stopped: None,
            seconds: None,
        }
    }

    fn length(&self) -> Option<u32> {
        window_length(&self.sla)
    }

    fn evaluate(&mut self, ledger: &Ledger, before: u32, partial: bool) {
        let filters = Filters::of(ledger, &self.sla);
        let Some(length) = self.length() else {
            let window = Window::UpTo(before);
            let seen = self.see(ledger, &filters, &window);
            // What only grows has not failed to reach anything before the end.
            let missing = partial && judge::may_be_missing(&self.sla.that, &seen);
            let breaches =
                seen.holds == Some(false) && !judge::is_short(&self.sla.that, &seen) && !missing && !seen.doubtful;
            if self.sla.stop && breaches && self.breach.is_none() {
                self.breach = Some(Breach {
                    before,
                    seen: seen.clone(),
                    partial,
                });
            }
            self.latest = Some(seen);
            return;
        };
        if let Some(range) = self.full_window(ledger, &filters, length, before) {
            let seen = self.see(ledger, &filters, &Window::Intervals(range.clone()));
            self.take_full(seen, &range, partial, ledger.load_end());
        }
    }

    fn see(&self, ledger: &Ledger, filters: &Filters, window: &Window) -> Judged {
        judge(ledger, &self.sla, filters, window).doubted(ledger, &self.sla, filters, window)
    }

    /// The window that ends here, if all of it belongs to the selected phases and, but for sums, to the load's time, and is
    /// still kept by series. While a run drains only stragglers end: what share of them failed, or how long they took, says
    /// little of the load; see [`Track::take_last`].
    ///
    /// Where the load ends within a second, that may be a few milliseconds with two requests in them: they are judged together
    /// with the last window of whole seconds, and decide nothing alone.
    fn full_window(&self, ledger: &Ledger, filters: &Filters, length: u32, before: u32) -> Option<Range<u32>> {
        let in_load = match &self.sla.that {
            that if judge::is_sum(that) => true,
            that if judge::is_rate(that) => second(before) <= ledger.load_end(),
            _ => before <= seconds_of(ledger.load_end()),
        };
        let part = u32::from(!judge::is_sum(&self.sla.that) && second(before) > ledger.load_end());
        let from = before.checked_sub(length)?.saturating_sub(part);
        let window = Window::Intervals(from..before);
        let covered = ledger.covered_by(&filters.first().segments, &window);
        let is_kept = from >= ledger.timeline.fine_from();
        (is_kept && in_load && covered >= u64::from(before - from) * 1_000_000).then_some(from..before)
    }

    /// What is seen in a full window. `samples` are those of its last `length` seconds, for latencies.
    fn see_full(&self, ledger: &Ledger, filters: &Filters, range: &Range<u32>, samples: &Samples) -> Judged {
        let window = Window::Intervals(range.clone());
        match latency_of(&self.sla.that) {
            Some((stat, ..)) if Some(range.end - range.start) == self.length() => {
                judge_samples(&self.sla, stat, samples).doubted(ledger, &self.sla, filters, &window)
            }
            _ => self.see(ledger, filters, &window),
        }
    }

    /// Where the last window of the load ends and how far the run went on after it, if it did: what ends meanwhile is judged
    /// with that window. A few stragglers weigh little in it, and an outage that shows only while the run drains is seen.
    fn drain(&self, ledger: &Ledger) -> Option<Range<u32>> {
        let drain = seconds_of(ledger.load_end())..ledger.intervals();
        let drains = !judge::is_sum(&self.sla.that) && !judge::is_rate(&self.sla.that) && !drain.is_empty();
        drains.then_some(drain)
    }

    /// Counts the last window of the load, of which `seen` was seen without its drain, together with all that ended after it. It stands for as many windows as it has seconds of drain, and one: who can tell when it would have
    /// shown, had the load gone on. Where it breaches without the drain it has shown, and a second of drain in which nothing
    /// ended adds nothing.
    fn take_last(
        &mut self,
        ledger: &Ledger,
        filters: &Filters,
        (range, seen): (Range<u32>, Judged),
        drain: Range<u32>,
    ) {
        let (load_end, over) = (ledger.load_end(), drain.end);
        // The last reports come in after the last iteration has ended.
        let with_drain = self.see(ledger, filters, &Window::Intervals(range.start..ledger.next_interval()));
        if seen.holds != Some(false) {
            for _ in 0..=drain.len() {
                self.take(with_drain.clone(), over, false, load_end);
            }
            return;
        }
        self.take_full(seen, &range, false, load_end);
        for second in drain.filter(|_| with_drain.holds == Some(false)) {
            let ended = self.see(ledger, filters, &Window::Intervals(second..second + 1));
            if ended.samples > 0 {
                self.take(with_drain.clone(), second + 1, false, load_end);
            }
        }
    }

    /// Counts a full window. Where one with a part of a second breaches as the window of whole seconds in it did, that is the
    /// same breach and makes a row no longer.
    fn take_full(&mut self, seen: Judged, range: &Range<u32>, partial: bool, load_end: Moment) {
        let has_part = self.length().is_some_and(|length| length < range.end - range.start);
        if has_part && seen.holds == Some(false) {
            self.streak = self.streak.saturating_sub(1);
            self.certain = self.certain.saturating_sub(1);
        }
        self.take(seen, range.end, partial, load_end);
    }

    /// Counts one window. One without a verdict ends a row of breaches; one that reaches beyond the load, where less happens,
    /// is not counted for having less in it.
    fn take(&mut self, seen: Judged, before: u32, partial: bool, load_end: Moment) {
        if second(before) > load_end && judge::is_short(&self.sla.that, &seen) {
            return;
        }
        // What is still missing may make it enough: the end tells.
        if partial && judge::may_be_missing(&self.sla.that, &seen) {
            return;
        }
        let breaches = seen.holds == Some(false);
        self.streak = if breaches { self.streak.saturating_add(1) } else { 0 };
        self.certain = if breaches && !seen.doubtful {
            self.certain.saturating_add(1)
        } else {
            0
        };
        if let Some(holds) = seen.holds {
            self.any_judged = true;
            self.any_held |= holds;
            if self
                .worst
                .as_ref()
                .is_none_or(|worst| is_worse(self.sla.that.cmp, &seen, worst))
            {
                self.worst = Some(seen.clone());
            }
        }
        let row = self.sla.in_a_row.max(1);
        if self.streak >= row && self.certain < row {
            self.doubted.get_or_insert(before);
        }
        if self.certain >= row && self.breach.is_none() {
            self.breach = Some(Breach {
                before,
                seen: seen.clone(),
                partial,
            });
        }
        self.latest = Some(seen);
    }

    /// As [`Track::evaluate`] for one window after the other: each second's samples are added and taken away once.
    fn look(&mut self, ledger: &Ledger, before: u32, forgotten: u32) {
        let Some(length) = self
            .length()
            .filter(|length| before < self.kept_from(forgotten, *length))
        else {
            self.seconds = None;
            return;
        };
        let Some((_, measure, outcomes)) = latency_of(&self.sla.that) else {
            return self.evaluate(ledger, before, false);
        };
        let filters = Filters::of(ledger, &self.sla);
        let mut piles = Vec::new();
        ledger.slide(filters.first(), before - 1, (measure, outcomes), |pile, censored| {
            piles.push((pile.clone(), censored));
        });
        let mut seconds = self.seconds.take().unwrap_or_default();
        seconds.slide(piles, length);
        if let Some(range) = self.full_window(ledger, &filters, length, before) {
            let seen = self.see_full(ledger, &filters, &range, seconds.samples());
            self.take_full(seen, &range, false, ledger.load_end());
        }
        self.seconds = Some(seconds);
    }

    fn finish(&mut self, ledger: &Ledger, generator: GeneratorVerdict) -> SlaResult {
        let result = self.over_all(ledger);
        if let Some(reason) = judge::unseen(ledger, &self.sla).filter(|_| result.verdict == SlaVerdict::Passed) {
            let verdict = SlaVerdict::NotEnoughSamples;
            return SlaResult {
                verdict,
                reason,
                ..result
            };
        }
        let generator = generator.max(judge::generator_before(ledger, &self.sla));
        if latency_of(&self.sla.that).is_none() || generator != GeneratorVerdict::Invalid {
            return result;
        }
        SlaResult {
            verdict: SlaVerdict::NotJudged,
            reason: "the generator is invalid, so latencies are partly its own".to_owned(),
            breached_at: None,
            ..result
        }
    }

    fn over_all(&mut self, ledger: &Ledger) -> SlaResult {
        if self.stopped.is_some() {
            return self.breached();
        }
        let filters = Filters::of(ledger, &self.sla);
        match self.length() {
            None => {
                let window = Window::Whole;
                let seen = self.see(ledger, &filters, &window);
                self.breach = None;
                self.whole(&seen)
            }
            Some(length) => {
                self.scan(ledger, &filters, length);
                self.windows(ledger, &filters)
            }
        }
    }

    /// The end of the first window that can be judged again where no second before `first` is kept apart, with all those that
    /// make a row with it.
    fn kept_from(&self, first: u32, length: u32) -> u32 {
        let row = self.sla.in_a_row.max(1) - 1;
        first.saturating_add(length).saturating_add(row)
    }

    /// Judges every window again whose intervals are all kept; what was seen live of older ones stands.
    fn scan(&mut self, ledger: &Ledger, filters: &Filters, length: u32) {
        let first = ledger.timeline.fine_from();
        let with_row = self.kept_from(first, length);
        let kept_from = first.saturating_add(length);
        self.breach = self
            .breach
            .take()
            .filter(|breach| breach.before < with_row && first > 0);
        if first == 0 {
            (self.worst, self.latest) = (None, None);
            (self.any_judged, self.any_held) = (false, false);
        }
        self.doubted = self.doubted.filter(|before| *before < with_row && first > 0);
        if self.breach.is_none() && self.sla.in_a_row <= 1 {
            // It was seen with counts still missing.
            self.worst = self.worst.take().filter(|worst| worst.holds != Some(false));
        }
        (self.streak, self.certain) = (0, 0);
        let latency = latency_of(&self.sla.that);
        let drain = self.drain(ledger);
        let mut samples = Samples::new();
        for before in first + 1..=ledger.next_interval() {
            if let Some((_, measure, outcomes)) = latency {
                let what = (measure, outcomes);
                ledger.slide(filters.first(), before - 1, what, |pile, censored| {
                    samples.add_pile(pile, censored);
                });
                if let Some(gone) = before.checked_sub(length + 1).filter(|gone| *gone >= first) {
                    ledger.slide(filters.first(), gone, what, |pile, censored| {
                        samples.remove_pile(pile, censored);
                    });
                }
            }
            if before < kept_from {
                continue;
            }
            let Some(range) = self.full_window(ledger, filters, length, before) else {
                continue;
            };
            let seen = self.see_full(ledger, filters, &range, &samples);
            match &drain {
                Some(drain) if drain.start == before => {
                    self.take_last(ledger, filters, (range, seen), drain.clone());
                }
                _ => self.take_full(seen, &range, false, ledger.load_end()),
            }
        }
    }
}

/// Whether `seen` is further from what the comparison wants; for showing only.
fn is_worse(cmp: Cmp, seen: &Judged, than: &Judged) -> bool {
    if seen.holds != than.holds {
        return seen.holds == Some(false);
    }
    let (Some(seen), Some(than)) = (&seen.observed, &than.observed) else {
        return false;
    };
    let (seen, than) = (show::magnitude(seen), show::magnitude(than));
    match cmp {
        Cmp::Lt | Cmp::Le => seen > than,
        Cmp::Gt | Cmp::Ge => seen < than,
        Cmp::Eq | Cmp::Ne => false,
    }
}
