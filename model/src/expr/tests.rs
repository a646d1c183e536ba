use std::time::Duration;

use expect_test::{expect, expect_file};
use proptest::prelude::*;

use super::*;
use crate::ledger::{IterationCounts, StepCounts};
use crate::outcome::FailureClass;
use crate::phase::Phase;
use crate::syntax::testing::{any_text, check_any, errors, jumble, name};
use crate::units::{Bytes, DURATION_MAX, Rate, Ratio};

#[test]
fn expressions_have_one_canonical_text() {
    for (text, canonical) in [
        ("p95 < 250ms", ""),
        ("p95(response)<0.25s", "p95 < 250ms"),
        (
            "  p99 ( service , \"list tools\" ) <= 1s  ",
            "p99(service, \"list tools\") <= 1s",
        ),
        ("p99('list tools') < 1m30s", "p99(\"list tools\") < 1m30s"),
        ("p99.990 < 1s", "p99.99 < 1s"),
        ("p0.0001 > 1us", ""),
        ("p99.9999 > 1us", ""),
        ("median(iteration) < 1s", "p50(iteration) < 1s"),
        ("max(dispatch_lag) < 1ms", ""),
        ("min(dns) >= 0s", ""),
        ("mean(first_byte, ok, step:\"x\") != 1s", ""),
        (
            "p95(ok, response, backend=\"blue\", az = 'b') < 1s",
            "p95(ok, az=\"b\", backend=\"blue\") < 1s",
        ),
        ("p95(ok=\"x\", response=\"y\") < 1s", ""),
        (
            "p95(step: \"x\", scenario: \"y\") < 1s",
            "p95(scenario:\"y\", step:\"x\") < 1s",
        ),
        ("p95(scenario:\"y\") < 1s", ""),
        ("error_rate < 1%", ""),
        ("error_rate<0.01", "error_rate < 1%"),
        ("error_rate == 0", "error_rate == 0%"),
        ("success_rate(\"health\") >= 99.95%", ""),
        ("started_rate >= 1.0", "started_rate >= 100%"),
        ("drop_rate <= 0.1%", ""),
        ("check_failure_rate < 5%", ""),
        ("throughput > 480/s", ""),
        ("goodput(\"a \\\"b\\\"\") > 30k/m", "goodput(\"a \\\"b\\\"\") > 500/s"),
        ("offered > 0.5/s", ""),
        ("sent_rate > 1M/s", "sent_rate > 1000000/s"),
        ("scheduled == 30000", ""),
        ("failed.closed_on_reuse == 0", ""),
        ("failed.dns(\"x\") < 3", ""),
        ("ok(backend=\"green\") > 0", ""),
        ("ok == 18446744073709551615", ""),
        ("body_bytes_in < 10MiB", ""),
        ("wire_bytes_out < 1000B", "wire_bytes_out < 1kB"),
        ("bytes_in_rate > 10MiB/s", ""),
        ("failed / sent < 1%", ""),
        (
            "ok(\"a\")/attempted(\"b\") >= 99.9%",
            "ok(\"a\") / attempted(\"b\") >= 99.9%",
        ),
        ("attempted / started < 3.5", "attempted / started < 350%"),
    ] {
        let expr = Expr::parse(text).expect(text);
        let canonical = if canonical.is_empty() { text } else { canonical };
        assert_eq!(expr.to_string(), canonical);
        assert_eq!(expr.left.dimension(), expr.right.dimension(), "{text}");
    }
}

#[test]
fn every_metric_is_known_by_its_word() {
    let words = RatioMetric::ALL.iter().map(|m| (m.word().to_owned(), "1%"));
    let words = words.chain(RateMetric::ALL.iter().map(|m| (m.word().to_owned(), "1/s")));
    let words = words.chain(ByteCount::ALL.iter().map(|m| (m.word().to_owned(), "1B")));
    let words = words.chain(ByteRate::ALL.iter().map(|m| (m.word().to_owned(), "1B/s")));
    let words = words.chain(Count::PLAIN.iter().map(|m| (m.to_string(), "1")));
    let words = words.chain(FailureClass::ALL.iter().map(|&c| (Count::FailedAs(c).to_string(), "1")));
    let words = words.chain(
        Measure::ALL
            .iter()
            .skip(1)
            .map(|m| (format!("p95({})", m.word()), "1s")),
    );
    for (word, threshold) in words {
        let text = format!("{word} < {threshold}");
        assert_eq!(Expr::parse(&text).expect(&text).to_string(), text);
    }
}

