//! A nursery: the first blocks of a young heap, one after the other in a piece of memory that all small classes share.
//!
//! ```text
//! first                           near_end   far                  cut          open                 end
//! │ 48 │░│ 64 │ 16 │ 16 │ 16 │░░░░░░░░│ core │ 512 │ 64 │ 64 │    │ next       │ not charged yet    │
//!      └─ skipped, so that blocks have their class's alignment
//! ```
//!
//! A slab of its own for each class would make ten blocks of ten classes touch ten pages, and cost ten times the way to a
//! new slab. A nursery is what a bump arena is, until it is used up: then each class has a slab of its own. It lies in the
//! header of the heap's first segment, in two parts: the near one, about a kilobyte, in front of the heap's core and so in
//! the page that a heap touches in any case; the far one behind the core.
//!
//! One thread cache cuts it, without a lock. Blocks that come back to it, from whichever thread, wait until all have come
//! back; then the nursery is new again.
//!
//! # Invariants
//!
//! - Offsets count from the segment's base and are multiples of the granule; `first <= cut <= open <= end`, neither `cut` nor
//!   `open` between `near_end` and `far`. Both parts are charged as far as they lie below `open`.
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
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

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

/// Bytes of the near part: with what stands before and behind it, up to the core's hot half, it makes a page of 4 KiB.
pub(super) const NEAR_BYTES: usize = 1088;

/// Bytes of the near part's tags.
pub(super) const NEAR_TAGS: usize = NEAR_BYTES / GRANULE;

/// A heap's nursery.
///
/// The tags of a part stand in front of it, the first one last, so that they share a page with the first blocks:
///
/// ```text
/// │ … │ tag of granule 1 │ tag of granule 0 │ granule 0 │ granule 1 │ …
///                                           └─ `first` or `far`
/// ```
pub(crate) struct Nursery {
    segment: SegmentRef,
    first: usize,
    near_end: usize,
    far: usize,
    end: usize,
    cut: AtomicUsize,
    open: AtomicUsize,
    used: AtomicUsize,
    returned: AtomicUsize,
    /// Up to here, memory may have been used by earlier nurseries since it was last discarded.
    dirty: Cell<usize>,
    /// Blocks have come back since free pages were last discarded.
    discardable: AtomicBool,
}

impl Nursery {
    /// Bytes of a nursery's far part in a segment of this length.
    pub(super) const fn bytes_in(segment_len: usize) -> usize {
        let share = align_down(segment_len / SEGMENT_SHARE, GRANULE);
        if share < NURSERY_BYTES { share } else { NURSERY_BYTES }
    }

    /// Bytes of the far part's tags in a segment of this length.
    pub(super) const fn tag_bytes_in(segment_len: usize) -> usize {
        Self::bytes_in(segment_len) / GRANULE
    }

    /// Makes a new nursery at `place` that cuts `NEAR_BYTES` from `first` on, then the bytes from `far` to `end`.
    ///
    /// # Safety
    ///
    /// The place is writable, aligned for a nursery, and nobody else's; so are both parts and the places for their tags.
    pub(super) unsafe fn write(place: NonNull<u8>, segment: SegmentRef, first: usize, far: usize, end: usize) {
        debug_assert!(first % GRANULE == 0 && far % GRANULE == 0 && end - far <= NURSERY_BYTES);
        let near_end = first + NEAR_BYTES;
        let nursery = Self {
            segment,
            first,
            near_end,
            far,
            end,
            cut: AtomicUsize::new(first),
            open: AtomicUsize::new(first),
            used: AtomicUsize::new(0),
            returned: AtomicUsize::new(0),
            dirty: Cell::new(far),
            discardable: AtomicBool::new(false),
        };
        nursery.poison();
        // SAFETY: the place is writable, and aligned for a nursery.
        unsafe { place.cast::<Self>().write(nursery) };
    }

    /// Poisons everything that the nursery cuts.
    fn poison(&self) {
        sanitizer::poison(self.at(self.first), NEAR_BYTES);
        sanitizer::poison(self.at(self.far), self.end - self.far);
    }

    #[inline]
    fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// The byte at an offset from the segment's base.
    #[inline]
    fn at(&self, offset: usize) -> NonNull<u8> {
        debug_assert!((self.first..=self.end).contains(&offset));
        // SAFETY: the nursery lies within its segment.
        unsafe { self.segment.at(offset) }
    }

