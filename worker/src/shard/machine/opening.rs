//! What a run begins with, before it begins.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use barrage_model::ids::{LoadId, ScenarioId};
use barrage_model::time::Moment;

use super::{Gate, Held, Input, Machine, Output};

/// What falls due in this time needs connections of its own: no target answers much sooner.
const SPAN: Duration = Duration::from_millis(1);
/// Most iterations that are counted.
const MOST: u32 = 1_024;

/// No ceiling.
struct Unlimited;

impl Gate for Unlimited {
    fn admit(&mut self, _: LoadId, _: ScenarioId, _: Moment) -> Result<(), Held> {
        Ok(())
    }
}

impl Machine {
    /// How many iterations of each scenario begin in the first millisecond of the run, 1,024 at most. Takes a machine that
    /// is used for nothing else. `indices` says how many there are of an `iterations` load.
    pub fn opening(mut self, indices: impl Fn(LoadId) -> u64) -> BTreeMap<ScenarioId, u32> {
        let (mut counts, mut left, mut given) = (BTreeMap::new(), MOST, BTreeSet::new());
        let end = Moment::ZERO + SPAN;
        self.handle(Moment::ZERO, Input::Grant(end + SPAN), &mut Unlimited);
        let mut inputs = VecDeque::from([Input::Tick]);
        while let Some(input) = inputs.pop_front() {
            self.handle(end, input, &mut Unlimited);
            let mut started = false;
            while let Some(output) = self.poll() {
                match output {
                    Output::Start(start) if left > 0 => {
                        left -= 1;
                        started = true;
                        *counts.entry(start.scenario).or_insert(0) += 1;
                    }
                    Output::WantIndices(load) => {
                        let (first, count) = (0, if given.insert(load) { indices(load) } else { 0 });
                        inputs.push_back(Input::Indices { load, first, count });
                    }
                    _ => {}
                }
            }
            // There may be more: a load starts a batch at a time.
            if started && inputs.is_empty() {
                inputs.push_back(Input::Tick);
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use barrage_model::ids::ShardId;
    use barrage_model::plan::{IterationsLoad, LoadModel, UserStage, UserStageShape, UsersLoad};

    use super::super::testing::{epoch, hold, marks, open, plan};
    use super::*;

    #[test]
    fn a_run_opens_with_what_falls_due_in_its_first_millisecond() {
        let users = |users| {
            let shape = UserStageShape::Hold {
                users,
                length: Duration::from_secs(1),
            };
            let stage = UserStage {
                name: String::new(),
                shape,
            };
            LoadModel::Users(UsersLoad {
                stages: vec![stage],
                think: None,
                pace: None,
            })
        };
        let counted = |count, users| {
            LoadModel::Iterations(IterationsLoad {
                count,
                users,
                at_most: Duration::from_secs(1),
            })
        };
        let late = Duration::from_secs(1);
        // Where the shard has every second place.
        let table = [
            (open(500, late), Duration::ZERO, 20_000, 11),
            (open(8, late), Duration::ZERO, 20_000, 4),
            (open(500, late), Duration::ZERO, 10, 1),
            (users(600), Duration::ZERO, 0, 300),
            (users(9_000), Duration::ZERO, 0, 1_024),
            (users(600), late, 0, 0),
            (counted(3, 10), Duration::ZERO, 0, 3),
            (counted(1_000, 10), Duration::ZERO, 0, 5),
        ];
        for (model, start_at, rate, want) in table {
            let pieces = if rate > 0 { hold(rate, 1) } else { Vec::new() };
            let indices = match &model {
                LoadModel::Iterations(model) => model.count,
                _ => 0,
            };
            let plan = plan(vec![model], start_at);
            let wheel = [(LoadId(0), epoch(&[0, 1], pieces, 0, Moment::ZERO))];
            let machine = Machine::new(&plan, ShardId(0), 1, &wheel, marks(&[0])).unwrap();
            let opening = machine.opening(|_| indices);
            assert_eq!(opening.values().sum::<u32>(), want, "{plan:?}");
            assert!(opening.keys().all(|scenario| *scenario == ScenarioId(0)));
        }
        let several = plan(vec![counted(4, 9), users(2), counted(5, 9)], Duration::ZERO);
        let wheel = epoch(&[0], Vec::new(), 0, Moment::ZERO);
        let wheels = [0, 1, 2].map(|load| (LoadId(load), Arc::clone(&wheel)));
        let machine = Machine::new(&several, ShardId(0), 1, &wheels, marks(&[0])).unwrap();
        let opening = machine.opening(|load| if load == LoadId(0) { 4 } else { 5 });
        assert_eq!(opening.values().sum::<u32>(), 11);
    }
}
