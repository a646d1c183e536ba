//! The stream of unit-exponential waits behind Poisson arrivals, the same on every host to the bit.

use crate::{rng::Rng, schedule::curve::ARRIVAL};

/// Sums of waits that are exponentially distributed with mean 1, in half-pico-arrivals: the phases at which Λ makes the
/// arrivals of a Poisson process fall due.
///
/// The logarithm is made of additions, multiplications and divisions of 64-bit floats alone, which IEEE 754 fixes to
/// the bit; no mathematics library takes part. A wait is exact to about 10⁻¹² and at most 36.8.
#[derive(Clone, Debug)]
pub struct ExpStream {
    rng: Rng,
    phase: u128,
}

impl ExpStream {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::from_seed(seed),
            phase: 0,
        }
    }

    /// The phase of the next arrival; never below the one before.
    pub fn next_phase(&mut self) -> u128 {
        self.phase += u128::from(wait(self.rng.next_u64()));
        self.phase
    }
}

/// Buckets into which [1, 2) is cut for the logarithm.
const CUTS: usize = 128;
const LN_2: f64 = std::f64::consts::LN_2;
const ONE: f64 = ARRIVAL as f64;

/// For each bucket 1/c and ln c of its centre c.
static CENTRES: [(f64, f64); CUTS] = {
    let mut centres = [(0.0, 0.0); CUTS];
    let mut at = 0;
    while at < CUTS {
        let centre = 1.0 + (2 * at + 1) as f64 / (2 * CUTS) as f64;
        centres[at] = (1.0 / centre, ln(centre));
        at += 1;
    }
    centres
};

/// ln x for x in [1, 2) by the series of 2·artanh((x − 1)/(x + 1)), whose terms fall at least ninefold.
const fn ln(x: f64) -> f64 {
    let z = (x - 1.0) / (x + 1.0);
    let mut power = z;
    let mut sum = 0.0;
    let mut odd = 1;
    while odd < 41 {
        sum += power / odd as f64;
        power *= z * z;
        odd += 2;
    }
    2.0 * sum
}

/// −ln u in half-pico-arrivals, rounded down, for the u that `bits` stand for: an odd multiple of 2⁻⁵³ below 1.
fn wait(bits: u64) -> u64 {
    let odd = (bits >> 12) << 1 | 1;
    let exponent = odd.ilog2();
    // odd = x · 2^exponent with x in [1, 2), exactly.
    let fraction = odd << (52 - exponent) & ((1 << 52) - 1);
    let x = f64::from_bits(1023 << 52 | fraction);
    let (inverse, ln_centre) = CENTRES[(fraction >> 45) as usize];
    // x = c · (1 + r) with |r| below 2⁻⁸, so five terms of ln(1 + r) leave an error below 10⁻¹⁵.
    let r = x * inverse - 1.0;
    let ln_rest = r * (1.0 - r * (1.0 / 2.0 - r * (1.0 / 3.0 - r * (1.0 / 4.0 - r * (1.0 / 5.0)))));
    let wait = f64::from(53 - exponent) * LN_2 - ln_centre - ln_rest;
    // Rounding can make the shortest wait a negative one. By way of i64, for that conversion is one instruction.
    ((wait * ONE) as i64).max(0).cast_unsigned()
}
