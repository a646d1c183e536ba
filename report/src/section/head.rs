//! The first lines: what the run is worth, and whether its numbers can be trusted.

use barrage_metrics::exit::Verdict;
use barrage_metrics::summary::{GeneratorVerdict, Summary};

use super::{Limits, Note, Tone};
use crate::number::{moment, ranges, seconds};

/// The head of a report.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// How the verdict is meant.
    pub(crate) tone: Tone,
    /// `PASSED`, `ROLLED BACK`, …
    pub(crate) verdict: String,
    /// Why, the deciding reason first.
    pub(crate) reasons: Vec<String>,
    /// Whether the generator can be trusted, in one sentence.
    pub(crate) generator: Note,
    /// What strained it.
    pub(crate) strains: Vec<Note>,
    /// Identity of the run: name and value.
    pub(crate) facts: Vec<(&'static str, String)>,
}

/// Most reasons that are listed.
const REASONS_MAX: usize = 20;

/// The head of a report.
pub(crate) fn head(summary: &Summary, limits: &Limits) -> Head {
    let mut reasons: Vec<String> = summary.reasons.iter().take(REASONS_MAX).cloned().collect();
    if summary.reasons.len() > REASONS_MAX {
        reasons.push(format!("{} more reasons left out", summary.reasons.len() - REASONS_MAX));
    }
    if let Some(stop) = &summary.stopped_early {
        reasons.push(format!("stopped early at {}: {}", moment(stop.at), stop.reason));
    }
    Head {
        tone: verdict_tone(summary.verdict),
        verdict: summary.verdict.word().replace('_', " ").to_uppercase(),
        reasons,
        generator: generator(summary),
        strains: strains(summary, limits),
        facts: facts(summary),
    }
}

fn verdict_tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Passed => Tone::Good,
        Verdict::Inconclusive | Verdict::Aborted => Tone::Warn,
        Verdict::Failed | Verdict::Invalid | Verdict::RolledBack | Verdict::UndoFailed | Verdict::Inconsistent => {
            Tone::Bad
        }
    }
}

fn generator(summary: &Summary) -> Note {
    let (tone, text) = match summary.generator.verdict {
        GeneratorVerdict::Valid if summary.steps_total.counts.sent == 0 => {
            (Tone::Plain, "generator valid, as far as can be said: nothing was sent")
        }
        GeneratorVerdict::Valid => (
            Tone::Good,
            "generator valid: these numbers are the target's, not its own",
        ),
        GeneratorVerdict::Degraded => (
            Tone::Warn,
            "generator degraded: it was strained; read latencies with care",
        ),
        GeneratorVerdict::Invalid => (
            Tone::Bad,
            "generator INVALID: what it measured is partly its own doing; latencies say little about the target",
        ),
    };
    Note {
        tone,
        text: text.to_owned(),
    }
}

fn generator_tone(verdict: GeneratorVerdict) -> Tone {
    match verdict {
        GeneratorVerdict::Valid => Tone::Plain,
        GeneratorVerdict::Degraded => Tone::Warn,
        GeneratorVerdict::Invalid => Tone::Bad,
    }
}

fn strains(summary: &Summary, limits: &Limits) -> Vec<Note> {
    let all = &summary.generator.reasons;
    let shown = all.iter().take(REASONS_MAX).map(|reason| {
        let when = match ranges(&reason.intervals, limits.ranges) {
            none if none.is_empty() => none,
            when => format!(" ({when})"),
        };
        Note {
            tone: generator_tone(reason.verdict),
            text: format!("{}{when}", reason.sentence()),
        }
    });
    let mut notes: Vec<Note> = shown.collect();
    if all.len() > REASONS_MAX {
        notes.push(Note {
            tone: Tone::Plain,
            text: format!("{} more left out", all.len() - REASONS_MAX),
        });
    }
    notes
}

fn facts(summary: &Summary) -> Vec<(&'static str, String)> {
    let run = &summary.run;
    let lost = summary
        .workers
        .iter()
        .filter(|worker| worker.state == barrage_metrics::summary::WorkerState::Lost)
        .count();
    let mut workers = summary.workers.len().to_string();
    if lost > 0 {
        workers = format!("{workers}, {lost} lost");
    }
    let mut facts = vec![
        ("run", run.id.to_string()),
        ("workers", workers),
        ("seed", run.seed.to_string()),
        ("barrage", run.version.clone()),
        ("plan", run.plan_hash.chars().take(12).collect()),
    ];
    if !run.started_at.is_empty() {
        facts.insert(1, ("started", run.started_at.clone()));
        facts.insert(2, ("lasted", seconds(run.duration_us)));
    }
    facts.extend(run.targets.iter().take(8).map(|target| ("target", target.clone())));
    facts.extend(
        run.labels
            .iter()
            .take(8)
            .map(|(name, value)| ("label", format!("{name}={value}"))),
    );
    facts
}
