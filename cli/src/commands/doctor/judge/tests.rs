use barrage_worker::host::text::Memory;

use super::*;

/// A machine on which nothing is wrong.
fn fit() -> Facts {
    Facts {
        descriptors: 1_048_576,
        descriptors_hard: 1_048_576,
        descriptors_system: Some(9_223_372_036_854_775_807),
        ports: Some((32_768, 60_999)),
        ports_reserved: 0,
        ports_waiting: 12,
        tw_reuse: Some(2),
        somaxconn: Some(4_096),
        cores: 4,
        cores_of_host: 8,
        groups_shown: true,
        quota_cores: None,
        steal: Some(0.2),
        busiest: Some(7.0),
        pressure: Some(1.5),
        memory: Some(Memory {
            total_bytes: 8 << 30,
            available_bytes: 6 << 30,
        }),
        threads_left: None,
        late: (1..=100).map(Duration::from_micros).collect(),
        clock_source: Some("tsc".to_owned()),
        clock_ns: 25,
        governor: None,
        container: None,
        coordinator: None,
    }
}

/// The checks that are not `ok`, with what was found.
#[track_caller]
fn check_only(change: impl FnOnce(&mut Facts), want: &[(&str, Level, &str)]) {
    let mut facts = fit();
    change(&mut facts);
    let found = checks(&facts);
    let ill: Vec<(&str, Level, &str)> = found
        .iter()
        .filter(|check| check.level != Level::Ok)
        .map(|check| (check.name, check.level, check.found.as_str()))
        .collect();
    assert_eq!(ill, want);
    for check in &found {
        assert_eq!(check.advice.is_empty(), check.level == Level::Ok, "{check:?}");
    }
}

