//! A nursery: the first blocks of a young heap, one after the other in a piece of memory that all small classes share.
//!
//! ```text
//! first                                     cut            open                 end
//! │ 48 │░│ 64 │ 16 │ 16 │ 16 │░░░│ 512      │ next         │ not charged yet    │
//!      └─ skipped, so that blocks have their class's alignment
//! ```
//!
//! A slab of its own for each class would make ten blocks of ten classes touch ten pages, and cost ten times the way to a
//! new slab. A nursery is what a bump arena is, until it is used up: then each class has a slab of its own. It lies behind
//! the heap's core, in the header of the heap's first segment.
//!
//! One thread cache cuts it, without a lock. Blocks that come back to it, from whichever thread, wait until all have come
//! back; then the nursery is new again.
//!
//! # Invariants
//!
//! - Offsets count from the segment's base, `first <= cut <= open <= end`; below `open` all is charged. `first` is a multiple
//!   of the granule.
//! - Below `cut`, a granule's tag says which class of block starts there, if one does, and whether the block came back. Tags up
//!   to `open` are written when it is opened; a block's tag is written before the block is handed out.
//! - `used` is the bytes of all blocks that were cut, and `returned` those of the blocks that came back, counted soon after
//!   their tags say so.
//! - Only the thread that leases the slot of the nursery's cache cuts, opens and settles; the holder of an exclusive borrow
//!   of the heap may reset. Everybody else marks tags of blocks that come back, adds to `returned`, and reads.
//! - A new nursery is made under the pool's lock: who holds it can walk over all tags below `cut`.

#![expect(unsafe_code, reason = "hands out memory of a segment")]

use core::cell::Cell;
use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crate::os::PageSource;
use crate::os::lock::RawLock;
use crate::primitives::address::{align_down, align_up};
use crate::primitives::corruption::Corruption;
use crate::primitives::sanitizer;
use crate::segment::{SegmentRef, Supply, Usage};
use crate::slab::root::SlabContext;
use crate::slab::size_class::SizeClass;
use crate::slab::tag::{GRANULE, NURSERY_CLASSES, Tag};

/// Bytes of a nursery, at most.
const NURSERY_BYTES: usize = 256 << 10;

/// Share of a segment that its nursery may have.
const SEGMENT_SHARE: usize = 16;

/// A heap's nursery. Its tags stand in front of it, that of the first granule last, so that they share a page with the first
/// blocks; what it cuts follows it.
///
/// ```text
/// │ … │ tag of granule 1 │ tag of granule 0 │ Nursery │ granule 0 │ granule 1 │ …
/// └─ `tag_bytes_in`                         └─ `tags_end`
/// ```
pub(crate) struct Nursery {
    segment: SegmentRef,
    tags_end: u32,
    first: u32,
    end: u32,
    cut: AtomicU32,
    open: AtomicU32,
    used: AtomicU32,
    returned: AtomicU32,
    /// Up to here, memory may have been used by earlier nurseries since it was last discarded.
    dirty: Cell<u32>,
    /// Blocks have come back since free pages were last discarded.
    discardable: AtomicBool,
}

impl Nursery {
    /// Bytes of a nursery in a segment of this length.
    pub(super) const fn bytes_in(segment_len: usize) -> usize {
        let share = align_down(segment_len / SEGMENT_SHARE, GRANULE);
        if share < NURSERY_BYTES { share } else { NURSERY_BYTES }
    }

    /// Bytes of tags in front of a nursery in a segment of this length.
    pub(super) const fn tag_bytes_in(segment_len: usize) -> usize {
        Self::bytes_in(segment_len) / GRANULE
    }

    /// Makes a new nursery `offset` bytes behind its segment's base, that cuts the bytes from `first` to `end`.
    ///
    /// # Safety
    ///
    /// The place is writable, aligned for a nursery, and nobody else's; so are the range and the place for its tags.
    pub(super) unsafe fn write(segment: SegmentRef, offset: usize, first: usize, end: usize) {
        debug_assert!(first % GRANULE == 0 && end - first <= NURSERY_BYTES);
        let (first, end) = (first as u32, end as u32);
        let nursery = Self {
            segment,
            tags_end: offset as u32,
            first,
            end,
            cut: AtomicU32::new(first),
            open: AtomicU32::new(first),
            used: AtomicU32::new(0),
            returned: AtomicU32::new(0),
            dirty: Cell::new(first),
            discardable: AtomicBool::new(false),
        };
        nursery.poison();
        // SAFETY: the caller says that the place is within the segment.
        let place = unsafe { segment.at(offset) };
        // SAFETY: the place is writable, and aligned for a nursery.
        unsafe { place.cast::<Self>().write(nursery) };
    }

