//! Allocation and free of any layout, and the small blocks' part of both.
//!
//! Allocation of a small block is a class from the layout, the thread's cache, and a pop; free is a class and a push. All
//! else is out of line, in calls that end in `_slow`.

#![expect(unsafe_code, reason = "hands out and takes back raw blocks")]

use core::alloc::Layout;
use core::hint;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::Relaxed;

use crate::cache::{ThreadCache, return_one, take_one};
use crate::heap::core::Core;
use crate::heap::route::{Route, route};
use crate::heap::{MallocState, Mode};
use crate::os::PageSource;
use crate::primitives::abort::corruption;
use crate::primitives::sanitizer;
use crate::segment::{Geometry, Refusal, at_address};
use crate::slab::{Block, SMALL_CLASSES, SizeClass};

/// Whether an allocation may pass the limit for a moment: a shrink that must move may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Terms {
    WithinLimit,
    BeyondLimit,
}

/// A well-aligned pointer to no bytes.
#[inline(always)]
pub(crate) fn dangling(align: usize) -> NonNull<[u8]> {
    let pointer = ptr::without_provenance_mut(align);
    // SAFETY: an alignment is not zero.
    NonNull::slice_from_raw_parts(unsafe { NonNull::new_unchecked(pointer) }, 0)
}

/// A pointer to a whole block, from one that may speak for a part of it only.
#[inline(always)]
pub(crate) fn whole_block(part: NonNull<u8>) -> NonNull<u8> {
    // SAFETY: the address is that of a block, hence not null.
    unsafe { NonNull::new_unchecked(at_address(part.addr().get())) }
}

impl<M: Mode, S: PageSource> MallocState<M, S> {
    /// A block for the layout; its length is that of the whole block, or under a memory tool the layout's. `None` has been
    /// counted as a failure.
    #[inline(always)]
    pub(crate) fn allocate_block(&self, layout: Layout) -> Option<NonNull<[u8]>> {
        self.take_block(layout).map(|block| self.hand_out(block, layout.size()))
    }

    /// A block for the layout that a memory tool takes for a free one yet.
    #[inline(always)]
    fn take_block(&self, layout: Layout) -> Option<NonNull<[u8]>> {
        match known_route::<S>(layout) {
            Route::Small(class) => {
                let block = match self.cache().and_then(|cache| cache.small(class).pop()) {
                    Some(block) => block,
                    None => return self.allocate_small_slow(layout, class),
                };
                #[cfg(any(debug_assertions, feature = "hardened"))]
                self.mark_allocated(block, class);
                Some(NonNull::slice_from_raw_parts(block, class.size()))
            }
            Route::Medium(class) => self.allocate_medium(class),
            Route::Direct => self.allocate_direct(layout, Terms::WithinLimit),
            Route::Mapping => self.allocate_mapping(layout, Terms::WithinLimit).map(|(block, _)| block),
        }
    }

    /// As [`allocate_block`](Self::allocate_block), all zero.
    #[inline]
    pub(crate) fn allocate_zeroed_block(&self, layout: Layout) -> Option<NonNull<[u8]>> {
        let (block, zero_from) = match route::<S>(layout) {
            Route::Small(class) => {
                let fresh = self.cache().filter(|cache| cache.is_fresh(class));
                match fresh.and_then(|cache| cache.small(class).cut_one(class.size())) {
                    Some(block) => {
                        #[cfg(any(debug_assertions, feature = "hardened"))]
                        self.mark_allocated(block, class);
                        (NonNull::slice_from_raw_parts(block, class.size()), 0)
                    }
                    None => (self.take_block(layout)?, usize::MAX),
                }
            }
            Route::Medium(class) => self.allocate_medium_zeroed(class)?,
            Route::Direct => (self.allocate_direct(layout, Terms::WithinLimit)?, usize::MAX),
            Route::Mapping => self.allocate_mapping(layout, Terms::WithinLimit)?,
        };
        let block = self.hand_out(block, layout.size());
        // SAFETY: the block was just handed out.
        unsafe { zero_up_to(block, zero_from) };
        Some(block)
    }

