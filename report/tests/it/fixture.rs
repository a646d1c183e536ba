//! Summaries made by hand: consistent in themselves, with round numbers.

use std::sync::LazyLock;
use std::time::Duration;

use barrage_metrics::exit::{ExitCode, Verdict};
use barrage_metrics::summary::{
    Conservation, Curves, Distribution, Dropped, EarlyStop, ErrorLine, Failures, FaultSummary, GeneratorReason,
    GeneratorSummary, GeneratorVerdict, HealthExtremes, HealthPoint, IntervalCurve, IterationTotals, Latencies,
    Latency, PhaseSummary, Quantile, Rates, RunEvent, RunInfo, ScenarioSummary, SegmentSummary, SlaResult, SlaVerdict,
    StageSummary, StepSummary, StepTotals, Summary, TagSummary, TimelinePoint, WorkerState, WorkerSummary,
};
use barrage_model::delta::{ErrorSample, Health, Measure, Shortages};
use barrage_model::ids::{RunId, SegmentId, StepId, WorkerId};
use barrage_model::ledger::StepCounts;
use barrage_model::outcome::FailureClass;
use barrage_model::phase::Phase;
use barrage_model::time::Moment;
use hdrhistogram::Histogram;

/// Seconds that the load lasts: a ramp of 10 s to 500/s, then a hold.
const SECONDS: u32 = 30;

/// Arrivals that fall due in second `t`.
fn offered(t: u32) -> u64 {
    if t < 10 { u64::from(50 * t + 25) } else { 500 }
}

/// `n` latencies with a tail, `scale` times 4 ms to about 300 ms.
fn histogram(n: u64, scale: f64) -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("valid bounds");
    for k in 0..n {
        let u = (k as f64 + 0.5) / n as f64;
        let us = scale * (4_000.0 + 6_000.0 * u + 40_000.0 * u.powi(12) + 260_000.0 * u.powi(300));
        histogram.record(us as u64).expect("within an hour");
    }
    histogram
}

fn distribution(histogram: &Histogram<u64>) -> Distribution {
    let buckets = histogram
        .iter_recorded()
        .map(|bucket| (bucket.value_iterated_to(), bucket.count_since_last_iteration()));
    Distribution {
        buckets: buckets.collect(),
        count: histogram.len(),
    }
}

/// The numbers of a histogram of which the largest `censored` samples are lower bounds.
fn latency(histogram: &Histogram<u64>, censored: u64) -> Latency {
    let known = 1.0 - censored as f64 / histogram.len() as f64;
    let at = |q: f64| {
        Some(Quantile {
            value_us: histogram.value_at_quantile(q),
            at_least: q > known,
        })
    };
    Latency {
        count: histogram.len(),
        censored,
        min: at(0.0),
        mean_us: Some((histogram.mean() * 10.0).round() / 10.0),
        p50: at(0.5),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        p999: at(0.999),
        p9999: at(0.9999),
        max: at(1.0),
    }
}

fn exact(value_us: u64) -> Quantile {
    Quantile {
        value_us,
        at_least: false,
    }
}

fn totals(sent: u64, status: u64, timeout: u64) -> StepTotals {
    let mut counts = StepCounts {
        attempted: sent,
        sent,
        ok: sent - status - timeout,
        timeout,
        wire_requests: sent,
        body_bytes_in: sent * 2_048,
        body_bytes_out: sent * 64,
        wire_bytes_in: sent * 2_300,
        wire_bytes_out: sent * 240,
        ..StepCounts::default()
    };
    counts.failed[FailureClass::Status.index()] = status;
    StepTotals { counts, in_flight: 0 }
}

/// Of a step, which has no iterations of its own.
fn step_rates(totals: &StepTotals) -> Rates {
    let (counts, seconds) = (&totals.counts, f64::from(SECONDS));
    Rates {
        covered_us: u64::from(SECONDS) * 1_000_000,
        offered_per_s: None,
        started_per_s: None,
        attempted_per_s: Some(counts.attempted as f64 / seconds),
        rate_per_s: Some(counts.sent as f64 / seconds),
        throughput_per_s: Some((counts.ok + counts.failed_total()) as f64 / seconds),
        goodput_per_s: Some(counts.ok as f64 / seconds),
        error_rate: Some((counts.failed_total() + counts.timeout) as f64 / counts.judged() as f64),
        drop_rate: Some(0.0),
        throughput_mib_per_s: Some(1.627_604),
    }
}

