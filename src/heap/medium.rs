//! Medium blocks: the thread's few, then the coalescing roots.

#![expect(unsafe_code, reason = "hands out and takes back raw blocks")]

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use crate::cache::{MediumCache, ThreadCache};
use crate::coalesce::{self, MediumBlock, MediumRequest};
use crate::heap::allocate::Terms;
use crate::heap::core::{Core, Medium, MediumTier};
use crate::heap::route::{direct_usable, medium_index};
use crate::heap::{MallocState, Mode};
use crate::os::PageSource;
use crate::primitives::abort::corruption;
use crate::primitives::address::is_aligned;
use crate::segment::{Geometry, Refusal, SegmentKind, SegmentRef};
use crate::slab::{BLOCK_ALIGN, SizeClass, SlabContext};

/// A block, and the address from which on it is known to be zero.
type ZeroFrom = (NonNull<[u8]>, usize);

impl<M: Mode, S: PageSource> MallocState<M, S> {
    #[inline(always)]
    pub(crate) fn allocate_medium(&self, class: SizeClass) -> Option<NonNull<[u8]>> {
        let cached = self.cache().and_then(ThreadCache::medium);
        let block = match cached.and_then(|medium| medium.pop(medium_index::<S>(class), class.size())) {
            Some(block) => block,
            None => return self.allocate_medium_slow(class).map(|(block, _)| block),
        };
        #[cfg(any(debug_assertions, feature = "hardened"))]
        self.mark_medium_allocated(block);
        Some(NonNull::slice_from_raw_parts(block, class.size()))
    }

    pub(crate) fn allocate_medium_zeroed(&self, class: SizeClass) -> Option<ZeroFrom> {
        let cached = self.cache().and_then(ThreadCache::medium);
        match cached.and_then(|medium| medium.pop(medium_index::<S>(class), class.size())) {
            Some(block) => {
                #[cfg(any(debug_assertions, feature = "hardened"))]
                self.mark_medium_allocated(block);
                Some((NonNull::slice_from_raw_parts(block, class.size()), usize::MAX))
            }
            None => self.allocate_medium_slow(class),
        }
    }

    #[cold]
    #[inline(never)]
    fn allocate_medium_slow(&self, class: SizeClass) -> Option<ZeroFrom> {
        self.medium_slow(class, Terms::WithinLimit)
    }

    pub(crate) fn medium_slow(&self, class: SizeClass, terms: Terms) -> Option<ZeroFrom> {
        let (index, size) = (medium_index::<S>(class), class.size());
        let block = self.with_relief(|core| {
            // A thread beyond the inline table comes here with blocks in its cache.
            let cached = self.with_cache(core, |cache| cache.and_then(ThreadCache::medium)?.pop(index, size));
            if let Some(ptr) = cached {
                #[cfg(any(debug_assertions, feature = "hardened"))]
                self.mark_medium_allocated(ptr);
                return Ok(MediumBlock { ptr, payload: size, zero_from: usize::MAX });
            }
            let block = self.take_from_roots(core, MediumRequest::new(size, BLOCK_ALIGN, false)?, terms)?;
            if let Some(tier) = core.medium() {
                tier.out[index].fetch_add(1, Relaxed);
            }
            Ok(block)
        })?;
        Some((NonNull::slice_from_raw_parts(block.ptr, size), block.zero_from))
    }

    /// A block of more alignment than every medium block has.
    #[cold]
    pub(crate) fn allocate_direct(&self, layout: Layout, terms: Terms) -> Option<NonNull<[u8]>> {
        let block = self.with_relief(|core| {
            let request = MediumRequest::new(layout.size(), layout.align(), true)?;
            let block = self.take_from_roots(core, request, terms)?;
            if let Some(tier) = core.medium() {
                tier.direct_blocks.fetch_add(1, Relaxed);
                tier.direct_bytes.fetch_add(direct_usable::<S>(block.payload), Relaxed);
            }
            Ok(block)
        })?;
        Some(NonNull::slice_from_raw_parts(block.ptr, direct_usable::<S>(block.payload)))
    }

    /// A block from the thread's own root, else from the free memory of another one, else from a new segment.
    fn take_from_roots(&self, core: &Core<M>, request: MediumRequest, terms: Terms) -> Result<MediumBlock, Refusal> {
        let context = self.context_on(core, terms);
        let tier = core.medium_or_make(&context)?;
        let own = core.coalescing_root(tier, M::slot() % M::COALESCING_ROOTS, &context)?;
        if let Some(block) = own.lock().allocate(&context.supply, request)? {
            return Ok(block);
        }
        let others = tier.roots().filter(|root| !core::ptr::eq(*root, own));
        for root in others {
            if let Some(block) = root.lock().allocate(&context.supply, request)? {
                return Ok(block);
            }
        }
        let first = !tier.has_segments.load(Relaxed);
        let block = own.lock().allocate_in_new_segment(&context.supply, request, first)?;
        tier.has_segments.store(true, Relaxed);
        Ok(block)
    }

