//! First-class heaps of mimalloc 3, made with `mi_heap_new` and ended with `mi_heap_destroy`.

#![expect(unsafe_code, reason = "adapts a C interface")]

use std::alloc::Layout;
use std::ptr::NonNull;

use libmimalloc_sys::{mi_free, mi_heap_destroy, mi_heap_malloc, mi_heap_malloc_aligned, mi_heap_new, mi_heap_t};

use super::Peer;

/// `mi_heap_malloc` aligns a block to this where the block is at least as large.
const NATURAL_ALIGN: usize = 16;

pub(super) struct MimallocHeap(NonNull<mi_heap_t>);

// SAFETY: the heap's blocks are disjoint and stay until they are freed or the heap, which is behind a pointer, is
// destroyed.
unsafe impl Peer for MimallocHeap {
    #[inline(always)]
    fn create() -> Self {
        // SAFETY: it may be called at any time.
        let heap = unsafe { mi_heap_new() };
        Self(NonNull::new(heap).expect("mimalloc makes a heap"))
    }

    #[inline(always)]
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        let block = if layout.align() <= NATURAL_ALIGN && layout.align() <= layout.size() {
            // SAFETY: the heap is not destroyed before it is dropped.
            unsafe { mi_heap_malloc(self.0.as_ptr(), layout.size()) }
        } else {
            // SAFETY: as above, and a layout's alignment is a power of two.
            unsafe { mi_heap_malloc_aligned(self.0.as_ptr(), layout.size(), layout.align()) }
        };
        NonNull::new(block.cast())
    }

    #[inline(always)]
    unsafe fn free(&self, block: NonNull<u8>, _: Layout) {
        // SAFETY: the block is from mimalloc, and the caller gives it up.
        unsafe { mi_free(block.as_ptr().cast()) }
    }
}

impl Drop for MimallocHeap {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: blocks are used only while the heap is borrowed, and it goes now.
        unsafe { mi_heap_destroy(self.0.as_ptr()) }
    }
}