const BAD: &[&str] = &[
    "",
    "   ",
    "p95",
    "p95 <",
    "p95 < 250",
    "p95 < 0.25",
    "p95 < 250 ms",
    "p95 < 250mss",
    "p95 < 1%",
    "p95 < 480/s",
    "p95 < -1s",
    "p95 < 8d",
    "p95 < 250ms 300ms",
    "p95 < 250ms and error_rate < 1%",
    "p95 250ms",
    "p95 = 250ms",
    "p95 =< 250ms",
    "p95 \u{2264} 250ms",
    "p95 <> 250ms",
    "p95 below 250ms",
    "p95 <",
    "p0 < 1s",
    "p100 < 1s",
    "p999 < 1s",
    "p9999 < 1s",
    "p99.99999 < 1s",
    "p95th < 1s",
    "P95 < 1s",
    "p(95)<250",
    "p(99.9) < 500",
    "p(x) < 1s",
    "http_req_duration < 500",
    "http_req_failed<0.01",
    "rate<0.01",
    "avg<200",
    "med < 1s",
    "http_reqs > 100",
    "rps > 100",
    "eror_rate < 1%",
    "errorRate < 1%",
    "troughput > 480/s",
    "banana < 1",
    "250ms > p95",
    "error_rate < 1",
    "error_rate < 5",
    "error_rate < 101%",
    "error_rate < 250ms",
    "error_rate < one percent",
    "throughput > 480",
    "throughput > 480rps",
    "throughput > 10MiB/s",
    "failed < 1%",
    "failed < 1.5",
    "failed < 1,000",
    "failed < 18446744073709551616",
    "failed.tsl == 0",
    "failed.banana == 0",
    "body_bytes_in < 10",
    "body_bytes_in < 10MiB/s",
    "bytes_in_rate < 10MiB",
    "bytes_in_rate < 10",
    "failed / sent < 1",
    "failed / sent < 10ms",
    "failed / < 1%",
    "failed / error_rate < 1%",
    "error_rate / sent < 1%",
    "p95() < 1s",
    "p95(",
    "p95(service",
    "p95(service \"x\") < 1s",
    "p95(servce) < 1s",
    "p95(service, response) < 1s",
    "p95(ok, ok) < 1s",
    "p95(failed) < 1s",
    "p95(login) < 1s",
    "p95(\"\") < 1s",
    "p95(\"a\", \"b\") < 1s",
    "p95(\"a\", step:\"b\") < 1s",
    "p95(stp:\"a\") < 1s",
    "p95(group:\"a\") < 1s",
    "p95(backend:\"blue\") < 1s",
    "p95(step:a) < 1s",
    "p95(backend=blue) < 1s",
    "p95(backend=\"blue\", backend=\"green\") < 1s",
    "p95(\"a) < 1s",
    "error_rate(ok) < 1%",
    "error_rate(service) < 1%",
    "p95 < 1s)",
    "\u{7}",
];

#[test]
fn errors_name_the_place_and_the_remedy() {
    expect_file!["../../tests/golden/expr_errors.txt"].assert_eq(&errors(BAD, Expr::parse));
}

#[test]
fn predicates_have_one_canonical_text() {
    for (text, canonical) in [
        ("p95 < 1s", ""),
        ("p95<1s && !(error_rate>5%)", "p95 < 1s and not error_rate > 5%"),
        ("not not p95 < 1s", ""),
        ("ok > 1 or ok > 2 and ok > 3", ""),
        ("(ok > 1 or ok > 2) and ok > 3", ""),
        ("ok > 1 and (ok > 2 and ok > 3)", ""),
        ("ok > 1 or ((ok > 2 or ok > 3))", "ok > 1 or (ok > 2 or ok > 3)"),
        ("not(ok > 1||ok > 2)", "not (ok > 1 or ok > 2)"),
    ] {
        let predicate = Predicate::parse(text).expect(text);
        assert_eq!(
            predicate.to_string(),
            if canonical.is_empty() { text } else { canonical }
        );
    }
}

