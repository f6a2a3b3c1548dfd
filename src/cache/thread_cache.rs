//! A thread cache: what one thread slot holds of a heap's free blocks.
//!
//! It lives in the heap's own memory, made by the first thread that leases the slot and inherited by the next; it stays
//! until the heap goes.

#![expect(unsafe_code, reason = "makes caches in raw memory")]

use core::cell::Cell;
use core::ptr::NonNull;

use crate::cache::flush::{FlushRequests, FlushesSeen};
use crate::cache::magazine::Magazines;
use crate::cache::medium::MediumCache;
use crate::primitives::published::Published;
use crate::slab::{SMALL_CLASSES, SizeClass};

/// A thread's free blocks in one heap.
///
/// # Invariants
///
/// All zero is the empty state. A class's bit in `fresh` is set only while its bump range is all zero.
#[repr(C, align(64))]
pub(crate) struct ThreadCache {
    small: [Magazines; SMALL_CLASSES],
    medium: Published<MediumCache>,
    fresh: [Cell<u64>; 2],
    flushes_seen: FlushesSeen,
}

impl ThreadCache {
    /// An empty cache in place.
    ///
    /// # Safety
    ///
    /// `place` is writable, aligned for a cache, and nobody else's.
    pub(crate) unsafe fn write(place: NonNull<u8>, requests: &FlushRequests) -> NonNull<Self> {
        let mut cache = place.cast::<Self>();
        // SAFETY: all zero is a cache without blocks.
        unsafe { cache.write_bytes(0, 1) };
        // SAFETY: it was just made.
        unsafe { cache.as_mut() }.flushes_seen = FlushesSeen::all(requests);
        cache
    }

    /// The magazines of a small class.
    #[inline(always)]
    pub(crate) fn small(&self, class: SizeClass) -> &Magazines {
        &self.small[class.index()]
    }

    /// The medium part, where it has been needed.
    #[inline(always)]
    pub(crate) fn medium(&self) -> Option<&MediumCache> {
        self.medium.get()
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
        unsafe { self.medium.publish(medium) };
    }

    /// Whether the next block that the class's bump range gives is all zero.
    pub(crate) fn is_fresh(&self, class: SizeClass) -> bool {
        self.fresh[class.index() / 64].get() >> (class.index() % 64) & 1 == 1
    }

    /// Says whether the class's bump range is all zero.
    pub(crate) fn set_fresh(&self, class: SizeClass, fresh: bool) {
        let (word, bit) = (&self.fresh[class.index() / 64], 1 << (class.index() % 64));
        word.set(if fresh { word.get() | bit } else { word.get() & !bit });
    }

    /// Whether a flush was asked for since the last call.
    pub(crate) fn must_flush(&self, requests: &FlushRequests) -> bool {
        self.flushes_seen.must_follow(requests)
    }

    /// Forgets all blocks: their slabs and segments are gone.
    pub(crate) fn forget(&self) {
        self.small.iter().for_each(Magazines::forget);
        if let Some(medium) = self.medium() {
            medium.forget();
        }
        self.fresh.iter().for_each(|word| word.set(0));
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
    pub(crate) fn clear(&mut self) {
        self.0.take();
    }
}
