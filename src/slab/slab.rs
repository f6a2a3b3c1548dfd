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
//!   no thread cache is cutting. There it is `in front` exactly where it has a free block.
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

#[cfg(test)]
mod tests {
    use core::mem::MaybeUninit;
    use std::boxed::Box;

    use super::*;

    const LEN: usize = 16 << 10;
    const CAPACITY: usize = LEN / 64;

    /// A slab with 64 blocks cut, of which the last 16 are free.
    fn slab() -> &'static Slab {
        // SAFETY: every bit pattern is a valid descriptor.
        let slab = Box::leak(Box::new(unsafe { MaybeUninit::<Slab>::zeroed().assume_init() }));
        // SAFETY: the bitmap is there for good.
        unsafe { slab.reset(SizeClass::of(64), 5 * LEN, 2, NonNull::from(Box::leak(Box::new(Bitmap::new())))) };
        slab.set_committed(4096);
        slab.set_cut(64);
        assert_eq!(slab.with_bits(|bits| bits.insert_run(48, 64)), Ok(()));
        slab.set_free(16);
        slab.set(LISTED, true);
        slab
    }

    #[test]
    fn a_slab_has_room_where_blocks_are_free_or_nobody_cuts_the_rest() {
        let slab = slab();
        assert_eq!((slab.run(), slab.start(), slab.class()), (2, 5 * LEN, SizeClass::of(64)));
        for (free, cut, bumping, room) in [
            (16, 64, false, true),
            (16, 64, true, true),
            (1, CAPACITY, true, true),
            (0, 64, false, true),
            (0, 64, true, false),
            (0, CAPACITY, false, false),
            (0, CAPACITY, true, false),
        ] {
            slab.set_free(free);
            slab.set_cut(cut);
            slab.set(BUMPING, bumping);
            assert_eq!(slab.has_room(CAPACITY), room, "{free} {cut} {bumping}");
        }
    }

    #[test]
    fn a_block_is_one_that_was_cut() {
        let slab = slab();
        let cut: std::vec::Vec<usize> = (0..2 * LEN).filter_map(|offset| slab.cut_block(offset)).collect();
        assert_eq!(cut, (0..64).collect::<std::vec::Vec<usize>>());
        assert_eq!((slab.cut_block(64), slab.cut_block(usize::MAX - 63)), (Some(1), None));
        slab.set_cut(20);
        assert_eq!((slab.cut_block(19 * 64), slab.cut_block(20 * 64)), (Some(19), None));
    }

    #[test]
    fn damage_is_told_by_the_deep_check() {
        let slab = slab();
        let said = |what: &str| {
            let said = std::format!("{:?}", slab.validate(LEN, 0));
            assert!(said.contains(what), "{said}: {what}");
        };
        let sound = || {
            slab.set_free(16);
            slab.set_cut(64);
            slab.set_committed(4096);
            slab.set(LISTED, true);
            said("Ok");
        };
        sound();
        for free in [65, 1000] {
            slab.set_free(free);
            said("counts more blocks than it has");
        }
        sound();
        slab.set_cut(CAPACITY + 1);
        said("counts more blocks than it has");
        sound();
        for committed in [4095, 0, LEN + 1] {
            slab.set_committed(committed);
            said("has cut too far");
        }
        sound();
        for free in [15, 17, 0] {
            slab.set_free(free);
            said("bitmap disagrees with its count");
        }
        sound();
        slab.set_cut(63);
        said("a free block that was never cut");
        sound();
        slab.set(LISTED, false);
        said("in the wrong list");
        sound();
    }
}
