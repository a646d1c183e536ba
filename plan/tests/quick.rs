//! Plans from arguments.

use std::time::Duration;

use barrage_model::plan::{
    Action, Body, EngineChoice, LoadModel, Method, Pacing, Plan, Request, Reuse, StageShape, UserStageShape,
};
use barrage_model::units::Rate;
use barrage_plan::quick::Quick;
use barrage_plan::{Overrides, show};

fn quick(url: &str) -> Quick {
    Quick {
        url: url.to_owned(),
        ..Quick::default()
    }
}

fn plan(quick: &Quick) -> Plan {
    quick.plan(&Overrides::default()).expect("a valid plan")
}

fn request(plan: &Plan) -> &Request {
    match &plan.scenarios[0].steps[0].action {
        Action::Request(request) => request,
        other => panic!("{other:?}"),
    }
}

#[test]
fn urls_are_split_into_target_and_path() {
    for (url, target, path) in [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", "/"),
        ("127.0.0.1:8080/a", "http://127.0.0.1:8080", "/a"),
        ("localhost?a=1", "http://localhost", "/?a=1"),
        (
            "https://example.com/a/b?c=d&e=/f#g",
            "https://example.com",
            "/a/b?c=d&e=/f",
        ),
        ("http://[::1]:81/x", "http://[::1]:81", "/x"),
        (
            "http://h/items/${random_int(1, 5)}",
            "http://h",
            "/items/${random_int(1, 5)}",
        ),
    ] {
        let plan = plan(&quick(url));
        assert_eq!(
            (plan.targets[0].url(), request(&plan).url.to_string()),
            (target.to_owned(), path.to_owned()),
            "{url}"
        );
    }
}

#[test]
fn loads_follow_from_rate_count_and_connections() {
    let plan_of = |rate: Option<u32>, count, seconds: Option<u64>, connections| {
        let rate = rate.map(Rate::per_second);
        let duration = seconds.map(Duration::from_secs);
        plan(&Quick {
            rate,
            count,
            duration,
            connections,
            ..quick("h")
        })
        .loads
        .remove(0)
        .model
    };
    let LoadModel::Open(open) = plan_of(Some(2000), None, Some(30), Some(64)) else {
        panic!("open")
    };
    assert_eq!((open.max_active, open.curve().unwrap().total()), (64, 60_000));
    let LoadModel::Open(open) = plan_of(Some(3), Some(1000), None, None) else {
        panic!("open")
    };
    assert_eq!(open.curve().unwrap().total(), 1000);
    let LoadModel::Open(open) = plan_of(Some(3_000_000), Some(999), None, None) else {
        panic!("open")
    };
    assert_eq!(open.curve().unwrap().total(), 999);
    assert!(matches!(open.stages[0].shape, StageShape::Hold { .. }));
    let LoadModel::Iterations(counted) = plan_of(None, Some(1000), None, None) else {
        panic!("iterations")
    };
    assert_eq!((counted.count, counted.users), (1000, 50));
    let LoadModel::Users(users) = plan_of(None, None, None, Some(7)) else {
        panic!("users")
    };
    assert_eq!(
        (users.stages[0].shape.length(), users.stages.len()),
        (Duration::from_secs(10), 1)
    );
}

#[test]
fn connections_with_several_streams_carry_so_many_users() {
    let plan_of = |rate: Option<u32>, count, connections| {
        plan(&Quick {
            http2: true,
            streams: Some(8),
            rate: rate.map(Rate::per_second),
            count,
            connections,
            ..quick("h")
        })
    };
    for (rate, count, connections, want) in [
        (None, None, Some(8), 64),
        (None, Some(1_000), Some(3), 24),
        (None, None, None, 400),
        (Some(5), None, Some(2), 16),
        (Some(5), None, None, 10_000),
    ] {
        let plan = plan_of(rate, count, connections);
        assert_eq!(plan.network.streams_per_connection, 8);
        let users = match &plan.loads[0].model {
            LoadModel::Open(open) => u64::from(open.max_active),
            LoadModel::Iterations(counted) => u64::from(counted.users),
            LoadModel::Users(users) => match users.stages[0].shape {
                UserStageShape::Hold { users, .. } => u64::from(users),
                ref other => panic!("{other:?}"),
            },
        };
        assert_eq!(users, want, "{rate:?} {count:?} {connections:?}");
    }
}