#[test]
fn a_fit_machine_has_nothing_to_complain_of() {
    check_only(|_| {}, &[]);
    let found: Vec<String> = checks(&fit())
        .into_iter()
        .map(|check| format!("{}: {}", check.name, check.found))
        .collect();
    expect_test::expect![[r"
        descriptors: 1,048,576 (hard limit 1,048,576)
        ports: 32768–60999, 28,232; 12 in TIME_WAIT
        tcp_tw_reuse: 2: ports in TIME_WAIT are used again on loopback alone
        somaxconn: 4,096
        cores: 4 of 8 allowed; run makes load on 3
        cpu quota: none
        steal: 0.2 % of the cores' time
        load: busiest core 7 %; threads waited for a core in 2 % of the last 10 s
        timer: wakes 50 µs late (p50), 99 µs (p99)
        clock: tsc, 25 ns a reading
        memory: 6,144 of 8,192 MiB available
        threads: no limit
        cpu governor: not shown
        container: no sign of one"]]
    .assert_eq(&found.join("\n"));
}

#[test]
fn what_can_run_out() {
    use Level::{Fail, Warn};
    check_only(
        |facts| (facts.descriptors, facts.descriptors_hard) = (1_024, 1_024),
        &[("descriptors", Warn, "1,024 (hard limit 1,024)")],
    );
    check_only(
        |facts| facts.descriptors = 255,
        &[("descriptors", Fail, "255 (hard limit 1,048,576)")],
    );
    check_only(
        |facts| facts.descriptors_system = Some(3_000),
        &[(
            "descriptors",
            Warn,
            "1,048,576 (hard limit 1,048,576), 3,000 for the whole system",
        )],
    );
    check_only(
        |facts| facts.ports = Some((60_000, 60_999)),
        &[("ports", Warn, "60000–60999, 1,000; 12 in TIME_WAIT")],
    );
    let waiting = |tw_reuse| move |facts: &mut Facts| (facts.ports_waiting, facts.tw_reuse) = (28_200, Some(tw_reuse));
    let found = "32768–60999, 28,232; 28,200 in TIME_WAIT";
    check_only(waiting(1), &[]);
    check_only(waiting(2), &[("ports", Warn, found)]);
    check_only(
        |facts| (facts.ports_waiting, facts.tw_reuse) = (28_200, None),
        &[
            ("ports", Fail, found),
            ("tcp_tw_reuse", Warn, "not shown by this system"),
        ],
    );
    check_only(
        |facts| facts.ports = Some((60_000, 60_098)),
        &[("ports", Fail, "60000–60098, 99; 12 in TIME_WAIT")],
    );
    check_only(
        |facts| facts.tw_reuse = Some(0),
        &[(
            "tcp_tw_reuse",
            Warn,
            "0: a closed connection holds its port for a minute",
        )],
    );
    check_only(|facts| facts.somaxconn = Some(128), &[("somaxconn", Warn, "128")]);
    let memory = |available_bytes| {
        move |facts: &mut Facts| {
            facts.memory = Some(Memory {
                total_bytes: 1 << 30,
                available_bytes,
            });
        }
    };
    let threads = |left| move |facts: &mut Facts| facts.threads_left = Some(left);
    check_only(threads(35), &[]);
    check_only(threads(34), &[("threads", Warn, "34 more allowed")]);
    check_only(threads(11), &[("threads", Warn, "11 more allowed")]);
    check_only(threads(10), &[("threads", Fail, "10 more allowed")]);
    check_only(memory(200 << 20), &[("memory", Warn, "200 of 1,024 MiB available")]);
    check_only(memory(63 << 20), &[("memory", Fail, "63 of 1,024 MiB available")]);
}

#[test]
fn what_takes_processor_time_away() {
    use Level::{Fail, Warn};
    check_only(
        |facts| (facts.cores, facts.cores_of_host) = (1, 2),
        &[("cores", Warn, "1 of 2 allowed; run makes load on 1")],
    );
    check_only(|facts| facts.quota_cores = Some(4.0), &[]);
    check_only(
        |facts| facts.groups_shown = false,
        &[
            ("cpu quota", Warn, "not shown by this system"),
            ("threads", Warn, "not shown by this system"),
        ],
    );
    check_only(
        |facts| facts.quota_cores = Some(1.5),
        &[("cpu quota", Warn, "1.50 of 4 cores")],
    );
    check_only(
        |facts| facts.quota_cores = Some(0.2),
        &[("cpu quota", Fail, "0.20 of 4 cores")],
    );
    check_only(
        |facts| facts.steal = Some(3.0),
        &[("steal", Warn, "3.0 % of the cores' time")],
    );
    check_only(
        |facts| facts.steal = Some(12.0),
        &[("steal", Fail, "12.0 % of the cores' time")],
    );
    check_only(
        |facts| (facts.busiest, facts.pressure) = (Some(51.0), None),
        &[("load", Warn, "busiest core 51 %")],
    );
    let late = |us| move |facts: &mut Facts| facts.late = vec![Duration::from_micros(us); 100];
    check_only(
        late(1_001),
        &[("timer", Warn, "wakes 1001 µs late (p50), 1001 µs (p99)")],
    );
    check_only(
        late(10_001),
        &[("timer", Fail, "wakes 10001 µs late (p50), 10001 µs (p99)")],
    );
    check_only(
        |facts| facts.clock_source = Some("hpet".to_owned()),
        &[("clock", Warn, "hpet, 25 ns a reading")],
    );
    check_only(
        |facts| facts.clock_ns = 900,
        &[("clock", Warn, "tsc, 900 ns a reading")],
    );
    check_only(
        |facts| facts.governor = Some("powersave".to_owned()),
        &[("cpu governor", Warn, "powersave")],
    );
}

#[test]
fn a_coordinator_that_was_asked() {
    let well = |protocol, store_ok| {
        move |facts: &mut Facts| {
            facts.coordinator = Some(Coordinator::Well {
                version: "1.2.3".to_owned(),
                protocol,
                workers: 3,
                store_ok,
            });
        }
    };
    check_only(well(barrage_proto::PROTOCOL, true), &[]);
    check_only(
        well(barrage_proto::PROTOCOL, false),
        &[(
            "coordinator",
            Level::Fail,
            "1.2.3, 3 workers; its store cannot be written to",
        )],
    );
    let other = format!("1.2.3, 3 workers; speaks protocol 99, not {}", barrage_proto::PROTOCOL);
    check_only(well(99, true), &[("coordinator", Level::Fail, &other)]);
    check_only(
        |facts| facts.coordinator = Some(Coordinator::Unreachable("nobody there".to_owned())),
        &[("coordinator", Level::Fail, "nobody there")],
    );
}

#[test]
fn a_system_that_shows_nothing_is_doubted_and_does_not_fail() {
    let facts = Facts {
        cores: 2,
        cores_of_host: 2,
        ..Facts::default()
    };
    let failed: Vec<&str> = checks(&facts)
        .iter()
        .filter(|check| check.level == Level::Fail)
        .map(|check| check.name)
        .collect();
    assert_eq!(failed, ["descriptors"]);
}

#[test]
fn capacities_name_what_stops_them() {
    let mut facts = fit();
    let of = |facts: &Facts| {
        let found = capacity(facts);
        (found.connections, found.stopped_by)
    };
    assert_eq!(of(&facts), (28_232, "local ports"));
    // What is not shown limits nothing that can be told.
    let unseen = Facts { ports: None, ..fit() };
    assert_ne!(of(&unseen).1, "local ports");
    assert_eq!(capacity(&unseen).new_per_s, None);
    facts.descriptors = 1_024;
    assert_eq!(of(&facts), (924, "descriptors"));
    facts.memory = Some(Memory {
        total_bytes: 1 << 30,
        available_bytes: 1 << 20,
    });
    assert_eq!(of(&facts), (51, "memory"));
    let found = capacity(&facts);
    assert_eq!(
        (found.new_per_s, found.threads, found.requests_per_s),
        (Some(470), 3, 150_000)
    );
    facts.quota_cores = Some(3.5);
    assert_eq!(capacity(&facts).threads, 2, "a quota counts in whole cores");
    facts.quota_cores = Some(0.2);
    let found = capacity(&facts);
    assert_eq!((found.threads, found.requests_per_s), (1, 10_000));
}

#[test]
fn numbers_are_grouped() {
    for (number, want) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_048_576, "1,048,576")] {
        assert_eq!(grouped(number), want);
    }
}
