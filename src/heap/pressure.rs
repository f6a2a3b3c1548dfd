//! What a heap does when memory is short, and what it gives back when asked.
//!
//! A refusal comes up through the root, whose lock is free again, to the call that the user made. There the heap gives up
//! what it caches, one lock at a time, and the call tries once more.

use core::cell::Cell;
use core::sync::atomic::Ordering::Relaxed;

use crate::heap::core::Core;
use crate::heap::{MallocState, Mode};
use crate::os::PageSource;
use crate::segment::{OwnerId, Refusal};
use crate::slab::SlabContext;

impl<M: Mode, S: PageSource> MallocState<M, S> {
    /// Tries; after a refusal gives up what is cached and tries once more. `None` has been counted as a failure.
    pub(crate) fn with_relief<T>(&self, mut attempt: impl FnMut(&Core<M>) -> Result<T, Refusal>) -> Option<T> {
        let first = self.core_or_make().and_then(&mut attempt);
        let outcome = first.or_else(|refusal| match self.core() {
            Some(core) if self.relieve(core, refusal) => attempt(core),
            _ => Err(refusal),
        });
        outcome.inspect_err(|&refusal| self.count_failure(refusal)).ok()
    }

    /// Gives up what is cached; false where that cannot help.
    #[cold]
    fn relieve(&self, core: &Core<M>, refusal: Refusal) -> bool {
        match refusal {
            Refusal::Size => false,
            Refusal::Source => {
                self.reclaim_from(core);
                true
            }
            Refusal::Limit => {
                // What the caller itself caches is looked at each time: frees do not count the short way.
                let context = self.context(core);
                let own = self.flush_own(core, &context);
                let returns = core.returns.load(Relaxed);
                if own == 0 && core.returns_at_pressure.swap(returns, Relaxed) == returns {
                    return false;
                }
                self.flush_all(core, &context);
                self.release_empty(core, &context);
                core.returns_at_pressure.store(core.returns.load(Relaxed), Relaxed);
                true
            }
        }
    }

    /// Gives up what is cached where a shrink has passed the limit. What stays above it is at most the
    /// portion that the new block has opened, and tables made for it.
    pub(crate) fn return_to_limit(&self) {
        if self.account.committed() > self.account.limit() {
            if let Some(core) = self.core() {
                let context = self.context(core);
                self.flush_all(core, &context);
                self.release_empty(core, &context);
            }
        }
    }

    fn flush_own(&self, core: &Core<M>, context: &SlabContext<'_, S, M::Lock>) -> usize {
        self.with_cache(core, |cache| cache.map_or(0, |cache| self.flush_cache(core, context, cache)))
    }

    /// Flushes what can be reached: the caller's cache, those of free slots, the depots. Running threads follow.
    fn flush_all(&self, core: &Core<M>, context: &SlabContext<'_, S, M::Lock>) {
        self.flush_own(core, context);
        self.flush_free_slots(core, context);
        self.flush_depots_to(core, context);
        self.settle_nursery(core, context);
    }

    /// Empties the depots and asks for a flush, when the limit has changed.
    pub(crate) fn flush_depots(&self) {
        let Some(core) = self.core() else { return };
        core.returns.fetch_add(1, Relaxed);
        self.flush_depots_to(core, &self.context(core));
    }

    fn flush_depots_to(&self, core: &Core<M>, context: &SlabContext<'_, S, M::Lock>) {
        self.ask_for_flush(core);
        for (class, root) in core.roots() {
            root.lock().flush(context, class);
        }
    }

    /// Releases what is empty: what it charges can be committed elsewhere.
    fn release_empty(&self, core: &Core<M>, context: &SlabContext<'_, S, M::Lock>) {
        let supply = &context.supply;
        // What the source still refuses waits for the next time.
        let _ = supply.release_abandoned();
        core.mappings.lock().reclaim(supply);
        for root in core.medium().into_iter().flat_map(|tier| tier.roots()) {
            root.lock().release_empty(supply);
        }
        core.pool.lock().release_empty(supply, usize::MAX);
    }

    fn reclaim_from(&self, core: &Core<M>) -> usize {
        let reclaimed = Cell::new(0);
        let mut context = self.context(core);
        context.supply.reclaimed = Some(&reclaimed);
        self.flush_all(core, &context);
        // What the source still refuses waits for the next time.
        let _ = context.supply.release_abandoned();
        core.mappings.lock().reclaim(&context.supply);
        for root in core.medium().into_iter().flat_map(|tier| tier.roots()) {
            root.lock().reclaim(&context.supply);
        }
        for (_, root) in core.roots() {
            root.lock().discard(&context);
        }
        core.pool.lock().reclaim(&context.supply);
        reclaimed.get()
    }

    /// Gives unused memory back to the operating system, past the process's segment cache; the answer is in bytes.
    ///
    /// Flushes the caller's cache, those of threads that have ended, and the depots; releases empty segments and cached
    /// mappings; discards free pages in segments that stay. Threads that run flush when they next take the long way.
    /// With no other call running, a second call returns 0.
    ///
    /// ```
    /// let heap = mallocstate::MallocState::new();
    /// let blocks: Vec<_> = (0..100).map(|_| heap.malloc(100_000).unwrap()).collect();
    /// for block in blocks {
    ///     // SAFETY: each block is freed once, by the heap that it came from.
    ///     unsafe { heap.free(block) };
    /// }
    /// assert!(heap.reclaim() >= 8_000_000);
    /// assert_eq!(heap.reclaim(), 0);
    /// ```
    pub fn reclaim(&self) -> usize {
        match self.core() {
            Some(core) => self.reclaim_from(core),
            None => self.supply(&self.unmade.lock(), OwnerId::next()).release_abandoned().unwrap_or(0),
        }
    }
}
