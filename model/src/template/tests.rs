use expect_test::{Expect, expect, expect_file};
use proptest::prelude::*;

use super::*;
use crate::syntax::testing::{any_text, check_any, errors, jumble, name};

#[track_caller]
fn check(text: &str, want: &Expect) {
    let template = Template::parse(text).expect(text);
    let parts: Vec<String> = template
        .parts()
        .iter()
        .map(|part| match part {
            Part::Literal(text) => format!("{text:?}"),
            Part::Splice(splice) => format!("{splice:?}"),
        })
        .collect();
    want.assert_eq(&parts.join("\n"));
}

#[test]
fn dollars_that_begin_no_splice_are_text() {
    for (text, literal) in [
        ("", ""),
        ("plain", "plain"),
        ("$", "$"),
        ("$$", "$$"),
        ("a $5 {b}", "a $5 {b}"),
        ("$.result.tools", "$.result.tools"),
        ("$${x}", "${x}"),
        ("$$$${x}", "$${x}"),
        ("$$${", ""),
        ("{$}", "{$}"),
        ("}", "}"),
    ] {
        match Template::parse(text) {
            Ok(template) => assert_eq!(template.as_static(), Some(literal), "{text}"),
            Err(error) => assert_eq!(text, "$$${", "{error}"),
        }
    }
}

