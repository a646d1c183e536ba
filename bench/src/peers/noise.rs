//! How much of the machine others used while something was measured, from `/proc`.

use anyhow::{Context, Result};

use super::clock;

/// Clock ticks per second in `/proc`: fixed in Linux's interface to programs.
const TICKS_PER_S: f64 = 100.0;

/// CPU used up to one instant.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    at: std::time::Instant,
    machine: Machine,
    /// Of each program that was asked for, in order, s; 0 for one that is gone.
    pub(crate) of_pids: Vec<f64>,
    /// Of this program, s.
    own_s: f64,
}

/// Of all cores together since the machine's start, s.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Machine {
    busy_s: f64,
    steal_s: f64,
}

/// Cores that were not ours to use, on average.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Foreign {
    /// Cores that other programs used.
    pub(crate) programs: f64,
    /// Cores that the hypervisor kept.
    pub(crate) steal: f64,
}

impl Foreign {
    /// Both together.
    pub(crate) fn cores(&self) -> f64 {
        self.programs + self.steal
    }
}

/// Reads the counters; `pids` are the programs that belong to the measurement and go on after it.
pub(crate) fn read(pids: &[u32]) -> Result<Reading> {
    let text = std::fs::read_to_string("/proc/stat").context("could not read /proc/stat")?;
    let machine = parse_machine(&text).context("/proc/stat is not understood")?;
    let of_pids = pids.iter().map(|pid| used_s(*pid).unwrap_or(0.0)).collect();
    let own_s = used_s(std::process::id()).unwrap_or(0.0);
    Ok(Reading {
        at: clock::now(),
        machine,
        of_pids,
        own_s,
    })
}

/// What others used between two readings of the same programs; `children_s` is the CPU of the programs that began and
/// ended in between.
pub(crate) fn foreign(before: &Reading, after: &Reading, children_s: f64) -> Foreign {
    let wall = after.at.duration_since(before.at).as_secs_f64().max(1e-3);
    let busy = after.machine.busy_s - before.machine.busy_s;
    let all = |reading: &Reading| reading.own_s + reading.of_pids.iter().sum::<f64>();
    let own = all(after) - all(before) + children_s;
    Foreign {
        programs: ((busy - own) / wall).max(0.0),
        steal: ((after.machine.steal_s - before.machine.steal_s) / wall).max(0.0),
    }
}

/// `cpu  user nice system idle iowait irq softirq steal guest guest_nice`, in ticks; guests are part of user.
fn parse_machine(text: &str) -> Option<Machine> {
    let line = text.lines().find(|line| line.starts_with("cpu "))?;
    let ticks: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .map_while(|field| field.parse().ok())
        .collect();
    let busy: f64 = [0, 1, 2, 5, 6].iter().filter_map(|index| ticks.get(*index)).sum();
    Some(Machine {
        busy_s: busy / TICKS_PER_S,
        steal_s: *ticks.get(7)? / TICKS_PER_S,
    })
}

/// CPU that a running program has used, s; `None` when it is gone.
fn used_s(pid: u32) -> Option<f64> {
    parse_used(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields 14 and 15; the name in field 2 may hold anything, so fields count from its last parenthesis.
fn parse_used(text: &str) -> Option<f64> {
    let (_, rest) = text.rsplit_once(") ")?;
    let ticks: Vec<f64> = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    (ticks.len() == 2).then(|| ticks.iter().sum::<f64>() / TICKS_PER_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_everything_but_waiting_and_stolen_time() {
        let text = "cpu  100 10 200 5000 300 5 15 40 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(
            parse_machine(text),
            Some(Machine {
                busy_s: 3.3,
                steal_s: 0.4
            })
        );
        assert_eq!(parse_machine("cpu  1 2 3\n"), None);
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_moves_no_field() {
        let text = "7 (a (b) c) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 9 9 20 0 1 0 1 1 1\n";
        assert_eq!(parse_used(text), Some(2.0));
        assert_eq!(parse_used("nonsense"), None);
    }

    #[test]
    fn what_is_not_ours_is_foreign() {
        let at = clock::now();
        let reading = |seconds: u64, busy_s, steal_s, own_s| Reading {
            at: at + std::time::Duration::from_secs(seconds),
            machine: Machine { busy_s, steal_s },
            of_pids: vec![own_s],
            own_s: 0.0,
        };
        let found = foreign(&reading(0, 10.0, 1.0, 2.0), &reading(10, 26.0, 2.0, 9.0), 8.0);
        assert!(
            (found.programs - 0.1).abs() < 1e-9 && (found.steal - 0.1).abs() < 1e-9,
            "{found:?}"
        );
    }
}