fn rates(iterations: &IterationTotals, totals: &StepTotals) -> Rates {
    let seconds = f64::from(SECONDS);
    Rates {
        offered_per_s: Some(iterations.scheduled as f64 / seconds),
        started_per_s: Some(iterations.started as f64 / seconds),
        ..step_rates(totals)
    }
}

fn started(n: u64) -> IterationTotals {
    IterationTotals {
        scheduled: n,
        started: n,
        started_scheduled: n,
        completed: n,
        ..IterationTotals::default()
    }
}

fn sla(that: &str, observed: &str, verdict: SlaVerdict, reason: &str) -> SlaResult {
    SlaResult {
        that: that.to_owned(),
        during: None,
        over: None,
        in_a_row: 1,
        stop: false,
        implicit: false,
        observed: observed.to_owned(),
        verdict,
        reason: reason.to_owned(),
        at: Some((12, 5)),
        breached_at: None,
    }
}

fn error(at_ms: u64, class: Option<FailureClass>, status: Option<u16>, message: &str) -> ErrorLine {
    ErrorLine {
        sample: ErrorSample {
            at: Moment::from_millis(at_ms),
            step: StepId(1),
            class,
            status,
            service: Some(Duration::from_micros(12_345)),
            message: message.to_owned(),
        },
        scenario: "tools".to_owned(),
        step: "get item".to_owned(),
        worker: WorkerId(1),
    }
}

fn event(at_ms: u64, kind: &str, worker: Option<u32>, text: &str) -> RunEvent {
    RunEvent {
        at: Moment::from_millis(at_ms),
        kind: kind.to_owned(),
        worker: worker.map(WorkerId),
        text: text.to_owned(),
    }
}

fn worker(id: u32, name: &str, steps: StepTotals) -> WorkerSummary {
    WorkerSummary {
        id: WorkerId(id),
        name: name.to_owned(),
        shards: 2,
        offset_us: Some(if id == 0 { -1_234 } else { 210 }),
        offset_uncertainty_us: Some(85),
        state: WorkerState::Finished,
        iterations: started(steps.counts.sent / 2),
        steps,
        health: HealthExtremes {
            dispatch_lag_p99_max_us: 310,
            poll_delay_max_us: 900,
            shard_cpu_max: 0.42,
            shard_wait_max: 0.01,
            core_busy_max: 0.66,
            cpu_mean_cores: 0.61,
            throttled_us: 0,
            steal_us: 1_200,
            rss_max_bytes: 48 << 20,
            rss_anon_max_bytes: 17 << 20,
            memory_available_min_bytes: Some(3 << 30),
            descriptors_max: 140,
            descriptors_limit: 1_048_576,
            ports_max: 64,
            ports_limit: 28_232,
            retransmits: 3,
            shortages: Shortages::default(),
            connections_max: 64,
            slots_max: 64,
        },
        holes: Vec::new(),
        generator: GeneratorVerdict::Valid,
    }
}

