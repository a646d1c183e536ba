//! Checks, extracts and tags.

use std::fmt::Write as _;

use barrage_model::outcome::{FailureClass, Outcome};
use barrage_model::plan::{Check, Matcher, StatusSet, TagRule};
use expect_test::{Expect, expect};

use super::super::exchange::{judge, tag};
use super::*;
use crate::clock::Stamp;
use crate::engine::Answer;

const BODY: &str = r#"{"a":1,"b":"two","c":[{"d":1.0},{"d":2}],"n":null,"t":"hunter2! s3cret token\u0007"}"#;

fn answer(status: u16, body: &[u8]) -> Answer {
    let mut answer = Answer {
        status,
        body: body.to_vec().into(),
        body_bytes_in: body.len() as u64,
        ..Answer::default()
    };
    for (name, value) in [
        ("X-One", "1"),
        ("x-two", "a"),
        ("X-TWO", "b"),
        ("set-cookie", "sid=\"x y\"; Path=/"),
        ("Set-Cookie", "t=1=2"),
    ] {
        answer.headers.push(name, value.as_bytes());
    }
    answer.sent_at = Some(Stamp::from_us(1_000));
    answer.done_at = Stamp::from_us(3_500);
    answer
}

/// The outcome and message of one answer, and the variables afterwards.
fn judged(request: Request, answer: &Answer) -> (Outcome, String, Vec<String>) {
    let names: Vec<String> = request.extract.iter().map(|extract| extract.name.clone()).collect();
    let mut plan = plan(80, vec![ask(request)]);
    plan.variables = vec![variable("two", "two"), variable("one", "1")];
    let plan = compile(plan).unwrap();
    let mut user = User::new(&plan, 0, &shard(&plan));
    user.begin(&plan, &plan.program.scenarios[0], (LoadId(0), 0, false))
        .unwrap();
    let judged = judge(
        &plan.program,
        &plan.program.requests[0],
        Ok(()),
        answer,
        &mut user.values,
    );
    let slots = &plan.program.slots;
    let values = names
        .iter()
        .map(|name| user.values.get(slots[name]).unwrap_or("-").to_owned())
        .collect();
    (
        judged.outcome,
        plan.program.redactor.clean(&judged.message).into_owned(),
        values,
    )
}

#[track_caller]
fn holds(check: &Check) {
    let expect = vec![check.clone()];
    let (outcome, message, _) = judged(Request { expect, ..get("/") }, &answer(200, BODY.as_bytes()));
    assert_eq!((outcome, message.as_str()), (Outcome::Ok, ""), "{check:?}");
}

fn fails(checks: Vec<Check>, status: u16, body: &[u8]) -> String {
    let (outcome, message, _) = judged(
        Request {
            expect: checks,
            ..get("/")
        },
        &answer(status, body),
    );
    match outcome {
        Outcome::Failed(class) => format!("{}: {message}", class.word()),
        other => format!("{other:?}"),
    }
}

fn json(path: &str, matcher: Matcher) -> Check {
    Check::Json {
        path: path.to_owned(),
        matcher,
    }
}

fn header(name: &str, matcher: Matcher) -> Check {
    Check::Header {
        name: name.to_owned(),
        matcher,
    }
}

fn statuses(ranges: &[(u16, u16)]) -> Check {
    Check::Status(StatusSet::new(ranges.to_vec()).unwrap())
}

#[test]
fn checks_hold() {
    let equals = |value: &str| Matcher::Equals(text(value));
    for check in [
        statuses(&[(200, 204), (404, 404)]),
        header("x-one", Matcher::Present),
        header("x-none", Matcher::Absent),
        header("x-one", equals("${one}")),
        header("x-two", equals("b")),
        header("set-cookie", Matcher::Contains(text("Path"))),
        header("x-one", Matcher::Matches("^[0-9]$".to_owned())),
        Check::BodyContains(text("\"${two}\"")),
        Check::BodyMatches("(?s)^\\{.*\\}$".to_owned()),
        json("$.n", Matcher::Present),
        json("$.x", Matcher::Absent),
        json("$.a", equals("1")),
        json("$.a", equals("1.0")),
        json("$.c[0].d", equals("1")),
        json("$.c[*].d", equals("2")),
        json("$.b", equals("\"${two}\"")),
        json("$.a", equals("\"${one | json}\"")),
        json("$.c", equals("[{\"d\":1},{\"d\":2.0}]")),
        json("$.n", equals("null")),
        json("$.b", Matcher::Contains(text("w"))),
        json("$.a", Matcher::Matches("^1$".to_owned())),
        Check::BodySize { min: 1, max: u64::MAX },
        Check::MaxTime(Duration::from_micros(2_500)),
    ] {
        holds(&check);
    }
}