    /// A block out of line, on the given terms.
    pub(crate) fn allocate_on(&self, layout: Layout, terms: Terms) -> Option<NonNull<[u8]>> {
        let block = match route::<S>(layout) {
            _ if terms == Terms::WithinLimit => self.take_block(layout),
            Route::Small(class) => self.small_slow(layout, class, terms),
            Route::Medium(class) => self.medium_slow(class, terms).map(|(block, _)| block),
            Route::Direct => self.allocate_direct(layout, terms),
            Route::Mapping => self.allocate_mapping(layout, terms).map(|(block, _)| block),
        }?;
        Some(self.hand_out(block, layout.size()))
    }

    /// Takes a block back by its layout.
    ///
    /// # Safety
    ///
    /// The block is of this heap, in use, and the layout fits it; the caller gives it up.
    #[inline(always)]
    pub(crate) unsafe fn free_block(&self, ptr: NonNull<u8>, layout: Layout) {
        self.check_free(ptr, layout.size());
        let route = known_route::<S>(layout);
        #[cfg(any(debug_assertions, feature = "hardened"))]
        self.check_layout(ptr, layout, route);
        // SAFETY: the caller keeps the contract of `free_by_route`; fitting layouts have the block's route.
        unsafe { self.free_by_route(ptr, route) }
    }

    /// Takes a block back by its route, which a memory tool has heard of.
    ///
    /// # Safety
    ///
    /// The block is of this heap, in use, and came by this route; the caller gives it up.
    #[inline(always)]
    pub(crate) unsafe fn free_by_route(&self, ptr: NonNull<u8>, route: Route) {
        #[cfg(any(debug_assertions, feature = "hardened"))]
        self.mark_freed(ptr, route);
        #[cfg(feature = "hardened")]
        // SAFETY: the caller gives the block up, and it was checked just now.
        unsafe {
            self.fill_freed(whole_block(ptr), route)
        };
        match route {
            Route::Small(class) => {
                self.poison_freed(ptr, class);
                // SAFETY: the caller gives the block up; the pointer speaks for all of it.
                let block = unsafe { Block::new(whole_block(ptr)) };
                match self.cache() {
                    Some(cache) => {
                        if let Err(block) = cache.small(class).push(block) {
                            self.free_small_slow(class, block);
                        }
                    }
                    None => self.free_small_slow(class, block),
                }
            }
            Route::Medium(class) => self.free_medium(whole_block(ptr), class),
            Route::Direct => self.free_direct(whole_block(ptr)),
            Route::Mapping => self.free_mapping(whole_block(ptr)),
        }
    }

    #[cold]
    #[inline(never)]
    fn allocate_small_slow(&self, layout: Layout, class: SizeClass) -> Option<NonNull<[u8]>> {
        match self.cache().and_then(|cache| cache.take_young(class, self.account.limit())) {
            Some(block) => Some(self.marked(block, class)),
            None => self.allocate_grown_slow(layout, class),
        }
    }

    /// A block where what is open of the nursery has none: what it takes here is the long way to it.
    #[inline(never)]
    fn allocate_grown_slow(&self, layout: Layout, class: SizeClass) -> Option<NonNull<[u8]>> {
        match self.take_near(class) {
            Some(block) => Some(self.marked(block, class)),
            None => self.small_slow(layout, class, Terms::WithinLimit),
        }
    }

    /// A block without a visit to the class's slabs, for a class that has none loaded.
    #[inline]
    fn take_near(&self, class: SizeClass) -> Option<NonNull<u8>> {
        let core = self.core()?;
        let cache = self.own_cache(core).filter(|cache| !cache.is_asked_to_flush(&core.flushes))?;
        // A thread beyond the inline table comes here with blocks in its cache.
        cache.small(class).pop().or_else(|| self.take_from(core, cache, class))
    }

