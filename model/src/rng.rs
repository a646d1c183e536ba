//! Seeded pseudo-random numbers: the same on every host, and one independent stream per arrival and purpose.
//!
//! The generator is xoshiro256++ 1.0 (David Blackman and Sebastiano Vigna, <https://prng.di.unimi.it>, public domain),
//! its state filled by `SplitMix64` as its authors advise. Not for secrets.

use crate::ids::LoadId;

/// The step of `SplitMix64`: 2⁶⁴ divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A xoshiro256++ generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng([u64; 4]);

impl Rng {
    /// A generator whose state comes from `seed` through `SplitMix64`.
    pub fn from_seed(seed: u64) -> Self {
        // SplitMix64 gives four different words, so the state is never all zero.
        Self([1, 2, 3, 4].map(|step: u64| mix(seed.wrapping_add(GOLDEN.wrapping_mul(step)))))
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.0;
        let out = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let carry = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= carry;
        s[3] = s[3].rotate_left(45);
        out
    }

    /// A number below `n`, each equally likely; 0 when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        // Lemire's method: the high half of a product, minus the few draws that would favour some results.
        let mut product = u128::from(self.next_u64()) * u128::from(n);
        if (product as u64) < n {
            let unfair = n.wrapping_neg() % n;
            while (product as u64) < unfair {
                product = u128::from(self.next_u64()) * u128::from(n);
            }
        }
        (product >> 64) as u64
    }

    /// A number from `lo` to `hi`, both included, each equally likely; `lo` when `hi` is smaller.
    pub fn between(&mut self, lo: i64, hi: i64) -> i64 {
        if hi <= lo {
            return lo;
        }
        match hi.abs_diff(lo).checked_add(1) {
            Some(width) => lo.wrapping_add_unsigned(self.below(width)),
            None => self.next_u64().cast_signed(),
        }
    }

    /// A number in `[0, 1)`, a multiple of 2⁻⁵³.
    pub fn unit_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Fills `out` with random bytes, the low byte of each draw first.
    pub fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let bytes = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }

    /// A place in `weights`, each as likely as its weight; 0 when all weights are zero or there are none.
    pub fn pick_weighted(&mut self, weights: &[u32]) -> usize {
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        let mut point = self.below(total);
        for (place, weight) in weights.iter().enumerate() {
            match point.checked_sub(u64::from(*weight)) {
                Some(rest) => point = rest,
                None => return place,
            }
        }
        0
    }
}

/// What a stream of random numbers is for. Each purpose has its own, so that one more draw for a body moves no data row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Choice of the scenario.
    Scenario,
    /// Choice of the data row.
    Row,
    /// Random values in requests.
    Body,
    /// Think times.
    Think,
    /// Seed of an epoch's Poisson stream; the index is the epoch's id.
    Poisson,
    /// Choices of a user of a closed model; the index is the user's number.
    User,
    /// Choices of faults injected in the worker.
    Fault,
    /// Unique ids.
    Unique,
}

impl Purpose {
    /// Part of every seed: never renumber.
    const fn code(self) -> u64 {
        match self {
            Self::Scenario => 1,
            Self::Row => 2,
            Self::Body => 3,
            Self::Think => 4,
            Self::Poisson => 5,
            Self::User => 6,
            Self::Fault => 7,
            Self::Unique => 8,
        }
    }
}

/// The stream of random numbers that belongs to one index of one load: a function of its arguments alone, so the same
/// seed gives the same requests on any fleet.
///
/// Within a load and purpose, different indices always get different states.
pub fn stream(run_seed: u64, load: LoadId, index: u64, purpose: Purpose) -> Rng {
    let run = mix(run_seed.wrapping_add(GOLDEN));
    let family = mix(run ^ (purpose.code() << 16 | u64::from(load.0)));
    Rng::from_seed(mix(family.wrapping_add(index.wrapping_mul(GOLDEN))))
}

