//! A slab root: all slabs of one size class in a heap.
//!
//! # Invariants
//!
//! - `partial` holds exactly the slabs that are `LISTED`; those with free blocks come first.
//! - `spare` is an empty slab, the only one; every other slab that becomes empty gives its units back at once.
//! - `out` counts the blocks that are neither in a bitmap nor uncut: with users, in magazines, in the depot, in bump
//!   ranges. `committed` is the sum over the root's slabs.

#![expect(unsafe_code, reason = "turns block addresses into descriptors and back")]

use core::ptr::NonNull;

use crate::os::PageSource;
use crate::os::lock::{Locked, RawLock};
use crate::primitives::corruption::Corruption;
use crate::primitives::list::List;
use crate::segment::{Geometry, Refusal, Supply, UNIT};
use crate::slab::depot::{Block, Depot, Magazine};
use crate::slab::locate::{base_of, capacity_of, segment_ref};
use crate::slab::pool::SlabPool;
use crate::slab::range::BumpRange;
use crate::slab::segment::SlabSegment;
use crate::slab::size_class::SizeClass;
use crate::slab::slab::{DECOMMITTED, DISCARDABLE, IN_FRONT, LISTED, Slab};
use crate::slab::units::Run;

/// What a slab root works with: the heap's supply, and the pool of slab segments.
pub(crate) struct SlabContext<'a, S, L> {
    pub(crate) supply: Supply<'a, S, L>,
    pub(crate) pool: &'a Locked<L, SlabPool>,
}

impl<S, L> Clone for SlabContext<'_, S, L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, L> Copy for SlabContext<'_, S, L> {}

/// What a root answers to a cache that has run out.
#[derive(Debug)]
pub(crate) enum Refill {
    /// At least one block, from the depot or the bitmaps.
    Magazine(Magazine),
    /// At least one block, fresh; the cache's former range is used up.
    Range(BumpRange),
}

/// How a root's blocks are distributed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct RootCounts {
    /// Blocks out of the slabs.
    pub(crate) out: usize,
    /// Blocks in the depot.
    pub(crate) depot: usize,
    /// Bytes committed in slabs.
    pub(crate) committed: usize,
}

/// All slabs of one size class; used under its lock.
pub(crate) struct SlabRoot {
    pub(super) partial: List<Slab>,
    depot: Depot,
    spare: Option<NonNull<Slab>>,
    pub(super) out: usize,
    pub(super) committed: usize,
    /// Bytes by which the root's last bump range grew: the next one starts there.
    pub(super) portion: usize,
}

// SAFETY: slabs have no thread; the root's lock hands them from one to the next.
unsafe impl Send for SlabRoot {}

impl SlabRoot {
    pub(crate) const fn new() -> Self {
        Self { partial: List::new(), depot: Depot::new(), spare: None, out: 0, committed: 0, portion: 0 }
    }

    pub(crate) fn counts(&self) -> RootCounts {
        RootCounts { out: self.out, depot: self.depot.blocks(), committed: self.committed }
    }

    /// Blocks for a cache that has none: a full magazine, else up to `capacity` free blocks, else fresh ones. `bump_end`
    /// is where the cache's own bump range has ended.
    pub(crate) fn refill<S: PageSource, L: RawLock>(
        &mut self,
        context: &SlabContext<'_, S, L>,
        class: SizeClass,
        capacity: usize,
        bump_end: Option<usize>,
    ) -> Result<Refill, Refusal> {
        if let Some(magazine) = self.depot.pop() {
            return Ok(Refill::Magazine(magazine));
        }
        let gathered = self.gather(context, capacity.max(1));
        #[cfg(feature = "hardened")]
        let gathered = gathered.shuffled();
        if gathered.len() > 0 {
            return Ok(Refill::Magazine(gathered));
        }
        self.next_range(context, class, bump_end).map(Refill::Range)
    }

    /// A magazine from the depot, if those there have `len` blocks.
    #[inline]
    pub(crate) fn take_full(&mut self, len: usize) -> Option<Magazine> {
        if self.depot.magazine_len() == len { self.depot.pop() } else { None }
    }

