//! The slots of one load: which are free, and how many there may be.

use barrage_model::ids::ShardId;
use barrage_model::schedule::Wheel;

use super::SlotId;

/// Slots appear when they are needed and are then kept; the one freed last is taken first, so that as few connections
/// as possible stay in use.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    shard: ShardId,
    wheel: Wheel,
    /// Most slots of this shard.
    max: u32,
    /// The user number of the slot made last.
    last_user: Option<u64>,
    free: Vec<SlotId>,
    active: u32,
}

impl Pool {
    /// A pool for this shard's part of `total` slots in the whole fleet.
    pub(super) fn new(shard: ShardId, wheel: &Wheel, total: u32) -> Self {
        let max = u32::try_from(wheel.owned_before(shard, u64::from(total))).unwrap_or(u32::MAX);
        Self {
            shard,
            wheel: wheel.clone(),
            max,
            last_user: None,
            free: Vec::new(),
            active: 0,
        }
    }

    /// Takes over the shard's part under another wheel. Slots beyond it end with their iteration.
    pub(super) fn resize(&mut self, wheel: &Wheel, total: u32) {
        self.wheel = wheel.clone();
        self.max = u32::try_from(wheel.owned_before(self.shard, u64::from(total))).unwrap_or(u32::MAX);
    }

    /// Takes a free slot, or makes one with `make` from its user number. `None` at the limit.
    pub(super) fn take(&mut self, make: impl FnOnce(u64) -> SlotId) -> Option<SlotId> {
        if self.active >= self.max {
            return None;
        }
        let slot = if let Some(slot) = self.free.pop() {
            slot
        } else {
            let user = self
                .wheel
                .next_owned(self.shard, self.last_user.map_or(0, |last| last + 1))?;
            self.last_user = Some(user);
            make(user)
        };
        self.active += 1;
        Some(slot)
    }

    /// Gives a slot back.
    pub(super) fn free(&mut self, slot: SlotId) {
        self.active = self.active.saturating_sub(1);
        self.free.push(slot);
    }

    /// Whether the wheel gives this shard a share.
    pub(super) fn has_share(&self, wheel: &Wheel) -> bool {
        wheel.share(self.shard).0 > 0
    }

    pub(super) fn active(&self) -> u32 {
        self.active
    }

    pub(super) fn max(&self) -> u32 {
        self.max
    }
}
