use std::borrow::Cow;

use expect_test::expect_file;
use proptest::prelude::*;

use super::*;
use crate::syntax::testing::{any_text, check_any, errors, jumble};
use crate::template::tests::{any_source, any_splice};

fn lookup(source: &Source) -> Option<Cow<'static, str>> {
    match source {
        Source::Variable(name) => match name.as_str() {
            "status" => Some("200".into()),
            "body" => Some("all done".into()),
            "session" => Some("abc".into()),
            "empty" => Some("".into()),
            "count" => Some("10".into()),
            "big" => Some("9007199254740993".into()),
            "flag" => Some("true".into()),
            "nil" => Some("null".into()),
            "zip" => Some("01234".into()),
            _ => None,
        },
        Source::Column { data, column } => (data == "accounts" && column == "id").then(|| "7".into()),
        Source::Env(name) => (name == "MODE").then(|| "Fast".into()),
        _ => None,
    }
}

#[test]
fn conditions_have_one_canonical_text_and_one_value() {
    let matcher = |pattern: &str, text: &str| text.starts_with(pattern.trim_start_matches('^'));
    for (text, canonical, want) in [
        ("status == 200 and session != \"\"", "", true),
        ("status==200&&session!=''", "status == 200 and session != \"\"", true),
        ("status == 200.0", "", true),
        ("status == \"200\"", "", true),
        ("status >= 200 and status < 300", "", true),
        ("not exists(token) or count >= 3", "", true),
        ("!exists( token )", "not exists(token)", true),
        ("exists(empty)", "", true),
        ("exists(${accounts.id})", "exists(accounts.id)", true),
        ("exists(${env:NOPE})", "", false),
        ("body contains \"done\"", "", true),
        ("body contains session", "", false),
        ("missing contains \"\"", "", false),
        ("session matches \"^a\"", "", true),
        ("missing matches \"\"", "", false),
        ("missing == \"\"", "", false),
        ("missing != \"\"", "", false),
        ("not missing == \"\"", "", true),
        ("missing < 5", "", false),
        ("empty == \"\"", "", true),
        ("missing == null", "", true),
        ("null == nil", "", true),
        ("session != null", "", true),
        ("session == null", "", false),
        ("count > 9", "", true),
        ("count > \"9\"", "", true),
        ("count > \"9x\"", "", false),
        ("big > 9007199254740992", "", true),
        ("zip == 1234", "", false),
        ("zip == \"01234\"", "", true),
        ("-1 < 0", "", true),
        ("1e3 == 1000", "", true),
        ("flag == true", "", true),
        ("flag != false", "", true),
        ("accounts.id == 7", "", true),
        ("${env:MODE | lower} == \"fast\"", "", true),
        ("${missing | default(\"x\")} == \"x\"", "", true),
        ("${session} == \"abc\"", "session == \"abc\"", true),
        ("${and} == null", "", true),
        ("iteration() == null", "", true),
        ("${uuid()} == null", "uuid() == null", true),
        ("status == 1 or status == 200 and count == 10", "", true),
        ("(status == 1 or status == 200) and count == 1", "", false),
        ("not (status == 200 or missing == 1)", "", false),
        ("accounts.\"e mail\" == null", "", true),
    ] {
        let condition = Condition::parse(text).expect(text);
        assert_eq!(
            condition.to_string(),
            if canonical.is_empty() { text } else { canonical }
        );
        assert_eq!(condition.is_met(&lookup, &matcher), want, "{text}");
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| format!("{}a == 1{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Condition::parse(&nested(32)).is_ok());
    let error = Condition::parse(&nested(33)).expect_err("too deep");
    assert_eq!(error.expected, "at most 32 levels of nesting");
}

#[test]
fn what_is_used_is_known() {
    let condition =
        Condition::parse("a matches \"^x\" and not (b.c == \"1\" or d matches 'y' or exists(e))").expect("valid");
    assert_eq!(condition.patterns().collect::<Vec<_>>(), ["^x", "y"]);
    assert_eq!(
        condition.sources().map(Source::to_string).collect::<Vec<_>>(),
        ["a", "b.c", "d", "e"]
    );
}

const BAD: &[&str] = &[
    "",
    "status",
    "token and status == 200",
    "not token",
    "status ==",
    "status = 200",
    "status === 200",
    "status =< 200",
    "status <> 200",
    "status is 200",
    "status 200",
    "status == 200 201",
    "status == 200 AND count == 1",
    "status == 200 & count == 1",
    "status == 200 | count == 1",
    "status == 200, count == 1",
    "status == 20x",
    "status == 007",
    "status == .5",
    "status == +1",
    "status == 200ms",
    "(status == 200",
    "status == 200)",
    "()",
    "and status == 200",
    "status == and",
    "exists",
    "exists()",
    "exists(\"token\")",
    "exists(token",
    "exists(${token | upper})",
    "exist(token)",
    "body contains",
    "body contain \"x\"",
    "body includes \"x\"",
    "body contians \"x\"",
    "body =~ \"x\"",
    "body matches x",
    "body matches",
    "body like \"x\"",
    "body == \"x",
    "body == \"\\x\"",
    "null < 3",
    "count < null",
    "null contains \"x\"",
    "${x == 1",
    "${x | nope} == 1",
    "$x == 1",
    "env:MODE == \"x\"",
    "a.b.c == 1",
    "a. == 1",
    "random_int(1) == 1",
    "frobnicate() == 1",
    "{{x}} == 1",
    "\u{e4} == 1",
];

#[test]
fn errors_name_the_place_and_the_remedy() {
    expect_file!["../../tests/golden/condition_errors.txt"].assert_eq(&errors(BAD, Condition::parse));
}

fn any_term() -> impl Strategy<Value = Term> {
    prop_oneof![
        any_splice().prop_map(Term::Splice),
        any_text().prop_map(Term::Text),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][-+]?[0-9]{1,9})?".prop_map(Term::Number),
        any::<bool>().prop_map(Term::Bool),
    ]
}