    /// Takes up to `most` free blocks out of the bitmaps of partial slabs.
    fn gather<S: PageSource, L: RawLock>(&mut self, context: &SlabContext<'_, S, L>, most: usize) -> Magazine {
        let mut magazine = Magazine::empty();
        while let Some(slab) = self.partial.first().filter(|_| magazine.len() < most) {
            // SAFETY: a slab in the list is alive.
            let descriptor = unsafe { slab.as_ref() };
            if descriptor.free() == 0 || self.recommit(context, slab).is_err() {
                break;
            }
            let size = descriptor.class().size();
            let base = base_of(slab, S::SEGMENT_SIZE);
            let taken = descriptor.with_bits(|bits| {
                bits.take(most - magazine.len(), |index| {
                    // SAFETY: the index is below `cut`, so the block lies in the slab.
                    let start = unsafe { base.add(index * size) };
                    // SAFETY: its bit was set, so it is free, and the bit is gone now.
                    magazine.push(unsafe { Block::new(start) });
                })
            });
            descriptor.set_free(descriptor.free() - taken);
            self.out += taken;
            self.relist::<S>(slab);
        }
        magazine
    }

    /// Commits again what was discarded of a slab's blocks.
    pub(super) fn recommit<S: PageSource, L: RawLock>(
        &self,
        context: &SlabContext<'_, S, L>,
        slab: NonNull<Slab>,
    ) -> Result<(), Refusal> {
        // SAFETY: the caller has a live slab.
        let descriptor = unsafe { slab.as_ref() };
        if descriptor.is(DECOMMITTED) {
            let segment = segment_ref(slab, S::SEGMENT_SIZE);
            let start = descriptor.start();
            context.supply.commit_charged(segment, start, start + descriptor.committed())?;
            descriptor.set(DECOMMITTED, false);
        }
        Ok(())
    }

    /// Takes a full magazine into the depot, or back into the slabs where the depot is full or off.
    pub(crate) fn take_magazine<S: PageSource, L: RawLock>(
        &mut self,
        context: &SlabContext<'_, S, L>,
        class: SizeClass,
        magazine: Magazine,
    ) {
        let most = if context.supply.account.is_limited() { 0 } else { class.depot_capacity() };
        if let Err(magazine) = self.depot.push(magazine, most) {
            self.return_blocks(context, class, magazine);
        }
    }

    /// Puts a slab where it belongs after blocks came back or its bump range ended.
    pub(super) fn settle<S: PageSource, L: RawLock>(&mut self, context: &SlabContext<'_, S, L>, slab: NonNull<Slab>) {
        self.relist::<S>(slab);
        // SAFETY: the caller has a live slab.
        if !unsafe { slab.as_ref() }.is_empty() || self.spare == Some(slab) {
            return;
        }
        if self.spare.is_none() {
            self.spare = Some(slab);
        } else {
            self.dissolve(context, slab);
        }
    }

    /// Lists the slab exactly where it has room, with those that have free blocks in front.
    pub(super) fn relist<S: PageSource>(&mut self, slab: NonNull<Slab>) {
        // SAFETY: the caller has a live slab.
        let descriptor = unsafe { slab.as_ref() };
        if self.spare == Some(slab) && !descriptor.is_empty() {
            self.spare = None;
        }
        let (listed, has_free) = (descriptor.is(LISTED), descriptor.free() > 0);
        let room = descriptor.has_room(capacity_of::<S>(descriptor.class()));
        if listed == room && descriptor.is(IN_FRONT) == has_free {
            // It is where it belongs.
            return;
        }
        if listed {
            // SAFETY: the slab is in the list.
            unsafe { self.partial.remove(slab) };
        }
        if has_free {
            // SAFETY: the slab is in no list, and alive.
            unsafe { self.partial.push_front(slab) };
        } else if room {
            // SAFETY: as above.
            unsafe { self.partial.push_back(slab) };
        }
        descriptor.set(LISTED, room);
        descriptor.set(IN_FRONT, has_free);
    }

    /// Gives the units of an empty slab back.
    fn dissolve<S: PageSource, L: RawLock>(&mut self, context: &SlabContext<'_, S, L>, slab: NonNull<Slab>) {
        // SAFETY: the caller has a live slab.
        let descriptor = unsafe { slab.as_ref() };
        if descriptor.is(LISTED) {
            // SAFETY: the slab is in the list.
            unsafe { self.partial.remove(slab) };
        }
        let (committed, unit) = (descriptor.committed(), descriptor.start() / UNIT);
        self.committed -= committed;
        let run = Run::ALL[usize::from(descriptor.run())];
        let segment = SlabSegment::of_slab::<S>(slab);
        context.pool.lock().give_slab(&context.supply, segment, unit, run, committed);
    }