    #[inline(always)]
    pub(crate) fn free_medium(&self, block: NonNull<u8>, class: SizeClass) {
        self.poison_freed(block, class);
        let cached = self.cache().and_then(ThreadCache::medium);
        let (index, size) = (medium_index::<S>(class), class.size());
        if !cached.is_some_and(|medium| medium.push(index, size, block)) {
            self.free_medium_slow(block, class);
        }
    }

    #[cold]
    #[inline(never)]
    fn free_medium_slow(&self, block: NonNull<u8>, class: SizeClass) {
        let Some(core) = self.core() else { corruption("freed block is of no heap", block.as_ptr()) };
        let (index, size) = (medium_index::<S>(class), class.size());
        let leaving = self.with_cache(core, |cache| {
            let Some(medium) = cache.and_then(|cache| self.medium_cache(core, cache)) else {
                return [Some(block), None, None];
            };
            medium.set_budget(self.account.committed(), self.account.limit());
            if medium.push(index, size, block) {
                return [None; 3];
            }
            let [first, second] = medium.take_older(index, size);
            let kept = medium.push(index, size, block);
            [first, second, (!kept).then_some(block)]
        });
        let context = self.context(core);
        leaving.into_iter().flatten().for_each(|block| self.free_to_root(core, &context, block, Some(class)));
    }

    /// The medium part of a cache, made where it is missing and there is memory.
    fn medium_cache<'a>(&self, core: &Core<M>, cache: &'a ThreadCache) -> Option<&'a MediumCache> {
        if cache.medium().is_none() {
            let place = core.host(size_of::<MediumCache>(), &self.context(core)).ok()?;
            // SAFETY: the place was just handed out, and stays until the heap goes.
            unsafe { cache.set_medium(place) };
        }
        cache.medium()
    }

    #[cold]
    pub(crate) fn free_direct(&self, block: NonNull<u8>) {
        let Some(core) = self.core() else { corruption("freed block is of no heap", block.as_ptr()) };
        self.free_to_root(core, &self.context(core), block, None);
    }

    /// Gives a medium block back to its root: one of a class, or one that was asked for with an alignment of its own.
    pub(crate) fn free_to_root(
        &self,
        core: &Core<M>,
        context: &SlabContext<'_, S, M::Lock>,
        block: NonNull<u8>,
        class: Option<SizeClass>,
    ) {
        let (tier, root) = self.root_of(core, block);
        #[cfg(any(debug_assertions, feature = "hardened"))]
        if class.is_some() {
            // SAFETY: the block is of this heap, and its owner has given it up.
            unsafe { coalesce::set_cached(block, S::SEGMENT_SIZE, false) };
        }
        core.returns.fetch_add(1, Relaxed);
        // What this reads where no block starts does not matter: the root aborts then.
        // SAFETY: the address is behind the header of a coalescing segment.
        let found = unsafe { self.medium_class_of(block) };
        // SAFETY: the block is of this heap, and its owner has given it up.
        let payload = unsafe { root.lock().free(&context.supply, block) };
        if found != class {
            corruption("block freed as one of another size class", block.as_ptr());
        }
        match class {
            Some(class) => _ = tier.out[medium_index::<S>(class)].fetch_sub(1, Relaxed),
            None => {
                tier.direct_blocks.fetch_sub(1, Relaxed);
                tier.direct_bytes.fetch_sub(direct_usable::<S>(payload), Relaxed);
            }
        }
    }

    /// The root that the block's segment names: a block's size says nothing of its root.
    pub(crate) fn root_of<'a>(&self, core: &'a Core<M>, block: NonNull<u8>) -> (&'a MediumTier<M>, &'a Medium<M>) {
        // SAFETY: what is freed or resized is the start of some block, by the contract of every such call.
        let segment = unsafe { self.context(core).supply.segment_of(block.addr().get()) };
        let is_medium = |segment: &SegmentRef| {
            is_aligned(block.addr().get(), BLOCK_ALIGN) && segment.is_live(core.owner, SegmentKind::Coalescing)
        };
        let Some(segment) = segment.filter(is_medium) else {
            corruption("block is not a medium one of this heap", block.as_ptr())
        };
        let found = core.medium().and_then(|tier| Some((tier, tier.root(segment.root())?)));
        found.unwrap_or_else(|| corruption("block's segment names no root", block.as_ptr()))
    }

    /// The medium class of a block that is in one, from its tag alone; `None` for one of an alignment of its own.
    ///
    /// # Safety
    ///
    /// The block is a medium one of this heap, and the caller's own.
    pub(crate) unsafe fn medium_class_of(&self, block: NonNull<u8>) -> Option<SizeClass> {
        // SAFETY: the caller owns the block.
        let direct = unsafe { coalesce::is_direct(block, S::SEGMENT_SIZE) };
        // SAFETY: as above.
        let payload = unsafe { coalesce::payload_of(block, S::SEGMENT_SIZE) };
        (!direct).then(|| SizeClass::within(payload.min(S::MEDIUM_MAX)))
    }

    /// The context on the given terms.
    pub(crate) fn context_on<'a>(&'a self, core: &'a Core<M>, terms: Terms) -> SlabContext<'a, S, M::Lock> {
        let mut context = self.context(core);
        context.supply.beyond_limit = terms == Terms::BeyondLimit;
        context
    }
}
