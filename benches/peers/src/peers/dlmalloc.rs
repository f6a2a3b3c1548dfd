//! An instance of `dlmalloc`, ended with its `destroy`.

#![expect(unsafe_code, reason = "adapts an unsafe interface")]

use std::alloc::Layout;
use std::cell::UnsafeCell;
use std::mem;
use std::ptr::NonNull;

use dlmalloc::Dlmalloc;

use super::{In, Peer, Resize};

/// In a box, since an instance that is in use must not move: its bins point to themselves.
pub(super) struct DlmallocHeap(Box<UnsafeCell<Dlmalloc>>);

impl DlmallocHeap {
    /// Runs one call of the instance.
    #[inline(always)]
    fn with<T>(&self, call: impl FnOnce(&mut Dlmalloc) -> T) -> T {
        // SAFETY: the heap is not `Sync`, and no call of the instance comes back here.
        call(unsafe { &mut *self.0.get() })
    }
}

// SAFETY: the instance's blocks are disjoint and stay until they are freed or it is destroyed.
unsafe impl Peer for DlmallocHeap {
    type Handle<'heap> = In<'heap, Self>;

    #[inline(always)]
    fn create() -> Self {
        Self(Box::new(UnsafeCell::new(Dlmalloc::new())))
    }

    fn handle(&self) -> In<'_, Self> {
        In(self)
    }

    #[inline(always)]
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: the layout is not empty.
        NonNull::new(self.with(|heap| unsafe { heap.malloc(layout.size(), layout.align()) }))
    }

    #[inline(always)]
    unsafe fn free(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the block is from this instance and of this layout, and the caller gives it up.
        self.with(|heap| unsafe { heap.free(block.as_ptr(), layout.size(), layout.align()) });
    }

    fn reclaim(&self) {
        // SAFETY: it may be called at any time.
        self.with(|heap| unsafe { heap.trim(0) });
    }
}

// SAFETY: `realloc` keeps what the block holds.
unsafe impl Resize for DlmallocHeap {
    #[inline(always)]
    unsafe fn resize(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Option<NonNull<u8>> {
        let block = block.as_ptr();
        // SAFETY: the block is from this instance and of the old layout, and the caller gives it up.
        NonNull::new(self.with(|heap| unsafe { heap.realloc(block, old.size(), old.align(), new.size()) }))
    }
}

impl Drop for DlmallocHeap {
    #[inline(always)]
    fn drop(&mut self) {
        let heap = mem::replace(self.0.get_mut(), Dlmalloc::new());
        // SAFETY: blocks are used only while the heap is borrowed, and it goes now. What `destroy` reads may be moved.
        unsafe { heap.destroy() };
    }
}
