//! Bump ranges: the fresh ends of slabs, which grow by portions.
//!
//! ```text
//! slab   │ blocks cut so far │ next portion │ not committed          │
//!        │                   └► bump range of one thread cache       │
//! ```
//!
//! The first portion of a root's first slab is a unit, or a block where that is larger; each is twice the one before, until the
//! slab ends, and the next slab goes on from there. Only portions are charged, and in a heap with a limit they begin with an OS
//! page in each slab, so that it can have blocks of many classes.

#![expect(unsafe_code, reason = "turns block addresses into descriptors and back")]

use core::ptr::{self, NonNull};

use crate::os::PageSource;
use crate::os::lock::RawLock;
use crate::primitives::abort::corruption;
use crate::primitives::address::align_up;
use crate::segment::{Geometry, Refusal, UNIT};
use crate::slab::locate::{FREED_TWICE, base_of, capacity_of, segment_ref, slab_before};
use crate::slab::root::{SlabContext, SlabRoot};
use crate::slab::size_class::SizeClass;
use crate::slab::slab::{BUMPING, Slab};
use crate::slab::units::Run;

/// Fresh blocks of one class, side by side, cut one after the other by one thread cache.
#[derive(Debug)]
pub(crate) struct BumpRange {
    pub(crate) start: NonNull<u8>,
    pub(crate) len: usize,
    /// Every byte is zero.
    pub(crate) zeroed: bool,
}

impl SlabRoot {
    /// Fresh blocks: from the cache's own slab, from one that nobody cuts, or from a new one.
    pub(super) fn next_range<S: PageSource, L: RawLock>(
        &mut self,
        context: &SlabContext<'_, S, L>,
        class: SizeClass,
        bump_end: Option<usize>,
    ) -> Result<BumpRange, Refusal> {
        let ended = bump_end.map(|end| slab_before(context, end));
        if let Some(slab) = ended {
            // SAFETY: a slab that a cache cuts is alive.
            let descriptor = unsafe { slab.as_ref() };
            if descriptor.cut() < capacity_of::<S>(descriptor.class()) {
                return self.grow_range(context, slab);
            }
        }
        let slab = match self.partial.first().filter(|&slab| is_uncut::<S>(slab)) {
            Some(slab) => slab,
            None => self.new_slab(context, class)?,
        };
        // SAFETY: the slab was just found or made.
        unsafe { slab.as_ref() }.set(BUMPING, true);
        self.relist::<S>(slab);
        let range = self.grow_range(context, slab).inspect_err(|_| self.end_range(context, slab))?;
        // Only now: where all of this is refused, the cache goes on pointing to the end of its old range.
        if let Some(ended) = ended {
            self.end_range(context, ended);
        }
        Ok(range)
    }

    fn new_slab<S: PageSource, L: RawLock>(
        &mut self,
        context: &SlabContext<'_, S, L>,
        class: SizeClass,
    ) -> Result<NonNull<Slab>, Refusal> {
        let run = Run::of_len(class.slab_len(S::LARGEST_SLAB));
        let (_, slab) = context.pool.lock().take_slab(&context.supply, class, run)?;
        Ok(slab)
    }

    /// Commits the next portion of a slab that is `BUMPING` and hands out its blocks.
    fn grow_range<S: PageSource, L: RawLock>(
        &mut self,
        context: &SlabContext<'_, S, L>,
        slab: NonNull<Slab>,
    ) -> Result<BumpRange, Refusal> {
        self.recommit(context, slab)?;
        let supply = &context.supply;
        // SAFETY: the caller has a live slab.
        let descriptor = unsafe { slab.as_ref() };
        let (class, page) = (descriptor.class(), supply.page_size());
        let (size, len) = (class.size(), class.slab_len(S::LARGEST_SLAB));
        let (cut, committed, start) = (descriptor.cut(), descriptor.committed(), descriptor.start());
        // A heap with a limit starts small in each slab; others go on as their last slab ended.
        let wanted = if supply.account.is_limited() { committed } else { committed.max(self.portion).max(UNIT) };
        let portion = wanted.max(page);
        let target = align_up((committed + portion).max((cut + 1) * size), page).min(len);
        let segment = segment_ref(slab, S::SEGMENT_SIZE);
        supply.commit(segment, start + committed, start + target, target - committed)?;
        let zero_from = segment.touch(start + target);
        descriptor.set_committed(target);
        self.committed += target - committed;
        self.portion = (target - committed).max(self.portion);
        let new_cut = class.blocks_in(target);
        descriptor.set_cut(new_cut);
        self.out += new_cut - cut;
        let first = start + cut * size;
        // SAFETY: the blocks lie within the slab.
        let range_start = unsafe { segment.at(first) };
        Ok(BumpRange { start: range_start, len: (new_cut - cut) * size, zeroed: first >= zero_from })
    }

    /// Nobody cuts the slab any more.
    fn end_range<S: PageSource, L: RawLock>(&mut self, context: &SlabContext<'_, S, L>, slab: NonNull<Slab>) {
        // SAFETY: the caller has a live slab.
        unsafe { slab.as_ref() }.set(BUMPING, false);
        self.settle(context, slab);
    }

    /// Takes back what is left of a cache's bump range: blocks from `start` to `end`, where the range ends.
    pub(crate) fn return_range<S: PageSource, L: RawLock>(
        &mut self,
        context: &SlabContext<'_, S, L>,
        start: usize,
        end: usize,
    ) {
        let slab = slab_before(context, end);
        // SAFETY: a slab that a cache cuts is alive.
        let descriptor = unsafe { slab.as_ref() };
        let size = descriptor.class().size();
        let base = base_of(slab, S::SEGMENT_SIZE).addr().get();
        let (first, last) = ((start - base) / size, (end - base) / size);
        if first < last {
            if let Err(twice) = descriptor.with_bits(|bits| bits.insert_run(first, last)) {
                corruption(FREED_TWICE, ptr::without_provenance(base + twice * size));
            }
        }
        descriptor.set_free(descriptor.free() + (last - first));
        self.out -= last - first;
        self.end_range(context, slab);
    }
}

/// Whether the slab has fresh blocks that nobody cuts.
fn is_uncut<S: PageSource>(slab: NonNull<Slab>) -> bool {
    // SAFETY: the caller has a live slab.
    let descriptor = unsafe { slab.as_ref() };
    !descriptor.is(BUMPING) && descriptor.cut() < capacity_of::<S>(descriptor.class())
}