    /// Poisons everything that the nursery cuts.
    fn poison(&self) {
        sanitizer::poison(self.at(self.first()), self.end() - self.first());
    }

    #[inline]
    fn first(&self) -> usize {
        self.first as usize
    }

    #[inline]
    fn end(&self) -> usize {
        self.end as usize
    }

    #[inline]
    fn open(&self) -> usize {
        self.open.load(Relaxed) as usize
    }

    /// The byte at an offset from the segment's base.
    #[inline]
    fn at(&self, offset: usize) -> NonNull<u8> {
        debug_assert!((self.first()..=self.end()).contains(&offset));
        // SAFETY: the nursery lies within its segment.
        unsafe { self.segment.at(offset) }
    }

    /// Where the class's next block would start and end; `None` where the nursery does not serve the class.
    #[inline]
    fn next_block(&self, class: SizeClass) -> Option<(usize, usize)> {
        if !(1..NURSERY_CLASSES).contains(&class.index()) {
            return None;
        }
        // A class serves the alignments that divide its size.
        let (size, cut) = (class.size(), self.cut.load(Relaxed) as usize);
        let start = align_up(cut, size & size.wrapping_neg());
        Some((start, start + size))
    }

    /// The next block, for a class whose cache has none; `None` where too little is open.
    #[inline]
    pub(crate) fn cut(&self, class: SizeClass) -> Option<NonNull<u8>> {
        let (start, end) = self.next_block(class)?;
        if end > self.open() {
            return None;
        }
        self.tag(self.granule(start)).write(Some(class));
        // Who sees it sees the tags below.
        self.cut.store(end as u32, Release);
        self.used.store(self.used.load(Relaxed) + (end - start) as u32, Relaxed);
        Some(self.at(start))
    }

    /// Charges as much as the class's next block needs, and as much again as is open; false where that is not to be had, or
    /// the heap has a limit: what nobody uses is dear then.
    pub(crate) fn open_for<S: PageSource, L: RawLock>(&self, supply: &Supply<'_, S, L>, class: SizeClass) -> bool {
        let Some((_, end)) = self.next_block(class) else { return false };
        let open = self.open();
        if end <= open {
            return true;
        }
        if end > self.end() || supply.account.is_limited() {
            return false;
        }
        let doubled = open + (open - self.first());
        let target = align_up(doubled.max(end), supply.page_size()).min(self.end());
        if supply.commit(self.segment, open, target, target - open).is_err() {
            return false;
        }
        let (from, to) = (self.granule(open), self.granule(target));
        // SAFETY: the tags of these granules lie in a row, that of the highest one first.
        let tags = unsafe { slice::from_raw_parts(self.tag(to - 1), to - from) };
        // SAFETY: nobody looks at tags beyond `cut`, which is at most `open`.
        unsafe { Tag::clear(tags) };
        self.open.store(target as u32, Relaxed);
        true
    }

    #[inline]
    fn granule(&self, offset: usize) -> usize {
        (offset - self.first()) / GRANULE
    }

    #[inline]
    fn tag(&self, granule: usize) -> &Tag {
        debug_assert!(granule < (self.end() - self.first()) / GRANULE);
        // SAFETY: every granule has a tag in front of the nursery.
        let tag = unsafe { self.segment.at(self.tags_end as usize - 1 - granule) }.cast::<Tag>();
        // SAFETY: the tags live as long as the segment, and every byte is one.
        unsafe { tag.as_ref() }
    }

    /// Whether the byte at `offset` from the segment's base lies in what the nursery has cut.
    pub(super) fn has_cut(&self, offset: usize) -> bool {
        (self.first()..self.cut.load(Relaxed) as usize).contains(&offset)
    }

    /// The granule and the class of the block that starts at `offset` from the segment's base, if one does.
    pub(super) fn block_at(&self, offset: usize) -> Option<(usize, SizeClass)> {
        if offset % GRANULE != 0 || !self.has_cut(offset) {
            return None;
        }
        let granule = self.granule(offset);
        let (class, _) = self.tag(granule).read()?;
        Some((granule, class))
    }

    /// Takes a block back, which is to be counted; false where it was free already.
    pub(super) fn take_back(&self, granule: usize) -> bool {
        self.tag(granule).mark(Tag::FREE)
    }

    /// Counts the bytes of blocks that were taken back.
    pub(super) fn count_returned(&self, bytes: usize) {
        self.discardable.store(true, Relaxed);
        // Who sees that all have come back sees what their last users did.
        self.returned.fetch_add(bytes as u32, Release);
    }

