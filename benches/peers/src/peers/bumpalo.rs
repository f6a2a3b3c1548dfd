//! A bump arena, through the allocator trait: a free takes back the last block only, memory goes with the arena.

#![expect(unsafe_code, reason = "adapts an unsafe interface")]

use std::alloc::Layout;
use std::ptr::NonNull;

use allocator_api2::alloc::Allocator;
use bumpalo::Bump;

use super::{Arena, Peer};

pub(super) type BumpArena = Bump;

// SAFETY: the allocator's contract says as much of `&Bump`, whose chunks stay where they are when the arena is moved.
unsafe impl Peer for BumpArena {
    type Handle<'heap> = &'heap Bump;

    #[inline(always)]
    fn create() -> Self {
        Self::new()
    }

    fn handle(&self) -> &Self {
        self
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

impl Arena for BumpArena {
    #[inline(always)]
    fn value<T>(&self, value: T) -> &T {
        self.alloc(value)
    }

    #[inline(always)]
    fn text(&self, text: &str) -> &str {
        self.alloc_str(text)
    }

    #[inline(always)]
    fn slice<T: Copy>(&self, values: &[T]) -> &[T] {
        self.alloc_slice_copy(values)
    }

    #[inline(always)]
    fn reset(&mut self) {
        Bump::reset(self);
    }
}
