//! The medium classes of a thread cache: a few blocks of each, within a budget of bytes.
//!
//! A medium block costs a walk over its neighbours' headers each time it is split off or merged. Two magazines of two
//! blocks a class spare most of them; the blocks stand in the cache itself, so that nothing of theirs is touched.
//!
//! # Invariants
//!
//! - `cached` is the sum of the class sizes of all blocks, at most the budget that was set last.
//! - Only the thread that leases the cache's slot, or the holder of an exclusive borrow of the heap, writes.

use core::array;
use core::cell::Cell;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

use crate::primitives::abort::corruption;

/// Medium classes of a source: five doublings of eight.
pub(crate) const MEDIUM_CLASSES: usize = 40;

/// Blocks of a class: two magazines of two.
const STACK: usize = 4;

/// Bytes that a thread may cache in medium blocks in every heap without a limit.
const LEAST_BUDGET: usize = 4 << 20;

/// Bytes that a thread caches in medium blocks at most.
const MOST_BUDGET: usize = 16 << 20;

/// Share of what a heap has committed that a thread may cache, between the two.
const COMMITTED_SHARE: usize = 4;

/// Share of a heap's limit that a thread may cache.
const LIMIT_SHARE: usize = 256;

#[repr(C)]
struct Stack {
    blocks: [Cell<*mut u8>; STACK],
    /// A whole word: see `Magazines::room`.
    len: AtomicU32,
}

/// The medium blocks that a thread keeps; all zero is the empty state, without a budget.
#[repr(C)]
pub(crate) struct MediumCache {
    cached: AtomicUsize,
    budget: Cell<usize>,
    stacks: [Stack; MEDIUM_CLASSES],
}

impl MediumCache {
    /// Sets what may be cached, of a heap that has `committed` bytes and may have `limit`.
    pub(crate) fn set_budget(&self, committed: usize, limit: usize) {
        self.budget.set((committed / COMMITTED_SHARE).clamp(LEAST_BUDGET, MOST_BUDGET).min(limit / LIMIT_SHARE));
    }

    /// The block of this medium class that came last, of `size` bytes.
    #[inline(always)]
    pub(crate) fn pop(&self, class: usize, size: usize) -> Option<NonNull<u8>> {
        let stack = &self.stacks[class];
        let len = stack.len.load(Relaxed).checked_sub(1)?;
        stack.len.store(len, Relaxed);
        self.cached.store(self.cached.load(Relaxed) - size, Relaxed);
        NonNull::new(stack.blocks[len as usize % STACK].get())
    }

    /// Keeps a block of `size` bytes, unless that is beyond the budget or there are enough of the class. A cache that was
    /// just emptied has no budget, so that the next block goes the long way, which finds what the heap's limit is now.
    #[inline(always)]
    pub(crate) fn push(&self, class: usize, size: usize, block: NonNull<u8>) -> bool {
        let stack = &self.stacks[class];
        let len = stack.len.load(Relaxed) as usize;
        let cached = self.cached.load(Relaxed) + size;
        if len != 0 && stack.blocks[(len - 1) % STACK].get() == block.as_ptr() {
            corruption("block freed twice", block.as_ptr());
        }
        if len >= STACK || cached > self.budget.get() {
            return false;
        }
        stack.blocks[len].set(block.as_ptr());
        stack.len.store(len as u32 + 1, Relaxed);
        self.cached.store(cached, Relaxed);
        true
    }

    /// Takes the older half of a full class out: a full magazine.
    pub(crate) fn take_older(&self, class: usize, size: usize) -> [Option<NonNull<u8>>; STACK / 2] {
        let stack = &self.stacks[class];
        if (stack.len.load(Relaxed) as usize) < STACK {
            return [None; STACK / 2];
        }
        let older = array::from_fn(|index| NonNull::new(stack.blocks[index].get()));
        for index in 0..STACK / 2 {
            stack.blocks[index].set(stack.blocks[index + STACK / 2].get());
        }
        stack.len.store((STACK / 2) as u32, Relaxed);
        self.cached.store(self.cached.load(Relaxed) - STACK / 2 * size, Relaxed);
        older
    }

    /// Blocks cached of a class.
    pub(crate) fn cached(&self, class: usize) -> usize {
        self.stacks[class].len.load(Relaxed) as usize
    }

    /// Takes every block out, with its medium class.
    pub(crate) fn drain(&self, mut give: impl FnMut(usize, NonNull<u8>)) {
        for (class, stack) in self.stacks.iter().enumerate() {
            let len = stack.len.swap(0, Relaxed) as usize;
            stack.blocks[..len]
                .iter()
                .filter_map(|block| NonNull::new(block.get()))
                .for_each(|block| give(class, block));
        }
        self.cached.store(0, Relaxed);
        self.budget.set(0);
    }

    /// Forgets all blocks: their segments are gone.
    pub(crate) fn forget(&self) {
        self.cached.store(0, Relaxed);
        self.budget.set(0);
        for stack in &self.stacks {
            stack.len.store(0, Relaxed);
            stack.blocks.iter().for_each(|block| block.set(ptr::null_mut()));
        }
    }
}

