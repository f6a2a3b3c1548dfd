//! Coalescing segments: the header behind the common one, and the blocks that tile the rest.
//!
//! ```text
//! │ SegmentHeader │ CoalescingHeader │ block │ block │ …………… │ last block │ (rest of the mapping)
//! base                               first                                end
//! ```
//!
//! # Invariants
//!
//! - Blocks tile `first..end`; `end` is at most `SEGMENT_SIZE` where there can be more than one block.
//! - `out` is the sum of the lengths of the blocks that are out of the bins. A segment is empty exactly where it is 0.
//! - A single segment is never split. While it is empty nothing of its block is defined, and it is in no bin.

#![expect(unsafe_code, reason = "reads the headers of live segments")]

use core::cell::Cell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::block::{BLOCK_HEADER, Block, SMALLEST_BLOCK};
use super::boundary_tag::{BoundaryTag, FreePages, GRANULE};
use crate::os::HugeAdvice;
use crate::primitives::address::{align_down, is_aligned};
use crate::primitives::list::{Linked, Links};
use crate::primitives::sanitizer;
use crate::segment::{HEADER_BYTES, SegmentRef, Usage};

/// Where in a segment its blocks are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Extent {
    /// Offset of the first block.
    pub(super) first: usize,
    /// Offset behind the last block.
    pub(super) end: usize,
    /// There is room for one block only.
    pub(super) single: bool,
}

/// What a coalescing segment says of itself, behind the common header.
#[repr(C, align(16))]
pub(super) struct CoalescingHeader {
    links: Links<CoalescingHeader>,
    /// Read by other threads; written under the root's lock only.
    out: AtomicUsize,
    extent: Cell<Extent>,
}

// SAFETY: always the same field.
unsafe impl Linked for CoalescingHeader {
    fn links(&self) -> &Links<Self> {
        &self.links
    }
}

/// Bytes of a coalescing segment's own header.
pub(super) const OWN_HEADER: usize = size_of::<CoalescingHeader>();

/// Bytes charged for a coalescing segment, apart from its blocks.
pub(super) const OVERHEAD: usize = HEADER_BYTES + OWN_HEADER;

/// Offset of the first block in an ordinary segment.
pub(super) const FIRST_BLOCK: usize = OVERHEAD.next_multiple_of(GRANULE);

/// A live coalescing segment. Whoever has one holds the root's lock, or reads `out` only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct CoalescingSegment(SegmentRef);

impl CoalescingSegment {
    /// Writes the own header of a new segment; no block is written yet.
    ///
    /// # Safety
    ///
    /// The segment is new and of kind `Coalescing`; nobody uses what is behind the common header.
    pub(super) unsafe fn write(segment: SegmentRef, extent: Extent) -> Self {
        let value = CoalescingHeader { links: Links::new(), out: AtomicUsize::new(0), extent: Cell::new(extent) };
        // SAFETY: the own header lies in the first page of the new segment, which is committed.
        unsafe { header_of(segment).write(value) };
        segment.set_ready();
        Self(segment).poison();
        Self(segment)
    }

    /// Poisons all but the headers: the root hands blocks out.
    pub(super) fn poison(self) {
        // SAFETY: the headers are within the segment.
        sanitizer::poison(unsafe { self.0.at(OVERHEAD) }, self.0.len() - OVERHEAD);
    }

    /// # Safety
    ///
    /// The segment is live, of kind `Coalescing`, and its own header was written.
    pub(super) const unsafe fn new(segment: SegmentRef) -> Self {
        Self(segment)
    }

    /// The segment of one of its blocks.
    pub(super) fn of_block(block: Block, segment_size: usize) -> Self {
        // SAFETY: blocks lie in live coalescing segments.
        Self(unsafe { SegmentRef::of_block(block.payload().addr().get(), segment_size) })
    }

    /// The segment of a header that is in a root's list.
    pub(super) fn of_header(header: NonNull<CoalescingHeader>, segment_size: usize) -> Self {
        // SAFETY: the header lies behind the base of a live segment, as a first block would.
        Self(unsafe { SegmentRef::of_block(header.addr().get(), segment_size) })
    }

    pub(super) const fn common(self) -> SegmentRef {
        self.0
    }

    pub(super) fn own_header(self) -> NonNull<CoalescingHeader> {
        header_of(self.0)
    }

    fn header(&self) -> &CoalescingHeader {
        // SAFETY: the segment is live, and its header holds nothing but cells and atomics.
        unsafe { header_of(self.0).as_ref() }
    }

    pub(super) fn extent(self) -> Extent {
        self.header().extent.get()
    }

