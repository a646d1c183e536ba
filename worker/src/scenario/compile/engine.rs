//! Which engines are refused.

use barrage_model::plan::{Engine, Plan, Request, engine_of, needs_full_client};

use super::super::error::StepProblem;

/// As [`engine_of`], but refuses an engine that would silently leave something out.
pub(super) fn checked(plan: &Plan, request: &Request) -> Result<Engine, StepProblem> {
    let (engine, _) = engine_of(plan, request);
    match needs_full_client(plan, request) {
        Some(why) if engine != Engine::Reqwest => Err(StepProblem::Engine {
            engine: engine.word(),
            why,
        }),
        _ => Ok(engine),
    }
}