#[test]
fn predicate_errors_name_the_place() {
    let deep = format!("{}ok > 1{}", "(".repeat(33), ")".repeat(33));
    let inputs = [
        "p95 < 1s and",
        "and p95 < 1s",
        "p95 < 1s error_rate < 1%",
        "(p95 < 1s",
        "p95 < 1s)",
        "p95 < 1s AND ok > 1",
        "p95 < 1s & ok > 1",
        "p95 < 1s, ok > 1",
        "not",
        "()",
        deep.as_str(),
    ];
    expect![[r"
        p95 < 1s and
                    ^ expected a metric such as p95, error_rate, throughput or failed, found the end of the text
        and p95 < 1s
        ^^^ expected a metric such as p95, error_rate, throughput or failed, found `and`
        p95 < 1s error_rate < 1%
                 ^^^^^^^^^^ expected `and`, `or` or the end of the text, found `error_rate`
        (p95 < 1s
                 ^ expected `and`, `or` or `)`, found the end of the text
        p95 < 1s)
                ^ expected `and`, `or` or the end of the text, found `)`
        p95 < 1s AND ok > 1
                 ^^^ expected `and`, `or` or the end of the text, found `AND`; did you mean `and`?
        p95 < 1s & ok > 1
                 ^ expected `and`, `or` or the end of the text, found `&`; did you mean `and`?
        p95 < 1s, ok > 1
                ^ expected `and`, `or` or the end of the text, found `,`; did you mean `and`?
        not
           ^ expected a metric such as p95, error_rate, throughput or failed, found the end of the text
        ()
         ^ expected a metric such as p95, error_rate, throughput or failed, found `)`
        (((((((((((((((((((((((((((((((((ok > 1)))))))))))))))))))))))))))))))))
                                         ^^ expected at most 32 levels of nesting, found `ok`
    "]]
    .assert_eq(&errors(&inputs, Predicate::parse));
    let nots = |n: usize| format!("{}ok > 1", "not ".repeat(n));
    assert!(Predicate::parse(&nots(32)).is_ok() && Predicate::parse(&nots(33)).is_err());
    assert!(Predicate::parse(&"(".repeat(16 * 1024)).is_err());
    assert!(
        Predicate::parse(&nots(5_000))
            .expect_err("too long")
            .to_string()
            .contains("16384 bytes")
    );
}

#[test]
fn what_lacks_data_is_open_unless_the_rest_decides() {
    let predicate = |text: &str| Predicate::parse(text).expect(text);
    let mut holds = |expr: &Expr| match expr.right {
        Threshold::Count(0) => Some(false),
        Threshold::Count(1) => Some(true),
        _ => None,
    };
    for (text, want) in [
        ("ok > 1 and ok > 1", Some(true)),
        ("ok > 1 and ok > 0", Some(false)),
        ("ok > 2 and ok > 0", Some(false)),
        ("ok > 0 and ok > 2", Some(false)),
        ("ok > 2 and ok > 1", None),
        ("ok > 2 or ok > 1", Some(true)),
        ("ok > 1 or ok > 2", Some(true)),
        ("ok > 0 or ok > 2", None),
        ("not ok > 2", None),
        ("not ok > 0", Some(true)),
    ] {
        assert_eq!(predicate(text).evaluate(&mut holds), want, "{text}");
    }
    assert_eq!(predicate("ok > 0 or not (ok > 1 and ok > 2)").tests().len(), 3);
}

#[test]
fn phases_are_read_and_cover_their_own() {
    for (text, canonical) in [
        ("steady", ""),
        (" warm_up ", "warm_up"),
        ("whole", ""),
        ("stage(peak)", ""),
        ("stage( \"peak-1.5\" )", "stage(peak-1.5)"),
        ("fault(\"slow db\")", ""),
        ("recovery('x')", "recovery(x)"),
        ("baseline(1)", ""),
    ] {
        let phase = PhaseSelector::parse(text).expect(text);
        assert_eq!(phase.to_string(), if canonical.is_empty() { text } else { canonical });
    }
    let inputs = [
        "",
        "stedy",
        "warmup",
        "all",
        "banana",
        "stage",
        "stage()",
        "stage(a b)",
        "stage(\"\")",
        "steady()",
        "9",
    ];
    expect![[r#"

        ^ expected a phase: whole, steady, warm_up, stage(…), fault(…), recovery(…) or baseline(…), found the end of the text
        stedy
        ^^^^^ expected a phase: whole, steady, warm_up, stage(…), fault(…), recovery(…) or baseline(…), found `stedy`; did you mean `steady`?
        warmup
        ^^^^^^ expected a phase: whole, steady, warm_up, stage(…), fault(…), recovery(…) or baseline(…), found `warmup`; did you mean `warm_up`?
        all
        ^^^ expected a phase: whole, steady, warm_up, stage(…), fault(…), recovery(…) or baseline(…), found `all`; did you mean `whole`?
        banana
        ^^^^^^ expected a phase: whole, steady, warm_up, stage(…), fault(…), recovery(…) or baseline(…), found `banana`
        stage
             ^ expected `(` and a name, found the end of the text
        stage()
              ^ expected a name, in quotes unless it is a plain word, found `)`
        stage(a b)
                ^ expected `)`, found `b`
        stage("")
              ^^ expected a name, in quotes unless it is a plain word, found `""`
        steady()
              ^ expected the end of the phase, found `(`
        9
        ^ expected a phase: whole, steady, warm_up, stage(…), fault(…), recovery(…) or baseline(…), found `9`
    "#]].assert_eq(&errors(&inputs, PhaseSelector::parse));
    let covers = |text: &str, phase: &Phase| PhaseSelector::parse(text).expect(text).covers(phase);
    assert!(covers("whole", &Phase::WarmUp) && !covers("whole", &Phase::Undoing));
    assert!(covers("stage(a)", &Phase::Stage("a".into())) && !covers("stage(a)", &Phase::Stage("b".into())));
    assert!(!covers("stage(a)", &Phase::Fault("a".into())) && !covers("steady", &Phase::WarmUp));
}

#[test]
fn quantiles_have_exact_ranks() {
    let quantile = |text: &str| match Expr::parse(&format!("{text} < 1s")).expect(text).left {
        Operand::Metric(Metric {
            kind: MetricKind::Latency {
                stat: Stat::Quantile(quantile),
                ..
            },
            ..
        }) => quantile,
        other => panic!("{other:?}"),
    };
    for (text, count, rank) in [
        ("p50", 0, 0),
        ("p50", 1, 1),
        ("p50", 2, 1),
        ("p50", 3, 2),
        ("p95", 100, 95),
        ("p95", 101, 96),
        ("p99.99", 10_000, 9_999),
        ("p99.99", 10_001, 10_000),
        ("p0.0001", 1_000_000, 1),
        ("p99.9999", u64::MAX, 18_446_725_626_965_477_906),
    ] {
        assert_eq!(quantile(text).rank(count), rank, "{text} of {count}");
    }
    for (text, needed) in [
        ("p50", 20),
        ("p95", 200),
        ("p99", 1_000),
        ("p99.9", 10_000),
        ("p99.9999", 10_000_000),
    ] {
        assert_eq!(quantile(text).samples_needed(10), needed, "{text}");
    }
}

#[test]
fn ledgers_yield_the_metrics() {
    let iterations = IterationCounts {
        scheduled: 100,
        started: 90,
        completed: 80,
        dropped: [1, 2, 3, 4],
        ..Default::default()
    };
    let mut steps = StepCounts {
        attempted: 95,
        sent: 90,
        ok: 60,
        timeout: 5,
        cancelled: 7,
        ..Default::default()
    };
    steps.failed[FailureClass::Connect.index()] = 10;
    steps.failed[FailureClass::Status.index()] = 6;
    steps.failed[FailureClass::Check.index()] = 2;
    for (ratio, want) in [
        (RatioMetric::ErrorRate, (23, 83)),
        (RatioMetric::SuccessRate, (60, 83)),
        (RatioMetric::CheckFailureRate, (2, 83)),
        (RatioMetric::DropRate, (10, 100)),
        (RatioMetric::StartedRate, (90, 100)),
    ] {
        assert_eq!(ratio.of(&iterations, &steps), want, "{ratio:?}");
    }
    for (rate, want) in [
        (RateMetric::Throughput, 68),
        (RateMetric::Goodput, 60),
        (RateMetric::Offered, 100),
        (RateMetric::SentRate, 90),
    ] {
        assert_eq!(rate.of(&iterations, &steps), want, "{rate:?}");
    }
    assert_eq!(Count::Failed.of(&iterations, &steps), Some(18));
    assert_eq!(Count::FailedAs(FailureClass::Connect).of(&iterations, &steps), Some(10));
    assert_eq!(Count::Unknown.of(&iterations, &steps), None);
}

fn any_selector() -> impl Strategy<Value = Selector> {
    let text = || any_text().prop_filter("not empty", |text| !text.is_empty());
    let named = prop_oneof![
        text().prop_map(Named::Any),
        text().prop_map(Named::Step),
        text().prop_map(Named::Scenario),
        (text(), text()).prop_map(|(scenario, step)| Named::StepOf { scenario, step }),
    ];
    let tags = prop::collection::btree_map(name(), any_text(), 0..3);
    (prop::option::of(named), tags).prop_map(|(name, tags)| Selector {
        name,
        tags: tags.into_iter().collect(),
    })
}

fn any_kind() -> impl Strategy<Value = MetricKind> {
    let stat = prop_oneof![
        Just(Stat::Min),
        Just(Stat::Mean),
        Just(Stat::Max),
        (1..1_000_000_u32).prop_map(|n| Stat::Quantile(Quantile::from_millionths(n).expect("in range"))),
    ];
    let outcomes = prop_oneof![Just(Outcomes::All), Just(Outcomes::Ok)];
    prop_oneof![
        (stat, prop::sample::select(&Measure::ALL[..]), outcomes).prop_map(|(stat, measure, outcomes)| {
            MetricKind::Latency {
                stat,
                measure,
                outcomes,
            }
        }),
        prop::sample::select(RatioMetric::ALL).prop_map(MetricKind::Ratio),
        prop::sample::select(RateMetric::ALL).prop_map(MetricKind::Rate),
        any_count().prop_map(MetricKind::Count),
        prop::sample::select(ByteCount::ALL).prop_map(MetricKind::Bytes),
        prop::sample::select(ByteRate::ALL).prop_map(MetricKind::ByteRate),
    ]
}

fn any_count() -> impl Strategy<Value = Count> {
    prop_oneof![
        prop::sample::select(&Count::PLAIN[..]),
        prop::sample::select(&FailureClass::ALL[..]).prop_map(Count::FailedAs),
    ]
}

fn any_expr() -> impl Strategy<Value = Expr> {
    let counted = || (any_count(), any_selector()).prop_map(|(count, select)| Counted { count, select });
    let operand = prop_oneof![
        3 => (any_kind(), any_selector()).prop_map(|(kind, select)| Operand::Metric(Metric { kind, select })),
        1 => (counted(), counted()).prop_map(|(part, whole)| Operand::Quotient { part, whole }),
    ];
    (operand, prop::sample::select(&Cmp::ALL[..]), any::<u64>()).prop_map(|(left, cmp, n)| {
        let right = match left.dimension() {
            Dimension::Duration => Threshold::Duration(Duration::from_micros(n % DURATION_MAX.as_micros() as u64)),
            Dimension::Ratio => Threshold::Ratio(Ratio::from_ppb(n % 1_000_000_001)),
            Dimension::Rate => Threshold::Rate(Rate::from_micro(n % 100_000_000_000_001).expect("in range")),
            Dimension::Count => Threshold::Count(n),
            Dimension::Bytes => Threshold::Bytes(Bytes(n)),
            Dimension::ByteRate => Threshold::ByteRate(Bytes(n)),
        };
        Expr { left, cmp, right }
    })
}

fn any_predicate() -> impl Strategy<Value = Predicate> {
    any_expr().prop_map(Predicate::Test).prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Predicate::All),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Predicate::Any),
            inner.prop_map(|part| Predicate::Not(Box::new(part))),
        ]
    })
}