#[test]
fn every_source_is_read() {
    check(
        "/items/${accounts.id}?x=1",
        &expect![[r#"
        "/items/"
        Splice { source: Column { data: "accounts", column: "id" }, filters: [] }
        "?x=1""#]],
    );
    check(
        "$$$${${ accounts.\"e-mail }\" }$${",
        &expect![[r#"
        "$${"
        Splice { source: Column { data: "accounts", column: "e-mail }" }, filters: [] }
        "${""#]],
    );
    check(
        "$$${x}",
        &expect![[r#"
        "$"
        Splice { source: Variable("x"), filters: [] }"#]],
    );
    check(
        "${env:TOKEN}${file:/run/secrets/my key }${file:'/a}b'|trim}",
        &expect![[r#"
            Splice { source: Env("TOKEN"), filters: [] }
            Splice { source: File("/run/secrets/my key"), filters: [] }
            Splice { source: File("/a}b"), filters: [Trim] }"#]],
    );
    check(
        "${uuid()}${random_int( -5 , 100 )}${random_float(0.25,1)}${random_hex(65536)}",
        &expect![[r"
            Splice { source: Call(Uuid), filters: [] }
            Splice { source: Call(RandomInt { lo: -5, hi: 100 }), filters: [] }
            Splice { source: Call(RandomFloat { lo: Decimal(250000), hi: Decimal(1000000) }), filters: [] }
            Splice { source: Call(RandomHex { len: 65536 }), filters: [] }"]],
    );
    check(
        r#"${pick("a", 'b"', "c\n")}${counter("orders")}"#,
        &expect![[r#"
        Splice { source: Call(Pick(["a", "b\"", "c\n"])), filters: [] }
        Splice { source: Call(Counter("orders")), filters: [] }"#]],
    );
    check(
        r#"${x|base64|default("no \"one\"")}${env}${file}"#,
        &expect![[r#"
        Splice { source: Variable("x"), filters: [Base64, Default("no \"one\"")] }
        Splice { source: Variable("env"), filters: [] }
        Splice { source: Variable("file"), filters: [] }"#]],
    );
}

#[test]
fn every_function_and_filter_is_known_by_its_word() {
    for word in Function::WORDS {
        let arguments = match word {
            "random_int" | "random_float" => "1, 2",
            "random_string" | "random_hex" => "8",
            "pick" | "counter" => "\"a\"",
            _ => "",
        };
        let text = format!("${{{word}({arguments})}}");
        let template = Template::parse(&text).expect(word);
        assert_eq!(template.to_string(), text);
        let Some(Source::Call(function)) = template.as_splice().map(|splice| &splice.source) else {
            panic!("{word}")
        };
        assert_eq!(function.word(), word);
    }
    for word in Filter::WORDS {
        let text = if word == "default" {
            "${x | default(\"\")}".to_owned()
        } else {
            format!("${{x | {word}}}")
        };
        let template = Template::parse(&text).expect(word);
        assert_eq!(template.to_string(), text);
        assert_eq!(template.as_splice().expect(word).filters[0].word(), word);
    }
}

const BAD: &[&str] = &[
    "${",
    "${}",
    "${ }",
    "id=${x",
    "id=${x y}",
    "${1x}",
    "${x.}",
    "${a.b.c}",
    "${x:-none}",
    "${x:y}",
    "${evn:TOKEN}",
    "${ENV:TOKEN}",
    "${env:}",
    "${env:A B}",
    "${file:}",
    "${file:\"\"}",
    "${uuid}${uuid(}",
    "${uuid(1)}",
    "${uid()}",
    "${guid()}",
    "${rand_int(1, 2)}",
    "${randint(1, 2)}",
    "${nothing_like_it()}",
    "${random_int()}",
    "${random_int(1)}",
    "${random_int(1,)}",
    "${random_int(5, 1)}",
    "${random_int(1.5, 2)}",
    "${random_int(1, 99999999999999999999)}",
    "${random_float(1, 0.5)}",
    "${random_float(0, 0.1234567)}",
    "${random_string(0)}",
    "${random_string(65537)}",
    "${random_string(-1)}",
    "${random_string(\"8\")}",
    "${pick()}",
    "${pick(a)}",
    "${pick(\"a\" \"b\")}",
    "${pick(\"a\",)}",
    "${counter(orders)}",
    "${x | }",
    "${x | bas64}",
    "${x | urlEncode}",
    "${x | url_encode}",
    "${x | uppercase}",
    "${x | default}",
    "${x | default(1)}",
    "${x | default(\"a)}",
    "${x | default(\"\\q\")}",
    "${x | upper lower}",
    "${x || upper}",
    "${x|trim|trim|trim|trim|trim|trim|trim|trim|trim|trim|trim|trim|trim|trim|trim|trim|trim}",
    "\u{e4}${\u{e4}}",
    "${x\n",
    "${\u{7}}",
];

#[test]
fn errors_name_the_place_and_the_remedy() {
    expect_file!["../../tests/golden/template_errors.txt"].assert_eq(&errors(BAD, Template::parse));
}

#[test]
fn length_is_bounded() {
    let error = Template::parse(&"\u{e4}".repeat(TEMPLATE_MAX)).expect_err("too long");
    assert_eq!(
        error.to_string(),
        "expected a text of at most 1048576 bytes, found 2097152 bytes"
    );
    assert!(Template::parse(&"${x}".repeat(TEMPLATE_MAX / 4)).is_ok());
}

#[test]
fn what_goes_in_is_known() {
    let template = Template::parse("${a}-${uuid()}-${b | json}-${d.c}").expect("valid");
    assert_eq!(template.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(
        template.splices().map(Splice::is_json).collect::<Vec<_>>(),
        [false, false, true, false]
    );
    assert!(!template.has_secret() && !template.is_static());
    for text in ["Bearer ${env:TOKEN}", "${file:/x | trim}"] {
        assert!(Template::parse(text).expect(text).has_secret());
    }
    let lookup = |source: &Source| (*source == Source::Variable("a".into())).then_some(Cow::Borrowed(" v "));
    let resolved = |text: &str| {
        let template = Template::parse(text).expect(text);
        template.as_splice().expect(text).resolve(&lookup).map(Cow::into_owned)
    };
    assert_eq!(resolved("${a | trim | upper}").as_deref(), Some("V"));
    assert_eq!(resolved("${b | upper}"), None);
    assert_eq!(resolved("${b | upper | default(\"x\") | upper}").as_deref(), Some("X"));
}

#[test]
fn decimals_are_exact() {
    for (text, millionths) in [
        ("0", 0),
        ("-0.5", -500_000),
        ("3.141592", 3_141_592),
        ("-9223372036854.775808", i64::MIN),
        ("9223372036854.775807", i64::MAX),
    ] {
        assert_eq!(Decimal::parse(text), Some(Decimal(millionths)), "{text}");
        assert_eq!(Decimal(millionths).to_string(), text);
    }
    for text in [
        "",
        "-",
        ".5",
        "5.",
        "1e3",
        "+1",
        "0.0000001",
        "9223372036854.775808",
        "--1",
    ] {
        assert_eq!(Decimal::parse(text), None, "{text}");
    }
}

pub(crate) fn any_source() -> impl Strategy<Value = Source> {
    prop_oneof![
        name().prop_map(Source::Variable),
        (name(), any_text()).prop_map(|(data, column)| Source::Column { data, column }),
        name().prop_map(Source::Env),
        any_text()
            .prop_filter("not empty", |path| !path.is_empty())
            .prop_map(Source::File),
        any_function().prop_map(Source::Call),
    ]
}

fn any_function() -> impl Strategy<Value = Function> {
    prop_oneof![
        prop::sample::select(&Function::WORDS[..]).prop_filter_map("arguments", Function::without_arguments),
        (any::<i64>(), any::<i64>()).prop_map(|(a, b)| Function::RandomInt {
            lo: a.min(b),
            hi: a.max(b)
        }),
        (any::<i64>(), any::<i64>()).prop_map(|(a, b)| Function::RandomFloat {
            lo: Decimal(a.min(b)),
            hi: Decimal(a.max(b))
        }),
        (1..=RANDOM_LENGTH_MAX).prop_map(|len| Function::RandomString { len }),
        (1..=RANDOM_LENGTH_MAX).prop_map(|len| Function::RandomHex { len }),
        prop::collection::vec(any_text(), 1..4).prop_map(Function::Pick),
        any_text().prop_map(Function::Counter),
    ]
}

fn any_filter() -> impl Strategy<Value = Filter> {
    prop_oneof![
        prop::sample::select(&Filter::WORDS[..]).prop_filter_map("arguments", Filter::without_arguments),
        any_text().prop_map(Filter::Default),
    ]
}

pub(crate) fn any_splice() -> impl Strategy<Value = Splice> {
    (any_source(), prop::collection::vec(any_filter(), 0..3)).prop_map(|(source, filters)| Splice { source, filters })
}

proptest! {
    #[test]
    fn a_template_reads_back_to_itself(
        parts in prop::collection::vec(
            prop_oneof![
                "[$]{0,3}[{]{0,2}[$]{0,3}|\\PC{0,8}".prop_map(Part::Literal),
                any_splice().prop_map(Part::Splice),
            ],
            0..6,
        ),
    ) {
        let template = Template::from_parts(parts);
        prop_assert_eq!(Template::parse(&template.to_string()), Ok(template));
    }

    #[test]
    fn a_literal_stands_for_itself(text in any_text()) {
        let template = Template::literal(text.clone());
        prop_assert_eq!(template.as_static(), Some(text.as_str()));
        prop_assert_eq!(Template::parse(&template.to_string()), Ok(template));
    }

    #[test]
    fn any_text_is_read_or_refused(
        text in prop_oneof![
            ".*",
            jumble(&[
                "$", "${", "{", "}", "|", "x", "a.b", "\"q\"", "'", "\\", "(", ")", ",", "random_int", "pick", "default",
                "uuid()", "1", "-2.5", "env:", "file:", "upper", "\u{1f980}", "\n",
            ]),
        ],
    ) {
        check_any(&text, Template::parse)?;
    }
}
