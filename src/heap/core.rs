//! The heap's core: everything of a heap that must not move, in the header of its first segment.
//!
//! ```text
//! MallocState (moves)                      first segment (stays)
//! │ caches by slot │ core │ sums │ … │     │ headers │ nursery │ Core: records, pool, first cache, roots │ nursery │ slabs …
//!                     └─────────────────────────────────────────►
//! ```
//!
//! All that a few blocks need lies in the segment's first 4 KiB: the core's own fields, the nursery's near part and the first
//! cache's classes to 4 KiB. What follows is not touched before it is used, as far as the segment was zero.
//!
//! What a small heap does not need is made when it is first used: the roots, those of classes above 256 bytes apart, the
//! medium tier, the caches of further slots.

#![expect(unsafe_code, reason = "publishes what is hosted in raw memory")]

use core::mem::{MaybeUninit, offset_of};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::Relaxed};

use crate::cache::{CachePtr, Chunks, FlushRequests, MEDIUM_CLASSES, Place, PlacedCache, ThreadCache};
use crate::coalesce::CoalescingRoot;
use crate::heap::mode::Mode;
use crate::heap::mode::parts::Parts;
use crate::mapping::MappingList;
use crate::os::PageSource;
use crate::os::lock::{Guard, Locked};
use crate::primitives::published::Published;
use crate::segment::{OwnerId, Records, Refusal};
use crate::slab::{Nursery, SMALL_CLASSES, SizeClass, SlabContext, SlabPool, SlabRoot};

/// Classes whose roots have room in the core: to 256 bytes.
const NEAR_CLASSES: usize = 17;

const FAR_CLASSES: usize = SMALL_CLASSES - NEAR_CLASSES;

/// Coalescing roots of a heap, at most.
pub(crate) const MAX_COALESCING_ROOTS: usize = 4;

type Root<M> = Locked<<M as Parts>::Lock, SlabRoot>;
pub(crate) type Medium<M> = Locked<<M as Parts>::Lock, CoalescingRoot>;

/// What a heap has only when it has had a medium block.
pub(crate) struct MediumTier<M: Mode> {
    roots: [Published<Medium<M>>; MAX_COALESCING_ROOTS],
    /// Blocks out of the roots: by class, then those that were asked for with an alignment of their own.
    pub(crate) out: [AtomicUsize; MEDIUM_CLASSES],
    pub(crate) direct_blocks: AtomicUsize,
    pub(crate) direct_bytes: AtomicUsize,
    /// Some root has had a segment.
    pub(crate) has_segments: AtomicBool,
}

/// The part of a heap that other threads and segments point to.
#[repr(C)]
pub struct Core<M: Mode> {
    pub(crate) owner: OwnerId,
    pub(crate) records: Records<M::Lock>,
    pub(crate) pool: Locked<M::Lock, SlabPool>,
    pub(crate) mappings: Locked<M::Lock, MappingList>,
    near_roots: Published<[Root<M>; NEAR_CLASSES]>,
    far_roots: Published<[Root<M>; FAR_CLASSES]>,
    medium: Published<MediumTier<M>>,
    /// The caches of slots beyond the inline table.
    chunks: Published<Chunks<CachePtr>>,
    pub(crate) flushes: FlushRequests,
    /// Counts the frees that took the long way: while it stands still, nothing new can be reclaimed.
    pub(crate) returns: AtomicUsize,
    pub(crate) returns_at_pressure: AtomicUsize,
    /// The next heap that fork handlers know of.
    pub(crate) next: AtomicPtr<Core<M>>,
    /// The slot whose cache is in the core, plus one; 0 while none is.
    first_slot: AtomicUsize,
    nursery: Option<NonNull<Nursery>>,
    /// Address from which on everything behind the core was zero when it was made.
    zero_from: usize,
}

/// A core, and what has its place behind it. Only the core is written at once.
#[repr(C)]
struct Home<M: Mode> {
    core: Core<M>,
    first_cache: MaybeUninit<PlacedCache>,
    /// Where `near_roots` leads to.
    near_roots: MaybeUninit<[Root<M>; NEAR_CLASSES]>,
}

impl<M: Mode> Core<M> {
    /// Bytes of a core, with what has its place behind it.
    pub(crate) const HOME_BYTES: usize = size_of::<Home<M>>();

    /// Writes a core in place.
    ///
    /// # Safety
    ///
    /// `place` has `HOME_BYTES` that are writable, aligned to 64, and nobody else's; the nursery lives as long as the core.
    pub(crate) unsafe fn write(
        place: NonNull<u8>,
        owner: OwnerId,
        records: Records<M::Lock>,
        pool: SlabPool,
        nursery: Option<NonNull<Nursery>>,
        zero_from: usize,
    ) -> NonNull<Self> {
        let core = place.cast::<Self>();
        let value = Self {
            owner,
            records,
            pool: Locked::new(pool),
            mappings: Locked::new(MappingList::new()),
            near_roots: Published::nothing(),
            far_roots: Published::nothing(),
            medium: Published::nothing(),
            chunks: Published::nothing(),
            flushes: FlushRequests::none(),
            returns: AtomicUsize::new(1),
            returns_at_pressure: AtomicUsize::new(0),
            next: AtomicPtr::new(ptr::null_mut()),
            first_slot: AtomicUsize::new(0),
            nursery,
            zero_from,
        };
        // SAFETY: the caller says that the place is writable.
        unsafe { core.write(value) };
        core
    }

