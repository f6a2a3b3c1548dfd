//! What a heap holds: sums, failures, and a line for each size class.

use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

use crate::heap::core::Core;
use crate::heap::{MallocState, Mode};
use crate::os::PageSource;
use crate::segment::{Geometry, Refusal};
use crate::slab::{CLASSES, RootCounts, SMALL_CLASSES, SizeClass};

/// How often a heap had to say no, by cause.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Failures {
    /// Committed would have passed the limit.
    pub limit: usize,
    /// The page source had no more.
    pub source: usize,
    /// No heap serves such a size or alignment.
    pub size: usize,
}

/// One size class of a heap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClassStats {
    /// Bytes of a block.
    pub block_size: usize,
    /// Blocks with users.
    pub live_blocks: usize,
    /// Blocks in magazines and depots.
    pub cached_blocks: usize,
}

impl ClassStats {
    /// Bytes of the blocks with users.
    pub fn live(&self) -> usize {
        self.live_blocks * self.block_size
    }

    /// Bytes of the blocks in magazines and depots.
    pub fn cached(&self) -> usize {
        self.cached_blocks * self.block_size
    }
}

/// What a heap holds, all in bytes but for the blocks: `committed = live + cached + free + overhead`.
///
/// Exact when no other call runs at the same time.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Address space.
    pub mapped: usize,
    /// Put to use.
    pub committed: usize,
    /// The highest committed so far.
    pub peak: usize,
    /// The most that may be committed.
    pub limit: Option<usize>,
    /// Blocks handed out and not freed, by their usable sizes.
    pub live: usize,
    /// How many those are.
    pub live_blocks: usize,
    /// Blocks in magazines and depots.
    pub cached: usize,
    /// Committed, and of no other use: free blocks in slabs, cached mappings.
    pub free: usize,
    /// Headers, descriptors, tables.
    pub overhead: usize,
    /// Allocations refused.
    pub failures: Failures,
    pub(super) classes: Classes,
}

/// Counts by class; those of medium blocks with an alignment of their own, and of mappings, beside them.
#[derive(Clone, Debug)]
pub(super) struct Classes {
    pub(super) live: [usize; CLASSES],
    pub(super) cached: [usize; CLASSES],
    /// Blocks and bytes.
    pub(super) direct: (usize, usize),
    pub(super) mappings: (usize, usize),
}

impl Classes {
    pub(super) const EMPTY: Self = Self { live: [0; CLASSES], cached: [0; CLASSES], direct: (0, 0), mappings: (0, 0) };

    /// Blocks and bytes with users, of all sizes.
    pub(super) fn live_totals(&self) -> (usize, usize) {
        let classed =
            self.stats().fold((0, 0), |(blocks, bytes), class| (blocks + class.live_blocks, bytes + class.live()));
        [self.direct, self.mappings].iter().fold(classed, |(blocks, bytes), more| (blocks + more.0, bytes + more.1))
    }

    pub(super) fn stats(&self) -> impl Iterator<Item = ClassStats> {
        (1..CLASSES)
            .map(|index| ClassStats {
                block_size: SizeClass::from_index(index).size(),
                live_blocks: self.live[index],
                cached_blocks: self.cached[index],
            })
            .filter(|class| class.live_blocks + class.cached_blocks > 0)
    }
}

impl Stats {
    /// The size classes that have blocks, smallest first; without mappings.
    pub fn classes(&self) -> impl Iterator<Item = ClassStats> {
        self.classes.stats()
    }

    /// Mappings with users: how many, and their bytes.
    pub fn mappings(&self) -> (usize, usize) {
        self.classes.mappings
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sums = [
            ("mapped", self.mapped),
            ("committed", self.committed),
            ("  live", self.live),
            ("  cached", self.cached),
            ("  free", self.free),
            ("  overhead", self.overhead),
            ("peak", self.peak),
        ];
        for (name, bytes) in sums {
            writeln!(f, "{name:<12} {bytes:>14} B")?;
        }
        writeln!(f, "{:<12} {:>14} blocks", "live", self.live_blocks)?;
        let Failures { limit, source, size } = self.failures;
        writeln!(f, "{:<12} {limit} by the limit, {source} by the source, {size} by size", "refused")?;
        writeln!(f, "{:>12} {:>14} {:>14}", "block size", "live blocks", "cached blocks")?;
        for class in self.classes() {
            writeln!(f, "{:>12} {:>14} {:>14}", class.block_size, class.live_blocks, class.cached_blocks)?;
        }
        let (blocks, bytes) = self.mappings();
        if blocks > 0 {
            writeln!(f, "{:>12} {blocks:>14} ({bytes} B)", "mappings")?;
        }
        Ok(())
    }
}

