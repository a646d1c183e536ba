//! One virtual user: its connections, its variables, and buffers that are used again.

use std::sync::Arc;

use barrage_model::ids::LoadId;
use barrage_model::rng::{Purpose, Rng, stream};

use super::compile::{CompiledPlan, Program, Scenario};
use super::connections::ShardContext;
use super::data::{NoRow, pick};
use super::draws::{Draws, Facts};
use super::exchange::Buffers;
use super::values::Scope;
use crate::engine::{Answer, Cookies, EngineSet};

/// The state of one slot. Made on the shard's thread and kept there.
#[derive(Debug)]
pub struct User {
    pub(super) number: u64,
    pub(super) shard: ShardContext,
    pub(super) engines: EngineSet,
    pub(super) answer: Answer,
    /// Whether `answer` is of this iteration.
    pub(super) answered: bool,
    pub(super) buffers: Buffers,
    pub(super) values: Values,
    /// Rounds begun of the loops around the present step.
    pub(super) counters: Vec<u32>,
    /// What `on_start` has left, by scenario; `None` before it has been gone through.
    started: Vec<Option<Started>>,
    /// Whether no iteration has begun yet.
    fresh: bool,
    /// Steps without a pause since the other slots had their turn.
    pub(super) turns: u32,
}

/// What `on_start` has left.
#[derive(Clone, Debug)]
struct Started {
    /// Variables with their values.
    left: Vec<(u32, Option<Arc<str>>)>,
    /// `None` where a user keeps none.
    cookies: Option<Cookies>,
}

/// The variables of a user, and what the functions draw from.
#[derive(Debug)]
pub(super) struct Values {
    slots: Vec<Option<Arc<str>>>,
    /// Those written since the iteration began.
    written: Vec<u32>,
    rows: Vec<Option<u32>>,
    draws: Draws,
    facts: Facts,
    /// Draws think times; made when first needed.
    think: Option<Rng>,
}

impl User {
    /// A user without connections. `number` is unique within its load.
    pub fn new(plan: &CompiledPlan, number: u64, shard: &ShardContext) -> Self {
        let program = &plan.program;
        let facts = Facts {
            run: program.run,
            load: LoadId(0),
            index: 0,
            user: number,
        };
        Self {
            number,
            shard: shard.clone(),
            engines: EngineSet::new(&shard.engines),
            answer: Answer::default(),
            answered: false,
            buffers: Buffers::default(),
            values: Values {
                slots: plan.base.to_vec(),
                written: Vec::new(),
                rows: vec![None; program.tables.len()],
                draws: Draws::new(program.calls as usize),
                facts,
                think: None,
            },
            counters: Vec::new(),
            started: vec![None; program.scenarios.len()],
            fresh: true,
            turns: 0,
        }
    }

    /// Hands on large buffers before a time without a request.
    pub(super) fn rest(&mut self, keeps_body: bool) {
        if !keeps_body {
            self.shard.spare.take_body(&mut self.answer.body);
        }
        self.shard.spare.take_buffers(&mut self.buffers);
    }

    /// The engines and connections, for closing.
    pub fn engines(&mut self) -> &mut EngineSet {
        &mut self.engines
    }

    /// Makes the user ready for an iteration.
    ///
    /// # Errors
    /// [`NoRow`] when a data set, of this number, has no row for it; nothing has been changed but the row.
    pub(super) fn begin(
        &mut self,
        plan: &CompiledPlan,
        scenario: &Scenario,
        (load, index, closed): (LoadId, u64, bool),
    ) -> Result<(), (NoRow, u16)> {
        let program = &*plan.program;
        let values = &mut self.values;
        values.facts = Facts {
            run: program.run,
            load,
            index,
            user: self.number,
        };
        values.pick_rows(program, scenario)?;
        values.draws.begin(program.seed, load, index);
        values.think = None;
        self.answered = false;
        if self.fresh || !closed {
            values.reset(plan);
        }
        if !closed && !self.fresh && program.plan.network.cookies {
            self.engines.replace_cookies(None);
        }
        self.fresh = false;
        Ok(())
    }

    /// Whether `on_start` of a scenario still has to be gone through; if not, what it left is put in place.
    pub(super) fn wants_start(&mut self, scenario: usize, closed: bool) -> bool {
        match self.started.get(scenario) {
            Some(Some(started)) => {
                if !closed {
                    for (slot, value) in &started.left {
                        self.values.set(*slot, value.clone());
                    }
                    if started.cookies.is_some() {
                        self.engines.replace_cookies(started.cookies.as_ref());
                    }
                }
                false
            }
            _ => true,
        }
    }

    /// Remembers what `on_start` has left, for iterations that begin with that: in the closed model it stays by itself.
    pub(super) fn has_started(&mut self, scenario: usize, (keeps_cookies, closed): (bool, bool)) {
        let values = &self.values;
        let left = values
            .written
            .iter()
            .map(|slot| (*slot, values.slots[*slot as usize].clone()))
            .collect();
        let cookies = if keeps_cookies && !closed {
            self.engines.all_cookies()
        } else {
            None
        };
        if let Some(started) = self.started.get_mut(scenario) {
            *started = Some(Started { left, cookies });
        }
    }
}

impl Values {
    /// Gives a variable a value, or takes it away.
    pub(super) fn set(&mut self, slot: u32, value: Option<Arc<str>>) {
        self.slots[slot as usize] = value;
        if !self.written.contains(&slot) {
            self.written.push(slot);
        }
    }

    /// The value of a variable.
    pub(super) fn get(&self, slot: u32) -> Option<&str> {
        self.slots.get(slot as usize)?.as_deref()
    }

    pub(super) fn scope<'a>(&'a self, program: &'a Program, last: Option<&'a Answer>) -> Scope<'a> {
        Scope {
            slots: &self.slots,
            tables: &program.tables,
            rows: &self.rows,
            draws: &self.draws,
            facts: self.facts,
            last,
        }
    }

    /// Draws think times of this iteration.
    pub(super) fn think(&mut self, seed: u64) -> &mut Rng {
        let Facts { load, index, .. } = self.facts;
        self.think
            .get_or_insert_with(|| stream(seed, load, index, Purpose::Think))
    }

    fn pick_rows(&mut self, program: &Program, scenario: &Scenario) -> Result<(), (NoRow, u16)> {
        let Facts { load, index, user, .. } = self.facts;
        self.rows.fill(None);
        for number in &scenario.data {
            let place = usize::from(*number);
            let rows = program.tables[place].rows();
            let row = pick(
                (&program.plan.data[place], place, rows),
                program.seed,
                (load, index, user),
            )
            .map_err(|no_row| (no_row, *number))?;
            self.rows[place] = Some(row);
        }
        Ok(())
    }

    /// Every variable as it is at the beginning of an iteration.
    fn reset(&mut self, plan: &CompiledPlan) {
        for slot in self.written.drain(..) {
            self.slots[slot as usize].clone_from(&plan.base[slot as usize]);
        }
        for (slot, text) in &plan.program.initials {
            let value = text.value(&self.scope(&plan.program, None));
            self.slots[*slot as usize] = value;
        }
    }
}