const PIECES: &[&str] = &[
    "p95",
    "p",
    "99.9",
    "mean",
    "error_rate",
    "failed",
    "failed.",
    "sent",
    "throughput",
    "body_bytes_in",
    "(",
    ")",
    "/",
    ",",
    "<",
    ">=",
    "=",
    "!",
    "\"x\"",
    "'",
    "step:",
    "az=",
    "ok",
    "service",
    "250ms",
    "1%",
    "480/s",
    "10MiB",
    "/s",
    "7",
    " and ",
    " or ",
    "not ",
    "\u{2264}",
    "\u{1f980}",
    "\n",
];

proptest! {
    #[test]
    fn an_expression_reads_back_to_itself(expr in any_expr()) {
        prop_assert_eq!(Expr::parse(&expr.to_string()), Ok(expr));
    }

    #[test]
    fn a_predicate_reads_back_to_itself(predicate in any_predicate()) {
        prop_assert_eq!(Predicate::parse(&predicate.to_string()), Ok(predicate));
    }

    #[test]
    fn a_phase_reads_back_to_itself(name in any_text().prop_filter("not empty", |name| !name.is_empty())) {
        for phase in [PhaseSelector::Stage(name.clone()), PhaseSelector::Fault(name)] {
            prop_assert_eq!(PhaseSelector::parse(&phase.to_string()), Ok(phase));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in prop_oneof![".*", jumble(PIECES)]) {
        check_any(&text, Expr::parse)?;
        check_any(&text, Predicate::parse)?;
        check_any(&text, PhaseSelector::parse)?;
    }
}
