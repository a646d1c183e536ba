//! `barrage plan try`: one iteration of each scenario, with everything that was sent, received, checked and kept.

use std::cell::RefCell;
use std::time::Duration;

use barrage_model::ids::{ScenarioId, SegmentId};
use barrage_model::outcome::{IterationEnd, Outcome};
use http::HeaderMap;
use tokio_util::sync::CancellationToken;

use super::answers::Reading;
use super::cancel::{Cancelled, under};
use super::compile::{CompiledPlan, Program, Request};
use super::connections::ShardContext;
use super::context::IterationStart;
use super::error::OnceError;
use super::exchange::{Form, Judged, Rendered, service};
use super::once::{NO_LOAD, Once, watched};
use super::redact::HIDDEN;
use super::user::{User, Values};
use super::walk::{Course, go};
use crate::engine::{Answer, Timings};
use crate::recorder::{Recorder, Shape};

/// Most bytes of a body that an event shows.
const BODY_MAX: usize = 64 * 1024;
/// Fields whose whole value is a credential.
const CREDENTIALS: [&str; 3] = ["authorization", "proxy-authorization", "x-api-key"];

/// Something that happened while a plan was tried. No text in it holds a secret of the plan.
#[derive(Clone, Debug, PartialEq)]
pub enum TryEvent {
    /// `setup`, a scenario or `teardown` begins.
    Begin {
        /// Its name.
        name: String,
    },
    /// A request is about to be sent.
    Request {
        /// The step.
        step: String,
        /// The engine's word.
        engine: &'static str,
        /// Where it goes: `http://host:port`.
        origin: String,
        /// Request line and header fields.
        head: String,
        /// The body, at most 64 KiB of it; what is no text is replaced.
        body: String,
        /// The body's length.
        body_bytes: u64,
    },
    /// An answer, or as much of it as arrived.
    Answer {
        /// The status; `None` when none arrived.
        status: Option<u16>,
        /// The header fields.
        headers: Vec<(String, String)>,
        /// The body, at most 64 KiB of it; what is no text is replaced.
        body: String,
        /// The body's length.
        body_bytes: u64,
        /// Where the time went.
        timings: Timings,
        /// From the send to the end of the answer.
        service: Duration,
    },
    /// A check.
    Check {
        /// What was checked.
        name: String,
        /// What did not hold; `None` when it held.
        problem: Option<String>,
    },
    /// A variable was given a value by an extract or a `set`, or lost it.
    Value {
        /// The variable.
        name: String,
        /// Its value, at most 64 KiB of it.
        value: Option<String>,
    },
    /// A step has ended.
    Step {
        /// The step.
        step: String,
        /// How.
        outcome: Outcome,
        /// What went wrong; empty when nothing did.
        message: String,
    },
    /// A pause begins.
    Think {
        /// How long.
        pause: Duration,
    },
    /// No row of a data set belongs to the iteration.
    NoRow,
    /// What began has ended.
    End {
        /// Its name.
        name: String,
        /// How.
        end: IterationEnd,
    },
}

/// Takes the events of a tried plan, in order.
pub trait TrySink {
    /// Called for each event, between requests.
    fn event(&mut self, event: TryEvent);
}

/// Tries a plan: `setup`, then one iteration of each scenario (or of the one named), then `teardown`.
///
/// Returns how each ended, `setup` and `teardown` included when they have steps. A failed `setup` ends the try.
pub async fn try_plan(
    plan: &CompiledPlan,
    only: Option<&str>,
    shard: &ShardContext,
    cancel: &CancellationToken,
    sink: &mut dyn TrySink,
) -> Vec<(String, IterationEnd)> {
    under(cancel, async |cancel| go_through(plan, only, shard, cancel, sink).await).await
}

async fn go_through(
    plan: &CompiledPlan,
    only: Option<&str>,
    shard: &ShardContext,
    cancel: &mut Cancelled,
    sink: &mut dyn TrySink,
) -> Vec<(String, IterationEnd)> {
    let shape = Shape::of(&plan.program.plan);
    let recorder = RefCell::new(Recorder::new(shape, shard.clock.now(), None));
    let mut ends = Vec::new();
    let mut observer = Observer {
        sink: Some(sink),
        ..Observer::listening()
    };
    let mut plan = plan.clone();
    if !plan.program.plan.setup.is_empty() {
        match one_off(&plan, Once::Setup, shard, (&recorder, cancel), &mut observer, &mut ends).await {
            Ok(values) => plan = plan.with_setup_values(&values),
            Err(_) => return ends,
        }
    }
    for (number, scenario) in plan.program.scenarios.iter().enumerate() {
        if only.is_some_and(|only| only != scenario.name) {
            continue;
        }
        observer.emit(|| TryEvent::Begin {
            name: scenario.name.clone(),
        });
        let start = first_iteration(&plan, number, shard);
        let mut user = User::new(&plan, 0, shard);
        let course = Course {
            scenario,
            on_start: Some(number),
        };
        let end = go(
            &plan,
            &mut user,
            Some(course),
            &start,
            (&recorder, cancel),
            Some(&mut observer),
        )
        .await
        .end;
        observer.ended(&scenario.name, end, &mut ends);
    }
    if !plan.program.plan.teardown.is_empty() {
        // How it ended is among the results; there is nothing left to do about it.
        let _ = one_off(
            &plan,
            Once::Teardown,
            shard,
            (&recorder, cancel),
            &mut observer,
            &mut ends,
        )
        .await;
    }
    ends
}