/// Two workers second by second; the first has its shard busy in second 21 and 22.
fn health() -> Vec<HealthPoint> {
    let point = |t, id: u32| {
        let busy = id == 0 && (21..23).contains(&t);
        HealthPoint {
            t_s: t,
            length_s: 1,
            worker: WorkerId(id),
            strained: if busy {
                vec!["run_queue", "shard_cpu"]
            } else {
                Vec::new()
            },
            health: Health {
                covered_us: 1_000_000 + u64::from(t),
                dispatch_lag_p99_us: if busy { 9_000 } else { 200 + 10 * u64::from(t % 12) },
                poll_delay_max_us: if busy { 41_000 } else { 700 },
                stood_us: if busy { 41_000 } else { 0 },
                cpu_us: 610_000,
                shard_cpu_max_us: if busy { 970_000 } else { 420_000 },
                shard_busy_max_us: if busy { 990_000 } else { 430_000 },
                shard_wait_max_us: if busy { 260_000 } else { 10_000 },
                run_queue_wait_us: if busy { 300_000 } else { 12_000 },
                core_busy_max_us: if busy { 1_000_000 } else { 660_000 },
                cores_busy: [66, if busy { 100 } else { 31 }].into_iter().collect(),
                steal_us: 40,
                cores: 2,
                rss_bytes: 48 << 20,
                rss_anon_bytes: 17 << 20,
                memory_available_bytes: 3 << 30,
                memory_bytes: 8 << 30,
                descriptors: 140,
                descriptors_max: 1_048_576,
                ports: 64,
                ports_max: 28_232,
                connections: 64,
                slots: 64,
                ..Health::default()
            },
        }
    };
    (0..SECONDS).flat_map(|t| [point(t, 0), point(t, 1)]).collect()
}

fn timeline() -> Vec<TimelinePoint> {
    (0..SECONDS)
        .map(|t| {
            let slow = if (16..19).contains(&t) { 6 } else { 1 };
            let n = offered(t);
            let (failed, timeouts) = if (16..19).contains(&t) { (12, 3) } else { (0, 0) };
            TimelinePoint {
                t_s: t,
                length_s: 1,
                offered: n,
                started: n,
                sent: 2 * n,
                ok: 2 * n - failed - timeouts,
                failed,
                timeouts,
                cancelled: 0,
                dropped: 0,
                active: 4 * slow,
                body_bytes_in: 4_096 * n,
                response_p50: Some(exact((6_900 + 41 * u64::from(t % 7)) * slow)),
                response_p95: Some(exact((26_000 + 620 * u64::from(t % 5)) * slow)),
                response_p99: Some(exact((48_000 + 1_900 * u64::from(t % 6)) * slow)),
                service_p50: Some(exact(6_800 + 37 * u64::from(t % 7))),
                service_p99: Some(exact(41_000 + 1_500 * u64::from(t % 6))),
                error_rate: Some((failed + timeouts) as f64 / (2 * n) as f64),
                stage: Some(if t < 10 { "warm" } else { "peak" }.to_owned()),
                reported: 2,
                expected: 2,
                hole: false,
            }
        })
        .collect()
}

/// A run of 12,500 iterations of two steps that passed.
pub(crate) fn checkout() -> Summary {
    let (n, sent) = (12_500, 25_000);
    let (response, service) = (histogram(sent, 1.05), histogram(sent, 1.0));
    let latencies = Latencies {
        response: latency(&response, 0),
        service: latency(&service, 0),
        dispatch_lag: latency(&histogram(n, 0.01), 0),
        iteration: latency(&histogram(n, 2.1), 0),
    };
    let all = totals(sent, 36, 9);
    Summary {
        run: run(),
        verdict: Verdict::Passed,
        reasons: vec!["every SLA held".to_owned()],
        exit_code: ExitCode::Passed,
        accepted_exit_code: ExitCode::Passed,
        stopped_early: None,
        sla: slas(),
        iterations: started(n),
        steps_total: all,
        once_total: totals(2, 0, 0),
        rates: rates(&started(n), &all),
        latency: latencies,
        latency_ok: latencies,
        timings: vec![
            (Measure::Connect, latency(&histogram(64, 0.02), 0)),
            (Measure::FirstByte, latency(&histogram(sent, 0.9), 0)),
        ],
        steps: steps(sent / 2),
        scenarios: vec![ScenarioSummary {
            name: "tools".to_owned(),
            iterations: started(n),
            iteration: latencies.iteration,
            dispatch_lag: latencies.dispatch_lag,
            whole: true,
        }],
        failures: failures(),
        errors: errors(),
        timeline: timeline(),
        health: health(),
        workers: vec![
            worker(0, "alpha", totals(sent / 2, 36, 9)),
            worker(1, "beta", totals(sent / 2, 0, 0)),
        ],
        events: events(),
        faults: vec![fault()],
        generator: GeneratorSummary::default(),
        stages: stages(),
        phases: phases(&latencies),
        segments: segments(),
        conservation: Conservation {
            iterations: started(n),
            steps: totals(sent + 2, 36, 9),
            per_worker: vec![
                (WorkerId(0), started(n / 2), totals(sent / 2 + 2, 36, 9)),
                (WorkerId(1), started(n / 2), totals(sent / 2, 0, 0)),
            ],
            mismatches: Vec::new(),
        },
        curves: Curves {
            response: distribution(&response),
            service: distribution(&service),
            response_ok: distribution(&response),
            intervals: (0..3).map(|t| interval(t, 40 + u64::from(t))).collect(),
        },
        clipped: 0,
        samples_in_other: 0,
    }
}

