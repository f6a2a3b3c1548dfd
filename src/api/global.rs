//! The program's global allocator.

#![cfg(all(
    feature = "std",
    any(
        target_os = "linux",
        target_vendor = "apple",
        target_os = "freebsd",
        target_os = "netbsd",
        all(windows, target_env = "msvc")
    )
))]
#![expect(unsafe_code, reason = "implements an unsafe trait")]

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

use crate::heap::global::GlobalMallocState;

fn start(block: Option<NonNull<[u8]>>) -> *mut u8 {
    block.map_or(ptr::null_mut(), |block| block.cast().as_ptr())
}

// SAFETY: the heap hosts its own bookkeeping and its locks do not allocate, so that no call comes back here; no method
// unwinds; blocks are the layout's.
unsafe impl GlobalAlloc for GlobalMallocState {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        start(self.allocate_block(layout))
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        start(self.allocate_zeroed_block(layout))
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: what is freed is a block, hence not null.
        let block = unsafe { NonNull::new_unchecked(block) };
        // SAFETY: the caller keeps the trait's contract.
        unsafe { self.free_block(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: what is resized is a block, hence not null.
        let block = unsafe { NonNull::new_unchecked(block) };
        // SAFETY: the caller says that the new size, rounded up to the alignment, is at most `isize::MAX`.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        // SAFETY: the caller keeps the trait's contract.
        start(unsafe { self.resize_block(block, self.extent(block, layout), new) })
    }
}