impl<M: Mode, S: PageSource> MallocState<M, S> {
    /// Everything that can be said of the heap in numbers. Takes each root's lock in turn.
    ///
    /// ```
    /// let heap = mallocstate::MallocState::new();
    /// heap.alloc_slice_copy(&[0_u8; 50]);
    /// let stats = heap.stats();
    /// assert_eq!((stats.live_blocks, stats.live), (1, 64));
    /// assert_eq!(stats.committed, stats.live + stats.cached + stats.free + stats.overhead);
    /// println!("{stats}");
    /// ```
    pub fn stats(&self) -> Stats {
        let mut classes = Classes::EMPTY;
        let (mut free, mut cached) = (0, 0);
        if let Some(core) = self.core() {
            free = self.count_small(core, &mut classes);
            free += self.count_others(core, &mut classes);
            cached = classes.stats().map(|class| class.cached()).sum();
        }
        let (live_blocks, live) = classes.live_totals();
        let committed = self.committed();
        Stats {
            mapped: self.mapped(),
            committed,
            peak: self.peak(),
            limit: self.limit(),
            live,
            live_blocks,
            cached,
            free,
            overhead: committed.saturating_sub(live + cached + free),
            failures: self.failures(),
            classes,
        }
    }

    fn failures(&self) -> Failures {
        let count = |refusal: Refusal| self.failures[refusal as usize].load(Relaxed);
        Failures { limit: count(Refusal::Limit), source: count(Refusal::Source), size: count(Refusal::Size) }
    }

    /// Counts small blocks; the answer is the bytes of slabs and of the nursery that no block takes.
    fn count_small(&self, core: &Core<M>, classes: &mut Classes) -> usize {
        let mut young = [0_usize; SMALL_CLASSES];
        let (mut committed, mut in_use) = (0, 0);
        if let Some(nursery) = core.nursery() {
            let _walking = core.pool.lock();
            nursery.for_each_out(|class| young[class.index()] += 1);
            committed += nursery.committed();
        }
        for (class, root) in core.small_classes() {
            let counts = root.map_or_else(RootCounts::default, |root| root.lock().counts());
            let out = counts.out + young[class.index()];
            if out == 0 && counts.committed == 0 {
                continue;
            }
            let (mut cached, mut uncut) = (counts.depot, 0);
            self.for_each_cache(core, |cache| {
                cached += cache.small(class).cached();
                uncut += cache.small(class).bump_left() / class.size();
            });
            let live = out.saturating_sub(cached + uncut);
            classes.live[class.index()] = live;
            classes.cached[class.index()] = cached;
            committed += counts.committed;
            in_use += (live + cached) * class.size();
        }
        committed.saturating_sub(in_use)
    }

    /// Counts medium blocks and mappings; the answer is the bytes of cached mappings.
    fn count_others(&self, core: &Core<M>, classes: &mut Classes) -> usize {
        if let Some(tier) = core.medium() {
            let first = SizeClass::of(S::SMALL_MAX).index() + 1;
            for (index, out) in tier.out.iter().enumerate() {
                let (mut cached, out) = (0, out.load(Relaxed));
                self.for_each_cache(core, |cache| cached += cache.medium().map_or(0, |medium| medium.cached(index)));
                if let Some(live) = classes.live.get_mut(first + index) {
                    *live = out.saturating_sub(cached);
                    classes.cached[first + index] = cached;
                }
            }
            classes.direct = (tier.direct_blocks.load(Relaxed), tier.direct_bytes.load(Relaxed));
        }
        let mappings = core.mappings.lock();
        classes.mappings = mappings.live();
        mappings.cached_bytes()
    }

    /// Counts what is live and nothing else.
    pub(super) fn live(&self, core: &Core<M>) -> Classes {
        let mut classes = Classes::EMPTY;
        self.count_small(core, &mut classes);
        self.count_others(core, &mut classes);
        classes
    }
}
