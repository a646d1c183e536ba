//! Plans and epochs for tests.

use barrage_model::ids::{EpochId, SegmentId};
use barrage_model::phase::Mark;
use barrage_model::plan::{Ceilings, DnsPolicy, Network, OnLoss, OpenLoad, Pacing, Reuse, Tls, WorkerPolicy};
use barrage_model::schedule::{Arrivals, Curve, Piece, Wheel};
use barrage_model::units::{Rate, Ratio};

use super::*;

pub(crate) fn plan(loads: Vec<LoadModel>, start_at: Duration) -> Plan {
    let load = |(n, model)| Load {
        name: format!("load {n}"),
        start_at,
        scenarios: vec![(ScenarioId(0), 1)],
        model,
    };
    Plan {
        name: "test".to_owned(),
        seed: Some(1),
        targets: Vec::new(),
        variables: Vec::new(),
        data: Vec::new(),
        warm_up: Duration::ZERO,
        loads: loads.into_iter().enumerate().map(load).collect(),
        scenarios: Vec::new(),
        setup: Vec::new(),
        teardown: Vec::new(),
        sla: Vec::new(),
        tags: Vec::new(),
        network: Network {
            resolve: Vec::new(),
            source_addresses: Vec::new(),
            dns: DnsPolicy::Once,
            reuse: Reuse::Always,
            streams_per_connection: 1,
            tls: Tls::default(),
            proxy: None,
            cookies: false,
            body_limit_bytes: 1,
        },
        workers: WorkerPolicy {
            min: 1,
            max: None,
            labels: Vec::new(),
            wait: Duration::ZERO,
            on_loss: OnLoss::Continue,
            loss_tolerance: Ratio::ZERO,
        },
        ceilings: Ceilings::default(),
        min_started: Ratio::ZERO,
        graceful_stop: Duration::from_secs(30),
        pacing: Pacing::Timer,
    }
}

pub(crate) fn open(max_active: u32, give_up_after: Duration) -> LoadModel {
    LoadModel::Open(OpenLoad {
        arrivals: Arrivals::Even,
        stages: Vec::new(),
        max_active,
        give_up_after,
    })
}

pub(crate) fn epoch(wheel: &[u32], pieces: Vec<Piece>, first_index: u64, first_time: Moment) -> Arc<Epoch> {
    Arc::new(Epoch {
        id: EpochId(0),
        first_index,
        first_time,
        curve: Curve::new(pieces).unwrap(),
        wheel: Wheel::from_table(wheel.iter().map(|shard| ShardId(*shard)).collect()).unwrap(),
        arrivals: Arrivals::Even,
        seed: 0,
    })
}

pub(crate) fn hold(rate: u32, secs: u64) -> Vec<Piece> {
    vec![Piece::hold(Rate::per_second(rate), Duration::from_secs(secs))]
}

pub(crate) fn marks(at: &[u64]) -> Marks {
    let mark = |(n, at): (usize, &u64)| Mark {
        segment: SegmentId(n as u32),
        at: Moment::from_micros(*at),
        phases: vec![],
    };
    Marks::new(at.iter().enumerate().map(mark).collect()).unwrap()
}
