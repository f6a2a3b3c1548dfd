//! Coalescing roots: allocation by splitting, freeing by merging both ways.
//!
//! # Invariants
//!
//! - No two free blocks are neighbours.
//! - The empty segments come first in `segments`.
//! - `blocks` and `payload` count what is out of the bins.
//! - What is out of the bins, and each segment's headers, are charged to the account.

#![expect(unsafe_code, reason = "turns users' pointers into blocks")]

use core::ptr::NonNull;

use super::bins::Bins;
use super::block::{BLOCK_HEADER, Block, SMALLEST_BLOCK};
use super::boundary_tag::{BoundaryTag, FreePages, GRANULE};
use super::segment::{CoalescingHeader, CoalescingSegment, Extent, FIRST_BLOCK, OWN_HEADER, ordinary_end};
use crate::os::PageSource;
use crate::os::lock::RawLock;
use crate::primitives::abort::corruption;
use crate::primitives::address::{align_up, checked_align_up};
use crate::primitives::list::List;
use crate::primitives::sanitizer;
use crate::segment::{EmptiedCounter, Refusal, SegmentKind, SegmentRef, SegmentRequest, Supply};

/// What a medium block is to be like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MediumRequest {
    payload: usize,
    align: usize,
    direct: bool,
}

impl MediumRequest {
    /// A block of at least `payload` bytes at a multiple of `align`, a power of two; `direct` is remembered with it.
    pub(crate) fn new(payload: usize, align: usize, direct: bool) -> Result<Self, Refusal> {
        let room = checked_align_up(payload.max(1), GRANULE).ok_or(Refusal::Size)?;
        let align = align.max(GRANULE);
        // The longest offset of a payload, its header and the rounding to pages fit on top.
        room.checked_add(align).filter(|&sum| sum <= isize::MAX as usize / 2).ok_or(Refusal::Size)?;
        Ok(Self { payload: room, align, direct })
    }

    /// Bytes of the block, header included.
    const fn len(self) -> usize {
        BLOCK_HEADER + self.payload
    }

    /// How far the block must start behind the start of a free block whose payload is at `address`: what is left in
    /// front is nothing or a block.
    pub(super) const fn lead(self, address: usize) -> usize {
        let lead = align_up(address, self.align) - address;
        if lead != 0 && lead < SMALLEST_BLOCK { lead + self.align } else { lead }
    }

    /// Payload length of a free block that is long enough wherever it is.
    pub(super) const fn anywhere(self) -> usize {
        if self.align == GRANULE { self.payload } else { self.payload + self.align + SMALLEST_BLOCK - GRANULE }
    }

    fn placed_in(self, block: Block) -> Option<Place> {
        let lead = self.lead(block.payload().addr().get());
        (lead + self.len() <= block.tag().len()).then_some(Place { block, lead })
    }
}

/// A free block, and how far into it the block to be taken starts.
struct Place {
    block: Block,
    lead: usize,
}

/// A block as it is handed out.
#[derive(Debug)]
pub(crate) struct MediumBlock {
    pub(crate) ptr: NonNull<u8>,
    /// Bytes from `ptr`, at least what was asked for.
    pub(crate) payload: usize,
    /// Address from which on the payload is known to be zero.
    pub(crate) zero_from: usize,
}

/// Segments of boundary-tagged blocks, and the free ones among these.
pub(crate) struct CoalescingRoot {
    pub(super) bins: Bins,
    pub(super) segments: List<CoalescingHeader>,
    pub(super) emptied: EmptiedCounter,
    pub(super) blocks: usize,
    pub(super) payload: usize,
    pub(super) index: usize,
}

impl CoalescingRoot {
    /// The heap's root of this number, at most 255.
    pub(crate) const fn new(index: usize) -> Self {
        let emptied = EmptiedCounter::new();
        Self { bins: Bins::new(), segments: List::new(), emptied, blocks: 0, payload: 0, index }
    }

    /// How many blocks are out of the bins, and their payload in bytes.
    pub(crate) const fn out(&self) -> (usize, usize) {
        (self.blocks, self.payload)
    }