fn failures() -> Failures {
    Failures {
        by_class: FailureClass::ALL
            .map(|class| (class, if class == FailureClass::Status { 36 } else { 0 }))
            .to_vec(),
        timeout: 9,
    }
}

fn run() -> RunInfo {
    RunInfo {
        id: RunId(0x00ba_77a6_e000_0001),
        name: "checkout".to_owned(),
        seed: 42,
        plan_hash: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
        labels: vec![
            ("team".to_owned(), "shop".to_owned()),
            ("ci".to_owned(), "1234".to_owned()),
        ],
        started_at: "2026-03-04T05:06:07.250Z".to_owned(),
        duration_us: 30_120_000,
        version: "0.1.0".to_owned(),
        targets: vec!["http://127.0.0.1:8080".to_owned()],
    }
}

fn errors() -> Vec<ErrorLine> {
    let status = Some(FailureClass::Status);
    vec![
        error(16_012, status, Some(503), "status 503, expected 200"),
        error(17_250, None, None, "no answer within 1s"),
    ]
}

fn events() -> Vec<RunEvent> {
    vec![
        event(0, "stage", None, "default: warm begins"),
        event(10_000, "stage", None, "default: peak begins"),
        event(22_500, "set-rate", None, "the rate becomes 100% on behalf of ops"),
    ]
}

fn fault() -> FaultSummary {
    FaultSummary {
        name: "slow-db".to_owned(),
        what: "latency 40ms on gateway/db".to_owned(),
        from: Moment::from_secs(16),
        to: Some(Moment::from_millis(19_020)),
        verdict: "held".to_owned(),
    }
}

fn interval(t_s: u32, n: u64) -> IntervalCurve {
    IntervalCurve {
        t_s,
        length_s: 1,
        response: distribution(&histogram(n, 1.05)),
        service: distribution(&histogram(n, 1.0)),
    }
}

fn slas() -> Vec<SlaResult> {
    vec![
        sla(
            "p95 < 250ms",
            "p95 = 29.1 ms",
            SlaVerdict::Passed,
            "held over 25,000 samples",
        ),
        SlaResult {
            during: Some("steady".to_owned()),
            ..sla("throughput > 480/s", "throughput = 999.7/s", SlaVerdict::Passed, "")
        },
        SlaResult {
            over: Some(Duration::from_secs(10)),
            in_a_row: 3,
            stop: true,
            ..sla(
                "error_rate < 50%",
                "error_rate = 1.5 % at worst",
                SlaVerdict::Passed,
                "",
            )
        },
        SlaResult {
            implicit: true,
            at: None,
            ..sla("started >= 99% of scheduled", "100 %", SlaVerdict::Passed, "")
        },
    ]
}

fn steps(sent: u64) -> Vec<StepSummary> {
    let step = |id: u32, name: &str, totals: StepTotals, scale: f64| {
        let (response, service) = (
            latency(&histogram(sent, 1.05 * scale), 0),
            latency(&histogram(sent, scale), 0),
        );
        StepSummary {
            id: StepId(id),
            scenario: "tools".to_owned(),
            name: name.to_owned(),
            group: false,
            totals,
            sees_wire: true,
            rates: step_rates(&totals),
            response,
            service,
            response_ok: response,
            service_ok: service,
            tags: Vec::new(),
            whole: true,
        }
    };
    let mut all = vec![
        step(0, "list tools", totals(sent, 0, 0), 1.0),
        step(1, "get item", totals(sent, 36, 9), 1.1),
    ];
    let halves = [("blue", 0), ("", 36)].map(|(value, failed)| TagSummary {
        tags: vec![("backend".to_owned(), value.to_owned())],
        counts: totals(sent / 2, failed, 0).counts,
        error_rate: Some(failed as f64 / (sent / 2) as f64),
        response: all[1].response,
        service: all[1].service,
    });
    all[1].tags = halves.to_vec();
    all
}

