//! Interleaved rounds: everybody once, then everybody again in the opposite order.

use anyhow::Result;

use super::bench::{Bench, Outcome, Sample};
use super::say;
use super::server::Server;
use super::stats::ROUNDS_MIN;
use super::tools::Tool;
use super::tools::ours::Work;

/// One contestant's runs.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// Who.
    pub(crate) tool: Tool,
    /// What it is called in the table; the tool's name unless the same tool takes part twice.
    pub(crate) label: String,
    /// By round; `None` = refused, did not take part, or after it failed.
    pub(crate) samples: Vec<Option<Sample>>,
    /// Runs whose counts disagreed, with the reason.
    pub(crate) refused: Vec<String>,
    /// Why it was given up.
    pub(crate) failed: Option<String>,
}

impl Series {
    /// One number of each run that counts.
    pub(crate) fn values(&self, of: impl Fn(&Sample) -> f64) -> Vec<f64> {
        self.samples.iter().flatten().map(of).collect()
    }

    /// One number of each run that counts and has it.
    pub(crate) fn known(&self, of: impl Fn(&Sample) -> Option<f64>) -> Vec<f64> {
        self.samples.iter().flatten().filter_map(of).collect()
    }

    /// Our number beside another's, by rounds in which both have one.
    pub(crate) fn paired(
        &self,
        other: &Self,
        of: impl Fn(&Sample) -> Option<f64>,
        join: impl Fn(f64, f64) -> f64,
    ) -> Vec<f64> {
        let both = self.samples.iter().zip(&other.samples);
        both.filter_map(|(own, other)| Some(join(of(own.as_ref()?)?, of(other.as_ref()?)?)))
            .collect()
    }

    /// Ratios to another's number in the same round.
    pub(crate) fn ratios(&self, other: &Self, of: impl Fn(&Sample) -> f64) -> Vec<f64> {
        self.paired(other, |sample| Some(of(sample)), |own, other| own / other)
    }
}

/// One place in the rounds.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Who.
    pub(crate) tool: Tool,
    /// What it is called.
    pub(crate) label: String,
    /// What it does.
    pub(crate) work: Work,
    /// Rounds that it takes part in, from the first; `None` = all.
    rounds: Option<usize>,
}

impl Entry {
    /// A contestant under its own name.
    pub(crate) fn new(tool: Tool, work: Work) -> Self {
        Self::named(tool, tool.name(), work)
    }

    /// A contestant under another name, when it takes part twice.
    pub(crate) fn named(tool: Tool, label: &str, work: Work) -> Self {
        Self {
            tool,
            label: label.to_owned(),
            work,
            rounds: None,
        }
    }

    /// Only shown: takes part in as many rounds as a figure needs, and leaves the others to those who are `judged`.
    pub(crate) fn beside(self, judged: &[Tool]) -> Self {
        let rounds = (!judged.contains(&self.tool)).then_some(ROUNDS_MIN);
        Self { rounds, ..self }
    }
}

/// Runs everybody who is here and asked for, `--rounds` times.
///
/// # Errors
/// The server failed. A contestant that fails is given up, and its series says why.
pub(crate) fn run(bench: &mut Bench, entries: &[Entry], server: &mut dyn Server) -> Result<Vec<Series>> {
    let wanted = |entry: &&Entry| bench.options.asks_for(entry.tool) && bench.toolbox.found.contains_key(&entry.tool);
    let entries: Vec<&Entry> = entries.iter().filter(wanted).collect();
    let mut series: Vec<Series> = entries.iter().map(|entry| fresh(entry)).collect();
    for round in 0..bench.options.rounds as usize {
        // Who is compared stands side by side and stays so, however long the others take; and none is always the first of two.
        let forth = 0..entries.len();
        let order: Vec<usize> = if round % 2 == 0 {
            forth.collect()
        } else {
            forth.rev().collect()
        };
        for index in order {
            let takes_part = entries[index].rounds.is_none_or(|rounds| round < rounds);
            if takes_part && series[index].failed.is_none() {
                turn(bench, entries[index], server, &mut series[index])?;
            } else {
                series[index].samples.push(None);
            }
        }
    }
    Ok(series)
}

fn fresh(entry: &Entry) -> Series {
    Series {
        tool: entry.tool,
        label: entry.label.clone(),
        samples: Vec::new(),
        refused: Vec::new(),
        failed: None,
    }
}

fn turn(bench: &mut Bench, entry: &Entry, server: &mut dyn Server, series: &mut Series) -> Result<()> {
    let number = series.samples.len() + 1;
    let outcome = bench.measure(entry.tool, &entry.work, server);
    let (sample, text) = match outcome {
        Ok(Outcome::Measured(sample)) => {
            let text = format!(
                "{:.0}/s, {:.2} s per 1M, {:.2} foreign cores",
                sample.rate(),
                1e6 / sample.per_cpu(),
                sample.foreign.cores()
            );
            (Some(*sample), text)
        }
        Ok(Outcome::Refused(reason)) => {
            series.refused.push(reason.clone());
            (None, format!("REFUSED: {reason}"))
        }
        Err(error) => {
            // A server that is gone ends the section; anything else is the contestant's own failure.
            server.begin()?;
            let reason = format!("{error:#}");
            series.failed = Some(reason.clone());
            (None, format!("given up: {reason}"))
        }
    };
    say::progress(&format!("{} round {number} {:<12} {text}", server.name(), series.label));
    series.samples.push(sample);
    Ok(())
}

/// The series of a tool, when it took part.
pub(crate) fn of(series: &[Series], tool: Tool) -> Option<&Series> {
    series.iter().find(|series| series.tool == tool)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::child::Usage;
    use crate::peers::noise::Foreign;
    use crate::peers::server::Counted;
    use crate::peers::tools::said::Said;

    fn series(requests: &[Option<u64>]) -> Series {
        let sample = |requests| Sample {
            counted: Counted { requests, state: None },
            seconds: 1.0,
            usage: Usage {
                user_s: 1.0,
                system_s: 0.0,
                peak_rss_kib: 0,
            },
            said: Said::default(),
            server_cpu_s: 0.0,
            coordinator_cpu_s: None,
            foreign: Foreign::default(),
            repeats: 0,
            shown: String::new(),
        };
        let samples = requests.iter().map(|requests| requests.map(sample)).collect();
        Series {
            tool: Tool::Wrk,
            label: String::new(),
            samples,
            refused: Vec::new(),
            failed: None,
        }
    }

    #[test]
    fn ratios_are_of_the_same_round_only() {
        let own = series(&[Some(2), None, Some(9)]);
        let other = series(&[Some(1), Some(1), Some(3)]);
        assert_eq!(format!("{:?}", own.ratios(&other, Sample::rate)), "[2.0, 3.0]");
        assert_eq!(format!("{:?}", own.values(Sample::rate)), "[2.0, 9.0]");
        assert!(own.known(|_| None).is_empty());
    }
}