    /// Takes a block from the root's own free memory; `None` where that has none.
    pub(crate) fn allocate<S: PageSource, L: RawLock>(
        &mut self,
        supply: &Supply<'_, S, L>,
        request: MediumRequest,
    ) -> Result<Option<MediumBlock>, Refusal> {
        let near = self.bins.near(request.payload).and_then(|block| request.placed_in(block));
        let place = near.or_else(|| request.placed_in(self.bins.at_least(request.anywhere())?));
        place.map(|place| self.take(supply, place, request, 0)).transpose()
    }

    /// Takes a block from a new segment. `first` says that the heap has no coalescing segment yet.
    #[cold]
    pub(crate) fn allocate_in_new_segment<S: PageSource, L: RawLock>(
        &mut self,
        supply: &Supply<'_, S, L>,
        request: MediumRequest,
        first: bool,
    ) -> Result<MediumBlock, Refusal> {
        let start = FIRST_BLOCK + request.lead(FIRST_BLOCK + BLOCK_HEADER);
        if start + request.len() > S::SEGMENT_SIZE {
            return self.allocate_single(supply, request, first);
        }
        // Before anything is mapped: a heap at its limit does not map in vain.
        supply.charge(OWN_HEADER + request.len())?;
        let ordinary = SegmentRequest::ordinary::<S>(SegmentKind::Coalescing, self.index, first);
        let segment = supply.map(ordinary).inspect_err(|_| supply.refund(OWN_HEADER + request.len()))?;
        let extent = Extent { first: FIRST_BLOCK, end: ordinary_end(segment.len(), S::SEGMENT_SIZE), single: false };
        // SAFETY: the segment is new.
        let segment = unsafe { CoalescingSegment::write(segment, extent) };
        let block = segment.write_whole_block(segment.used_pages());
        self.bins.insert(block);
        // SAFETY: the new segment is in no list yet.
        unsafe { self.segments.push_front(segment.own_header()) };
        let place = request.placed_in(block).ok_or(Refusal::Source);
        place.and_then(|place| self.take(supply, place, request, request.len())).inspect_err(|_| {
            supply.refund(request.len());
            self.release(supply, segment);
        })
    }

    /// Takes a block for which no ordinary segment is long enough: it gets a segment of its own.
    fn allocate_single<S: PageSource, L: RawLock>(
        &mut self,
        supply: &Supply<'_, S, L>,
        request: MediumRequest,
        first: bool,
    ) -> Result<MediumBlock, Refusal> {
        if let Some(segment) = self.idle_single::<S>(request) {
            return self.take_single(supply, segment, request);
        }
        // Behind an offset of SEGMENT_SIZE the block would not find its header.
        let far = request.align >= S::SEGMENT_SIZE;
        let offset = if far { S::SEGMENT_SIZE } else { align_up(FIRST_BLOCK + BLOCK_HEADER, request.align) };
        let end = offset + request.payload;
        let single = SegmentRequest {
            len: align_up(end, supply.page_size()),
            least: align_up(end, supply.page_size()),
            align: request.align.max(S::SEGMENT_SIZE),
            offset: if far { S::SEGMENT_SIZE } else { 0 },
            ..SegmentRequest::ordinary::<S>(SegmentKind::Coalescing, self.index, first)
        };
        supply.charge(OWN_HEADER)?;
        let segment = supply.map(single).inspect_err(|_| supply.refund(OWN_HEADER))?;
        // SAFETY: the segment is new.
        let segment =
            unsafe { CoalescingSegment::write(segment, Extent { first: offset - BLOCK_HEADER, end, single: true }) };
        // SAFETY: the new segment is in no list yet.
        unsafe { self.segments.push_front(segment.own_header()) };
        self.take_single(supply, segment, request).inspect_err(|_| {
            self.release(supply, segment);
        })
    }

    /// An empty single segment for the request: there is one only where the source refused to take it back.
    fn idle_single<S: PageSource>(&self, request: MediumRequest) -> Option<CoalescingSegment> {
        self.empty_segments::<S>().find(|segment| {
            let Extent { first, end, single } = segment.extent();
            single && end - first >= request.len() && request.lead(segment.block_at(first).payload().addr().get()) == 0
        })
    }

    /// Takes the one block of an empty single segment.
    fn take_single<S: PageSource, L: RawLock>(
        &mut self,
        supply: &Supply<'_, S, L>,
        segment: CoalescingSegment,
        request: MediumRequest,
    ) -> Result<MediumBlock, Refusal> {
        let Extent { first, end, .. } = segment.extent();
        supply.commit(segment.common(), first, end, end - first)?;
        let zero_from = segment.touch(end);
        let block = segment.first_block();
        block.set_first();
        block.set_tag(BoundaryTag::allocated(end - first, true, request.direct));
        Ok(self.hand_out(segment, block, zero_from))
    }

