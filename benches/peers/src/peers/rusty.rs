//! Heaps of `rusty_alloc`, a remake of mimalloc in Rust: for one thread, dropped with all their blocks.

#![expect(unsafe_code, reason = "adapts an unsafe interface")]

use std::alloc::Layout;
use std::ptr::NonNull;

use rusty_alloc_api::Heap;

use super::{In, Peer, Resize};

pub(super) struct RustyHeap(Heap);

// SAFETY: the heap's blocks are disjoint and stay until they are freed or the heap, which is behind a pointer, is
// dropped.
unsafe impl Peer for RustyHeap {
    type Handle<'heap> = In<'heap, Self>;

    #[inline(always)]
    fn create() -> Self {
        Self(Heap::new_destroyable())
    }

    fn handle(&self) -> In<'_, Self> {
        In(self)
    }

    #[inline(always)]
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        self.0.alloc(layout)
    }

    #[inline(always)]
    unsafe fn free(&self, block: NonNull<u8>, _: Layout) {
        // SAFETY: the block is from this heap, and the caller gives it up.
        unsafe { self.0.dealloc(block) }
    }

    fn reclaim(&self) {
        self.0.collect();
    }
}

// SAFETY: the bytes that both layouts have in common are copied.
unsafe impl Resize for RustyHeap {
    /// The heap has no call for it.
    #[inline(always)]
    unsafe fn resize(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Option<NonNull<u8>> {
        let fresh = self.0.alloc(new)?;
        // SAFETY: both blocks are at least so long, and the new one is nobody else's.
        unsafe { fresh.copy_from_nonoverlapping(block, old.size().min(new.size())) };
        // SAFETY: the block is from this heap, and the caller gives it up.
        unsafe { self.0.dealloc(block) };
        Some(fresh)
    }
}