#[test]
fn every_argument_arrives() {
    let plan = plan(&Quick {
        headers: vec![
            "Host: shop.example.com".into(),
            "X-A: 1".into(),
            "x-a:  b: \"c\" ".into(),
            "cookie: a=1".into(),
            "Cookie: b=2".into(),
        ],
        body: Some("{\"a\": \"b\\n\"}".into()),
        timeout: Some(Duration::from_millis(1500)),
        insecure: true,
        http2: true,
        precise: true,
        basic_auth: Some("me:a:b".into()),
        no_reuse: true,
        poisson: true,
        rate: Some(Rate::per_second(1)),
        ..quick("https://127.0.0.1/")
    });
    let request = request(&plan);
    assert_eq!(plan.targets[0].host_override.as_deref(), Some("shop.example.com"));
    assert_eq!((request.method, request.engine), (Method::Post, EngineChoice::Http2));
    assert_eq!(plan.pacing, Pacing::Precise);
    let fields: Vec<_> = request
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_static()))
        .collect();
    assert_eq!(fields, [("X-A", Some("1, b: \"c\"")), ("cookie", Some("a=1; b=2"))]);
    assert!(matches!(&request.body, Body::Raw(text) if text.as_static() == Some("{\"a\": \"b\\n\"}")));
    assert_eq!(request.timeout, Duration::from_millis(1500));
    assert!(plan.network.tls.insecure);
    assert_eq!(plan.network.reuse, Reuse::Never);
    assert!(show(&plan).contains("arrivals: poisson"));
}

#[track_caller]
fn refused(change: fn(&mut Quick), want: &str) {
    let mut bad = quick("h");
    change(&mut bad);
    let got = bad.plan(&Overrides::default()).expect_err("a bad argument").to_string();
    assert!(got.starts_with(want), "want {want}\ngot  {got}");
}

#[test]
fn a_bad_url_is_named() {
    refused(|q| q.url = String::new(), "URL: ");
    refused(
        |q| q.url = "ftp://h".into(),
        "URL: found `ftp://h`; expected a URL with http or https",
    );
    refused(
        |q| q.url = "h/a b".into(),
        "URL: found ` ` in a URL; expected a percent-encoded URL; did you mean `%20`?",
    );
    refused(
        |q| q.url = "h/${uid()}".into(),
        "URL: found `uid`; expected a function; did you mean `uuid()`?",
    );
}

#[test]
fn a_bad_argument_is_named() {
    refused(
        |q| q.headers = vec!["a".into()],
        "-H: found `a`; expected `name: value`",
    );
    refused(
        |q| q.headers = vec!["a b: c".into()],
        "-H: found `a b`; expected the name of a header field",
    );
    refused(
        |q| q.headers = vec!["content-length: 1".into()],
        "-H: found the header `content-length`",
    );
    refused(
        |q| q.connections = Some(0),
        "-c: found `0`; expected a whole number from 1 to 1000000",
    );
    refused(|q| q.count = Some(0), "-n: found `0`");
    refused(
        |q| q.rate = Some(Rate::ZERO),
        "-r: found `0/s`; expected a rate above 0/s",
    );
    refused(|q| q.duration = Some(Duration::ZERO), "-d: found `0s`");
    refused(|q| q.timeout = Some(Duration::ZERO), "-t: found `0s`");
    refused(|q| q.body = Some("${x}".into()), "-b: unknown variable `x`");
    refused(|q| q.proxy = Some("x".into()), "--proxy: found `x`");
    let clash = |q: &mut Quick| (q.redirects, q.http2) = (Some(3), true);
    refused(clash, "URL: found `redirects` with a raw engine");
    refused(
        |q| q.streams = Some(8),
        "--streams: found `--streams` without `--http2`",
    );
    refused(
        |q| (q.streams, q.http2) = (Some(0), true),
        "--streams: found `0`; expected a whole number from 1 to 1000",
    );
    let alone = |q: &mut Quick| (q.streams, q.http2, q.no_reuse) = (Some(2), true, true);
    refused(alone, "--streams: found 2 with `reuse: never`");
    let three = |q: &mut Quick| {
        (q.rate, q.count, q.duration) = (Some(Rate::per_second(1)), Some(1), Some(Duration::from_secs(1)));
    };
    refused(
        three,
        "-n: found `-n` beside `-r` and `-d`; expected two of `-r`, `-d` and `-n`",
    );
    refused(
        |q| q.poisson = true,
        "--arrivals: found `--arrivals` without `-r`; expected both",
    );
    let random = |q: &mut Quick| (q.rate, q.count, q.poisson) = (Some(Rate::per_second(1)), Some(1), true);
    refused(
        random,
        "--arrivals: found `-n` beside `--arrivals poisson`; expected `-d`",
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_text_survives(body in proptest::prelude::any::<String>(), header in "[ -~\u{a1}-\u{fff}]{0,20}") {
        let (body, header) = (body.replace('$', "$$").replace('{', "("), header.replace('$', ""));
        if body.is_empty() || header.trim().is_empty() {
            return Ok(());
        }
        let plan = plan(&Quick { body: Some(body.clone()), headers: vec![format!("x-a: {header}")], ..quick("h") });
        let again = barrage_plan::read(
            barrage_plan::Source { file: "shown", text: &show(&plan) },
            &Overrides::default(),
        );
        let again = again.unwrap_or_else(|errors| panic!("{errors}\n{}", show(&plan)));
        proptest::prop_assert_eq!(&again, &plan);
        let Body::Raw(text) = &request(&plan).body else { panic!("a text") };
        proptest::prop_assert_eq!(text.as_static(), Some(body.as_str()));
        proptest::prop_assert_eq!(request(&plan).headers[0].1.as_static(), Some(header.trim()));
    }
}