    /// Writes again what a refused release may have overwritten, and poisons what it has unpoisoned.
    pub(super) fn restore(self, extent: Extent) {
        self.header().extent.set(extent);
        self.poison();
    }

    /// Bytes of the blocks that are out of the bins.
    pub(super) fn out(self) -> usize {
        self.header().out.load(Relaxed)
    }

    /// Changes [`out`](Self::out); the root's lock is held.
    pub(super) fn set_out(self, bytes: usize) {
        self.header().out.store(bytes, Relaxed);
    }

    pub(super) fn is_empty(self) -> bool {
        self.out() == 0
    }

    /// The block whose header is `offset` behind the base.
    pub(super) fn block_at(self, offset: usize) -> Block {
        debug_assert!(offset < self.0.len());
        // SAFETY: the offset is within the segment, by the extent.
        let header = unsafe { self.0.at(offset) };
        // SAFETY: `at` gives a pointer that is good for the whole segment.
        unsafe { Block::at(header) }
    }

    pub(super) fn first_block(self) -> Block {
        self.block_at(self.extent().first)
    }

    /// How far behind the base a block starts.
    pub(super) fn offset_of(self, block: Block) -> usize {
        block.addr() - self.0.addr()
    }

    /// Says that the bytes below `reach` may be written from now on; the answer is the address from which on memory is
    /// known to be zero.
    pub(super) fn touch(self, reach: usize) -> usize {
        self.0.addr() + self.0.touch(reach)
    }

    /// Makes all of an ordinary segment one free block, which then belongs in a bin.
    pub(super) fn write_whole_block(self, pages: FreePages) -> Block {
        let Extent { first, end, .. } = self.extent();
        let block = self.block_at(first);
        block.set_first();
        block.set_tag(BoundaryTag::free(end - first, true, pages));
        self.touch(first + SMALLEST_BLOCK);
        block
    }

    /// What is known of the pages of an empty segment that may have been in use.
    pub(super) fn used_pages(self) -> FreePages {
        FreePages { uncommitted: self.0.needs_commit(), ..FreePages::USED }
    }

    /// What is known of the pages that stay free when a block is cut off.
    pub(super) fn remaining_pages(self, pages: FreePages) -> FreePages {
        // One byte touched makes a whole huge page resident.
        FreePages { discarded: pages.discarded && self.0.huge() == HugeAdvice::Against, ..pages }
    }

    /// The block whose payload starts `offset` behind the base, or what contradicts that it is allocated.
    pub(super) fn allocated_at(self, offset: usize) -> Result<Block, &'static str> {
        let Extent { first, end, .. } = self.extent();
        let start = offset.wrapping_sub(BLOCK_HEADER);
        if start < first || start > end - SMALLEST_BLOCK || !is_aligned(offset, GRANULE) {
            return Err("not the start of a medium block");
        }
        let block = self.block_at(start);
        let (tag, mirror) = (block.tag().mirrored(), block.mirror());
        if tag.is_free() || tag == BoundaryTag::NONE {
            return Err("a medium block that is free already, or not the start of one");
        }
        if tag.len() < SMALLEST_BLOCK || tag.len() > end - start || tag.is_last() != (tag.len() == end - start) {
            return Err("the boundary tag of a medium block was overwritten");
        }
        if block.right().is_some_and(|right| right.mirror() != tag) {
            return Err("the boundary tag behind a medium block was overwritten");
        }
        let mirror_holds = if start == first {
            mirror == BoundaryTag::NONE
        } else {
            mirror.len() >= SMALLEST_BLOCK && mirror.len() <= start - first && !mirror.is_last()
        };
        if !mirror_holds || block.free_left().is_some_and(|left| left.tag() != mirror) {
            return Err("the boundary tag before a medium block was overwritten");
        }
        if block.tag().is_cached() {
            return Err("block freed twice");
        }
        Ok(block)
    }
}

fn header_of(segment: SegmentRef) -> NonNull<CoalescingHeader> {
    // SAFETY: the segment is longer than its headers.
    unsafe { segment.at(HEADER_BYTES) }.cast()
}

/// Offset behind the last block of an ordinary segment with this many bytes mapped.
pub(super) const fn ordinary_end(len: usize, segment_size: usize) -> usize {
    align_down(if len < segment_size { len } else { segment_size }, GRANULE)
}

/// What of a coalescing segment is put to use. Any thread may ask under the records' lock, once the segment is ready.
pub(crate) fn usage(segment: SegmentRef) -> Usage {
    let out = CoalescingSegment(segment).out();
    Usage { committed: OVERHEAD + out, in_use: out }
}