#[cfg(test)]
mod tests {
    use core::num::NonZero;
    use std::vec::Vec;

    use super::*;
    use crate::primitives::abort::last_words;

    const MIB: usize = 1 << 20;

    fn cache() -> MediumCache {
        let stack = || Stack { blocks: [const { Cell::new(ptr::null_mut()) }; STACK], len: AtomicU32::new(0) };
        let stacks = array::from_fn(|_| stack());
        let cache = MediumCache { cached: AtomicUsize::new(0), budget: Cell::new(0), stacks };
        cache.set_budget(0, usize::MAX);
        cache
    }

    /// Only its address is looked at.
    fn block(number: usize) -> NonNull<u8> {
        NonNull::without_provenance(NonZero::new(number << 16).expect("a number"))
    }

    fn fill(cache: &MediumCache, class: usize, size: usize) -> usize {
        (1..).take_while(|&number| cache.push(class, size, block(number))).count()
    }

    #[test]
    fn the_last_block_of_a_class_comes_first() {
        let cache = cache();
        assert_eq!(fill(&cache, 3, 1000), STACK);
        assert_eq!(fill(&cache, MEDIUM_CLASSES - 1, 2000), STACK);
        assert_eq!((cache.cached(3), cache.cached(4)), (STACK, 0));
        for left in (0..STACK).rev() {
            assert_eq!(cache.pop(3, 1000), Some(block(left + 1)));
            assert_eq!(cache.cached(3), left);
        }
        assert_eq!((cache.pop(3, 1000), cache.pop(4, 1000)), (None, None));
        assert_eq!(cache.cached(MEDIUM_CLASSES - 1), STACK);
    }

    #[test]
    fn free_twice() {
        let errors = last_words("cache::medium::tests::free_twice", || {
            let cache = cache();
            for number in [1, 2, 2] {
                cache.push(0, MIB, block(number));
            }
        });
        assert!(errors.starts_with("mallocstate: block freed twice"), "{errors}");
    }

    #[test]
    fn bytes_are_within_the_budget() {
        let cache = cache();
        assert_eq!((fill(&cache, 0, MIB), fill(&cache, 1, MIB)), (4, 0));
        assert!(cache.pop(0, MIB).is_some());
        assert_eq!(fill(&cache, 1, MIB), 1);
        cache.forget();
        assert!(!cache.push(0, 1, block(1)), "there is no budget yet");
        cache.set_budget(0, LIMIT_SHARE * MIB);
        assert!(!cache.push(0, MIB + 1, block(1)));
        assert!(cache.push(0, MIB, block(1)));
        assert!(!cache.push(1, 1, block(2)));
        cache.set_budget(0, LIMIT_SHARE * (MIB + 1));
        assert!(cache.push(1, 1, block(2)));
    }

    #[test]
    fn the_budget_is_a_share_of_what_is_committed_and_of_the_limit() {
        let cache = cache();
        for (committed, budget) in [(0, 4), (16, 4), (20, 5), (64, 16), (1000, 16)] {
            cache.set_budget(committed * MIB, usize::MAX);
            let share_of_all_addresses = usize::MAX / LIMIT_SHARE;
            assert_eq!(cache.budget.get(), (budget * MIB).min(share_of_all_addresses), "{committed}");
            cache.set_budget(committed * MIB, LIMIT_SHARE * 3);
            assert_eq!(cache.budget.get(), 3);
        }
    }

    #[test]
    fn the_older_half_of_a_full_class_is_taken_out() {
        let cache = cache();
        (1..STACK).for_each(|number| assert!(cache.push(7, MIB, block(number))));
        assert_eq!(cache.take_older(7, MIB), [None; 2]);
        assert!(cache.push(7, MIB, block(STACK)));
        assert_eq!(cache.take_older(7, MIB), [Some(block(1)), Some(block(2))]);
        assert_eq!(cache.cached(7), 2);
        assert_eq!(fill(&cache, 8, MIB), 2, "what the budget has left");
        assert_eq!((cache.pop(7, MIB), cache.pop(7, MIB), cache.pop(7, MIB)), (Some(block(4)), Some(block(3)), None));
    }

    #[test]
    fn everything_is_drained_or_forgotten() {
        let cache = cache();
        for forget in [false, true] {
            cache.set_budget(0, usize::MAX);
            assert_eq!((fill(&cache, 1, MIB), fill(&cache, 39, 1)), (4, 0));
            assert!(cache.pop(1, MIB).is_some() && cache.push(39, 1, block(9)));
            if forget {
                cache.forget();
            } else {
                let mut drained = Vec::new();
                cache.drain(|class, block| drained.push((class, block)));
                assert_eq!(drained, [(1, block(1)), (1, block(2)), (1, block(3)), (39, block(9))]);
            }
            assert!((0..MEDIUM_CLASSES).all(|class| cache.cached(class) == 0 && cache.pop(class, 1).is_none()));
        }
        cache.set_budget(0, usize::MAX);
        assert_eq!(fill(&cache, 5, MIB), 4);
    }
}
