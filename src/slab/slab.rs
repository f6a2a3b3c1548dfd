//! The descriptor of a slab: which blocks of it are free, cut, or not yet touched.
//!
//! ```text
//! base                     cut blocks              committed            base + len
//! │ out or free, by bit    │ rest of the portion   │ not yet touched    │
//! ```
//!
//! # Invariants
//!
//! - `free <= cut <= capacity`, and `cut * size <= committed <= len`.
//! - A bit is set only for a block below `cut`; `free` is the number of set bits.
//! - The slab is in its root's list of partial slabs exactly when `listed`: when it has a free block, or uncut ones that
//!   no thread cache is cutting.
//! - Every bit pattern is a valid descriptor, and only the holder of the root's lock writes one; iteration reads its
//!   atomics without the lock.

#![expect(unsafe_code, reason = "reaches the bitmap beside the descriptor")]

use core::cell::Cell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, Ordering::Relaxed};

use crate::primitives::corruption::Corruption;
use crate::primitives::list::{Linked, Links};
use crate::slab::bitmap::Bitmap;
use crate::slab::size_class::SizeClass;

/// A slab's descriptor, in the header of its segment.
#[repr(C)]
pub(crate) struct Slab {
    links: Links<Slab>,
    /// Bytes from the segment's base to the first block.
    start: Cell<usize>,
    bits: Cell<*mut Bitmap>,
    committed: AtomicU32,
    cut: AtomicU16,
    free: AtomicU16,
    class: AtomicU8,
    run: Cell<u8>,
    flags: Cell<u8>,
}

// SAFETY: always the same field.
unsafe impl Linked for Slab {
    fn links(&self) -> &Links<Self> {
        &self.links
    }
}

/// The slab is in its root's list.
pub(super) const LISTED: u8 = 1;
/// A thread cache cuts blocks from the slab's fresh end.
pub(super) const BUMPING: u8 = 2;
/// Blocks have come back since free pages were last discarded.
pub(super) const DISCARDABLE: u8 = 4;
/// Pages were discarded that must be committed again.
pub(super) const DECOMMITTED: u8 = 8;
/// The bitmap holds what an earlier slab left there, and stands for the empty one.
const STALE_BITS: u8 = 16;
/// The slab is among those of its root's list that have free blocks.
pub(super) const IN_FRONT: u8 = 32;

impl Slab {
    /// Makes this the descriptor of an empty slab with nothing committed.
    ///
    /// # Safety
    ///
    /// `bits` is the slab's own bitmap, and lives as long as the descriptor.
    pub(super) unsafe fn reset(&self, class: SizeClass, start: usize, run: u8, bits: NonNull<Bitmap>) {
        self.start.set(start);
        self.bits.set(bits.as_ptr());
        self.committed.store(0, Relaxed);
        self.cut.store(0, Relaxed);
        self.free.store(0, Relaxed);
        self.class.store(class.index() as u8, Relaxed);
        self.run.set(run);
        // A slab whose blocks never come back does not touch its bitmap at all.
        self.flags.set(STALE_BITS);
    }

    /// Runs `change` on the bitmap; the caller holds the root's lock, or an exclusive borrow of the heap.
    pub(super) fn with_bits<R>(&self, change: impl FnOnce(&mut Bitmap) -> R) -> R {
        // SAFETY: `reset` stored the slab's own bitmap; the lock's holder is the only one to use it, and no closure
        // here reaches it a second time.
        let bits = unsafe { &mut *self.bits.get() };
        if self.is(STALE_BITS) {
            bits.clear();
            self.set(STALE_BITS, false);
        }
        change(bits)
    }

    pub(super) fn class(&self) -> SizeClass {
        SizeClass::from_index(usize::from(self.class.load(Relaxed)))
    }

    pub(super) fn start(&self) -> usize {
        self.start.get()
    }

    pub(super) fn run(&self) -> u8 {
        self.run.get()
    }

    pub(super) fn cut(&self) -> usize {
        usize::from(self.cut.load(Relaxed))
    }

    pub(super) fn set_cut(&self, cut: usize) {
        self.cut.store(cut as u16, Relaxed);
    }

    pub(super) fn free(&self) -> usize {
        usize::from(self.free.load(Relaxed))
    }

    pub(super) fn set_free(&self, free: usize) {
        self.free.store(free as u16, Relaxed);
    }

    pub(super) fn committed(&self) -> usize {
        self.committed.load(Relaxed) as usize
    }

    pub(super) fn set_committed(&self, bytes: usize) {
        self.committed.store(bytes as u32, Relaxed);
    }

    pub(super) fn is(&self, flag: u8) -> bool {
        self.flags.get() & flag != 0
    }

    pub(super) fn set(&self, flag: u8, value: bool) {
        let others = self.flags.get() & !flag;
        self.flags.set(if value { others | flag } else { others });
    }

    /// The number of the block that starts `offset` bytes behind the first, where one was cut there.
    pub(super) fn cut_block(&self, offset: usize) -> Option<usize> {
        if offset >= self.committed() {
            return None;
        }
        self.class().block_index(offset).filter(|&index| index < self.cut())
    }

    /// No block of it is out, and none will come out of a bump range.
    pub(super) fn is_empty(&self) -> bool {
        self.free() == self.cut() && !self.is(BUMPING)
    }

    /// Whether it can give blocks to whoever asks.
    pub(super) fn has_room(&self, capacity: usize) -> bool {
        self.free() > 0 || (!self.is(BUMPING) && self.cut() < capacity)
    }

    /// Checks the invariants that need no other slab.
    pub(super) fn validate(&self, len: usize, address: usize) -> Result<(), Corruption> {
        let (cut, free, size) = (self.cut(), self.free(), self.class().size());
        Corruption::unless(free <= cut && cut <= len / size, "slab counts more blocks than it has", address)?;
        Corruption::unless(cut * size <= self.committed() && self.committed() <= len, "slab has cut too far", address)?;
        let (bits, highest) = self.with_bits(|bits| {
            let mut end = 0;
            while let Some((_, next)) = bits.next_run(end) {
                end = next;
            }
            (bits.len(), end)
        });
        Corruption::unless(bits == free, "slab's bitmap disagrees with its count", address)?;
        Corruption::unless(highest <= cut, "slab has a free block that was never cut", address)?;
        Corruption::unless(self.is(LISTED) == self.has_room(len / size), "slab is in the wrong list", address)
    }
}