async fn one_off(
    plan: &CompiledPlan,
    once: Once,
    shard: &ShardContext,
    around: (&RefCell<Recorder>, &mut Cancelled),
    observer: &mut Observer<'_>,
    ends: &mut Vec<(String, IterationEnd)>,
) -> Result<Vec<(String, String)>, OnceError> {
    let name = match once {
        Once::Setup => "setup",
        Once::Teardown => "teardown",
    };
    observer.emit(|| TryEvent::Begin { name: name.to_owned() });
    let result = watched(plan, once, shard, SegmentId(0), around, observer).await;
    let end = match &result {
        Ok(_) => IterationEnd::Completed,
        Err(OnceError::Cancelled) => IterationEnd::Cancelled,
        Err(_) => IterationEnd::BrokenOff,
    };
    observer.ended(name, end, ends);
    result
}

/// Iteration 0 of the first load that has the scenario.
fn first_iteration(plan: &CompiledPlan, number: usize, shard: &ShardContext) -> IterationStart {
    let scenario = ScenarioId(number as u16);
    let has = |load: &barrage_model::plan::Load| load.scenarios.iter().any(|(id, _)| *id == scenario);
    let load = plan.program.plan.loads.iter().position(has);
    IterationStart {
        load: load.map_or(NO_LOAD, |at| barrage_model::ids::LoadId(at as u16)),
        scenario,
        index: 0,
        user: 0,
        due: shard.clock.now(),
        segment: SegmentId(0),
        closed: false,
    }
}

/// What looks over the shoulder of a walk: nobody in a run, someone who remembers the last failure in `setup`, a sink in
/// a try.
pub(super) struct Observer<'o> {
    sink: Option<&'o mut dyn TrySink>,
    listens: bool,
    failure: Option<(String, String)>,
    without_row: bool,
}

