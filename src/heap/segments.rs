//! The segments of a heap, one after the other, while it goes on working.

use core::fmt;

use crate::heap::{MallocState, Mode};
use crate::os::PageSource;
use crate::segment::{Cursor, HEADER_BYTES, Segment, SegmentBatch, SegmentKind, SegmentRef, Usage};
use crate::{coalesce, mapping, slab};

/// What of a segment is put to use.
pub(crate) fn usage(segment: SegmentRef) -> Usage {
    match segment.kind() {
        _ if !segment.is_ready() => Usage { committed: HEADER_BYTES, in_use: 0 },
        SegmentKind::Slab => slab::usage(segment),
        SegmentKind::Coalescing => coalesce::usage(segment),
        SegmentKind::Mapping => mapping::usage(segment),
    }
}

/// Iterates over the segments of a heap: see [`MallocState::segments`].
///
/// It holds nothing of the heap but a borrow: dropping or forgetting it half way is harmless.
pub struct Segments<'a, M: Mode, S: PageSource> {
    heap: &'a MallocState<M, S>,
    cursor: Cursor,
    batch: SegmentBatch,
}

impl<M: Mode, S: PageSource> Iterator for Segments<'_, M, S> {
    type Item = Segment;

    fn next(&mut self) -> Option<Segment> {
        if let Some(segment) = self.batch.take_next() {
            return Some(segment);
        }
        self.batch = match self.heap.core() {
            Some(core) => core.records.next_batch(&mut self.cursor, usage),
            None => self.heap.unmade.lock().next_batch(&mut self.cursor, usage),
        };
        self.batch.take_next()
    }
}

impl<M: Mode, S: PageSource> fmt::Debug for Segments<'_, M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segments").field("heap", self.heap).finish_non_exhaustive()
    }
}

impl<M: Mode, S: PageSource> MallocState<M, S> {
    /// Every segment of the heap, oldest first, empty ones included.
    ///
    /// The loop may allocate, free and reclaim in the same heap, and other threads may too. A segment that is there
    /// throughout is seen exactly once.
    ///
    /// ```
    /// use mallocstate::{MallocState, SegmentKind};
    ///
    /// let heap = MallocState::new();
    /// let small = heap.alloc(1_u8);
    /// let large = heap.alloc_slice_fill_with(5 << 20, |_| 0_u8);
    /// let kinds: Vec<SegmentKind> = heap.segments().map(|segment| segment.kind()).collect();
    /// assert_eq!(kinds, [SegmentKind::Slab, SegmentKind::Mapping]);
    /// assert_eq!(heap.segments().map(|segment| segment.mapped()).sum::<usize>(), heap.mapped());
    /// ```
    pub fn segments(&self) -> Segments<'_, M, S> {
        Segments { heap: self, cursor: Cursor::new(), batch: SegmentBatch::new() }
    }

    /// Whether the address lies in one of the heap's segments. Looks at no memory but the heap's own records.
    pub fn contains<T: ?Sized>(&self, pointer: *const T) -> bool {
        let address = pointer.cast::<u8>().addr();
        match self.core() {
            Some(core) => core.records.contain(address),
            None => self.unmade.lock().contain(address),
        }
    }
}
