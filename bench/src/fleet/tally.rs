//! What the simulated workers have sent, and how long commits took: the bench's own account of the run.

use barrage_model::sketch::{LEN, Packed, Sketch, highest, rank};

use super::deltas::{Body, SAMPLES, STEPS};

/// Counts of the whole fleet.
pub(super) struct Tally {
    joined: u32,
    deltas: u64,
    committed: u64,
    /// Deltas by body.
    bodies: Vec<u64>,
    /// From the interval's end to the acknowledgement, by minute of run time, µs.
    commits: Vec<Sketch>,
    /// From the interval's end to the hand-over to the stream: how late the bench itself was, µs.
    own: Sketch,
}

/// What the report must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Truth {
    pub(super) iterations: u64,
    pub(super) steps: u64,
    /// p50, p99, p99.9 of the response time of all steps, µs.
    pub(super) response: [u64; 3],
    /// The same of the service time.
    pub(super) service: [u64; 3],
}

/// Percentiles of [`Truth`], parts per billion.
const QUANTILES: [u64; 3] = [500_000_000, 990_000_000, 999_000_000];

impl Tally {
    pub(super) fn new(bodies: usize) -> Self {
        Self {
            joined: 0,
            deltas: 0,
            committed: 0,
            bodies: vec![0; bodies],
            commits: Vec::new(),
            own: Sketch::new(),
        }
    }

    /// A worker has been welcomed.
    pub(super) fn joined(&mut self) {
        self.joined += 1;
    }

    /// Workers that have been welcomed.
    pub(super) fn fleet(&self) -> u32 {
        self.joined
    }

    /// A delta has been handed over, so late.
    pub(super) fn sent(&mut self, body: usize, late_us: u64) {
        self.deltas += 1;
        self.bodies[body] += 1;
        self.own.record(late_us);
    }

    /// The delta of an interval that ended at `ended_us` of run time has been acknowledged after so long.
    pub(super) fn committed(&mut self, ended_us: u64, after_us: u64) {
        self.committed += 1;
        let minute = (ended_us.saturating_sub(1) / 60_000_000) as usize;
        if self.commits.len() <= minute {
            self.commits.resize_with(minute + 1, Sketch::new);
        }
        self.commits[minute].record(after_us);
    }

    /// Deltas sent, and those of them that were acknowledged.
    pub(super) fn deltas(&self) -> (u64, u64) {
        (self.deltas, self.committed)
    }

    /// Times to the acknowledgement, by minute.
    pub(super) fn commits(&self) -> Vec<Packed> {
        self.commits.iter().map(Sketch::pack).collect()
    }

    /// How late the bench itself was.
    pub(super) fn own(&self) -> Packed {
        self.own.pack()
    }

    /// What all of it adds up to.
    pub(super) fn truth(&self, bodies: &[Body]) -> Truth {
        let merged = |of: fn(&Body) -> &Packed| {
            let mut sum = vec![0u64; LEN as usize];
            for (body, sent) in bodies.iter().zip(&self.bodies) {
                for (index, count) in of(body).iter() {
                    sum[index as usize] += count * sent;
                }
            }
            QUANTILES.map(|q| quantile(&sum, q))
        };
        Truth {
            iterations: self.deltas * SAMPLES,
            steps: self.deltas * SAMPLES * u64::from(STEPS),
            response: merged(|body| &body.response),
            service: merged(|body| &body.service),
        }
    }
}

fn quantile(counts: &[u64], q_ppb: u64) -> u64 {
    let wanted = rank(q_ppb, counts.iter().sum());
    let mut below = 0;
    let place = counts.iter().position(|count| {
        below += count;
        below >= wanted
    });
    place.map_or(0, |index| highest(index as u32))
}
