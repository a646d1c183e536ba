//! Steps as a flat program, so that going through them needs no recursion.

use std::time::Duration;

use barrage_model::ids::StepId;
use barrage_model::plan::{Action, Delay, Step};

use super::super::encode::Encoding;
use super::super::error::{PrepareError, StepProblem};
use super::super::text::Text;
use super::link::Linker;
use super::origins::Origins;
use super::patterns::Condition;
use super::request::Request;

/// Deepest nesting of steps; plans are allowed half of it.
const DEPTH_MAX: u16 = 16;

/// One instruction. Places of other instructions are positions in the same script.
#[derive(Debug)]
pub(in crate::scenario) enum Op {
    /// Sends the request of this number.
    Request(u32),
    /// Pauses.
    Think(Delay),
    /// Gives values to variables.
    Set(Vec<(u32, Text)>),
    /// Begins a loop.
    Begin { counter: u16 },
    /// Ends a round of a loop: goes back unless that was the last one.
    Again { counter: u16, times: u32, to: u32 },
    /// Goes elsewhere when the condition does not hold.
    Unless { condition: Box<Condition>, to: u32 },
    /// Goes elsewhere.
    Jump { to: u32 },
    /// Ends a round: goes back after a pause unless the condition holds or that was the last one.
    Until {
        condition: Box<Condition>,
        counter: u16,
        at_most: u32,
        every: Duration,
        to: u32,
    },
    /// Begins a group; one without a number is not measured.
    Open(Option<StepId>),
    /// Ends the group begun last.
    Close,
}

/// A list of steps.
#[derive(Debug, Default)]
pub(in crate::scenario) struct Script {
    pub(in crate::scenario) ops: Vec<Op>,
    /// Loops inside each other at most.
    pub(in crate::scenario) counters: u16,
}

/// What compiling a list of steps adds to.
pub(super) struct Assembler<'a, 'l> {
    pub(super) linker: &'a mut Linker<'l>,
    pub(super) origins: &'a mut Origins,
    pub(super) requests: &'a mut Vec<Request>,
}

impl Assembler<'_, '_> {
    /// Compiles one list of the plan.
    pub(super) fn script(&mut self, steps: &[Step]) -> Result<Script, PrepareError> {
        let mut script = Script::default();
        self.list(steps, &mut script, Nesting::default())?;
        Ok(script)
    }

    fn list(&mut self, steps: &[Step], script: &mut Script, at: Nesting) -> Result<(), PrepareError> {
        for step in steps {
            let refused = |source, linker: &Linker<'_>| match source {
                StepProblem::Outside(error) => *error,
                source => PrepareError::Step {
                    scenario: linker.scenario.clone(),
                    step: label(&step.action),
                    source,
                },
            };
            match at.deeper() {
                Some(inner) => self.step(step, script, at, inner, &refused)?,
                None => return Err(refused(StepProblem::TooMany("levels"), self.linker)),
            }
        }
        Ok(())
    }

    fn step(
        &mut self,
        step: &Step,
        script: &mut Script,
        at: Nesting,
        inner: Nesting,
        refused: &dyn Fn(StepProblem, &Linker<'_>) -> PrepareError,
    ) -> Result<(), PrepareError> {
        match &step.action {
            Action::Request(request) => {
                let id = step.id.ok_or(StepProblem::NoNumber);
                let made = id.and_then(|id| Request::compile(self.linker, self.origins, id, request));
                script.ops.push(Op::Request(self.requests.len() as u32));
                self.requests.push(made.map_err(|source| refused(source, self.linker))?);
            }
            Action::Think(delay) => script.ops.push(Op::Think(*delay)),
            Action::Set(values) => {
                self.linker.target = 0;
                let set = values.iter().map(|(name, value)| {
                    let value = self.linker.text(value, Encoding::Plain)?;
                    Ok((self.linker.slot(name)?, value))
                });
                let set = set.collect::<Result<Vec<_>, StepProblem>>();
                script
                    .ops
                    .push(Op::Set(set.map_err(|source| refused(source, self.linker))?));
            }
            Action::Repeat { times: 0, .. } | Action::Until { at_most: 0, .. } => {}
            Action::Repeat { times, steps } => {
                let (counter, to) = script.begin_loop(at);
                self.list(steps, script, inner.looped())?;
                let times = *times;
                script.ops.push(Op::Again { counter, times, to });
            }
            Action::If { that, then, otherwise } => {
                let condition = self.condition(that).map_err(|source| refused(source, self.linker))?;
                self.branches(condition, [then, otherwise], script, inner)?;
            }
            Action::Until {
                that,
                at_most,
                every,
                steps,
            } => {
                let (counter, to) = script.begin_loop(at);
                self.list(steps, script, inner.looped())?;
                let condition = self.condition(that).map_err(|source| refused(source, self.linker))?;
                let (at_most, every) = (*at_most, *every);
                script.ops.push(Op::Until {
                    condition,
                    counter,
                    at_most,
                    every,
                    to,
                });
            }
            Action::Group { steps, .. } => {
                script.ops.push(Op::Open(step.id));
                self.list(steps, script, inner)?;
                script.ops.push(Op::Close);
            }
        }
        Ok(())
    }

    fn branches(
        &mut self,
        condition: Box<Condition>,
        [then, otherwise]: [&[Step]; 2],
        script: &mut Script,
        inner: Nesting,
    ) -> Result<(), PrepareError> {
        let branch = script.here();
        script.ops.push(Op::Unless { condition, to: 0 });
        self.list(then, script, inner)?;
        let jump = script.here();
        if !otherwise.is_empty() {
            script.ops.push(Op::Jump { to: 0 });
        }
        script.land(branch);
        self.list(otherwise, script, inner)?;
        if !otherwise.is_empty() {
            script.land(jump);
        }
        Ok(())
    }

    fn condition(&mut self, that: &barrage_model::condition::Condition) -> Result<Box<Condition>, StepProblem> {
        self.linker.target = 0;
        Condition::compile(self.linker, that).map(Box::new)
    }
}

/// How many levels, and how many of them loops, are around a step.
#[derive(Clone, Copy, Debug, Default)]
struct Nesting {
    depth: u16,
    loops: u16,
}

impl Nesting {
    fn deeper(self) -> Option<Self> {
        (self.depth < DEPTH_MAX).then_some(Self {
            depth: self.depth + 1,
            ..self
        })
    }

    fn looped(self) -> Self {
        Self {
            loops: self.loops + 1,
            ..self
        }
    }
}

impl Script {
    fn here(&self) -> u32 {
        self.ops.len() as u32
    }

    /// Begins a loop; says its counter and where a round begins.
    fn begin_loop(&mut self, at: Nesting) -> (u16, u32) {
        let counter = at.loops;
        self.counters = self.counters.max(counter + 1);
        self.ops.push(Op::Begin { counter });
        (counter, self.here())
    }

    /// Lets the jump at `from` lead to here.
    fn land(&mut self, from: u32) {
        let here = self.here();
        if let Some(Op::Unless { to, .. } | Op::Jump { to }) = self.ops.get_mut(from as usize) {
            *to = here;
        }
    }
}

fn label(action: &Action) -> String {
    match action {
        Action::Request(request) => request.name.clone(),
        Action::Group { name, .. } => name.clone(),
        Action::Think(_) => "think".to_owned(),
        Action::Set(_) => "set".to_owned(),
        Action::Repeat { .. } => "repeat".to_owned(),
        Action::If { .. } => "if".to_owned(),
        Action::Until { .. } => "until".to_owned(),
    }
}
