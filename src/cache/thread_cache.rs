//! A thread cache: what one thread slot holds of a heap's free blocks.
//!
//! It lives in the heap's own memory, made by the first thread that leases the slot and inherited by the next; it stays
//! until the heap goes.

#![expect(unsafe_code, reason = "makes caches in raw memory")]

use core::cell::Cell;
use core::hint::black_box;
use core::mem::offset_of;
use core::ptr::{self, NonNull};

use crate::cache::flush::{FlushRequests, FlushesSeen};
use crate::cache::magazine::Magazines;
use crate::cache::medium::MediumCache;
use crate::os::PageSource;
use crate::os::lock::RawLock;
use crate::primitives::published::Published;
use crate::segment::{Supply, at_address};
use crate::slab::{Nursery, SMALL_CLASSES, SizeClass};

/// A thread's free blocks in one heap.
///
/// # Invariants
///
/// All zero is the empty state. A class's bit in `fresh` is set only while its bump range is all zero.
#[repr(C)]
pub(crate) struct ThreadCache {
    /// The larger classes come last, in memory that a small heap does not touch.
    small: [Magazines; SMALL_CLASSES],
}

/// What a cache has beside its magazines.
#[repr(C)]
struct Head {
    /// The heap's nursery, in the one cache that cuts it.
    nursery: Cell<*const Nursery>,
    flushes_seen: FlushesSeen,
    medium: Published<MediumCache>,
    fresh: [Cell<u64>; 2],
}

/// A cache in its place: the head comes first, but the magazines are what a heap points to, so that the way to them is short.
#[repr(C, align(64))]
pub(crate) struct PlacedCache {
    head: Head,
    cache: ThreadCache,
}

impl ThreadCache {
    /// An empty cache in place.
    ///
    /// # Safety
    ///
    /// `place` is a [`PlacedCache`]'s, writable, of exposed provenance, and nobody else's; from the address `zero_from` on it is
    /// zero. No other cache has the nursery, which lives as long as the heap.
    pub(crate) unsafe fn write(
        place: NonNull<u8>,
        requests: &FlushRequests,
        nursery: Option<&Nursery>,
        zero_from: usize,
    ) -> NonNull<Self> {
        let mut placed = place.cast::<PlacedCache>();
        let dirty = zero_from.saturating_sub(place.addr().get()).min(size_of::<PlacedCache>());
        // In two halves, which no compiler joins: from 2 KiB on, C libraries fill with an instruction that is slow to start.
        const HALF: usize = size_of::<PlacedCache>() / 2;
        // SAFETY: all zero is a cache without blocks.
        unsafe { place.write_bytes(0, dirty.min(HALF)) };
        // SAFETY: the second half is within the place.
        let second = black_box(unsafe { place.add(HALF) });
        // SAFETY: as above.
        unsafe { second.write_bytes(0, dirty.saturating_sub(HALF)) };
        // SAFETY: it was just made.
        let head = unsafe { &mut placed.as_mut().head };
        head.flushes_seen = FlushesSeen::all(requests);
        head.nursery.set(nursery.map_or(ptr::null(), ptr::from_ref));
        // SAFETY: the cache lies within its place.
        unsafe { place.add(offset_of!(PlacedCache, cache)) }.cast()
    }

    #[inline(always)]
    fn head(&self) -> &Head {
        let head = at_address(ptr::from_ref(self).addr() - offset_of!(PlacedCache, cache));
        // SAFETY: every cache lies in its place, and the head in front of it, as long as the heap.
        unsafe { &*head }
    }

    /// The magazines of a small class.
    #[inline(always)]
    pub(crate) fn small(&self, class: SizeClass) -> &Magazines {
        &self.small[class.index()]
    }

    /// The heap's nursery, where this is the cache that cuts it.
    #[inline(always)]
    pub(crate) fn nursery(&self) -> Option<&Nursery> {
        // SAFETY: the nursery lives as long as the heap, and so as the cache.
        unsafe { self.head().nursery.get().as_ref() }
    }