impl Observer<'_> {
    pub(super) fn none() -> Self {
        Self {
            sink: None,
            listens: false,
            failure: None,
            without_row: false,
        }
    }

    pub(super) fn listening() -> Self {
        Self {
            listens: true,
            ..Self::none()
        }
    }

    /// Whether bodies and headers are wanted of every answer.
    #[cold]
    pub(super) fn looks(&self) -> bool {
        self.sink.is_some()
    }

    /// The step that failed last, and why.
    pub(super) fn failure(&mut self) -> Option<(String, String)> {
        self.failure.take()
    }

    pub(super) fn is_without_row(&self) -> bool {
        self.without_row
    }

    #[cold]
    pub(super) fn no_row(&mut self) {
        self.without_row = true;
        self.emit(|| TryEvent::NoRow);
    }

    fn emit(&mut self, event: impl FnOnce() -> TryEvent) {
        if let Some(sink) = &mut self.sink {
            sink.event(event());
        }
    }

    fn ended(&mut self, name: &str, end: IterationEnd, ends: &mut Vec<(String, IterationEnd)>) {
        self.emit(|| TryEvent::End {
            name: name.to_owned(),
            end,
        });
        ends.push((name.to_owned(), end));
    }

    #[cold]
    pub(super) fn think(&mut self, pause: Duration) {
        self.emit(|| TryEvent::Think { pause });
    }

    #[cold]
    pub(super) fn set(&mut self, program: &Program, slot: u32, value: Option<&str>) {
        self.emit(|| value_event(program, slot, value));
    }

    #[cold]
    pub(super) fn sending(&mut self, program: &Program, request: &Request, rendered: &Rendered<'_>) {
        self.emit(|| TryEvent::Request {
            step: request.name.clone(),
            engine: request.engine.word(),
            origin: program.origins.base(rendered.origin).to_owned(),
            head: head(program, request, rendered),
            body: text(program, rendered.body),
            body_bytes: rendered.body.len() as u64,
        });
    }

    #[cold]
    pub(super) fn not_sent(&mut self, program: &Program, request: &Request, judged: &Judged) {
        self.step(program, request, judged);
    }

    /// What each check says of an answer; asked before the step's own extracts change the values that checks compare with.
    #[cold]
    pub(super) fn checks(
        &self,
        program: &Program,
        request: &Request,
        answer: &Answer,
        values: &Values,
    ) -> Vec<TryEvent> {
        if !self.looks() {
            return Vec::new();
        }
        let reading = Reading::new(answer, &program.redactor);
        let scope = values.scope(program, Some(answer));
        let said = request.checks.each(&reading, &scope, service(answer));
        said.into_iter()
            .map(|(name, said)| TryEvent::Check {
                name,
                problem: said.err().map(|problem| program.redactor.clean(&problem).into_owned()),
            })
            .collect()
    }

    #[cold]
    pub(super) fn answered(
        &mut self,
        program: &Program,
        request: &Request,
        (answer, values): (&Answer, &Values),
        checks: Vec<TryEvent>,
        judged: &Judged,
    ) {
        self.emit(|| TryEvent::Answer {
            status: (answer.status != 0).then_some(answer.status),
            headers: answer
                .headers
                .iter()
                .map(|(name, value)| field(program, name, value))
                .collect(),
            body: text(program, &answer.body),
            body_bytes: answer.body_bytes_in,
            timings: answer.timings,
            service: service(answer),
        });
        for check in checks {
            self.emit(|| check);
        }
        if judged.outcome == Outcome::Ok {
            for extract in &request.extracts {
                self.emit(|| value_event(program, extract.slot, values.get(extract.slot)));
            }
        }
        self.step(program, request, judged);
    }

    fn step(&mut self, program: &Program, request: &Request, judged: &Judged) {
        if !self.listens {
            return;
        }
        let message = program.redactor.clean(&judged.message).into_owned();
        if judged.outcome != Outcome::Ok {
            self.failure = Some((request.name.clone(), message.clone()));
        }
        self.emit(|| TryEvent::Step {
            step: request.name.clone(),
            outcome: judged.outcome,
            message,
        });
    }
}

fn value_event(program: &Program, slot: u32, value: Option<&str>) -> TryEvent {
    let name = program
        .slots
        .iter()
        .find(|(_, at)| **at == slot)
        .map_or("", |(name, _)| name.as_str());
    TryEvent::Value {
        name: name.to_owned(),
        value: value.map(|value| text(program, value.as_bytes())),
    }
}

fn text(program: &Program, bytes: &[u8]) -> String {
    // Cleaned before it is cut, so that no secret is cut into a form that is not recognised.
    let mut text = program.redactor.clean(&String::from_utf8_lossy(bytes)).into_owned();
    text.truncate(text.floor_char_boundary(BODY_MAX));
    text
}

fn field(program: &Program, name: &[u8], value: &[u8]) -> (String, String) {
    let name = String::from_utf8_lossy(name).into_owned();
    let hidden = CREDENTIALS
        .iter()
        .any(|credential| name.eq_ignore_ascii_case(credential));
    let value = if hidden {
        HIDDEN.to_owned()
    } else {
        text(program, value)
    };
    (name, value)
}

/// Request line and header fields, credentials hidden.
fn head(program: &Program, request: &Request, rendered: &Rendered<'_>) -> String {
    let mut lines = String::new();
    match rendered.form {
        Form::Http1 { head } => {
            for (at, line) in head.split(|byte| *byte == b'\n').enumerate() {
                let line = line.trim_ascii_end();
                let colon = line.iter().position(|byte| *byte == b':').filter(|_| at > 0);
                match colon {
                    Some(colon) => push_field(
                        &mut lines,
                        field(program, &line[..colon], line[colon + 1..].trim_ascii()),
                    ),
                    None if line.is_empty() => {}
                    None => {
                        lines.push_str(&text(program, line));
                        lines.push('\n');
                    }
                }
            }
        }
        Form::Http2 { head, .. } => push_head(&mut lines, program, request, &head.uri().to_string(), head.headers()),
        Form::Full { url, fields } => push_head(&mut lines, program, request, url, fields),
    }
    lines
}

fn push_head(lines: &mut String, program: &Program, request: &Request, url: &str, fields: &HeaderMap) {
    lines.push_str(request.method.word());
    lines.push(' ');
    lines.push_str(&text(program, url.as_bytes()));
    lines.push('\n');
    for (name, value) in fields {
        push_field(lines, field(program, name.as_str().as_bytes(), value.as_bytes()));
    }
}

fn push_field(lines: &mut String, (name, value): (String, String)) {
    for part in [&name, ": ", &value, "\n"] {
        lines.push_str(part);
    }
}