fn stages() -> Vec<StageSummary> {
    let stage = |name: &str, from, to, n| StageSummary {
        load: "default".to_owned(),
        name: name.to_owned(),
        from: Moment::from_secs(from),
        to: Moment::from_secs(to),
        scheduled: Some(n),
        started: n,
    };
    vec![stage("warm", 0, 10, 2_500), stage("peak", 10, 30, 10_000)]
}

fn phases(latencies: &Latencies) -> Vec<PhaseSummary> {
    let phase = |phase, n: u64, status, timeout| {
        let totals = totals(2 * n, status, timeout);
        PhaseSummary {
            phase,
            iterations: started(n),
            counts: totals.counts,
            rates: rates(&started(n), &totals),
            response: latencies.response,
            service: latencies.service,
            whole: true,
        }
    };
    vec![
        phase(Phase::WarmUp, 2_500, 0, 0),
        phase(Phase::Steady, 8_500, 0, 0),
        phase(Phase::Fault("slow-db".to_owned()), 1_500, 36, 9),
    ]
}

fn segments() -> Vec<SegmentSummary> {
    let segment = |id, from, to, phases: &[Phase]| SegmentSummary {
        id: SegmentId(id),
        from: Moment::from_secs(from),
        to: Moment::from_secs(to),
        phases: phases.to_vec(),
    };
    let peak = Phase::Stage("peak".to_owned());
    vec![
        segment(0, 0, 10, &[Phase::WarmUp, Phase::Stage("warm".to_owned())]),
        segment(1, 10, 16, &[Phase::Steady, peak.clone()]),
        segment(2, 16, 19, &[Phase::Fault("slow-db".to_owned()), peak.clone()]),
        segment(3, 19, 30, &[Phase::Recovery("slow-db".to_owned()), peak]),
    ]
}

/// The seconds behind its end are no longer kept apart from its own.
fn forget(phase: &mut PhaseSummary) {
    phase.whole = false;
    (phase.iterations, phase.counts) = (IterationTotals::default(), StepCounts::default());
    (phase.response, phase.service) = (Latency::default(), Latency::default());
    (phase.rates.error_rate, phase.rates.drop_rate) = (None, None);
}

/// Some of its samples are in the totals alone.
fn fold(step: &mut StepSummary) {
    let none = Latency::default();
    (step.response, step.service, step.response_ok, step.service_ok) = (none, none, none, none);
    (step.tags, step.whole) = (Vec::new(), false);
}