    /// Cuts a block out of a free one. Of the block's length, `paid` bytes are charged already.
    fn take<S: PageSource, L: RawLock>(
        &mut self,
        supply: &Supply<'_, S, L>,
        Place { block: free, lead }: Place,
        request: MediumRequest,
        paid: usize,
    ) -> Result<MediumBlock, Refusal> {
        let tag = free.tag();
        let segment = CoalescingSegment::of_block(free, S::SEGMENT_SIZE);
        let (len, rest) = split(tag.len() - lead, request.len());
        let start = segment.offset_of(free) + lead;
        let reach = start + len + if rest > 0 { SMALLEST_BLOCK } else { 0 };
        self.pay(supply, segment, tag.pages(), start..reach, len - paid)?;
        self.bins.remove(free);
        let zero_from = segment.touch(reach);
        let pages = segment.remaining_pages(tag.pages());
        let block = free.behind(lead);
        if lead > 0 {
            free.set_tag(BoundaryTag::free(lead, false, pages));
            self.bins.insert(free);
        }
        block.set_tag(BoundaryTag::allocated(len, rest == 0 && tag.is_last(), request.direct));
        if rest > 0 {
            let remainder = block.behind(len);
            remainder.set_tag(BoundaryTag::free(rest, tag.is_last(), pages));
            self.bins.insert(remainder);
        }
        Ok(self.hand_out(segment, block, zero_from))
    }

    /// Charges `bytes` and makes `range`, where it is part of a free block with these pages, usable.
    pub(super) fn pay<S: PageSource, L: RawLock>(
        &self,
        supply: &Supply<'_, S, L>,
        segment: CoalescingSegment,
        pages: FreePages,
        range: core::ops::Range<usize>,
        bytes: usize,
    ) -> Result<(), Refusal> {
        if pages.uncommitted {
            supply.commit(segment.common(), range.start, range.end, bytes)
        } else {
            supply.charge(bytes)
        }
    }

    fn hand_out(&mut self, segment: CoalescingSegment, block: Block, zero_from: usize) -> MediumBlock {
        let payload = block.tag().len() - BLOCK_HEADER;
        self.blocks += 1;
        self.payload += payload;
        let out = segment.out();
        segment.set_out(out + payload + BLOCK_HEADER);
        if out == 0 {
            // INVARIANT: segments in use stand behind the empty ones.
            // SAFETY: the segment is in this root's list.
            unsafe { self.segments.remove(segment.own_header()) };
            // SAFETY: it was just taken out.
            unsafe { self.segments.push_back(segment.own_header()) };
        }
        MediumBlock { ptr: block.payload(), payload, zero_from }
    }

    /// Takes a block back; the answer is its payload in bytes. Aborts where it is none of this root's blocks, or where
    /// a neighbour wrote over its boundary tags.
    ///
    /// # Safety
    ///
    /// The block was allocated from this root, and nobody uses it any more.
    pub(crate) unsafe fn free<S: PageSource, L: RawLock>(
        &mut self,
        supply: &Supply<'_, S, L>,
        ptr: NonNull<u8>,
    ) -> usize {
        let (segment, block) = self.checked(supply, ptr);
        let tag = block.tag();
        sanitizer::poison(ptr, tag.len() - BLOCK_HEADER);
        self.blocks -= 1;
        self.payload -= tag.len() - BLOCK_HEADER;
        segment.set_out(segment.out() - tag.len());
        if segment.extent().single {
            block.erase();
        } else {
            self.merge(block, BoundaryTag::free(tag.len(), tag.is_last(), FreePages::USED));
        }
        supply.uncharge(tag.len());
        if segment.is_empty() {
            self.segment_emptied(supply, segment);
        }
        tag.len() - BLOCK_HEADER
    }