    /// A block from the cache's bump range, of a full magazine, or from the nursery, of which more may have to be opened.
    #[inline]
    fn take_from(&self, core: &Core<M>, cache: &ThreadCache, class: SizeClass) -> Option<NonNull<u8>> {
        let small = cache.small(class);
        small
            .cut_fresh(class.size())
            .or_else(|| small.load_full(core.made_root(class)))
            .or_else(|| cache.open_young(&self.context(core).supply, class))
    }

    /// A small block as it leaves the heap.
    fn marked(&self, block: NonNull<u8>, class: SizeClass) -> NonNull<[u8]> {
        #[cfg(any(debug_assertions, feature = "hardened"))]
        self.mark_allocated(block, class);
        NonNull::slice_from_raw_parts(block, class.size())
    }

    fn small_slow(&self, layout: Layout, class: SizeClass, terms: Terms) -> Option<NonNull<[u8]>> {
        if class == SizeClass::ZERO {
            return Some(dangling(layout.align()));
        }
        let block = self.with_relief(|core| self.with_cache(core, |cache| self.refill(core, cache, class, terms)))?;
        Some(self.marked(block, class))
    }

    fn refill(
        &self,
        core: &Core<M>,
        cache: Option<&ThreadCache>,
        class: SizeClass,
        terms: Terms,
    ) -> Result<NonNull<u8>, Refusal> {
        let context = self.context_on(core, terms);
        let Some(cache) = cache else { return take_one(core.root(class, &context)?, &context, class) };
        // A thread beyond the inline table comes here with blocks in its cache.
        if let Some(block) = cache.small(class).pop().or_else(|| self.take_from(core, cache, class)) {
            return Ok(block);
        }
        let root = core.root(class, &context)?;
        let (block, fresh) = cache.small(class).refill(root, &context, class)?;
        cache.set_fresh(class, fresh);
        Ok(block)
    }

    #[cold]
    #[inline(never)]
    fn free_small_slow(&self, class: SizeClass, block: Block) {
        if class == SizeClass::ZERO {
            return;
        }
        let Some(core) = self.core() else { corruption("freed block is of no heap", block.into_raw().as_ptr()) };
        // A thread beyond the inline table comes here with room in its cache.
        let near = self.own_cache(core).filter(|cache| !cache.is_asked_to_flush(&core.flushes));
        let kept = match near {
            Some(cache) => cache.small(class).push(block),
            None => Err(block),
        };
        let Err(block) = kept else { return };
        let context = self.context(core);
        let root = core.made_root(class);
        core.returns.fetch_add(1, Relaxed);
        self.with_cache(core, |cache| match cache {
            None => return_one(root, &context, class, block),
            Some(cache) => {
                let small = cache.small(class);
                if let Err(block) = small.push(block) {
                    // Where the class has lived from the nursery so far, the first magazine that overflows makes it a root, whose
                    // depot has room for it unless there is a limit.
                    let makes = root.is_none() && small.has_previous() && !self.account.is_limited();
                    let root = if makes { core.root(class, &context).ok() } else { root };
                    small.overflow(root, &context, class, block);
                }
            }
        });
    }
}

/// The route of a layout, of which the optimiser knows that a small class is one: a thread's cache need not look.
#[inline(always)]
fn known_route<S: PageSource>(layout: Layout) -> Route {
    const { assert!(SizeClass::of(S::SMALL_MAX).index() < SMALL_CLASSES) };
    let route = route::<S>(layout);
    if let Route::Small(class) = route {
        // SAFETY: no size above `SMALL_MAX` has this route, and no size has a larger class than a larger one.
        unsafe { hint::assert_unchecked(class.index() < SMALL_CLASSES) };
    }
    route
}

/// Makes a block zero that is zero from the address `zero_from` on.
///
/// # Safety
///
/// The caller owns the block.
pub(crate) unsafe fn zero_up_to(block: NonNull<[u8]>, zero_from: usize) {
    let start = block.cast::<u8>();
    let dirty = zero_from.saturating_sub(start.addr().get()).min(block.len());
    // SAFETY: `dirty` is at most the block's length.
    unsafe { start.write_bytes(0, dirty) };
    sanitizer::define_behind(block, dirty);
}
