//! `rlsf`, the two-level segregated fit, over pools of 4 MiB or whatever a single block needs.

#![expect(unsafe_code, reason = "adapts an unsafe interface")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{RefCell, UnsafeCell};
use std::ptr::NonNull;

use rlsf::{GRANULARITY, Tlsf};

use super::{In, Peer, Resize};

/// Length of a pool in bytes.
const POOL: usize = 4 << 20;

/// What a pool needs beside one block, at most, in bytes.
const OVERHEAD: usize = 4 * GRANULARITY;

/// 25 doublings of the granularity, to pools of a GiB, in 32 steps each: the good fit that its documentation describes.
type Bins = Tlsf<'static, u32, u32, 25, 32>;

#[derive(Default)]
struct Pools(Vec<(NonNull<u8>, Layout)>);

impl Drop for Pools {
    fn drop(&mut self) {
        for (pool, layout) in self.0.drain(..) {
            // SAFETY: the pool is from the system and of this layout, and is not used any more.
            unsafe { System.dealloc(pool.as_ptr(), layout) };
        }
    }
}

pub(super) struct RlsfHeap {
    bins: UnsafeCell<Bins>,
    pools: RefCell<Pools>,
}

impl RlsfHeap {
    /// Runs one call of the bins.
    #[inline(always)]
    fn with<T>(&self, call: impl FnOnce(&mut Bins) -> T) -> T {
        // SAFETY: the heap is not `Sync`, and no call of the bins comes back here.
        call(unsafe { &mut *self.bins.get() })
    }

    /// Adds a pool that has room for a block of the layout.
    #[cold]
    fn grow(&self, layout: Layout) -> Option<()> {
        // A fit is sought in the next step of sizes, a 32nd larger at most.
        let least = layout.size() + layout.size() / 16 + layout.align() + OVERHEAD;
        let pool = Layout::from_size_align(least.max(POOL).next_multiple_of(GRANULARITY), GRANULARITY).ok()?;
        // SAFETY: the layout is not empty.
        let start = NonNull::new(unsafe { System.alloc(pool) })?;
        self.pools.borrow_mut().0.push((start, pool));
        let memory = NonNull::slice_from_raw_parts(start, pool.size());
        // SAFETY: the memory is nobody else's, and stays until the heap is dropped.
        self.with(|bins| unsafe { bins.insert_free_block_ptr(memory) })?;
        Some(())
    }
}

// SAFETY: the blocks are disjoint parts of the pools, which stay until the heap is dropped. Nothing in a pool points to
// the bins.
unsafe impl Peer for RlsfHeap {
    type Handle<'heap> = In<'heap, Self>;

    #[inline(always)]
    fn create() -> Self {
        Self { bins: UnsafeCell::new(Tlsf::new()), pools: RefCell::default() }
    }

    fn handle(&self) -> In<'_, Self> {
        In(self)
    }

    #[inline(always)]
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        if let Some(block) = self.with(|bins| bins.allocate(layout)) {
            return Some(block);
        }
        self.grow(layout)?;
        self.with(|bins| bins.allocate(layout))
    }

    #[inline(always)]
    unsafe fn free(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the block is from these bins and of this alignment, and the caller gives it up.
        self.with(|bins| unsafe { bins.deallocate(block, layout.align()) });
    }
}

// SAFETY: `reallocate` keeps what the block holds, and so does the copy.
unsafe impl Resize for RlsfHeap {
    #[inline(always)]
    unsafe fn resize(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Option<NonNull<u8>> {
        // SAFETY: the block is from these bins and of this alignment, and the caller gives it up.
        if let Some(moved) = self.with(|bins| unsafe { bins.reallocate(block, new) }) {
            return Some(moved);
        }
        let fresh = self.allocate(new)?;
        // SAFETY: both blocks are at least so long, and the new one is nobody else's.
        unsafe { fresh.copy_from_nonoverlapping(block, old.size().min(new.size())) };
        // SAFETY: the block is from these bins, which left it as it was, and the caller gives it up.
        unsafe { self.free(block, old) };
        Some(fresh)
    }
}
