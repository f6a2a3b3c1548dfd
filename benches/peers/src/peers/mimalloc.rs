//! mimalloc 3: first-class heaps, made with `mi_heap_new` and ended with `mi_heap_destroy`, and its global allocator.

#![expect(unsafe_code, reason = "adapts a C interface")]

use std::alloc::Layout;
use std::ptr::NonNull;

use libmimalloc_sys::{
    mi_collect, mi_free, mi_heap_collect, mi_heap_destroy, mi_heap_malloc, mi_heap_malloc_aligned, mi_heap_new,
    mi_heap_realloc, mi_heap_realloc_aligned, mi_heap_t, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned,
};

use super::{In, Peer, Resize};

/// Blocks are aligned to this where they are at least as large.
const NATURAL_ALIGN: usize = 16;

#[inline(always)]
fn is_natural(layout: Layout) -> bool {
    layout.align() <= NATURAL_ALIGN && layout.align() <= layout.size()
}

pub(super) struct MimallocHeap(NonNull<mi_heap_t>);

// SAFETY: in mimalloc 3, other than before, a heap may be used by threads at once.
unsafe impl Sync for MimallocHeap {}

// SAFETY: the heap's blocks are disjoint and stay until they are freed or the heap, which is behind a pointer, is
// destroyed.
unsafe impl Peer for MimallocHeap {
    type Handle<'heap> = In<'heap, Self>;

    #[inline(always)]
    fn create() -> Self {
        // SAFETY: it may be called at any time.
        let heap = unsafe { mi_heap_new() };
        Self(NonNull::new(heap).expect("mimalloc makes a heap"))
    }

    fn handle(&self) -> In<'_, Self> {
        In(self)
    }

    #[inline(always)]
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        let block = if is_natural(layout) {
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

    fn reclaim(&self) {
        // SAFETY: the heap is not destroyed before it is dropped.
        unsafe { mi_heap_collect(self.0.as_ptr(), true) }
    }
}

// SAFETY: both calls keep what the block holds.
unsafe impl Resize for MimallocHeap {
    #[inline(always)]
    unsafe fn resize(&self, block: NonNull<u8>, _: Layout, new: Layout) -> Option<NonNull<u8>> {
        let (heap, block) = (self.0.as_ptr(), block.as_ptr().cast());
        let moved = if is_natural(new) {
            // SAFETY: the block is from this heap, and the caller gives it up.
            unsafe { mi_heap_realloc(heap, block, new.size()) }
        } else {
            // SAFETY: as above, and a layout's alignment is a power of two.
            unsafe { mi_heap_realloc_aligned(heap, block, new.size(), new.align()) }
        };
        NonNull::new(moved.cast())
    }
}

impl Drop for MimallocHeap {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: blocks are used only while the heap is borrowed, and it goes now.
        unsafe { mi_heap_destroy(self.0.as_ptr()) }
    }
}

/// The global allocator, whose blocks are freed one by one.
pub(super) struct MimallocGlobal;

// SAFETY: the allocator's blocks are disjoint and stay until they are freed.
unsafe impl Peer for MimallocGlobal {
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
        let block = if is_natural(layout) {
            // SAFETY: it may be called at any time.
            unsafe { mi_malloc(layout.size()) }
        } else {
            // SAFETY: a layout's alignment is a power of two.
            unsafe { mi_malloc_aligned(layout.size(), layout.align()) }
        };
        NonNull::new(block.cast())
    }

    #[inline(always)]
    unsafe fn free(&self, block: NonNull<u8>, _: Layout) {
        // SAFETY: the block is from mimalloc, and the caller gives it up.
        unsafe { mi_free(block.as_ptr().cast()) }
    }

    fn reclaim(&self) {
        // SAFETY: it may be called at any time.
        unsafe { mi_collect(true) }
    }
}

// SAFETY: both calls keep what the block holds.
unsafe impl Resize for MimallocGlobal {
    #[inline(always)]
    unsafe fn resize(&self, block: NonNull<u8>, _: Layout, new: Layout) -> Option<NonNull<u8>> {
        let block = block.as_ptr().cast();
        let moved = if is_natural(new) {
            // SAFETY: the block is from mimalloc, and the caller gives it up.
            unsafe { mi_realloc(block, new.size()) }
        } else {
            // SAFETY: as above, and a layout's alignment is a power of two.
            unsafe { mi_realloc_aligned(block, new.size(), new.align()) }
        };
        NonNull::new(moved.cast())
    }
}