/// The same run after worker 1 was lost in second 20: an exact hole, dropped arrivals, breached SLAs.
pub(crate) fn lost_worker() -> Summary {
    let mut summary = checkout();
    let dropped = Dropped {
        no_slot: 300,
        ..Dropped::default()
    };
    let lost = IterationTotals {
        scheduled: 6_250,
        started: 3_750,
        started_scheduled: 3_750,
        completed: 3_740,
        in_progress: 10,
        unsent: 500,
        unknown: 2_000,
        ..IterationTotals::default()
    };
    let kept = IterationTotals {
        started: 5_950,
        started_scheduled: 5_950,
        completed: 5_905,
        broken_off: 45,
        dropped,
        ..started(6_250)
    };
    let iterations = IterationTotals {
        scheduled: 12_500,
        started: 9_700,
        started_scheduled: 9_700,
        completed: 9_645,
        broken_off: 45,
        in_progress: 10,
        dropped,
        unsent: 500,
        unknown: 2_000,
        ..IterationTotals::default()
    };
    let mut steps = totals(19_390, 36, 9);
    steps.counts.ok -= 10;
    steps.in_flight = 10;
    summary.verdict = Verdict::Failed;
    summary.exit_code = ExitCode::Untrusted;
    summary.reasons = vec![
        "2,500 of 12,500 arrivals were lost with worker beta, more than the plan tolerates (1 %)".to_owned(),
        "p99 < 250ms was breached".to_owned(),
    ];
    summary.stopped_early = Some(EarlyStop {
        at: Moment::from_millis(29_500),
        reason: "error_rate < 50% over 10s: 61.2 %".to_owned(),
    });
    (summary.iterations, summary.steps_total) = (iterations, steps);
    summary.rates = lossy_rates(&iterations, &steps);
    summary.latency.response = latency(&histogram(19_390 + 300, 1.4), 300);
    summary.latency.iteration = latency(&histogram(10_000, 2.9), 300);
    (summary.clipped, summary.samples_in_other) = (2, 17);
    fold(&mut summary.steps[0]);
    forget(&mut summary.phases[0]);
    lose_slas(&mut summary);
    lose_second_worker(&mut summary, lost);
    let mut lost_steps = totals(7_500, 0, 0);
    lost_steps.counts.ok -= 10;
    lost_steps.in_flight = 10;
    let kept_steps = totals(11_890, 36, 9);
    (summary.workers[0].iterations, summary.workers[0].steps) = (kept, kept_steps);
    summary.workers[1].steps = lost_steps;
    summary.conservation = Conservation {
        iterations,
        steps,
        per_worker: vec![(WorkerId(0), kept, kept_steps), (WorkerId(1), lost, lost_steps)],
        ..summary.conservation
    };
    summary
}

/// Lost arrivals belong to no second, so how much was offered in each is not known.
fn lossy_rates(iterations: &IterationTotals, steps: &StepTotals) -> Rates {
    Rates {
        offered_per_s: None,
        drop_rate: Some(0.024),
        ..rates(iterations, steps)
    }
}

fn lose_slas(summary: &mut Summary) {
    summary.sla[0] = SlaResult {
        breached_at: Some(Moment::from_secs(21)),
        ..sla(
            "p99 < 250ms",
            "p99 ≥ 10 s",
            SlaVerdict::Failed,
            "the percentile lies among dropped arrivals",
        )
    };
    summary.sla[1].verdict = SlaVerdict::NotEnoughSamples;
    "9 of at least 20 samples".clone_into(&mut summary.sla[1].reason);
    summary.sla[3].verdict = SlaVerdict::NotJudged;
    "77.6 %".clone_into(&mut summary.sla[3].observed);
    "the generator is invalid".clone_into(&mut summary.sla[3].reason);
}

fn lose_second_worker(summary: &mut Summary, lost: IterationTotals) {
    let worker = &mut summary.workers[1];
    worker.state = WorkerState::Lost;
    worker.iterations = lost;
    worker.holes = vec![(20, 25), (26, 30)];
    worker.generator = GeneratorVerdict::Invalid;
    worker.offset_us = None;
    let silent = |point: &HealthPoint| point.worker == WorkerId(1) && point.t_s >= 20;
    summary.health.retain(|point| !silent(point));
    // A system that tells little.
    for point in summary.health.iter_mut().filter(|point| point.worker == WorkerId(1)) {
        point.health = Health {
            dispatch_lag_p99_us: 80,
            connections: 64,
            slots: 64,
            ..Health::default()
        };
    }
    for point in summary.timeline.iter_mut().filter(|point| point.t_s >= 20) {
        point.hole = point.t_s != 25;
        point.reported = u32::from(point.t_s != 27);
        point.dropped = 30;
        point.response_p95 = point.response_p95.map(|quantile| Quantile {
            value_us: quantile.value_us * 40,
            at_least: true,
        });
        if point.reported == 0 {
            (point.response_p50, point.response_p95, point.response_p99) = (None, None, None);
            (point.service_p50, point.service_p99) = (None, None);
        }
    }
    summary.generator = GeneratorSummary {
        verdict: GeneratorVerdict::Invalid,
        reasons: vec![
            GeneratorReason {
                verdict: GeneratorVerdict::Invalid,
                worker: None,
                kind: "min_started",
                text: "9,700 of 12,500 arrivals were started".to_owned(),
                intervals: Vec::new(),
            },
            GeneratorReason {
                verdict: GeneratorVerdict::Degraded,
                worker: Some(WorkerId(0)),
                kind: "shard_cpu",
                text: "the busiest shard used 97 % of a core".to_owned(),
                intervals: vec![(21, 23), (26, 28)],
            },
        ],
    };
    let lost = event(23_100, "worker-lost", Some(1), "beta was not heard of for 3 s");
    summary.events.push(lost);
}

