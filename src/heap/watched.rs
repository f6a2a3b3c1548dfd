//! What the heap tells a memory tool of its users' blocks: see `primitives/sanitizer`. Ordinary builds do nothing here.

#![expect(unsafe_code, reason = "reads the first byte of users' blocks")]

use core::ptr::NonNull;

use crate::heap::{MallocState, Mode};
use crate::os::PageSource;
use crate::primitives::sanitizer;
use crate::slab::SizeClass;

impl<M: Mode, S: PageSource> MallocState<M, S> {
    /// A new block as its user gets it: under a tool no longer than what was asked for.
    #[inline(always)]
    pub(crate) fn hand_out(&self, block: NonNull<[u8]>, requested: usize) -> NonNull<[u8]> {
        match self.watching(block.len()) {
            Some(pool) => sanitizer::hand_out(pool, block, requested),
            None => block,
        }
    }

    /// A block that was resized where it is, or moved along with its pages, as its user gets it.
    #[inline(always)]
    pub(crate) fn hand_out_resized(&self, block: NonNull<[u8]>, old: usize, requested: usize) -> NonNull<[u8]> {
        match self.watching(block.len()) {
            Some(pool) => sanitizer::resize(pool, block, old, requested),
            None => block,
        }
    }

    /// Lets the tool look at a block of some bytes that its user gives up, before the heap does.
    #[inline(always)]
    pub(crate) fn check_free(&self, block: NonNull<u8>, size: usize) {
        if let Some(pool) = self.watching(size) {
            sanitizer::freed(pool, block);
        }
    }

    /// Poisons a block of a class that its user has given up, before anybody else can have it.
    #[inline(always)]
    pub(crate) fn poison_freed(&self, block: NonNull<u8>, class: SizeClass) {
        if sanitizer::ENABLED {
            sanitizer::poison(block, class.size());
        }
    }

    /// Lets the tool look at a block of some bytes that its user speaks of.
    #[inline(always)]
    pub(crate) fn check_access(&self, block: NonNull<u8>, size: usize) {
        if self.watching(size).is_some() {
            // SAFETY: the caller speaks of a block in use; where that is not so, the tool reports the read.
            unsafe { block.read_volatile() };
        }
    }

    /// The heap's number among the pools of a tool that watches, where there is one and the block is not of zero size.
    #[inline(always)]
    fn watching(&self, size: usize) -> Option<usize> {
        if !sanitizer::ENABLED || size == 0 {
            return None;
        }
        self.core().map(|core| core.owner.pool())
    }
}
