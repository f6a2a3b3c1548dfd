//! The end of a heap, and its new beginning.

#![expect(unsafe_code, reason = "takes a heap's segments away")]

use core::sync::atomic::Ordering::Relaxed;
use core::{mem, ptr};

use crate::heap::core::Core;
use crate::heap::mode::parts::Table;
use crate::heap::stats::{ClassStats, Classes};
use crate::heap::{MallocState, Mode};
use crate::os::PageSource;
use crate::primitives::sanitizer;
use crate::segment::Records;

/// What a heap held when it was destroyed.
#[derive(Clone, Debug)]
pub struct Teardown {
    classes: Classes,
    mapped: usize,
    peak: usize,
    refused: usize,
}

impl Teardown {
    /// Blocks that had not been freed.
    pub fn live_blocks(&self) -> usize {
        self.classes.live_totals().0
    }

    /// Their usable sizes, in bytes.
    pub fn live(&self) -> usize {
        self.classes.live_totals().1
    }

    /// The size classes that had live blocks, smallest first; without mappings.
    pub fn classes(&self) -> impl Iterator<Item = ClassStats> {
        self.classes.stats().filter(|class| class.live_blocks > 0)
    }

    /// Mappings that had not been freed: how many, and their bytes.
    pub fn mappings(&self) -> (usize, usize) {
        self.classes.mappings
    }

    /// Bytes of address space that the heap held.
    pub fn mapped(&self) -> usize {
        self.mapped
    }

    /// The highest committed in the life of the heap, in bytes.
    pub fn peak(&self) -> usize {
        self.peak
    }

    /// Bytes that the page source refused to take back; 0 with [`SystemPages`](crate::SystemPages).
    pub fn refused(&self) -> usize {
        self.refused
    }
}

impl<M: Mode, S: PageSource> MallocState<M, S> {
    /// Gives every segment back at once, whatever is still live in it, and says what that was. Allocates nothing; takes
    /// time in proportion to the number of segments.
    ///
    /// Destructors of what was in the heap do not run. While anything borrows the heap it cannot be destroyed:
    ///
    /// ```compile_fail
    /// let heap = mallocstate::MallocState::new();
    /// let word = heap.alloc_str("still here");
    /// heap.destroy();
    /// println!("{word}");
    /// ```
    ///
    /// ```
    /// let heap = mallocstate::MallocState::new();
    /// heap.alloc([0_u64; 4]);
    /// let teardown = heap.destroy();
    /// assert_eq!((teardown.live_blocks(), teardown.live()), (1, 32));
    /// ```
    pub fn destroy(mut self) -> Teardown {
        let classes = self.core().map_or(Classes::EMPTY, |core| self.live(core));
        let (mapped, peak) = (self.mapped(), self.peak());
        self.give_everything_back();
        Teardown { classes, mapped, peak, refused: self.mapped() }
    }

    /// Gives all segments back. The records leave the core first, which goes with its segment.
    fn give_everything_back(&mut self) {
        self.caches.clear();
        let records = match self.core.take() {
            // SAFETY: the core stands, and the borrow of the heap is exclusive.
            Some(core) => unsafe { take_records(core) },
            None => mem::replace(self.unmade.get_mut(), Records::new()),
        };
        let (mut records, kept) = (records, Records::new());
        while let Some(segment) = records.pop() {
            // SAFETY: the heap goes, and with it everything in the segment.
            let _ = unsafe { self.supply(&kept, segment.owner()).unmap(segment) };
        }
    }

    /// Frees everything at once and keeps the heap, with its memory warm for the next round.
    ///
    /// Destructors do not run. Slab segments and coalescing segments stay, mappings are cached within bounds.
    ///
    /// ```compile_fail
    /// let mut heap = mallocstate::MallocState::new();
    /// let word = heap.alloc_str("still here");
    /// heap.reset();
    /// println!("{word}");
    /// ```
    ///
    /// ```
    /// let mut heap = mallocstate::MallocState::new();
    /// for round in 0..10 {
    ///     heap.alloc_slice_fill_with(1000, |index| index * round);
    ///     heap.reset();
    /// }
    /// assert_eq!(heap.stats().live_blocks, 0);
    /// assert_eq!(heap.segments().count(), 1);
    /// ```
    pub fn reset(&mut self) {
        let Some(core) = self.core() else { return };
        self.for_each_cache(core, crate::cache::ThreadCache::forget);
        core.returns.fetch_add(1, Relaxed);
        sanitizer::pool_gone(core.owner.pool());
        sanitizer::pool_made(core.owner.pool());
        let supply = self.context(core).supply;
        for (_, root) in core.roots() {
            root.lock().reset();
        }
        core.pool.lock().reset(&supply);
        if let Some(tier) = core.medium() {
            tier.roots().for_each(|root| root.lock().reset(&supply));
            tier.forget();
        }
        core.mappings.lock().reset(&supply);
    }
}

/// A core's records, by value: the core is not used any more.
///
/// # Safety
///
/// The core stands, nobody else uses it, and nobody will.
unsafe fn take_records<M: Mode>(core: ptr::NonNull<Core<M>>) -> Records<M::Lock> {
    // SAFETY: the core stands.
    let standing = unsafe { core.as_ref() };
    M::leave(standing);
    sanitizer::pool_gone(standing.owner.pool());
    // SAFETY: as above.
    let records = unsafe { &raw const (*core.as_ptr()).records };
    // SAFETY: nobody uses the core after this.
    unsafe { records.read() }
}

impl<M: Mode, S: PageSource> Drop for MallocState<M, S> {
    fn drop(&mut self) {
        self.give_everything_back();
    }
}