    /// The root of a small class, made where it is the first to 256 bytes, or the first beyond.
    pub(crate) fn root<S: PageSource>(
        &self,
        class: SizeClass,
        context: &SlabContext<'_, S, M::Lock>,
    ) -> Result<&Root<M>, Refusal> {
        match class.index().checked_sub(NEAR_CLASSES) {
            None => Ok(&self.near_roots()?[class.index()]),
            Some(index) => {
                let far = self.hosted(&self.far_roots, context, write_roots::<M, FAR_CLASSES>)?;
                Ok(&far[index])
            }
        }
    }

    fn near_roots(&self) -> Result<&[Root<M>; NEAR_CLASSES], Refusal> {
        let place = self.behind(offset_of!(Home<M>, near_roots)).cast();
        // SAFETY: what the core hosts is made under the pool's lock, and it has its place behind the core.
        unsafe {
            self.near_roots.get_or_make(
                || self.making(),
                |_| {
                    write_roots::<M, NEAR_CLASSES>(place);
                    Ok(place)
                },
            )
        }
    }

    /// The place `offset` bytes into the core's home, with the provenance of the segment that this lies in: it is written
    /// before it is shared.
    fn behind(&self, offset: usize) -> NonNull<u8> {
        let address = ptr::from_ref(self).addr() + offset;
        // SAFETY: the address is within the segment.
        unsafe { NonNull::new_unchecked(crate::segment::at_address(address)) }
    }

    /// What is held while something of the core's is made.
    fn making(&self) -> (Guard<'_, M::Lock, SlabPool>, M::Making) {
        let making = M::making();
        (self.pool.lock(), making)
    }

    /// The root of a small class, where it has been made.
    pub(crate) fn made_root(&self, class: SizeClass) -> Option<&Root<M>> {
        match class.index().checked_sub(NEAR_CLASSES) {
            None => Some(&self.near_roots.get()?[class.index()]),
            Some(index) => Some(&self.far_roots.get()?[index]),
        }
    }

    /// All small classes, each with its root where that has been made: without one, all blocks are the nursery's.
    pub(crate) fn small_classes(&self) -> impl Iterator<Item = (SizeClass, Option<&Root<M>>)> {
        (1..SMALL_CLASSES).map(SizeClass::from_index).map(|class| (class, self.made_root(class)))
    }

