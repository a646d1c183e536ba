use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};

use barrage_model::plan::{Stage, StageShape};
use barrage_model::schedule::Cursor;

use super::*;
use crate::sample::{counted, holds, load, plan, secs, users};

fn members(shards: &[u32]) -> Vec<Member> {
    let member = |(at, shards): (usize, &u32)| Member {
        name: format!("w{at}"),
        shards: *shards,
        max_rate: None,
    };
    shards.iter().enumerate().map(member).collect()
}

fn show_marks(compiled: &Compiled) -> String {
    let mut text = String::new();
    for mark in compiled.marks.iter() {
        writeln!(text, "{} {:?}", mark.at, mark.phases).unwrap();
    }
    text
}

#[track_caller]
fn check_marks(plan: &Plan, want: &Expect) {
    want.assert_eq(&show_marks(&compile(plan, &members(&[1]), 1).unwrap()));
}

#[test]
fn stages_and_warm_up_cut_the_run() {
    let mut one = plan(vec![load("load", 0, holds(&[(10, 5), (20, 10)]))]);
    one.warm_up = secs(7);
    check_marks(
        &one,
        &expect![[r#"
            0.000s [WarmUp, Stage("hold 1")]
            5.000s [WarmUp, Stage("hold 2")]
            7.000s [Steady, Stage("hold 2")]
            15.000s []
        "#]],
    );
}

#[test]
fn a_counted_load_does_not_make_ramps_steady() {
    let mut ramps = load("a", 0, holds(&[(10, 5)]));
    if let LoadModel::Open(open) = &mut ramps.model {
        open.stages[0].shape = StageShape::Pause { length: secs(5) };
    }
    check_marks(
        &plan(vec![ramps, load("c", 0, counted(10, 1, 60))]),
        &expect![[r#"
            0.000s [Stage("c"), Stage("hold 1")]
            5.000s [Steady, Stage("c")]
            60.000s []
        "#]],
    );
}

#[test]
fn steady_is_the_union_over_all_loads() {
    let pause = Stage {
        name: "rest".to_owned(),
        shape: StageShape::Pause { length: secs(5) },
    };
    let mut first = load("a", 0, holds(&[(10, 5)]));
    if let LoadModel::Open(open) = &mut first.model {
        open.stages.push(pause);
    }
    let both = plan(vec![first, load("b", 8, users(3, 4)), load("c", 20, counted(10, 1, 2))]);
    check_marks(
        &both,
        &expect![[r#"
            0.000s [Steady, Stage("hold 1")]
            5.000s [Stage("rest")]
            8.000s [Steady, Stage("rest"), Stage("users")]
            10.000s [Steady, Stage("users")]
            12.000s []
            20.000s [Steady, Stage("c")]
            22.000s []
        "#]],
    );
}

#[test]
fn a_warm_up_longer_than_the_run_covers_it() {
    let mut long = plan(vec![load("load", 0, holds(&[(10, 5)]))]);
    long.warm_up = secs(50);
    check_marks(
        &long,
        &expect![[r#"
            0.000s [WarmUp, Stage("hold 1")]
            5.000s []
        "#]],
    );
}

#[test]
fn forecasts_are_exact() {
    let three = plan(vec![
        load("open", 2, holds(&[(10, 5), (3_000, 10)])),
        load("users", 0, users(3, 4)),
        load("counted", 0, counted(77, 2, 60)),
    ]);
    let compiled = compile(&three, &members(&[1, 1]), 1).unwrap();
    let totals: Vec<_> = compiled.forecast.iter().map(|load| load.arrivals).collect();
    assert_eq!(totals, [Some(30_050), None, Some(77)]);
    let stages: Vec<_> = compiled.forecast[0]
        .stages
        .iter()
        .map(|stage| (stage.to, stage.arrivals))
        .collect();
    assert_eq!(
        stages,
        [(Moment::from_secs(7), Some(50)), (Moment::from_secs(17), Some(30_000))]
    );
    assert_eq!(compiled.end, Moment::from_secs(60));
    let shares: Vec<_> = compiled
        .shares
        .iter()
        .map(|share| (share.arrivals, share.slots))
        .collect();
    assert_eq!(
        shares,
        [
            (Some(15_025), 50),
            (Some(15_025), 50),
            (None, 2),
            (None, 1),
            (Some(39), 1),
            (Some(38), 1)
        ]
    );
}

#[test]
fn poisson_totals_by_stage_add_up_and_do_not_depend_on_the_fleet() {
    let mut random = plan(vec![load("open", 1, holds(&[(100, 5), (50, 10)]))]);
    if let LoadModel::Open(open) = &mut random.loads[0].model {
        open.arrivals = Arrivals::Poisson;
    }
    let one = compile(&random, &members(&[1]), 9).unwrap();
    let two = compile(&random, &members(&[3, 2]), 9).unwrap();
    assert_eq!(one.forecast, two.forecast);
    assert_eq!(one.forecast[0].arrivals, Some(one.epochs[0].1.total()));
    let borders = one.forecast[0]
        .stages
        .iter()
        .map(|stage| one.epochs[0].1.count_before(stage.to));
    assert_eq!(borders.max(), one.forecast[0].arrivals);
    if let LoadModel::Open(open) = &mut random.loads[0].model {
        open.stages[0].shape = StageShape::Hold {
            rate: Rate::per_second(50_000_000),
            length: secs(60),
        };
    }
    assert!(matches!(
        compile(&random, &members(&[1]), 9),
        Err(CompileError::Poisson { .. })
    ));
}

/// Even where an arrival comes within the last microsecond.
#[test]
fn what_is_planned_is_what_the_shards_make() {
    let mut tight = plan(vec![load("open", 1, holds(&[(20_000, 1)]))]);
    for seed in 0..200 {
        for arrivals in [Arrivals::Even, Arrivals::Poisson] {
            let LoadModel::Open(open) = &mut tight.loads[0].model else {
                panic!("open")
            };
            open.arrivals = arrivals;
            open.stages[0].shape = StageShape::Hold {
                rate: Rate::per_second(20_001 + seed),
                length: Duration::from_micros(100_001 + u64::from(seed)),
            };
            let compiled = compile(&tight, &members(&[2]), seed.into()).unwrap();
            let epoch = Arc::new(compiled.epochs[0].1.clone());
            let made = |shard| {
                std::iter::successors(Some(Cursor::new(&epoch, shard)), |cursor| {
                    let mut next = cursor.clone();
                    next.advance();
                    Some(next)
                })
                .take_while(|cursor| cursor.peek().is_some())
                .count() as u64
            };
            let all = epoch.wheel.shards().map(made).sum::<u64>();
            assert_eq!(compiled.forecast[0].arrivals, Some(all), "{arrivals:?} {seed}");
        }
    }
}

#[test]
fn limits_too_small_for_every_shard_use_fewer_shards() {
    for (shards, max_active, want) in [
        (&[4u32, 4][..], 100, Ok(vec![4, 4])),
        (&[4, 4], 8, Ok(vec![4, 4])),
        (&[4, 4], 5, Ok(vec![3, 2])),
        (&[4, 1], 3, Ok(vec![2, 1])),
        (&[4, 4], 2, Ok(vec![1, 1])),
        (
            &[4, 4],
            1,
            Err("load open: max_active 1 is less than one for each of 2 workers"),
        ),
    ] {
        let mut few = plan(vec![load("open", 0, holds(&[(10, 5)]))]);
        if let LoadModel::Open(open) = &mut few.loads[0].model {
            open.max_active = max_active;
        }
        let compiled = compile(&few, &members(shards), 1).map_err(|error| error.to_string());
        let used = compiled.map(|compiled| {
            let wheel = &compiled.epochs[0].1.wheel;
            assert!(wheel.divide(u64::from(max_active)).iter().all(|(_, share)| *share > 0));
            let count = |(first, all): &(ShardId, u32)| {
                (first.0..first.0 + all)
                    .filter(|shard| wheel.share(ShardId(*shard)).0 > 0)
                    .count()
            };
            compiled.shards.iter().map(count).collect::<Vec<_>>()
        });
        assert_eq!(used, want.map_err(str::to_owned), "{shards:?} {max_active}");
    }
}

#[test]
fn weights_are_cores_or_the_maximum_rate() {
    let rate = |per_s| Some(Rate::per_second(per_s));
    for (rates, want) in [
        ([None, None], (2, 4, 6)),
        ([rate(1_000), rate(3_000)], (2, 6, 8)),
        ([rate(1_000), None], (2, 4, 6)),
        ([rate(1), rate(99_999)], (2, 4_094, 4_096)),
        ([rate(100), rate(300)], (2, 6, 8)),
    ] {
        let mut two = members(&[2, 4]);
        two[0].max_rate = rates[0];
        two[1].max_rate = rates[1];
        let mut wide = plan(vec![load("open", 0, holds(&[(2_000, 5)]))]);
        if let LoadModel::Open(open) = &mut wide.loads[0].model {
            open.max_active = 100_000;
        }
        let compiled = compile(&wide, &two, 1).unwrap();
        let ratio = compiled.shares[0].positions * want.1 == compiled.shares[1].positions * want.0;
        assert!(ratio, "{rates:?}: {:?}", compiled.shares);
        assert_eq!(
            compiled.warnings.is_empty(),
            rates[0] != rate(100),
            "{:?}",
            compiled.warnings
        );
    }
}

#[test]
fn more_series_than_are_kept_apart() {
    // Of a request: the stages × 18 tag values × 6 series.
    for (stages, values, want) in [
        (462, 16, None),
        (
            463,
            16,
            Some("the run may have 50004 series of latencies, and keeps 50000 apart"),
        ),
        (463, 15, None),
    ] {
        let mut one = plan(vec![load("open", 0, holds(&vec![(10, 1); stages]))]);
        one.tags = vec![barrage_model::plan::TagRule {
            name: "backend".to_owned(),
            header: "x-backend".to_owned(),
            values: (0..values).map(|value| value.to_string()).collect(),
        }];
        let warnings = compile(&one, &members(&[1]), 1).expect("it can run").warnings;
        let said = warnings.first().and_then(|warning| warning.split(':').next());
        assert_eq!(said, want);
    }
}

#[test]
fn nobody_and_too_many() {
    let one = plan(vec![load("open", 0, holds(&[(10, 5)]))]);
    assert_eq!(compile(&one, &[], 1), Err(CompileError::NoWorkers));
    assert_eq!(
        compile(&one, &members(&[4_000, 97]), 1),
        Err(CompileError::TooManyShards(4_097))
    );
}
