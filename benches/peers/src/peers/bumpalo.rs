//! A bump arena, through the allocator trait: a free takes back the last block only, memory goes with the arena.

#![expect(unsafe_code, reason = "adapts an unsafe interface")]

use std::alloc::Layout;
use std::ptr::NonNull;

use bumpalo::Bump;
use mallocstate::allocator_api2::alloc::Allocator;

use super::Peer;

pub(super) type BumpArena = Bump;

// SAFETY: the allocator's contract says as much of `&Bump`, whose chunks stay where they are when the arena is moved.
unsafe impl Peer for BumpArena {
    #[inline(always)]
    fn create() -> Self {
        Self::new()
    }

    #[inline(always)]
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        Allocator::allocate(&self, layout).ok().map(NonNull::cast)
    }

    #[inline(always)]
    unsafe fn free(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller keeps the same contract.
        unsafe { Allocator::deallocate(&self, block, layout) }
    }
}