    /// What is published in `slot`; where that is nothing yet, it is made in the heap's own memory.
    fn hosted<'a, T, S: PageSource>(
        &'a self,
        slot: &'a Published<T>,
        context: &SlabContext<'_, S, M::Lock>,
        write: impl FnOnce(NonNull<T>),
    ) -> Result<&'a T, Refusal> {
        // SAFETY: all that the core hosts is made under the pool's lock, and stays until the heap goes.
        unsafe {
            slot.get_or_make(
                || self.making(),
                |(pool, _)| {
                    let place = pool.host(&context.supply, size_of::<T>())?.cast();
                    write(place);
                    Ok(place)
                },
            )
        }
    }

    /// All roots of small classes that have been made.
    pub(crate) fn roots(&self) -> impl Iterator<Item = (SizeClass, &Root<M>)> {
        self.small_classes().filter_map(|(class, root)| Some((class, root?)))
    }

    /// The medium tier, where there is one.
    pub(crate) fn medium(&self) -> Option<&MediumTier<M>> {
        self.medium.get()
    }

    /// The medium tier, made where this is the first medium block.
    pub(crate) fn medium_or_make<S: PageSource>(
        &self,
        context: &SlabContext<'_, S, M::Lock>,
    ) -> Result<&MediumTier<M>, Refusal> {
        self.hosted(&self.medium, context, |place| {
            let tier = MediumTier {
                roots: [const { Published::nothing() }; MAX_COALESCING_ROOTS],
                out: [const { AtomicUsize::new(0) }; MEDIUM_CLASSES],
                direct_blocks: AtomicUsize::new(0),
                direct_bytes: AtomicUsize::new(0),
                has_segments: AtomicBool::new(false),
            };
            // SAFETY: the place is writable and nobody else's.
            unsafe { place.write(tier) };
        })
    }

    /// A coalescing root, made where it is first used.
    pub(crate) fn coalescing_root<'a, S: PageSource>(
        &'a self,
        tier: &'a MediumTier<M>,
        index: usize,
        context: &SlabContext<'_, S, M::Lock>,
    ) -> Result<&'a Medium<M>, Refusal> {
        self.hosted(&tier.roots[index], context, |place| {
            // SAFETY: the place is writable and nobody else's.
            unsafe { place.write(Locked::new(CoalescingRoot::new(index))) };
        })
    }

    /// The cache of a slot beyond the inline table, where there is one.
    pub(crate) fn far_cache(&self, slot: usize) -> Option<&CachePtr> {
        self.chunks.get()?.get(Place::of(slot)?)
    }

    /// The entry of a slot beyond the inline table, in a chunk that is made where it is first used.
    pub(crate) fn far_cache_or_make<S: PageSource>(
        &self,
        slot: usize,
        context: &SlabContext<'_, S, M::Lock>,
    ) -> Result<&CachePtr, Refusal> {
        let place = Place::of(slot).ok_or(Refusal::Size)?;
        let chunks = self.hosted(&self.chunks, context, |chunks| {
            // SAFETY: the place is writable and nobody else's.
            unsafe { chunks.write(Chunks::new()) };
        })?;
        let lock = || self.pool.lock();
        let host = |pool: &mut Guard<'_, M::Lock, SlabPool>, len: usize| {
            Ok(pool.host(&context.supply, len * size_of::<CachePtr>())?.cast())
        };
        // SAFETY: chunks are made under the pool's lock, and what it hosts stays until the heap goes.
        unsafe { chunks.get_or_make(place, lock, host, CachePtr::null) }
    }

    /// A new cache, which the caller publishes: the first one is in the core.
    pub(crate) fn make_cache<S: PageSource>(
        &self,
        slot: usize,
        context: &SlabContext<'_, S, M::Lock>,
    ) -> Result<NonNull<ThreadCache>, Refusal> {
        let is_first = self.first_slot.compare_exchange(0, slot + 1, Relaxed, Relaxed).is_ok();
        let (place, zero_from) = if is_first {
            (self.behind(offset_of!(Home<M>, first_cache)), self.zero_from)
        } else {
            (self.pool.lock().host(&context.supply, size_of::<PlacedCache>())?, usize::MAX)
        };
        let nursery = self.nursery().filter(|_| is_first);
        // SAFETY: the place was handed out once, to this call, which is the first to write there; so was the nursery.
        Ok(unsafe { ThreadCache::write(place, &self.flushes, nursery, zero_from) })
    }

    /// The heap's nursery.
    pub(crate) fn nursery(&self) -> Option<&Nursery> {
        // SAFETY: it lives as long as the core.
        self.nursery.map(|nursery| unsafe { nursery.as_ref() })
    }

    /// The nursery, and the slot whose cache cuts it.
    pub(crate) fn nursery_of_slot(&self) -> Option<(&Nursery, usize)> {
        let slot = self.first_slot.load(Relaxed).checked_sub(1)?;
        Some((self.nursery()?, slot))
    }

    /// Room for what a cache needs beside itself.
    pub(crate) fn host<S: PageSource>(
        &self,
        bytes: usize,
        context: &SlabContext<'_, S, M::Lock>,
    ) -> Result<NonNull<u8>, Refusal> {
        self.pool.lock().host(&context.supply, bytes)
    }
}

impl<M: Mode> MediumTier<M> {
    /// The coalescing root with this number, where it has been made.
    pub(crate) fn root(&self, index: usize) -> Option<&Medium<M>> {
        self.roots.get(index)?.get()
    }

    /// Forgets all blocks, under an exclusive borrow of the heap.
    pub(crate) fn forget(&self) {
        let counts = self.out.iter().chain([&self.direct_blocks, &self.direct_bytes]);
        counts.for_each(|count| count.store(0, Relaxed));
    }

    /// All coalescing roots that have been made.
    pub(crate) fn roots(&self) -> impl Iterator<Item = &Medium<M>> {
        self.roots.iter().filter_map(Published::get)
    }
}

/// Makes roots at a place that is writable and nobody else's.
fn write_roots<M: Mode, const N: usize>(place: NonNull<[Root<M>; N]>) {
    for class in 0..N {
        // SAFETY: the element is within the array.
        let root = unsafe { place.cast::<Root<M>>().add(class) };
        // SAFETY: the place is writable and nobody else's.
        unsafe { root.write(Locked::new(SlabRoot::new())) };
    }
}

#[cfg(all(test, feature = "std", target_pointer_width = "64", not(feature = "hardened")))]
mod tests {
    use core::alloc::Layout;
    use core::ptr;

    use super::*;
    use crate::heap::MallocState;

    #[test]
    fn what_a_few_blocks_need_lies_in_the_first_page_of_4_kib() {
        fn check<M: Mode>(heap: &MallocState<M>) {
            let blocks = [(); 10].map(|()| heap.allocate_block(Layout::new::<[u64; 8]>()).unwrap());
            let base = heap.segments().next().unwrap().address();
            // A thread beyond the inline table has its cache elsewhere.
            let largest = heap.cache().map(|cache| cache.small(SizeClass::of(4 << 10)));
            let ends = blocks.map(|block| block.addr().get() + block.len());
            for end in ends.into_iter().chain(largest.map(|class| ptr::from_ref(class).addr() + size_of_val(class))) {
                assert!(end - base <= 4 << 10, "{}", end - base);
            }
        }
        check(&MallocState::new());
        check(&MallocState::local());
    }
}
