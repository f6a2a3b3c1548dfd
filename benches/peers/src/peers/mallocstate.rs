//! The heaps of this repository, through the allocator trait.

#![expect(unsafe_code, reason = "adapts an unsafe interface")]

use std::alloc::Layout;
use std::ptr::NonNull;

use mallocstate::allocator_api2::alloc::Allocator;
use mallocstate::{LocalMallocState, MallocState};

use super::Peer;

pub(super) type ThreadedHeap = MallocState;
pub(super) type LocalHeap = LocalMallocState;

/// Adapts one mode, made by the given constructor.
macro_rules! adapt {
    ($heap:ty, $create:expr) => {
        // SAFETY: the allocator's contract says as much, and a heap of this crate may be moved.
        unsafe impl Peer for $heap {
            #[inline(always)]
            fn create() -> Self {
                $create
            }

            #[inline(always)]
            fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
                Allocator::allocate(self, layout).ok().map(NonNull::cast)
            }

            #[inline(always)]
            unsafe fn free(&self, block: NonNull<u8>, layout: Layout) {
                // SAFETY: the caller keeps the same contract.
                unsafe { self.deallocate(block, layout) }
            }
        }
    };
}

adapt!(ThreadedHeap, MallocState::new());
adapt!(LocalHeap, MallocState::local());