    #[inline]
    fn next(&self) -> usize {
        self.cut.load(Relaxed)
    }

    /// Where a block of the class would start and end that is cut from `cut` on.
    #[inline]
    fn block_from(cut: usize, class: SizeClass) -> (usize, usize) {
        // A class serves the alignments that divide its size.
        let size = class.size();
        let start = align_up(cut, size & size.wrapping_neg());
        (start, start + size)
    }

    /// Whether the nursery has blocks of this class.
    #[inline]
    fn serves(class: SizeClass) -> bool {
        (1..NURSERY_CLASSES).contains(&class.index())
    }

    /// The next block, for a class whose cache has none; `None` where too little is open.
    #[inline]
    pub(crate) fn cut(&self, class: SizeClass) -> Option<NonNull<u8>> {
        if !Self::serves(class) {
            return None;
        }
        let (start, end) = Self::block_from(self.next(), class);
        if end > self.open() {
            return None;
        }
        self.tag(start).write(Some(class));
        // Who sees it sees the tags below.
        self.cut.store(end, Release);
        self.used.store(self.used.load(Relaxed) + (end - start), Relaxed);
        Some(self.at(start))
    }

    /// Opens as much as the class's next block needs, and as much again as is open; false where that is not to be had, or
    /// the heap has a limit: what nobody uses is dear then.
    pub(crate) fn open_for<S: PageSource, L: RawLock>(&self, supply: &Supply<'_, S, L>, class: SizeClass) -> bool {
        if !Self::serves(class) || supply.account.is_limited() {
            return false;
        }
        if self.open() == self.first && !self.open_near(supply) {
            return false;
        }
        let (_, end) = Self::block_from(self.next(), class);
        end <= self.open() || self.open_far(supply, class)
    }

    fn open_near<S: PageSource, L: RawLock>(&self, supply: &Supply<'_, S, L>) -> bool {
        if supply.commit(self.segment, self.first, self.near_end, NEAR_BYTES).is_err() {
            return false;
        }
        self.clear_tags(self.first, self.near_end);
        self.open.store(self.near_end, Relaxed);
        true
    }

    fn open_far<S: PageSource, L: RawLock>(&self, supply: &Supply<'_, S, L>, class: SizeClass) -> bool {
        let (cut, open) = (self.next().max(self.far), self.open().max(self.far));
        let (_, end) = Self::block_from(cut, class);
        if end > self.end {
            return false;
        }
        let doubled = open + (open - self.far);
        let target = align_up(doubled.max(end), supply.page_size()).min(self.end);
        if supply.commit(self.segment, open, target, target - open).is_err() {
            return false;
        }
        self.segment.touch(target);
        self.clear_tags(open, target);
        self.open.store(target, Relaxed);
        self.cut.store(cut, Release);
        true
    }

    /// Clears the tags of the granules from `start` to `end`, which are about to be opened, in one part.
    fn clear_tags(&self, start: usize, end: usize) {
        // SAFETY: the tags of these granules lie in a row, that of the last one first; nobody looks at tags beyond `cut`, which is
        // at most `open`.
        unsafe { Tag::clear(self.tag_place(end - GRANULE), (end - start) / GRANULE) };
    }

    /// The tag of the granule at `offset`.
    #[inline]
    fn tag(&self, offset: usize) -> &Tag {
        // SAFETY: the tags live as long as the segment, and every byte is one.
        unsafe { self.tag_place(offset).as_ref() }
    }

    #[inline]
    fn tag_place(&self, offset: usize) -> NonNull<Tag> {
        let part = if offset < self.near_end { self.first } else { self.far };
        debug_assert!(part <= offset && offset < self.end);
        // SAFETY: every granule of a part has a tag in front of it.
        unsafe { self.segment.at(part - 1 - (offset - part) / GRANULE) }.cast()
    }

    /// Where the far part begins: behind all tables.
    pub(super) fn far(&self) -> usize {
        self.far
    }

    /// Whether the byte at `offset` from the segment's base lies in what the nursery has cut.
    pub(super) fn has_cut(&self, offset: usize) -> bool {
        (self.first..self.next()).contains(&offset) && !(self.near_end..self.far).contains(&offset)
    }

