//! The heaps of this repository, through the allocator trait, and their coalescing engine on its own.

#![expect(unsafe_code, reason = "adapts an unsafe interface")]

use std::alloc::Layout;
use std::ptr::NonNull;

use allocator_api2::alloc::Allocator;
use mallocstate::os::SystemPages;
use mallocstate::{CoalescingAllocator, Local, LocalMallocState, MallocState};

use super::{Arena, Peer};

pub(super) type ThreadedHeap = MallocState;
pub(super) type LocalHeap = LocalMallocState;
pub(super) type ThreadedCoalescing = CoalescingAllocator;
pub(super) type LocalCoalescing = CoalescingAllocator<Local>;

/// Adapts one mode, made by the given constructor.
macro_rules! adapt {
    ($heap:ty, $create:expr) => {
        // SAFETY: the allocator's contract says as much, and a heap of this crate may be moved.
        unsafe impl Peer for $heap {
            type Handle<'heap> = &'heap $heap;

            #[inline(always)]
            fn create() -> Self {
                $create
            }

            fn handle(&self) -> &Self {
                self
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

            fn reclaim(&self) {
                <$heap>::reclaim(self);
            }
        }
    };
}

adapt!(ThreadedHeap, MallocState::new());
adapt!(LocalHeap, MallocState::local());
adapt!(ThreadedCoalescing, CoalescingAllocator::new());
adapt!(
    LocalCoalescing,
    CoalescingAllocator::local_in(SystemPages::new()).expect("the system's segments are in bounds")
);

/// The arena's calls of one mode.
macro_rules! adapt_arena {
    ($heap:ty) => {
        impl Arena for $heap {
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
                <$heap>::reset(self);
            }
        }
    };
}

adapt_arena!(ThreadedHeap);
adapt_arena!(LocalHeap);
