//! Checks of a heap's structures against each other.

use core::num::NonZero;
use core::sync::atomic::Ordering::Relaxed;

use crate::cache::ThreadCache;
use crate::heap::core::Core;
use crate::heap::segments::usage;
use crate::heap::{MallocState, Mode};
use crate::os::PageSource;
use crate::primitives::corruption::Corruption;
use crate::segment::SegmentKind;
use crate::slab::{RootCounts, SMALL_CLASSES, SlabSegment, locate, validate_segment};

impl<M: Mode, S: PageSource> MallocState<M, S> {
    /// Checks the caller's cache, and everything that locks protect, one lock at a time. Other threads may go on.
    ///
    /// # Errors
    ///
    /// A [`Corruption`] that says what contradicts what, and where.
    pub fn validate(&self) -> Result<(), Corruption> {
        let Some(core) = self.core() else { return Ok(()) };
        self.with_cache(core, |cache| cache.map_or(Ok(()), |cache| self.validate_cache(core, cache)))?;
        for (class, root) in core.roots() {
            root.lock().validate::<S>(class)?;
        }
        let supply = self.context(core).supply;
        for root in core.medium().into_iter().flat_map(|tier| tier.roots()) {
            root.lock().validate(&supply)?;
        }
        core.mappings.lock().validate(&supply)
    }

    /// Checks everything, the caches of all threads and all sums included.
    ///
    /// # Errors
    ///
    /// A [`Corruption`] that says what contradicts what, and where.
    pub fn validate_all(&mut self) -> Result<(), Corruption> {
        self.validate()?;
        let Some(core) = self.core() else { return Ok(()) };
        let mut caches = Ok(());
        self.for_each_cache(core, |cache| {
            if caches.is_ok() {
                caches = self.validate_cache(core, cache);
            }
        });
        caches?;
        self.validate_sums(core)
    }

    /// Each cached block is where its class says.
    fn validate_cache(&self, core: &Core<M>, cache: &ThreadCache) -> Result<(), Corruption> {
        let context = self.context(core);
        let mut checked = Ok(());
        for (class, _) in core.small_classes() {
            cache.small(class).for_each_cached(|block| {
                if checked.is_ok() {
                    checked = match NonZero::new(block).map(|block| locate(&context, block.get())) {
                        Some(Ok(origin)) => {
                            Corruption::unless(origin.class() == class, "cached block is of another class", block)
                        }
                        Some(Err(what)) => Err(Corruption::new(what, block)),
                        None => Err(Corruption::new("a magazine's list is broken", class.size())),
                    };
                }
            });
        }
        checked
    }

    /// What roots, segments and the account say of the same bytes.
    fn validate_sums(&self, core: &Core<M>) -> Result<(), Corruption> {
        let mut sums = [(0, 0); SMALL_CLASSES];
        let (mut mapped, mut committed) = (0, 0);
        let mut checked = Ok(());
        core.records.for_each(|segment| {
            mapped += segment.len();
            committed += usage(segment).committed;
            if segment.kind() == SegmentKind::Slab && segment.is_ready() && checked.is_ok() {
                checked = validate_segment::<S>(SlabSegment::of(segment), &mut sums);
            }
        });
        checked?;
        let mut young = [0; SMALL_CLASSES];
        if let Some(nursery) = core.nursery() {
            nursery.validate()?;
            nursery.for_each_out(|class| young[class.index()] += 1);
        }
        for (class, root) in core.small_classes() {
            let counts = root.map_or_else(RootCounts::default, |root| root.lock().counts());
            let (out, bytes) = sums[class.index()];
            Corruption::unless(counts.out == out, "root counts other blocks than its slabs", class.size())?;
            Corruption::unless(counts.committed == bytes, "root counts other bytes than its slabs", class.size())?;
            let mut cached = counts.depot;
            self.for_each_cache(core, |cache| {
                cached += cache.small(class).cached() + cache.small(class).bump_left() / class.size();
            });
            let out = out + young[class.index()];
            Corruption::unless(cached <= out, "more blocks are cached than are out", class.size())?;
        }
        if let Some(tier) = core.medium() {
            let counted =
                tier.out.iter().map(|out| out.load(Relaxed)).sum::<usize>() + tier.direct_blocks.load(Relaxed);
            let out: usize = tier.roots().map(|root| root.lock().out().0).sum();
            Corruption::unless(counted == out, "medium blocks are miscounted", counted)?;
        }
        Corruption::unless(mapped == self.mapped(), "segments add up to other than mapped", mapped)?;
        Corruption::unless(committed == self.committed(), "segments add up to other than committed", committed)
    }
}
