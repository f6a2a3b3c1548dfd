//! The list of thread slots: which are leased, the lowest free one first.
//!
//! ```text
//! top      4 words, a bit for each word of `middle`: is it full?
//! middle   a bit for each word of `leaves`: is it full?
//! leaves   a bit for each slot: is it leased?
//! ```
//!
//! # Invariants
//!
//! - A bit above the leaves is set where the word below it has all bits set.
//! - Every slot ever leased is below the high-water mark.
//! - What the holder of a lease did before it gave the slot back is seen by the next: both go through the list's lock.

use crate::os::lock::Locked;
use crate::os::raw_locks::SystemLock;
use crate::primitives::sync::atomic::{AtomicUsize, Ordering::Acquire, Ordering::Release};

/// How many slots there are.
pub(crate) const SLOTS: usize = 1 << 20;

const MIDDLE: usize = SLOTS / 64 / 64;
const TOP: usize = MIDDLE / 64;

/// Which slots are leased.
struct Leased {
    top: [u64; TOP],
    middle: [u64; MIDDLE],
    leaves: [u64; SLOTS / 64],
}

impl Leased {
    const NONE: Self = Self { top: [0; TOP], middle: [0; MIDDLE], leaves: [0; SLOTS / 64] };

    fn lowest_free(&self) -> Option<usize> {
        let top = self.top.iter().position(|&word| word != u64::MAX)?;
        let middle = top * 64 + self.top[top].trailing_ones() as usize;
        let leaf = middle * 64 + self.middle[middle].trailing_ones() as usize;
        Some(leaf * 64 + self.leaves[leaf].trailing_ones() as usize)
    }

    fn contains(&self, slot: usize) -> bool {
        self.leaves[slot / 64] & bit(slot) != 0
    }

    fn insert(&mut self, slot: usize) {
        debug_assert!(!self.contains(slot));
        let (leaf, middle) = (slot / 64, slot / 64 / 64);
        self.leaves[leaf] |= bit(slot);
        if self.leaves[leaf] == u64::MAX {
            self.middle[middle] |= bit(leaf);
        }
        if self.middle[middle] == u64::MAX {
            self.top[middle / 64] |= bit(middle);
        }
    }

    fn remove(&mut self, slot: usize) {
        debug_assert!(self.contains(slot));
        let (leaf, middle) = (slot / 64, slot / 64 / 64);
        self.leaves[leaf] &= !bit(slot);
        self.middle[middle] &= !bit(leaf);
        self.top[middle / 64] &= !bit(middle);
    }
}

const fn bit(index: usize) -> u64 {
    1 << (index % 64)
}

/// The slots, and who may have them.
pub(crate) struct SlotList {
    leased: Locked<SystemLock, Leased>,
    high_water: AtomicUsize,
}

impl SlotList {
    pub(crate) const fn new() -> Self {
        Self { leased: Locked::new(Leased::NONE), high_water: AtomicUsize::new(0) }
    }

    /// Leases the lowest free slot.
    pub(crate) fn take_lowest(&self) -> Option<usize> {
        let mut leased = self.leased.lock();
        let slot = leased.lowest_free()?;
        leased.insert(slot);
        if slot >= self.high_water.load(Acquire) {
            self.high_water.store(slot + 1, Release);
        }
        Some(slot)
    }

    /// Leases the slot if it is free and was leased before.
    pub(crate) fn take_if_free(&self, slot: usize) -> bool {
        let mut leased = self.leased.lock();
        let free = slot < self.high_water() && !leased.contains(slot);
        if free {
            leased.insert(slot);
        }
        free
    }

    /// Ends the lease of a slot.
    pub(crate) fn give_back(&self, slot: usize) {
        self.leased.lock().remove(slot);
    }

    /// Every slot ever leased is below.
    pub(crate) fn high_water(&self) -> usize {
        self.high_water.load(Acquire)
    }

    /// The bare lock, for the fork handlers.
    #[cfg(unix)]
    pub(super) const fn raw(&self) -> &SystemLock {
        self.leased.raw()
    }
}
