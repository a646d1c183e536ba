//! Users that do nothing: for want of a row, or because they think.

use barrage_model::condition::Condition;
use barrage_model::outcome::IterationEnd;
use barrage_model::plan::Delay;

use super::server::{Server, reply};
use super::walking::Bench;
use super::*;

/// A plan of one request with a column of a data set of one row.
fn of_one_row(port: u16, on_end: OnEnd, files: &mut Files) -> Plan {
    let mut plan = plan(port, vec![ask(get("/${rows.name}")), ask(get("/second"))]);
    plan.data = vec![rows("name\nfirst\n", Pick::Sequential, on_end, files)];
    plan
}

#[tokio::test]
async fn an_iteration_without_a_row_fails_at_its_first_request() {
    let server = Server::start(|_, _| reply(200, "", "ok")).await;
    let mut files = Files::default();
    let bench = Bench::new(of_one_row(server.port, OnEnd::Error, &mut files), &files);
    let mut user = bench.user();
    let mut ends = Vec::new();
    let mut index = 0;
    let begun = bench.shard.clock.now();
    let next = |ended: IterationEnded| {
        ends.push((ended.end, ended.ran));
        index += 1;
        (index < 4).then(|| bench.start(index))
    };
    bench.iterations(&mut user, bench.start(0), next).await;
    let without = (IterationEnd::BrokenOff, false);
    assert_eq!(ends, [(IterationEnd::Completed, true), without, without, without]);
    // Nothing but its own end starts the next iteration of such a load.
    assert!(bench.shard.clock.now().since(begun) >= Duration::from_millis(30));
    assert_eq!(
        bench.ledger(),
        "0: sent 4 ok 1 protocol 3 wire 1\n1: sent 1 ok 1 wire 1\n\
         0: the data set `rows` has no row for this iteration\n\
         0: the data set `rows` has no row for this iteration\n\
         0: the data set `rows` has no row for this iteration\n"
    );
    assert!(!bench.plan.rows_ended());
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn rows_that_end_the_run_say_so_at_once() {
    let server = Server::start(|_, _| reply(200, "", "ok")).await;
    let mut files = Files::default();
    let bench = Bench::new(of_one_row(server.port, OnEnd::Stop, &mut files), &files);
    let mut user = bench.user();
    let told = async {
        bench.plan.until_rows_end().await;
        bench.plan.rows_ended()
    };
    let tried = async {
        let mut ended = None;
        let next = |end| {
            ended = Some(end);
            None
        };
        bench.iterations(&mut user, bench.start(1), next).await;
        ended
    };
    let (told, ended) = tokio::join!(told, tried);
    let ended = ended.expect("an iteration ends");
    assert_eq!((told, ended.end, ended.ran), (true, IterationEnd::Cancelled, false));
    assert_eq!(bench.ledger(), "", "nothing was sent");
}

#[tokio::test]
async fn a_user_at_rest_holds_no_large_buffer() {
    const LARGE: usize = 100_000;
    let server = Server::start(|asked, _| reply(200, "", &"y".repeat(LARGE + asked.body.len()))).await;
    let body = format!("{}${{iteration()}}", "x".repeat(LARGE));
    let request = Request {
        expect: vec![barrage_model::plan::Check::BodyContains(text("yy"))],
        ..request(Method::Post, "/", Body::Raw(text(&body)))
    };
    let pause = Duration::from_millis(1);
    let rest = || step(Action::Think(Delay { min: pause, max: pause }));
    let asks = Action::If {
        that: Condition::parse("body contains \"yyy\"").unwrap(),
        then: vec![ask(get("/seen"))],
        otherwise: Vec::new(),
    };
    for (steps, requests) in [
        (vec![ask(request.clone()), rest()], 2),
        (vec![ask(request.clone()), rest(), step(asks)], 4),
    ] {
        let before = server.asked().len();
        let bench = Bench::new(plan(server.port, steps), &Files::default());
        let (mut one, mut other) = (bench.user(), bench.user());
        for user in [&mut one, &mut other] {
            assert_eq!(bench.iterate(user, bench.start(0)).await, IterationEnd::Completed);
            assert_eq!((user.answer.body.capacity(), user.buffers.capacity()), (0, 0));
        }
        assert_eq!(
            server.asked().len() - before,
            requests,
            "the body was there when it was asked for"
        );
    }
}
