//! The wheel: which shard owns which arrival.

use crate::ids::ShardId;

/// Most positions of a wheel, and most shards.
pub const WHEEL_MAX: usize = 4_096;

/// A table of owners, gone round and round: item i belongs to the shard at position `i mod len`. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wheel {
    table: Vec<ShardId>,
    /// (shard, where its positions begin in `places`), by shard; they end where the next shard's begin.
    shards: Vec<(ShardId, u32)>,
    places: Vec<u32>,
}

/// Weights or a table that are not a wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WheelError {
    /// No shard has a weight, or the table is empty.
    #[error("a wheel needs a shard with a share")]
    Empty,
    /// Over [`WHEEL_MAX`] shards or positions.
    #[error("a wheel of {0} is over the limit of {WHEEL_MAX}")]
    TooLong(usize),
}

impl Wheel {
    /// A smooth weighted round robin over shards 0, 1, 2, … with the given weights: the positions of a shard are spread
    /// evenly. Weights are reduced by their greatest common divisor; when they still sum to more than [`WHEEL_MAX`] they
    /// are scaled to it with the least error, and every shard with a weight keeps at least one position.
    ///
    /// # Errors
    /// More than [`WHEEL_MAX`] weights, or none above zero.
    pub fn smooth(weights: &[u32]) -> Result<Self, WheelError> {
        if weights.len() > WHEEL_MAX {
            return Err(WheelError::TooLong(weights.len()));
        }
        let divisor = weights.iter().fold(0, |divisor, weight| gcd(divisor, *weight));
        if divisor == 0 {
            return Err(WheelError::Empty);
        }
        let mut shares: Vec<u64> = weights.iter().map(|weight| u64::from(weight / divisor)).collect();
        if shares.iter().sum::<u64>() > WHEEL_MAX as u64 {
            shares = fit(&shares, WHEEL_MAX as u64);
        }
        Self::from_table(spread(&shares))
    }

    /// A wheel from its table, as [`Wheel::table`] gives it.
    ///
    /// # Errors
    /// An empty table, or one of more than [`WHEEL_MAX`] positions.
    pub fn from_table(table: Vec<ShardId>) -> Result<Self, WheelError> {
        if table.is_empty() {
            return Err(WheelError::Empty);
        }
        if table.len() > WHEEL_MAX {
            return Err(WheelError::TooLong(table.len()));
        }
        let mut places: Vec<u32> = (0..table.len() as u32).collect();
        places.sort_by_key(|place| table[*place as usize]);
        let mut shards: Vec<(ShardId, u32)> = Vec::new();
        for (begin, place) in places.iter().enumerate() {
            let shard = table[*place as usize];
            if shards.last().is_none_or(|(last, _)| *last != shard) {
                shards.push((shard, begin as u32));
            }
        }
        Ok(Self { table, shards, places })
    }

    /// The owner at each position.
    pub fn table(&self) -> &[ShardId] {
        &self.table
    }

    /// Number of positions: 1 to [`WHEEL_MAX`].
    #[expect(clippy::len_without_is_empty, reason = "a wheel is never empty")]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// The shard that owns item `offset`.
    pub fn owner(&self, offset: u64) -> ShardId {
        self.table[(offset % self.table.len() as u64) as usize]
    }

    /// The positions of `shard`, rising; none when it has no share.
    pub fn positions(&self, shard: ShardId) -> &[u32] {
        let Ok(at) = self.shards.binary_search_by_key(&shard, |(shard, _)| *shard) else {
            return &[];
        };
        let end = self
            .shards
            .get(at + 1)
            .map_or(self.places.len(), |(_, begin)| *begin as usize);
        &self.places[self.shards[at].1 as usize..end]
    }

    /// The share of `shard`: its positions, and the positions of all.
    pub fn share(&self, shard: ShardId) -> (u32, u32) {
        (self.positions(shard).len() as u32, self.table.len() as u32)
    }