    /// Puts a block that is in no bin, and of which `tag` says that it is free, into one, together with its free
    /// neighbours.
    pub(super) fn merge(&mut self, block: Block, tag: BoundaryTag) {
        let (mut start, mut len, mut last, mut pages) = (block, tag.len(), tag.is_last(), tag.pages());
        if !last {
            let right = block.behind(len);
            let after = right.tag();
            if after.is_free() {
                self.bins.remove(right);
                (len, last, pages) = (len + after.len(), after.is_last(), pages.merged(after.pages()));
            }
        }
        if let Some(left) = block.free_left() {
            self.bins.remove(left);
            block.erase();
            (start, len, pages) = (left, len + left.tag().len(), pages.merged(left.tag().pages()));
        }
        start.set_tag(BoundaryTag::free(len, last, pages));
        self.bins.insert(start);
    }

    /// Checks that the payload is that of a block that users have of this root. Aborts where it is not.
    #[cfg(any(debug_assertions, feature = "hardened"))]
    pub(crate) fn check<S: PageSource, L: RawLock>(&self, supply: &Supply<'_, S, L>, ptr: NonNull<u8>) {
        let _ = self.checked(supply, ptr);
    }

    /// The block with this payload, after everything has been checked that neighbours and users may have damaged.
    pub(super) fn checked<S: PageSource, L: RawLock>(
        &self,
        supply: &Supply<'_, S, L>,
        ptr: NonNull<u8>,
    ) -> (CoalescingSegment, Block) {
        // SAFETY: the caller says that the block belongs to this root.
        let segment = unsafe { supply.segment_of(ptr.addr().get()) };
        let is_ours = |segment: &SegmentRef| {
            segment.is_live(supply.owner, SegmentKind::Coalescing) && segment.root() == self.index
        };
        let Some(segment) = segment.filter(is_ours) else {
            corruption("not a medium block of this heap", ptr.as_ptr())
        };
        let offset = ptr.addr().get() - segment.addr();
        // SAFETY: a live segment of this kind and root has its header.
        let segment = unsafe { CoalescingSegment::new(segment) };
        if segment.is_empty() {
            corruption("a medium block that is free already", ptr.as_ptr());
        }
        match segment.allocated_at(offset) {
            Ok(block) => (segment, block),
            Err(what) => corruption(what, ptr.as_ptr()),
        }
    }
}

/// How a free block of `available` bytes is divided where `wanted` are asked for: the part taken, and the rest, which is
/// nothing or a block.
pub(super) const fn split(available: usize, wanted: usize) -> (usize, usize) {
    let rest = available - wanted;
    if rest < SMALLEST_BLOCK { (available, 0) } else { (wanted, rest) }
}

/// The block with this payload, to be read by its owner.
///
/// # Safety
///
/// `ptr` is a block of a coalescing segment, allocated and the caller's own.
unsafe fn owned(ptr: NonNull<u8>, segment_size: usize) -> Block {
    // SAFETY: the caller owns the block, so that its segment is live.
    let segment = unsafe { SegmentRef::of_block(ptr.addr().get(), segment_size) };
    // SAFETY: the kind is the caller's word.
    let segment = unsafe { CoalescingSegment::new(segment) };
    segment.block_at(ptr.addr().get() - segment.common().addr() - BLOCK_HEADER)
}

/// Payload of a block, in bytes. Needs no lock.
///
/// # Safety
///
/// `ptr` is a block of a coalescing segment, allocated and the caller's own.
pub(crate) unsafe fn payload_of(ptr: NonNull<u8>, segment_size: usize) -> usize {
    // SAFETY: the caller keeps the contract.
    unsafe { owned(ptr, segment_size) }.tag().len().saturating_sub(BLOCK_HEADER)
}

/// Whether the block was asked for as one that comes back directly. Needs no lock.
///
/// # Safety
///
/// As for [`payload_of`].
pub(crate) unsafe fn is_direct(ptr: NonNull<u8>, segment_size: usize) -> bool {
    // SAFETY: the caller keeps the contract.
    unsafe { owned(ptr, segment_size) }.tag().is_direct()
}

/// Says whether a thread's cache has the block; the answer is what was said before. Needs no lock.
///
/// # Safety
///
/// As for [`payload_of`].
#[cfg(any(debug_assertions, feature = "hardened"))]
pub(crate) unsafe fn set_cached(ptr: NonNull<u8>, segment_size: usize, cached: bool) -> bool {
    // SAFETY: the caller keeps the contract.
    unsafe { owned(ptr, segment_size) }.set_cached(cached)
}
