//! From a thread to its cache in this heap, by slot.

#![expect(unsafe_code, reason = "publishes caches")]

use core::sync::atomic::Ordering::Relaxed;

use crate::cache::{CachePtr, ThreadCache};
use crate::heap::core::Core;
use crate::heap::mode::parts::{Slotted, Table};
use crate::heap::{MallocState, Mode};
use crate::os::PageSource;
use crate::segment::{Geometry, Refusal};
use crate::slab::{SizeClass, SlabContext};

impl<M: Mode, S: PageSource> MallocState<M, S> {
    /// The current thread's cache, where its slot has an entry in the heap's own table.
    #[inline(always)]
    pub(crate) fn cache(&self) -> Option<&ThreadCache> {
        self.caches.get(M::slot())?.get()
    }

    /// The current thread's cache, also where its slot has its entry in a chunk of the core.
    #[inline]
    pub(crate) fn own_cache<'a>(&'a self, core: &'a Core<M>) -> Option<&'a ThreadCache> {
        self.cache_ptr(core, M::slot())?.get()
    }

    fn cache_ptr<'a>(&'a self, core: &'a Core<M>, slot: usize) -> Option<&'a CachePtr> {
        self.caches.get(slot).or_else(|| core.far_cache(slot))
    }

    fn cache_or_make<'a>(&'a self, core: &'a Core<M>, slot: usize) -> Result<&'a ThreadCache, Refusal> {
        match self.cache_ptr(core, slot).and_then(CachePtr::get) {
            Some(cache) => Ok(cache),
            None => self.make_cache(core, slot),
        }
    }

    #[cold]
    fn make_cache<'a>(&'a self, core: &'a Core<M>, slot: usize) -> Result<&'a ThreadCache, Refusal> {
        let context = self.context(core);
        let entry = match self.caches.get(slot) {
            Some(entry) => entry,
            None => core.far_cache_or_make(slot, &context)?,
        };
        let cache = core.make_cache(slot, &context)?;
        // SAFETY: the core's memory lives as long as the heap; the thread leases the slot.
        unsafe { entry.set(cache) };
        entry.get().ok_or(Refusal::Source)
    }

    /// Runs `operation` with the current thread's cache; without one where there is no slot for the thread, or no memory
    /// for a cache. Flushes the cache first if that was asked for.
    pub(crate) fn with_cache<R>(&self, core: &Core<M>, operation: impl FnOnce(Option<&ThreadCache>) -> R) -> R {
        let lease = M::lease();
        let cache = lease.as_ref().and_then(|lease| self.cache_or_make(core, lease.slot()).ok());
        if let Some(cache) = cache.filter(|cache| cache.must_flush(&core.flushes)) {
            self.flush_cache(core, &self.context(core), cache);
        }
        operation(cache)
    }

    /// Gives all blocks of a cache back; the answer is how many there were. The caller leases the cache's slot.
    pub(crate) fn flush_cache(
        &self,
        core: &Core<M>,
        context: &SlabContext<'_, S, M::Lock>,
        cache: &ThreadCache,
    ) -> usize {
        let mut flushed = 0;
        for (class, root) in core.small_classes() {
            flushed += cache.small(class).flush(root, context, class);
        }
        if let Some(medium) = cache.medium() {
            let first = SizeClass::of(S::SMALL_MAX).index() + 1;
            medium.drain(|index, block| {
                flushed += 1;
                self.free_to_root(core, context, block, Some(SizeClass::from_index(first + index)));
            });
        }
        if let Some(nursery) = cache.nursery() {
            nursery.settle(context);
        }
        if flushed > 0 {
            core.returns.fetch_add(1, Relaxed);
        }
        flushed
    }

    /// Makes the nursery a new one where nothing of it is out, unless a running thread other than this one cuts it.
    pub(crate) fn settle_nursery(&self, core: &Core<M>, context: &SlabContext<'_, S, M::Lock>) {
        let Some((nursery, slot)) = core.nursery_of_slot() else { return };
        // The lease makes it ours until the end.
        let lease = if M::slot() == slot { M::lease() } else { M::lease_if_free(slot) };
        if lease.is_some() {
            nursery.settle(context);
        }
    }

    /// Flushes the caches of slots that no thread has now.
    pub(crate) fn flush_free_slots(&self, core: &Core<M>, context: &SlabContext<'_, S, M::Lock>) -> usize {
        let mut flushed = 0;
        for slot in 0..M::high_water() {
            if self.cache_ptr(core, slot).and_then(CachePtr::get).is_none() {
                continue;
            }
            // The lease makes the cache ours; what its last thread did is seen through the list's lock.
            let Some(lease) = M::lease_if_free(slot) else { continue };
            if let Some(cache) = self.cache_ptr(core, lease.slot()).and_then(CachePtr::get) {
                flushed += self.flush_cache(core, context, cache);
            }
        }
        flushed
    }

    /// Calls `visit` for every cache that the heap has.
    pub(crate) fn for_each_cache(&self, core: &Core<M>, mut visit: impl FnMut(&ThreadCache)) {
        for slot in 0..M::high_water() {
            if let Some(cache) = self.cache_ptr(core, slot).and_then(CachePtr::get) {
                visit(cache);
            }
        }
    }

    /// Asks running threads to flush their caches when they next take the long way.
    pub(crate) fn ask_for_flush(&self, core: &Core<M>) {
        core.flushes.ask();
    }
}
