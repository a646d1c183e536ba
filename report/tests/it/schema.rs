//! The published schema, and that documents keep to it.

use barrage_metrics::summary::Summary;
use barrage_report::document::Document;
use barrage_report::{Format, render, schema};
use expect_test::expect_file;
use serde_json::Value;

use crate::fixture::{checkout, empty, lost_worker, with_text};

#[test]
fn it_is_published() {
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    expect_file!["../../report.schema.json"].assert_eq(&text);
}

#[test]
fn documents_keep_to_it() {
    let schema = schema();
    for summary in [checkout(), lost_worker(), empty(), with_text("x")] {
        let value = json(&summary);
        let mut wrong = Vec::new();
        validate(&schema, &schema, &value, "$", &mut wrong);
        assert_eq!(wrong, Vec::<String>::new());
    }
}

#[test]
fn the_check_finds_what_is_wrong() {
    let schema = schema();
    for (change, want) in [
        (("passed", Value::from("yes")), "$.passed: not a boolean"),
        (
            ("verdict", Value::from("great")),
            "$.verdict: not one of the listed values",
        ),
        (("latency", Value::from(1)), "$.latency: not a object"),
        (("p95", Value::from(1)), "$.p95: not in the schema"),
        (("exit_code", Value::from(1.5)), "$.exit_code: not a integer"),
    ] {
        let mut value = json(&checkout());
        value[change.0] = change.1;
        let mut wrong = Vec::new();
        validate(&schema, &schema, &value, "$", &mut wrong);
        assert!(wrong.iter().any(|message| message == want), "{want}: {wrong:?}");
    }
    let mut value = json(&checkout());
    value.as_object_mut().unwrap().remove("timeline");
    let mut wrong = Vec::new();
    validate(&schema, &schema, &value, "$", &mut wrong);
    assert_eq!(wrong, ["$: timeline is missing"]);
}

#[test]
fn a_document_reads_back() {
    for summary in [checkout(), lost_worker(), empty()] {
        let document = Document::from(&summary);
        let read: Document = serde_json::from_value(json(&summary)).unwrap();
        assert_eq!(read, document);
    }
}

/// The names that the design promises, and those under which a load tester of old finds its numbers.
const PROMISED: [&str; 69] = [
    "/run/id",
    "/run/name",
    "/run/seed",
    "/run/plan_hash",
    "/run/labels",
    "/run/started_at",
    "/run/duration_us",
    "/run/duration_s",
    "/verdict",
    "/passed",
    "/exit_code",
    "/sla/0/that",
    "/sla/0/during",
    "/sla/0/observed",
    "/sla/0/verdict",
    "/sla/0/reason",
    "/iterations/scheduled",
    "/iterations/started",
    "/iterations/completed",
    "/iterations/broken_off",
    "/iterations/cancelled",
    "/iterations/dropped/late",
    "/iterations/unsent",
    "/iterations/unknown",
    "/steps_total/attempted",
    "/steps_total/sent",
    "/steps_total/ok",
    "/steps_total/failed/status",
    "/steps_total/failed_total",
    "/steps_total/timeout",
    "/steps_total/cancelled",
    "/steps_total/shed",
    "/steps_total/fallback",
    "/steps_total/injected",
    "/steps_total/body_bytes_in",
    "/steps_total/body_bytes_out",
    "/offered_per_s",
    "/started_per_s",
    "/attempted_per_s",
    "/rate_per_s",
    "/goodput_per_s",
    "/error_rate",
    "/throughput_mib_per_s",
    "/latency/response/min_us",
    "/latency/response/mean_us",
    "/latency/response/p50_us",
    "/latency/response/p90_us",
    "/latency/response/p95_us",
    "/latency/response/p99_us",
    "/latency/response/p999_us",
    "/latency/response/p9999_us",
    "/latency/response/max_us",
    "/latency/response/count",
    "/latency/response/censored",
    "/latency/service/p50_us",
    "/latency/dispatch_lag/p50_us",
    "/latency/iteration/p50_us",
    "/steps/0/name",
    "/errors/0/at_us",
    "/errors/0/timestamp",
    "/errors/0/status",
    "/errors/0/service_us",
    "/errors/0/message",
    "/timeline/0/t_s",
    "/workers/0/name",
    "/events/0/kind",
    "/faults/0/name",
    "/generator/verdict",
    "/generator/reasons/0/text",
];

#[test]
fn every_promised_name_is_there() {
    let value = json(&lost_worker());
    for path in PROMISED {
        assert!(value.pointer(path).is_some(), "{path}");
    }
    assert_eq!(value["schema_version"], 1);
    assert_eq!(value["latency"]["response"]["p99_at_least"], true);
    assert_eq!(value["latency"]["response"].get("p50_at_least"), None);
    assert_eq!(value["errors"][0]["timestamp"], "2026-03-04T05:06:23.262Z");
    assert_eq!(json(&empty())["latency"]["response"]["p99_us"], Value::Null);
}

fn json(summary: &Summary) -> Value {
    serde_json::from_slice(&render(summary, Format::Json).expect("it renders")).expect("it is JSON")
}

/// Checks the part of JSON Schema that the published schema uses, and that no name is missing from it.
fn validate(root: &Value, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(&reference[1..]).expect("references are local");
        return validate(root, target, value, at, wrong);
    }
    for list in ["anyOf", "oneOf"] {
        let Some(choices) = schema[list].as_array() else {
            continue;
        };
        let fits = choices.iter().any(|choice| {
            let mut inner = Vec::new();
            validate(root, choice, value, at, &mut inner);
            inner.is_empty()
        });
        if !fits {
            wrong.push(format!("{at}: not one of the listed values"));
        }
        // The choice that fits has seen the children.
        return;
    }
    if let Some(constant) = schema.get("const")
        && constant != value
    {
        wrong.push(format!("{at}: not {constant}"));
    }
    if let Some(kinds) = schema.get("type") {
        let kinds: Vec<&str> = kinds.as_array().map_or_else(
            || vec![kinds.as_str().expect("a type is a word or a list")],
            |all| all.iter().filter_map(Value::as_str).collect(),
        );
        if !kinds.iter().any(|kind| is(kind, value)) {
            wrong.push(format!("{at}: not a {}", kinds.join(" or ")));
            return;
        }
    }
    children(root, schema, value, at, wrong);
}

fn children(root: &Value, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    if let Some(object) = value.as_object() {
        for name in schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            if !object.contains_key(name) {
                wrong.push(format!("{at}: {name} is missing"));
            }
        }
        for (name, child) in object {
            let at = format!("{at}.{name}");
            match (schema["properties"].get(name), schema.get("additionalProperties")) {
                (Some(schema), _) | (None, Some(schema)) => validate(root, schema, child, &at, wrong),
                (None, None) => wrong.push(format!("{at}: not in the schema")),
            }
        }
    }
    for (n, child) in value.as_array().into_iter().flatten().enumerate() {
        let at = format!("{at}[{n}]");
        let fixed = schema["prefixItems"].get(n);
        validate(root, fixed.unwrap_or(&schema["items"]), child, &at, wrong);
    }
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        _ => false,
    }
}
