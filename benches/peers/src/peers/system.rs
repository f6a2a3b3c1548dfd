//! The system's malloc, whose blocks are freed one by one.

#![expect(unsafe_code, reason = "adapts an unsafe interface")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::NonNull;

use super::{In, Peer, Resize};

/// Through std, which calls `malloc`, `realloc` and `free` for every alignment that these have by nature.
pub(super) struct SystemMalloc;

// SAFETY: the allocator's blocks are disjoint and stay until they are freed.
unsafe impl Peer for SystemMalloc {
    const WHOLESALE: bool = false;

    type Handle<'heap> = In<'heap, Self>;

    #[inline(always)]
    fn create() -> Self {
        Self
    }

    fn handle(&self) -> In<'_, Self> {
        In(self)
    }

    #[inline(always)]
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: the layout is not empty.
        NonNull::new(unsafe { System.alloc(layout) })
    }

    #[inline(always)]
    unsafe fn free(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the block is the system's and of this layout, and the caller gives it up.
        unsafe { System.dealloc(block.as_ptr(), layout) }
    }

    fn reclaim(&self) {
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        // SAFETY: it may be called at any time.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

// SAFETY: `realloc` keeps what the block holds.
unsafe impl Resize for SystemMalloc {
    #[inline(always)]
    unsafe fn resize(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Option<NonNull<u8>> {
        // SAFETY: the block is the system's and of the old layout, and the caller gives it up; no layout is empty.
        NonNull::new(unsafe { System.realloc(block.as_ptr(), old, new.size()) })
    }
}