    /// The class of the block that starts at `offset` from the segment's base, if one does.
    pub(super) fn block_at(&self, offset: usize) -> Option<SizeClass> {
        if offset % GRANULE != 0 || !self.has_cut(offset) {
            return None;
        }
        self.tag(offset).read().map(|(class, _)| class)
    }

    /// Takes the block at `offset` back, which is to be counted; false where it was free already.
    pub(super) fn take_back(&self, offset: usize) -> bool {
        self.tag(offset).mark(Tag::FREE)
    }

    /// Counts the bytes of blocks that were taken back.
    pub(super) fn count_returned(&self, bytes: usize) {
        self.discardable.store(true, Relaxed);
        // Who sees that all have come back sees what their last users did.
        self.returned.fetch_add(bytes, Release);
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

    /// Discards whole pages within free blocks, and those that an earlier life of the nursery used. The near part has none.
    fn discard<S: PageSource, L: RawLock>(&self, supply: &Supply<'_, S, L>) {
        let discard = |start: usize, end: usize| {
            // SAFETY: the range is free, and nothing of the nursery's is in its memory; before any of it is cut again, it is
            // opened, and so committed.
            start >= end || unsafe { supply.discard(self.segment, start, end) }.is_ok()
        };
        if self.discardable.swap(false, Relaxed) {
            let (mut free_from, mut all) = (self.far, true);
            self.for_each_block(|start, class, is_free| {
                if !is_free && start >= self.far {
                    all &= discard(free_from, start);
                    free_from = start + class.size();
                }
            });
            all &= discard(free_from, self.next());
            // What was refused is tried again the next time.
            self.discardable.store(!all, Relaxed);
        }
        if discard(self.open().max(self.far), self.dirty.get()) {
            self.dirty.set(self.far);
        }
    }

    /// Calls `visit` with where each block starts, its class, and whether it came back.
    fn for_each_block(&self, mut visit: impl FnMut(usize, SizeClass, bool)) {
        let cut = self.cut.load(Acquire);
        for (first, end) in [(self.first, self.near_end.min(cut)), (self.far, cut)] {
            let mut offset = first;
            while offset < end {
                match self.tag(offset).read() {
                    Some((class, is_free)) => {
                        visit(offset, class, is_free);
                        offset += class.size();
                    }
                    None => offset += GRANULE,
                }
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
        match self.open().checked_sub(self.far) {
            Some(far) => NEAR_BYTES + far,
            None => self.open() - self.first,
        }
    }

    /// What of the nursery is put to use.
    pub(super) fn usage(&self) -> Usage {
        let out = self.used.load(Relaxed).saturating_sub(self.returned.load(Relaxed));
        Usage { committed: self.committed(), in_use: out }
    }

    /// Checks the invariants, under an exclusive borrow of the heap.
    pub(crate) fn validate(&self) -> Result<(), Corruption> {
        let address = self.at(self.first).addr().get();
        let (cut, open) = (self.next(), self.open());
        let within = |offset| (self.first..=self.near_end).contains(&offset) || offset >= self.far;
        let ordered = within(cut) && within(open) && cut <= open && open <= self.end;
        Corruption::unless(ordered, "nursery has cut too far", address)?;
        let (mut used, mut returned, mut last) = (0, 0, self.first);
        self.for_each_block(|start, class, is_free| {
            used += class.size();
            returned += if is_free { class.size() } else { 0 };
            last = start + class.size();
        });
        let counts = (self.used.load(Relaxed), self.returned.load(Relaxed));
        Corruption::unless((used, returned) == counts, "nursery's blocks disagree with its counts", address)?;
        let ends = last == cut || (cut == self.far && last <= self.near_end);
        Corruption::unless(ends, "nursery's last block does not end where it was cut", address)
    }

    /// Sets or clears the mark of a block that is with a user; false where that was so already.
    #[cfg(any(debug_assertions, feature = "hardened"))]
    pub(super) fn set_allocated(&self, offset: usize, allocated: bool) -> bool {
        let tag = self.tag(offset);
        if allocated { tag.mark(Tag::ALLOCATED) } else { tag.unmark(Tag::ALLOCATED) }
    }

    /// Whether a block is with a user.
    #[cfg(any(debug_assertions, feature = "hardened"))]
    pub(super) fn is_allocated(&self, offset: usize) -> bool {
        self.tag(offset).is_marked(Tag::ALLOCATED)
    }
}
