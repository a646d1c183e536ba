//! Tests that measure time, one after the other: two of them at once would measure each other.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::skip::skipped;

/// How often a run is repeated whose generator was not valid.
const ATTEMPTS: usize = 3;

static QUIET: Mutex<()> = Mutex::new(());

/// Waits until no other test that measures time is under way; holds the others off until the guard is dropped.
pub fn quiet() -> MutexGuard<'static, ()> {
    // A test that failed while it held the guard has broken nothing.
    QUIET.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a run and judges what it measured, again where the generator says itself that it could not keep up. What does
/// not depend on time is to be asserted within `run`: it must hold however busy the machine is.
///
/// # Panics
/// When the judgement of a run with a valid generator is not good.
#[track_caller]
pub fn measured(test: &str, mut run: impl FnMut() -> Value, judge: impl Fn(&Value) -> Result<(), String>) {
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        let report = run();
        let judgement = judge(&report);
        let generator = &report["generator"];
        let verdict = generator["verdict"]
            .as_str()
            .expect("a report says whether its generator can be trusted");
        match (judgement, verdict) {
            // A strained generator whose numbers are right nevertheless has shown what was to be shown.
            (Ok(()), "valid" | "degraded") => return,
            (Err(reason), "valid") => panic!("{reason}"),
            (judgement, _) => {
                let judgement = judgement
                    .err()
                    .unwrap_or_else(|| "the numbers are as they should be".to_owned());
                last = format!("{verdict} generator ({}); {judgement}", generator["reasons"]);
                say_again(test, &last);
            }
        }
    }
    skipped(
        test,
        &format!("the machine is busy; the last of {ATTEMPTS} runs: {last}"),
    );
}

#[expect(clippy::print_stderr, reason = "a test's output is its stderr")]
fn say_again(test: &str, reason: &str) {
    eprintln!("{test}: again, the machine is busy: {reason}");
}
