//! Reading `report.json`.

use serde_json::Value;

use super::barrage::Ended;

/// The value at a path of names with points between them.
#[track_caller]
pub fn at<'a>(report: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(report, |value, name| {
        value
            .get(name)
            .unwrap_or_else(|| panic!("no {name:?} of {path:?} in {value:#}"))
    })
}

/// The whole number at a path.
#[track_caller]
pub fn whole(report: &Value, path: &str) -> u64 {
    let value = at(report, path);
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{path} is no whole number: {value}"))
}

/// The sum of the whole numbers of the map at a path.
#[track_caller]
pub fn sum(report: &Value, path: &str) -> u64 {
    let value = at(report, path);
    let map = value.as_object().unwrap_or_else(|| panic!("{path} is no map: {value}"));
    map.values()
        .map(|part| {
            part.as_u64()
                .unwrap_or_else(|| panic!("a part of {path} is no number: {value}"))
        })
        .sum()
}

/// The one member of a list that has this name.
#[track_caller]
pub fn named<'a>(report: &'a Value, list: &str, name: &str) -> &'a Value {
    let all = at(report, list)
        .as_array()
        .unwrap_or_else(|| panic!("{list} is no list"));
    let mut found = all.iter().filter(|member| member["name"] == name);
    let one = found.next().unwrap_or_else(|| panic!("{list} has no {name}: {all:#?}"));
    assert!(found.next().is_none(), "{list} has {name} twice");
    one
}

/// Asserts both equations of the iteration ledger at a path.
#[track_caller]
pub fn assert_iterations_balance(report: &Value, path: &str) {
    let n = |name: &str| whole(report, &format!("{path}.{name}"));
    assert_eq!(
        n("scheduled"),
        n("started_scheduled") + sum(report, &format!("{path}.dropped")) + n("unsent") + n("unknown"),
        "scheduled = started_scheduled + dropped + unsent + unknown: {:#}",
        at(report, path)
    );
    assert_eq!(
        n("started"),
        n("completed") + n("broken_off") + n("cancelled") + n("in_progress"),
        "started = completed + broken_off + cancelled + in_progress: {:#}",
        at(report, path)
    );
}

/// Asserts both equations of the step ledger at a path.
#[track_caller]
pub fn assert_steps_balance(report: &Value, path: &str) {
    let n = |name: &str| whole(report, &format!("{path}.{name}"));
    assert_eq!(
        n("attempted"),
        n("sent") + n("shed") + n("fallback") + n("injected"),
        "attempted = sent + shed + fallback + injected: {:#}",
        at(report, path)
    );
    assert_eq!(
        n("sent"),
        n("ok") + sum(report, &format!("{path}.failed")) + n("timeout") + n("cancelled") + n("in_flight"),
        "sent = ok + failed + timeout + cancelled + in_flight: {:#}",
        at(report, path)
    );
}

/// Asserts the exit code of a command whose stdout is `report.json`; says the deciding parts of it when it differs.
#[track_caller]
pub fn assert_exit(ended: &Ended, code: i32) {
    if ended.code == code {
        return;
    }
    let report: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
    let parts = ["reasons", "sla", "steps_total", "once_total", "errors", "generator"];
    let parts: Vec<String> = parts.iter().map(|part| format!("{part}: {:#}", report[part])).collect();
    panic!(
        "exit {}, not {code}\n{}\n{}\nmismatches: {:#}",
        ended.code,
        ended.stderr,
        parts.join("\n"),
        report["conservation"]["mismatches"]
    );
}