    /// A block from what is open of the nursery, for a class of which the cache has no other. `limit` is the heap's.
    #[inline(always)]
    pub(crate) fn take_young(&self, class: SizeClass, limit: usize) -> Option<NonNull<u8>> {
        let (nursery, small) = (self.nursery()?, self.small(class));
        if small.has_more() {
            return None;
        }
        let block = nursery.cut(class)?;
        small.prepare(class, limit);
        Some(block)
    }

    /// As [`take_young`](Self::take_young), where more of the nursery must be opened first.
    #[cold]
    pub(crate) fn open_young<S: PageSource, L: RawLock>(
        &self,
        supply: &Supply<'_, S, L>,
        class: SizeClass,
    ) -> Option<NonNull<u8>> {
        if !self.nursery()?.open_for(supply, class) {
            return None;
        }
        self.take_young(class, supply.account.limit())
    }

    /// The medium part, where it has been needed.
    #[inline(always)]
    pub(crate) fn medium(&self) -> Option<&MediumCache> {
        self.head().medium.get()
    }

    /// Gives the cache a medium part.
    ///
    /// # Safety
    ///
    /// `place` is writable, aligned for a `MediumCache`, nobody else's, and lives as long as the heap.
    pub(crate) unsafe fn set_medium(&self, place: NonNull<u8>) {
        let medium = place.cast::<MediumCache>();
        // SAFETY: all zero is a medium part without blocks.
        unsafe { medium.write_bytes(0, 1) };
        // SAFETY: it lives as long as the heap, and only the cache's own thread publishes here.
        unsafe { self.head().medium.publish(medium) };
    }

    /// Whether the next block that the class's bump range gives is all zero.
    pub(crate) fn is_fresh(&self, class: SizeClass) -> bool {
        self.head().fresh[class.index() / 64].get() >> (class.index() % 64) & 1 == 1
    }

    /// Says whether the class's bump range is all zero.
    pub(crate) fn set_fresh(&self, class: SizeClass, fresh: bool) {
        let (word, bit) = (&self.head().fresh[class.index() / 64], 1 << (class.index() % 64));
        word.set(if fresh { word.get() | bit } else { word.get() & !bit });
    }

    /// Whether a flush was asked for that has not been followed.
    #[inline]
    pub(crate) fn is_asked_to_flush(&self, requests: &FlushRequests) -> bool {
        self.head().flushes_seen.are_behind(requests)
    }

    /// Whether a flush was asked for since the last call.
    #[inline]
    pub(crate) fn must_flush(&self, requests: &FlushRequests) -> bool {
        self.head().flushes_seen.must_follow(requests)
    }

    /// Forgets all blocks: their slabs and segments are gone.
    pub(crate) fn forget(&self) {
        self.small.iter().for_each(Magazines::forget);
        if let Some(medium) = self.medium() {
            medium.forget();
        }
        self.head().fresh.iter().for_each(|word| word.set(0));
    }
}

/// The cache of one slot in a heap, once it has one.
#[repr(transparent)]
pub struct CachePtr(Published<ThreadCache>);

impl CachePtr {
    pub(crate) const fn null() -> Self {
        Self(Published::nothing())
    }

    /// The slot's cache.
    #[inline(always)]
    pub(crate) fn get(&self) -> Option<&ThreadCache> {
        self.0.get()
    }

    /// Publishes a cache.
    ///
    /// # Safety
    ///
    /// The cache lives as long as the heap; the caller leases the slot.
    pub(crate) unsafe fn set(&self, cache: NonNull<ThreadCache>) {
        // SAFETY: it stays, and only who leases the slot publishes here.
        unsafe { self.0.publish(cache) };
    }

    /// Forgets the cache, under an exclusive borrow of the heap.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.0.take();
    }
}