/// A run that ended before anything was due.
pub(crate) fn empty() -> Summary {
    let full = checkout();
    Summary {
        run: RunInfo {
            labels: Vec::new(),
            targets: Vec::new(),
            duration_us: 0,
            ..full.run
        },
        verdict: Verdict::Aborted,
        reasons: vec!["interrupted".to_owned()],
        exit_code: ExitCode::Interrupted,
        accepted_exit_code: ExitCode::Interrupted,
        stopped_early: None,
        sla: Vec::new(),
        iterations: IterationTotals::default(),
        steps_total: StepTotals::default(),
        once_total: StepTotals::default(),
        rates: Rates::default(),
        latency: Latencies::default(),
        latency_ok: Latencies::default(),
        timings: Vec::new(),
        steps: Vec::new(),
        scenarios: Vec::new(),
        failures: Failures::default(),
        errors: Vec::new(),
        timeline: Vec::new(),
        workers: Vec::new(),
        health: Vec::new(),
        events: Vec::new(),
        faults: Vec::new(),
        generator: GeneratorSummary::default(),
        stages: Vec::new(),
        phases: Vec::new(),
        segments: Vec::new(),
        conservation: Conservation::default(),
        curves: Curves::default(),
        clipped: 0,
        samples_in_other: 0,
    }
}

/// The run with the lost worker, every string from outside replaced.
pub(crate) fn with_text(text: &str) -> Summary {
    static RUN: LazyLock<Summary> = LazyLock::new(lost_worker);
    let mut summary = RUN.clone();
    let each = |field: &mut String| text.clone_into(field);
    each(&mut summary.run.name);
    each(&mut summary.run.plan_hash);
    each(&mut summary.run.version);
    each(&mut summary.run.started_at);
    summary.run.targets.iter_mut().for_each(each);
    summary
        .run
        .labels
        .iter_mut()
        .for_each(|(name, value)| (each(name), each(value)).1);
    summary.reasons.iter_mut().for_each(each);
    summary.stopped_early.iter_mut().for_each(|stop| each(&mut stop.reason));
    for sla in &mut summary.sla {
        each(&mut sla.that);
        each(&mut sla.observed);
        each(&mut sla.reason);
        sla.during = Some(text.to_owned());
    }
    for step in &mut summary.steps {
        each(&mut step.name);
        each(&mut step.scenario);
        for (name, value) in step.tags.iter_mut().flat_map(|tag| &mut tag.tags) {
            each(name);
            each(value);
        }
    }
    summary
        .scenarios
        .iter_mut()
        .for_each(|scenario| each(&mut scenario.name));
    for line in &mut summary.errors {
        each(&mut line.scenario);
        each(&mut line.step);
        each(&mut line.sample.message);
    }
    summary
        .timeline
        .iter_mut()
        .for_each(|point| point.stage = Some(text.to_owned()));
    summary.workers.iter_mut().for_each(|worker| each(&mut worker.name));
    for event in &mut summary.events {
        each(&mut event.kind);
        each(&mut event.text);
    }
    for fault in &mut summary.faults {
        each(&mut fault.name);
        each(&mut fault.what);
        each(&mut fault.verdict);
    }
    summary
        .generator
        .reasons
        .iter_mut()
        .for_each(|reason| each(&mut reason.text));
    for stage in &mut summary.stages {
        each(&mut stage.load);
        each(&mut stage.name);
    }
    for phase in &mut summary.phases {
        phase.phase = Phase::Stage(text.to_owned());
    }
    for segment in &mut summary.segments {
        segment.phases = vec![Phase::Fault(text.to_owned())];
    }
    summary.conservation.mismatches = vec![text.to_owned()];
    summary
}