    /// The shards with a share, rising.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + '_ {
        self.shards.iter().map(|(shard, _)| *shard)
    }

    /// How many of the items 0 to `total` − 1 each shard owns; by shard, shards without a share left out.
    pub fn divide(&self, total: u64) -> Vec<(ShardId, u64)> {
        self.shards()
            .map(|shard| (shard, self.owned_before(shard, total)))
            .collect()
    }

    /// How many items below `offset` belong to `shard`.
    pub fn owned_before(&self, shard: ShardId, offset: u64) -> u64 {
        let positions = self.positions(shard);
        let (turns, place) = self.split(offset);
        turns * positions.len() as u64 + positions.partition_point(|own| *own < place) as u64
    }

    /// The first item of `shard` at or after `offset`; `None` when it has no share or items are used up.
    pub fn next_owned(&self, shard: ShardId, offset: u64) -> Option<u64> {
        let positions = self.positions(shard);
        let (turns, place) = self.split(offset);
        match positions.get(positions.partition_point(|own| *own < place)) {
            Some(own) => self.join(turns, *own),
            None => self.join(turns.checked_add(1)?, *positions.first()?),
        }
    }

    /// The last item of `shard` below `offset`; `None` when there is none.
    pub fn last_owned_before(&self, shard: ShardId, offset: u64) -> Option<u64> {
        let positions = self.positions(shard);
        let (turns, place) = self.split(offset);
        match positions.partition_point(|own| *own < place).checked_sub(1) {
            Some(at) => self.join(turns, positions[at]),
            None => self.join(turns.checked_sub(1)?, *positions.last()?),
        }
    }

    fn split(&self, offset: u64) -> (u64, u32) {
        let len = self.table.len() as u64;
        (offset / len, (offset % len) as u32)
    }

    fn join(&self, turns: u64, place: u32) -> Option<u64> {
        turns
            .checked_mul(self.table.len() as u64)?
            .checked_add(u64::from(place))
    }
}

fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Scales `shares` down to sum to `len` with the least total error, keeping at least 1 of each that is not 0.
fn fit(shares: &[u64], len: u64) -> Vec<u64> {
    let sum: u64 = shares.iter().sum();
    let mut fitted: Vec<u64> = shares
        .iter()
        .map(|share| (share * len / sum).max(u64::from(*share > 0)))
        .collect();
    // What each shard still misses, in positions times `sum`; negative for those raised to 1.
    let missing =
        |fitted: &[u64], at: usize| i128::from(shares[at]) * i128::from(len) - i128::from(fitted[at]) * i128::from(sum);
    let mut given: u64 = fitted.iter().sum();
    while given < len {
        let rest = (0..shares.len()).filter(|at| shares[*at] > 0);
        // The lowest shard wins a tie.
        let at = rest
            .rev()
            .max_by_key(|at| missing(&fitted, *at))
            .expect("a sum above the limit has a share");
        fitted[at] += 1;
        given += 1;
    }
    while given > len {
        let rest = (0..shares.len()).filter(|at| fitted[*at] > 1);
        let at = rest
            .min_by_key(|at| missing(&fitted, *at))
            .expect("there are at most as many shards as positions");
        fitted[at] -= 1;
        given -= 1;
    }
    fitted
}

/// Smooth weighted round robin: in each step every shard earns its share, the richest takes the position and pays the sum.
fn spread(shares: &[u64]) -> Vec<ShardId> {
    let sum: i64 = shares.iter().sum::<u64>().cast_signed();
    let mut credit: Vec<(usize, i64, i64)> = (shares.iter().enumerate())
        .filter(|(_, share)| **share > 0)
        .map(|(shard, share)| (shard, share.cast_signed(), 0))
        .collect();
    let turn = |_| {
        let mut richest = 0;
        for at in 0..credit.len() {
            credit[at].2 += credit[at].1;
            if credit[at].2 > credit[richest].2 {
                richest = at;
            }
        }
        credit[richest].2 -= sum;
        ShardId(credit[richest].0 as u32)
    };
    (0..sum).map(turn).collect()
}