#[test]
fn checks_say_what_was_expected_and_found() {
    let equals = |value: &str| Matcher::Equals(text(value));
    let mut got = String::new();
    for check in [
        statuses(&[(204, 204), (300, 399)]),
        header("x-one", Matcher::Absent),
        header("x-none", Matcher::Present),
        header("x-one", equals("2")),
        header("x-two", Matcher::Contains(text("zz"))),
        header("x-none", Matcher::Matches("^[0-9]$".to_owned())),
        Check::BodyContains(text("four ${password} \n")),
        Check::BodyMatches("^nothing$".to_owned()),
        json("$.n", Matcher::Absent),
        json("$.x", Matcher::Present),
        json("$.x", equals("1")),
        json("$.a", equals("\"1\"")),
        json("$.c", equals("[{\"d\":1}]")),
        json("$.t", equals("\"x\"")),
        json("$.b", Matcher::Contains(text("W"))),
        Check::BodySize { min: 0, max: 3 },
        Check::BodySize {
            min: 1_000,
            max: u64::MAX,
        },
        Check::MaxTime(Duration::from_micros(2_499)),
    ] {
        got.push_str(&fails(vec![check], 200, BODY.as_bytes()));
        got.push('\n');
    }
    expect![[r#"
        status: status: expected 204 or 300..399, found 200
        check: header x-one: expected nothing, found "1"
        check: header x-none: expected it, found nothing
        check: header x-one: expected "2", found "1"
        check: header x-two: expected text containing "zz", found "a"
        check: header x-none: expected a match of "^[0-9]$", found nothing
        check: body: expected text containing "four *** \n", found "{\"a\":1,\"b\":\"two\",\"c\":[{\"d\":1.0},{\"d\":2}],\"n\":null,\"t\":\"*** s"…
        check: body: expected a match of "^nothing$", found "{\"a\":1,\"b\":\"two\",\"c\":[{\"d\":1.0},{\"d\":2}],\"n\":null,\"t\":\"*** s"…
        check: json $.n: expected nothing, found "null"
        check: json $.x: expected it, found nothing
        check: json $.x: expected "1", found nothing
        check: json $.a: expected "\"1\"", found "1"
        check: json $.c: expected "[{\"d\":1}]", found "[{\"d\":1.0},{\"d\":2}]"
        check: json $.t: expected "\"x\"", found "\"*** s3cret token\\u0007\""
        check: json $.b: expected text containing "W", found "two"
        check: size: expected 0 to 3 bytes, found 84
        check: size: expected 1000 or more bytes, found 84
        check: time: expected at most 2.499ms, found 2.5ms
    "#]].assert_eq(&got);
}

#[test]
fn hostile_answers_are_judged_like_others() {
    let check = || json("$.a", Matcher::Present);
    let deep = "[".repeat(100_000);
    for (body, want) in [
        (&b""[..], "check: json $.a: expected JSON, found \"\""),
        (
            b"\xff\xfe<html>\x1b[31m",
            "check: json $.a: expected JSON, found \"\u{fffd}\u{fffd}<html>\\u{1b}[31m\"",
        ),
        (b"{\"a\":1", "check: json $.a: expected JSON, found \"{\\\"a\\\":1\""),
        (deep.as_bytes(), "check: json $.a: expected JSON, found"),
    ] {
        let got = fails(vec![check()], 200, body);
        assert!(got.starts_with(want), "{got}");
        assert!(got.len() < 200);
    }
    let binary = [&[0xff; 100][..], b"needle", &[0xfe; 100]].concat();
    assert_eq!(fails(vec![Check::BodyContains(text("needle"))], 200, &binary), "Ok");
    let large = vec![b' '; 9 * 1024 * 1024];
    assert!(fails(vec![check()], 200, &large).starts_with("check: json $.a: expected JSON"));
}

#[test]
fn whole_numbers_are_exact_or_not_taken() {
    let body = br#"{"most":18446744073709551615,"more":18446744073709551617,"less":-9007199254740993,"least":-9223372036854775808,"lesser":-9223372036854775809,"tenth":1e18}"#;
    let taken = |path: &str| {
        let request = Request {
            extract: vec![extract("v", ExtractFrom::Json(path.to_owned()))],
            ..get("/")
        };
        let (outcome, message, values) = judged(request, &answer(200, body));
        if outcome == Outcome::Ok {
            values[0].clone()
        } else {
            message
        }
    };
    assert_eq!(taken("$.most"), "18446744073709551615");
    assert_eq!(taken("$.less"), "-9007199254740993");
    assert_eq!(taken("$.least"), "-9223372036854775808");
    for path in ["$.more", "$.lesser"] {
        let why = "it is, or holds, a number that 64 bits do not hold; a regex takes it as it is";
        assert_eq!(taken(path), format!("extract v: json {path} gives no value: {why}"));
    }
    let equals = |path: &str, value: &str| fails(vec![json(path, Matcher::Equals(text(value)))], 200, body) == "Ok";
    for (path, value, want) in [
        ("$.most", "18446744073709551615", true),
        ("$.most", "18446744073709551614", false),
        ("$.less", "-9007199254740993", true),
        ("$.less", "-9007199254740992.0", false),
        ("$.tenth", "1000000000000000000", true),
        ("$.tenth", "1000000000000000001", false),
    ] {
        assert_eq!(equals(path, value), want, "{path} {value}");
    }
}

#[test]
fn the_first_cause_wins() {
    let bad = || vec![Check::BodyContains(text("nope")), statuses(&[(201, 201)])];
    assert_eq!(fails(bad(), 200, b"x"), "status: status: expected 201, found 200");
    assert_eq!(
        fails(bad(), 201, b"x"),
        "check: body: expected text containing \"nope\", found \"x\""
    );
    assert_eq!(fails(vec![], 404, b"x"), "status: status: expected 200..399, found 404");
    assert_eq!(fails(vec![], 101, b"x"), "status: status: expected 200..399, found 101");
    let extracts = vec![extract("v", ExtractFrom::Header("x-none".to_owned()))];
    let with = |expect| {
        judged(
            Request {
                expect,
                extract: extracts.clone(),
                ..get("/")
            },
            &answer(200, b"x"),
        )
    };
    assert_eq!(
        with(vec![Check::BodyContains(text("y"))]).0,
        Outcome::Failed(FailureClass::Check)
    );
    assert_eq!(with(Vec::new()).0, Outcome::Failed(FailureClass::Extract));
}

#[test]
fn values_are_extracted() {
    let found = |from: ExtractFrom| {
        let request = Request {
            extract: vec![extract("v", from)],
            ..get("/")
        };
        let (outcome, message, values) = judged(request, &answer(200, BODY.as_bytes()));
        if outcome == Outcome::Ok {
            values[0].clone()
        } else {
            message
        }
    };
    for (from, want) in [
        (ExtractFrom::Json("$.b".to_owned()), "two"),
        (ExtractFrom::Json("$.c[*].d".to_owned()), "1.0"),
        (ExtractFrom::Json("$.c[1]".to_owned()), "{\"d\":2}"),
        (ExtractFrom::Json("$.n".to_owned()), "null"),
        (
            ExtractFrom::Json("$.x".to_owned()),
            "extract v: json $.x gives no value: there is none",
        ),
        (ExtractFrom::Header("x-two".to_owned()), "a"),
        (
            ExtractFrom::Header("x-none".to_owned()),
            "extract v: header x-none gives no value: there is none",
        ),
        (ExtractFrom::Regex("\"b\":\"(\\w+)\"".to_owned()), "two"),
        (ExtractFrom::Regex("t\\w+".to_owned()), "two"),
        (
            ExtractFrom::Regex("(x)?\"a\"".to_owned()),
            "extract v: regex \"(x)?\\\"a\\\"\" gives no value: there is none",
        ),
        (ExtractFrom::Cookie("sid".to_owned()), "\"x y\""),
        (ExtractFrom::Cookie("t".to_owned()), "1=2"),
        (
            ExtractFrom::Cookie("Path".to_owned()),
            "extract v: cookie Path gives no value: there is none",
        ),
    ] {
        assert_eq!(found(from.clone()), want, "{from:?}");
    }
    let default = Extract {
        default: Some("d".to_owned()),
        ..extract("v", ExtractFrom::Header("x-none".to_owned()))
    };
    let also = extract("w", ExtractFrom::Header("x-one".to_owned()));
    let (outcome, _, values) = judged(
        Request {
            extract: vec![default, also],
            ..get("/")
        },
        &answer(200, b""),
    );
    assert_eq!((outcome, values), (Outcome::Ok, vec!["d".to_owned(), "1".to_owned()]));
    let large = vec![b'x'; 65 * 1024];
    let request = Request {
        extract: vec![extract("v", ExtractFrom::Regex("x+".to_owned()))],
        ..get("/")
    };
    assert_eq!(
        judged(request, &answer(200, &large)).0,
        Outcome::Failed(FailureClass::Extract)
    );
}

#[test]
fn tags_follow_the_answers_headers() {
    let mut plan = plan(80, vec![ask(get("/"))]);
    let rule = |header: &str, values: &[&str]| TagRule {
        name: header.to_owned(),
        header: header.to_owned(),
        values: values.iter().map(|&value| value.to_owned()).collect(),
    };
    plan.tags = vec![
        rule("x-two", &["b", "a"]),
        rule("x-one", &["0"]),
        rule("x-none", &["z"]),
    ];
    let plan = compile(plan).unwrap();
    let id = tag(&plan.program, &answer(200, b""));
    assert_eq!(
        plan.plan().tag_values(id),
        [("x-two", "a"), ("x-one", "other"), ("x-none", "")]
    );
    assert_eq!(tag(&plan.program, &answer(0, b"")).0, 0);
    assert!(plan.program.requests[0].wants.headers);
}

#[track_caller]
fn conditions(want: &Expect) {
    let mut got = String::new();
    for that in [
        "status == 200",
        "status >= 300",
        "body contains \"needle\"",
        "body matches \"^n.*e$\"",
        "exists(token)",
        "exists(nobody)",
        "not exists(token) or token == \"\"",
        "two == \"two\" and ${two | upper} == \"TWO\"",
        "iteration() == 9 and rows.id == \"r3\"",
        "nobody == null",
    ] {
        let mut files = Files::new();
        let condition = barrage_model::condition::Condition::parse(that).expect(that);
        let branch = Action::If {
            that: condition,
            then: vec![ask(get("/yes"))],
            otherwise: vec![ask(get("/no"))],
        };
        let login = Request {
            extract: vec![extract("token", ExtractFrom::Header("x".to_owned()))],
            ..get("/login")
        };
        let mut plan = plan(80, vec![ask(login), step(branch)]);
        plan.variables = vec![variable("two", "two")];
        plan.data = vec![rows(
            "id\nr0\nr1\nr2\nr3\nr4\nr5\n",
            Pick::Sequential,
            OnEnd::Wrap,
            &mut files,
        )];
        let plan = compile_with(plan, &files).unwrap();
        let mut user = User::new(&plan, 0, &shard(&plan));
        let scenario = &plan.program.scenarios[0];
        user.begin(&plan, scenario, (LoadId(0), 9, false)).unwrap();
        let Some(super::super::compile::Op::Unless { condition, .. }) = scenario.steps.ops.get(1) else {
            panic!("{:?}", scenario.steps)
        };
        let last = answer(200, b"needle");
        let met = |last| condition.is_met(&user.values.scope(&plan.program, last));
        let (before, after) = (met(None), met(Some(&last)));
        writeln!(got, "{that}: {before} without an answer, {after} with").unwrap();
        assert_eq!(plan.program.requests[0].wants.body, that.starts_with("body"));
    }
    want.assert_eq(&got);
}

#[test]
fn conditions_see_values_and_the_last_answer() {
    conditions(&expect![[r#"
        status == 200: false without an answer, true with
        status >= 300: false without an answer, false with
        body contains "needle": false without an answer, true with
        body matches "^n.*e$": false without an answer, true with
        exists(token): false without an answer, false with
        exists(nobody): false without an answer, false with
        not exists(token) or token == "": true without an answer, true with
        two == "two" and ${two | upper} == "TWO": true without an answer, true with
        iteration() == 9 and rows.id == "r3": true without an answer, true with
        nobody == null: true without an answer, true with
    "#]]);
}