/// `SplitMix64`'s output function (David Stafford's variant 13), a bijection.
const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        // From the authors' reference: state 1, 2, 3, 4.
        let mut rng = Rng([1, 2, 3, 4]);
        let want = [
            41_943_041,
            58_720_359,
            3_588_806_011_781_223,
            3_591_011_842_654_386,
            9_228_616_714_210_784_205,
        ];
        assert_eq!(want.map(|_| rng.next_u64()), want);
    }

    #[test]
    fn the_seeding_is_splitmix64() {
        // The reference's first outputs for seed 1234567.
        let want = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
        ];
        assert_eq!(Rng::from_seed(1_234_567), Rng(want));
    }

    /// A change here changes every reproducible run of every user.
    #[test]
    fn streams_are_pinned() {
        let first = |load, index, purpose| stream(42, LoadId(load), index, purpose).next_u64();
        let got = [
            first(0, 0, Purpose::Scenario),
            first(0, 1, Purpose::Scenario),
            first(1, 0, Purpose::Scenario),
            first(0, 0, Purpose::Row),
            first(0, 0, Purpose::Poisson),
            first(u16::MAX, u64::MAX, Purpose::Unique),
        ];
        let want = [
            585_610_034_939_969_566,
            14_000_083_759_348_082_604,
            11_153_295_491_339_281_964,
            17_968_682_186_082_243_135,
            10_211_129_474_880_952_330,
            1_821_800_560_849_647_383,
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn streams_differ() {
        let mut seen = BTreeSet::new();
        for seed in 0..4 {
            for load in 0..8 {
                for index in 0..64 {
                    for purpose in [Purpose::Scenario, Purpose::Row, Purpose::Body, Purpose::Think] {
                        assert!(seen.insert(stream(seed, LoadId(load), index, purpose).next_u64()));
                    }
                }
            }
        }
    }

    #[test]
    fn bounds_hold_and_nothing_is_favoured() {
        let mut rng = Rng::from_seed(7);
        let mut counts = [0u32; 6];
        for _ in 0..60_000 {
            counts[rng.below(6) as usize] += 1;
        }
        // Each is binomial with a deviation of 91; five of them are 457.
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 457), "{counts:?}");
        assert_eq!((rng.below(0), rng.below(1)), (0, 0));
        // A range over half of all values: a plain remainder would favour the low quarter.
        let wide = 3 << 62;
        let low = (0..30_000).filter(|_| rng.below(wide) < 1 << 62).count();
        assert!(low.abs_diff(10_000) < 500, "{low}");
        for _ in 0..1_000 {
            assert!((-3..=3).contains(&rng.between(-3, 3)));
            assert!((0.0..1.0).contains(&rng.unit_f64()));
        }
        assert_eq!((rng.between(5, 5), rng.between(5, -5)), (5, 5));
        assert_ne!(rng.between(i64::MIN, i64::MAX), rng.between(i64::MIN, i64::MAX));
    }

    #[test]
    fn weights_are_kept() {
        let mut rng = Rng::from_seed(9);
        let mut counts = [0u32; 4];
        for _ in 0..60_000 {
            counts[rng.pick_weighted(&[3, 0, 1, 2])] += 1;
        }
        assert_eq!(counts[1], 0);
        for (count, want) in counts.into_iter().zip([30_000u32, 0, 10_000, 20_000]) {
            assert!(count.abs_diff(want) < 620, "{counts:?}");
        }
        assert_eq!(rng.pick_weighted(&[]), 0);
        assert_eq!(rng.pick_weighted(&[0, 0]), 0);
        assert_eq!(rng.pick_weighted(&[u32::MAX; 3]) / 3, 0);
    }

    #[test]
    fn fill_is_the_same_whatever_the_length() {
        let (mut short, mut long) = ([0; 11], [0; 24]);
        Rng::from_seed(1).fill(&mut short);
        Rng::from_seed(1).fill(&mut long);
        assert_eq!(short, long[..11]);
        assert_ne!(long, [0; 24]);
    }
}
