//! The values of functions: drawn from the run's seed, the iteration and the call's place in the plan.

use std::cell::Cell;

use barrage_model::ids::LoadId;
use barrage_model::rng::{Purpose, Rng, stream};
use barrage_model::template::{Decimal, Function};

use super::clock::{iso_time, wall_ms};

/// What functions of one iteration draw from.
#[derive(Debug, Default)]
pub(super) struct Draws {
    /// Two independent seeds, so that a UUID has as many different values as it has random bits.
    seeds: [u64; 2],
    /// How often each call has been evaluated in this iteration.
    counts: Vec<Cell<u32>>,
}

/// What a function may say about the iteration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) run: u64,
    pub(super) load: LoadId,
    pub(super) index: u64,
    pub(super) user: u64,
}

impl Draws {
    /// For a plan with so many calls.
    pub(super) fn new(calls: usize) -> Self {
        Self {
            seeds: [0; 2],
            counts: vec![Cell::new(0); calls],
        }
    }

    /// Begins an iteration.
    pub(super) fn begin(&mut self, seed: u64, load: LoadId, index: u64) {
        if !self.counts.is_empty() {
            let mut rng = stream(seed, load, index, Purpose::Body);
            self.seeds = [rng.next_u64(), rng.next_u64()];
            self.counts.iter().for_each(|count| count.set(0));
        }
    }

    /// The value of a call. Each evaluation within an iteration has its own, and none depends on the others.
    pub(super) fn call(&self, function: &Function, place: u32, facts: Facts) -> String {
        let nth = self
            .counts
            .get(place as usize)
            .map_or(0, |count| count.replace(count.get().wrapping_add(1)));
        let key = u64::from(place) << 32 | u64::from(nth);
        let mut rng = Rng::from_seed(self.seeds[0] ^ key);
        match function {
            Function::Uuid => uuid(rng.next_u64(), Rng::from_seed(self.seeds[1] ^ key).next_u64()),
            Function::UniqueId => {
                let Facts { run, load, index, .. } = facts;
                format!("{run:016x}-{:x}-{index:x}-{place:x}-{nth:x}", load.0)
            }
            Function::RandomInt { lo, hi } => rng.between(*lo, *hi).to_string(),
            Function::RandomFloat { lo, hi } => Decimal(rng.between(lo.0, hi.0)).to_string(),
            Function::RandomString { len } => {
                const LETTERS: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
                (0..*len).map(|_| char::from(LETTERS[rng.below(62) as usize])).collect()
            }
            Function::RandomHex { len } => (0..*len)
                .map(|_| char::from(b"0123456789abcdef"[rng.below(16) as usize]))
                .collect(),
            Function::Pick(choices) => choices
                .get(rng.below(choices.len() as u64) as usize)
                .cloned()
                .unwrap_or_default(),
            Function::Counter(_) | Function::Iteration => facts.index.to_string(),
            Function::Timestamp => (wall_ms() / 1_000).to_string(),
            Function::TimestampMs => wall_ms().to_string(),
            Function::IsoTime => iso_time(wall_ms()),
            Function::User => facts.user.to_string(),
            // Filled in when the plan is compiled.
            Function::Worker | Function::Scenario | Function::RunId | Function::Target => String::new(),
        }
    }
}

fn uuid(high: u64, low: u64) -> String {
    let high = high & !0xf000 | 0x4000;
    let low = low & (u64::MAX >> 2) | 1 << 63;
    let (a, b, c) = (high >> 32, high >> 16 & 0xffff, high & 0xffff);
    format!(
        "{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}",
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn facts(load: u16, index: u64) -> Facts {
        Facts {
            run: 0xabc,
            load: LoadId(load),
            index,
            user: 7,
        }
    }

    fn draws(seed: u64, load: u16, index: u64) -> Draws {
        let mut draws = Draws::new(4);
        draws.begin(seed, LoadId(load), index);
        draws
    }

    #[test]
    fn values_are_functions_of_seed_iteration_place_and_turn() {
        let all = [
            Function::Uuid,
            Function::UniqueId,
            Function::RandomInt {
                lo: i64::MIN,
                hi: i64::MAX,
            },
            Function::RandomString { len: 20 },
            Function::RandomHex { len: 20 },
        ];
        for function in all {
            let mut seen = BTreeSet::new();
            for index in 0..20 {
                for place in 0..3 {
                    let (one, other) = (draws(5, 1, index), draws(5, 1, index));
                    for _ in 0..3 {
                        let value = one.call(&function, place, facts(1, index));
                        assert_eq!(other.call(&function, place, facts(1, index)), value);
                        assert!(seen.insert(value.clone()), "{function:?} {value}");
                    }
                    // What another place draws in between changes nothing.
                    let third = draws(5, 1, index);
                    third.call(&function, 3, facts(1, index));
                    assert!(seen.contains(&third.call(&function, place, facts(1, index))));
                }
            }
        }
        let value = |seed| draws(seed, 0, 0).call(&Function::RandomHex { len: 16 }, 0, facts(0, 0));
        assert_ne!(value(1), value(2));
    }

    #[test]
    fn values_have_their_form() {
        let draws = draws(9, 0, 30);
        let call = |function: Function| draws.call(&function, 0, facts(2, 30));
        for _ in 0..200 {
            let uuid = call(Function::Uuid);
            let parts: Vec<usize> = uuid.split('-').map(str::len).collect();
            assert_eq!(parts, [8, 4, 4, 4, 12]);
            assert_eq!(&uuid[14..15], "4");
            assert!("89ab".contains(&uuid[19..20]), "{uuid}");
            let int: i64 = call(Function::RandomInt { lo: -2, hi: 2 }).parse().unwrap();
            assert!((-2..=2).contains(&int));
            let float: f64 = call(Function::RandomFloat {
                lo: Decimal(500_000),
                hi: Decimal(1_500_000),
            })
            .parse()
            .unwrap();
            assert!((0.5..=1.5).contains(&float));
            assert!(["a", "b"].contains(&call(Function::Pick(vec!["a".into(), "b".into()])).as_str()));
        }
        assert_eq!(call(Function::RandomString { len: 33 }).len(), 33);
        assert_eq!(call(Function::Counter("x".into())), "30");
        assert_eq!(call(Function::User), "7");
        let turn = 200 * 4 + 3;
        assert_eq!(call(Function::UniqueId), format!("0000000000000abc-2-1e-0-{turn:x}"));
    }
}
