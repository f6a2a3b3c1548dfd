//! The medium classes of a thread cache: a few blocks of each, within a budget of bytes.
//!
//! A medium block costs a walk over its neighbours' headers each time it is split off or merged. Two magazines of two
//! blocks a class spare most of them; the blocks stand in the cache itself, so that nothing of theirs is touched.
//!
//! # Invariants
//!
//! - `cached` is the sum of the class sizes of all blocks, at most the budget it was last pushed within.
//! - Only the thread that leases the cache's slot, or the holder of an exclusive borrow of the heap, writes.

use core::array;
use core::cell::Cell;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};

use crate::primitives::abort::corruption;

/// Medium classes of a source: five doublings of eight.
pub(crate) const MEDIUM_CLASSES: usize = 40;

/// Blocks of a class: two magazines of two.
const STACK: usize = 4;

/// Bytes that a thread caches in medium blocks at most.
const BUDGET: usize = 4 << 20;

/// Share of a heap's limit that a thread may cache.
const LIMIT_SHARE: usize = 256;

#[repr(C)]
struct Stack {
    blocks: [Cell<*mut u8>; STACK],
    len: AtomicU8,
}

/// The medium blocks that a thread keeps; all zero is the empty state.
#[repr(C)]
pub(crate) struct MediumCache {
    cached: AtomicUsize,
    stacks: [Stack; MEDIUM_CLASSES],
}

impl MediumCache {
    /// The block of this medium class that came last, of `size` bytes.
    #[inline(always)]
    pub(crate) fn pop(&self, class: usize, size: usize) -> Option<NonNull<u8>> {
        let stack = &self.stacks[class];
        let len = stack.len.load(Relaxed).checked_sub(1)?;
        stack.len.store(len, Relaxed);
        self.cached.store(self.cached.load(Relaxed) - size, Relaxed);
        NonNull::new(stack.blocks[usize::from(len) % STACK].get())
    }

    /// Keeps a block of `size` bytes, unless that is beyond the budget or there are enough of the class.
    #[inline(always)]
    pub(crate) fn push(&self, class: usize, size: usize, block: NonNull<u8>, limit: usize) -> bool {
        let stack = &self.stacks[class];
        let len = usize::from(stack.len.load(Relaxed));
        let cached = self.cached.load(Relaxed) + size;
        if len != 0 && stack.blocks[(len - 1) % STACK].get() == block.as_ptr() {
            corruption("block freed twice", block.as_ptr());
        }
        if len >= STACK || cached > BUDGET.min(limit / LIMIT_SHARE) {
            return false;
        }
        stack.blocks[len].set(block.as_ptr());
        stack.len.store(len as u8 + 1, Relaxed);
        self.cached.store(cached, Relaxed);
        true
    }

    /// Takes the older half of a full class out: a full magazine.
    pub(crate) fn take_older(&self, class: usize, size: usize) -> [Option<NonNull<u8>>; STACK / 2] {
        let stack = &self.stacks[class];
        if usize::from(stack.len.load(Relaxed)) < STACK {
            return [None; STACK / 2];
        }
        let older = array::from_fn(|index| NonNull::new(stack.blocks[index].get()));
        for index in 0..STACK / 2 {
            stack.blocks[index].set(stack.blocks[index + STACK / 2].get());
        }
        stack.len.store((STACK / 2) as u8, Relaxed);
        self.cached.store(self.cached.load(Relaxed) - STACK / 2 * size, Relaxed);
        older
    }

    /// Blocks cached of a class.
    pub(crate) fn cached(&self, class: usize) -> usize {
        usize::from(self.stacks[class].len.load(Relaxed))
    }

    /// Takes every block out, with its medium class.
    pub(crate) fn drain(&self, mut give: impl FnMut(usize, NonNull<u8>)) {
        for (class, stack) in self.stacks.iter().enumerate() {
            let len = usize::from(stack.len.swap(0, Relaxed));
            stack.blocks[..len]
                .iter()
                .filter_map(|block| NonNull::new(block.get()))
                .for_each(|block| give(class, block));
        }
        self.cached.store(0, Relaxed);
    }

    /// Forgets all blocks: their segments are gone.
    pub(crate) fn forget(&self) {
        self.cached.store(0, Relaxed);
        for stack in &self.stacks {
            stack.len.store(0, Relaxed);
            stack.blocks.iter().for_each(|block| block.set(ptr::null_mut()));
        }
    }
}