    /// Empties the depot and gives up the spare slab; the answer is how many blocks left the depot.
    pub(crate) fn flush<S: PageSource, L: RawLock>(
        &mut self,
        context: &SlabContext<'_, S, L>,
        class: SizeClass,
    ) -> usize {
        let blocks = self.depot.blocks();
        while let Some(magazine) = self.depot.pop() {
            self.return_blocks(context, class, magazine);
        }
        if let Some(spare) = self.spare.take() {
            self.dissolve(context, spare);
        }
        blocks
    }

    /// Discards the whole pages within free blocks of partial slabs; the answer is in bytes.
    pub(crate) fn discard<S: PageSource, L: RawLock>(&mut self, context: &SlabContext<'_, S, L>) -> usize {
        let mut discarded = 0;
        let mut next = self.partial.first();
        while let Some(slab) = next {
            // SAFETY: a slab in the list is alive.
            let descriptor = unsafe { slab.as_ref() };
            if descriptor.is(DISCARDABLE) {
                let (bytes, refused) = discard_free_blocks(context, slab);
                discarded += bytes;
                // What was refused is tried again the next time.
                descriptor.set(DISCARDABLE, refused);
            }
            // SAFETY: the slab is in the list.
            next = unsafe { List::after(slab) };
        }
        discarded
    }

    /// Forgets everything, under an exclusive borrow of the heap: the slabs are taken back by the pool.
    pub(crate) fn reset(&mut self) {
        *self = Self { portion: self.portion, ..Self::new() };
    }

    /// Checks the list of partial slabs and each slab in it.
    pub(crate) fn validate<S: PageSource>(&self, class: SizeClass) -> Result<(), Corruption> {
        let mut next = self.partial.first();
        let mut free_blocks_before = true;
        while let Some(slab) = next {
            // SAFETY: a slab in the list is alive.
            let descriptor = unsafe { slab.as_ref() };
            let address = base_of(slab, S::SEGMENT_SIZE).addr().get();
            Corruption::unless(descriptor.class() == class, "slab is in the list of another class", address)?;
            Corruption::unless(descriptor.is(LISTED), "slab is in a list without knowing", address)?;
            Corruption::unless(free_blocks_before || descriptor.free() == 0, "slab is behind its place", address)?;
            free_blocks_before = descriptor.free() > 0;
            descriptor.validate(class.slab_len(S::LARGEST_SLAB), address)?;
            // SAFETY: the slab is in the list.
            next = unsafe { List::after(slab) };
        }
        match self.spare {
            // SAFETY: the spare slab is alive.
            Some(spare) if !unsafe { spare.as_ref() }.is_empty() => {
                Err(Corruption::new("the spare slab is in use", base_of(spare, S::SEGMENT_SIZE).addr().get()))
            }
            _ => Ok(()),
        }
    }
}

/// Checks every slab of a segment and adds up, for each class, blocks that are out and bytes committed.
pub(crate) fn validate_segment<S: PageSource>(
    segment: SlabSegment,
    sums: &mut [(usize, usize)],
) -> Result<(), Corruption> {
    for slab in segment.slabs() {
        // SAFETY: descriptors live as long as the segment.
        let descriptor = unsafe { slab.as_ref() };
        let class = descriptor.class();
        descriptor.validate(class.slab_len(S::LARGEST_SLAB), base_of(slab, S::SEGMENT_SIZE).addr().get())?;
        let (out, committed) = &mut sums[class.index()];
        *out += descriptor.cut() - descriptor.free();
        *committed += descriptor.committed();
    }
    Ok(())
}

/// Discards the whole pages within a slab's free blocks; the answer is in bytes, and whether the source refused some.
fn discard_free_blocks<S: PageSource, L: RawLock>(
    context: &SlabContext<'_, S, L>,
    slab: NonNull<Slab>,
) -> (usize, bool) {
    // SAFETY: the caller has a live slab.
    let descriptor = unsafe { slab.as_ref() };
    let segment = segment_ref(slab, S::SEGMENT_SIZE);
    let (start, size) = (descriptor.start(), descriptor.class().size());
    let (mut discarded, mut refused) = (0, false);
    let mut from = 0;
    while let Some((first, end)) = descriptor.with_bits(|bits| bits.next_run(from)) {
        // SAFETY: the blocks of the run are free, and nothing of theirs is in their memory.
        match unsafe { context.supply.discard(segment, start + first * size, start + end * size) } {
            Ok(bytes) => discarded += bytes,
            Err(_) => refused = true,
        }
        from = end;
    }
    if discarded > 0 && segment.needs_commit() {
        descriptor.set(DECOMMITTED, true);
    }
    (discarded, refused)
}