fn any_test() -> impl Strategy<Value = Test> {
    let with_null = || prop_oneof![3 => any_term(), 1 => Just(Term::Null)];
    prop_oneof![
        any_source().prop_map(Test::Exists),
        (any_term(), prop::sample::select(&Cmp::ALL[..]), any_term()).prop_map(|(left, cmp, right)| Test::Compare {
            left,
            cmp,
            right
        }),
        (with_null(), prop::sample::select(&[Cmp::Eq, Cmp::Ne][..]), with_null())
            .prop_map(|(left, cmp, right)| Test::Compare { left, cmp, right }),
        (any_term(), any_term()).prop_map(|(value, part)| Test::Contains { value, part }),
        (any_term(), any_text()).prop_map(|(value, pattern)| Test::Matches { value, pattern }),
    ]
}

fn any_condition() -> impl Strategy<Value = Condition> {
    any_test().prop_map(Condition::Test).prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Condition::All),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Condition::Any),
            inner.prop_map(|part| Condition::Not(Box::new(part))),
        ]
    })
}

proptest! {
    #[test]
    fn a_condition_reads_back_to_itself(condition in any_condition()) {
        prop_assert_eq!(Condition::parse(&condition.to_string()), Ok(condition));
    }

    #[test]
    fn any_text_is_read_or_refused(
        text in prop_oneof![
            ".*",
            jumble(&[
                "status", "a.b", "exists", "(", ")", "==", "!=", "<", "!", "=", " contains ", " matches ", " and ", "&&",
                "||", "not ", "\"x\"", "'", "200", "-1.5e3", "true", "null", "${", "}", "|", "upper", "iteration()", "env:",
                "\u{1f980}", "\\", "$",
            ]),
        ],
    ) {
        check_any(&text, Condition::parse)?;
        if let Ok(condition) = Condition::parse(&text) {
            let _ = condition.is_met(&lookup, &|_, _| true);
        }
    }
}