    /// Makes the nursery a new one where all blocks have come back. While memory is reclaimed, discards free pages. The
    /// caller leases the slot of the nursery's cache.
    pub(crate) fn settle<S: PageSource, L: RawLock>(&self, context: &SlabContext<'_, S, L>) {
        let supply = &context.supply;
        let used = self.used.load(Relaxed);
        if used > 0 && self.returned.load(Acquire) == used {
            let committed = self.committed();
            let pool = context.pool.lock();
            self.reset();
            drop(pool);
            supply.uncharge(committed);
        }
        if supply.reclaimed.is_some() {
            self.discard(supply);
        }
    }

    /// Forgets all blocks: nobody uses them any more. What was charged for them is the caller's to take back.
    pub(super) fn reset(&self) {
        self.dirty.set(self.dirty.get().max(self.open.load(Relaxed)));
        self.cut.store(self.first, Relaxed);
        self.open.store(self.first, Relaxed);
        self.returned.store(0, Relaxed);
        self.used.store(0, Relaxed);
        self.discardable.store(false, Relaxed);
        self.poison();
    }

    /// Discards whole pages within free blocks, and those that an earlier life of the nursery used.
    fn discard<S: PageSource, L: RawLock>(&self, supply: &Supply<'_, S, L>) {
        let discard = |start: usize, end: usize| {
            // SAFETY: the range is free, and nothing of the nursery's is in its memory; before any of it is cut again, it is
            // opened, and so committed.
            start >= end || unsafe { supply.discard(self.segment, start, end) }.is_ok()
        };
        if self.discardable.swap(false, Relaxed) {
            let (mut free_from, mut all) = (self.first(), true);
            self.for_each_block(|start, class, is_free| {
                if !is_free {
                    all &= discard(free_from, start);
                    free_from = start + class.size();
                }
            });
            all &= discard(free_from, self.cut.load(Relaxed) as usize);
            // What was refused is tried again the next time.
            self.discardable.store(!all, Relaxed);
        }
        if discard(self.open(), self.dirty.get() as usize) {
            self.dirty.set(self.first);
        }
    }

    /// Calls `visit` with where each block starts, its class, and whether it came back.
    fn for_each_block(&self, mut visit: impl FnMut(usize, SizeClass, bool)) {
        let mut offset = self.first();
        while offset < self.cut.load(Acquire) as usize {
            match self.tag(self.granule(offset)).read() {
                Some((class, is_free)) => {
                    visit(offset, class, is_free);
                    offset += class.size();
                }
                None => offset += GRANULE,
            }
        }
    }

    /// Calls `visit` with the class of each block that is out: with a user, in a cache or a depot. The caller holds the
    /// pool's lock, or an exclusive borrow of the heap.
    pub(crate) fn for_each_out(&self, mut visit: impl FnMut(SizeClass)) {
        self.for_each_block(|_, class, is_free| {
            if !is_free {
                visit(class);
            }
        });
    }

    /// Bytes charged.
    #[inline]
    pub(crate) fn committed(&self) -> usize {
        self.open() - self.first()
    }

    /// What of the nursery is put to use.
    pub(super) fn usage(&self) -> Usage {
        let out = self.used.load(Relaxed).saturating_sub(self.returned.load(Relaxed));
        Usage { committed: self.committed(), in_use: out as usize }
    }

    /// Checks the invariants, under an exclusive borrow of the heap.
    pub(crate) fn validate(&self) -> Result<(), Corruption> {
        let address = self.at(self.first()).addr().get();
        let (cut, open) = (self.cut.load(Relaxed) as usize, self.open());
        let ordered = self.first() <= cut && cut <= open && open <= self.end();
        Corruption::unless(ordered, "nursery has cut too far", address)?;
        let (mut used, mut returned, mut last) = (0, 0, self.first());
        self.for_each_block(|start, class, is_free| {
            used += class.size();
            returned += if is_free { class.size() } else { 0 };
            last = start + class.size();
        });
        let counts = (self.used.load(Relaxed) as usize, self.returned.load(Relaxed) as usize);
        Corruption::unless((used, returned) == counts, "nursery's blocks disagree with its counts", address)?;
        Corruption::unless(last == cut, "nursery's last block does not end where it was cut", address)
    }

    /// Sets or clears the mark of a block that is with a user; false where that was so already.
    #[cfg(any(debug_assertions, feature = "hardened"))]
    pub(super) fn set_allocated(&self, granule: usize, allocated: bool) -> bool {
        let tag = self.tag(granule);
        if allocated { tag.mark(Tag::ALLOCATED) } else { tag.unmark(Tag::ALLOCATED) }
    }

    /// Whether a block is with a user.
    #[cfg(any(debug_assertions, feature = "hardened"))]
    pub(super) fn is_allocated(&self, granule: usize) -> bool {
        self.tag(granule).is_marked(Tag::ALLOCATED)
    }
}
