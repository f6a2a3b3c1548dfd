//! The deep check of a coalescing root: every segment, tag, mirror, bin and sum.

#![expect(unsafe_code, reason = "walks segments")]

use super::bin_index::BinIndex;
use super::block::{BLOCK_HEADER, Block, SMALLEST_BLOCK};
use super::boundary_tag::{BoundaryTag, GRANULE};
use super::root::CoalescingRoot;
use super::segment::{CoalescingSegment, Extent};
use crate::os::PageSource;
use crate::os::lock::RawLock;
use crate::primitives::address::is_aligned;
use crate::primitives::corruption::Corruption;
use crate::segment::{SegmentKind, SegmentRef, Supply};

/// What a walk has counted.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Tally {
    free_blocks: usize,
    free_bytes: usize,
    blocks: usize,
    bytes: usize,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.free_blocks += other.free_blocks;
        self.free_bytes += other.free_bytes;
        self.blocks += other.blocks;
        self.bytes += other.bytes;
    }
}

impl CoalescingRoot {
    /// Checks everything that the root knows.
    pub(crate) fn validate<S: PageSource, L: RawLock>(&self, supply: &Supply<'_, S, L>) -> Result<(), Corruption> {
        let mut tally = Tally::default();
        let mut in_use_before = false;
        for segment in self.segments::<S>() {
            let common = segment.common();
            let is_ours = common.is_live(supply.owner, SegmentKind::Coalescing) && common.root() == self.index;
            Corruption::unless(is_ours, "a segment of another root", common.addr())?;
            Corruption::unless(
                !segment.is_empty() || !in_use_before,
                "an empty segment behind one in use",
                common.addr(),
            )?;
            in_use_before |= !segment.is_empty();
            tally.add(validate_segment(segment)?);
        }
        let payload = tally.bytes - tally.blocks * BLOCK_HEADER;
        Corruption::unless(self.out() == (tally.blocks, payload), "a root's sums", 0)?;
        let in_bins = self.validate_bins(supply)?;
        let free = Tally { blocks: 0, bytes: 0, ..tally };
        Corruption::unless(in_bins == free, "free blocks and bins", 0)
    }

    fn validate_bins<S: PageSource, L: RawLock>(&self, supply: &Supply<'_, S, L>) -> Result<Tally, Corruption> {
        Corruption::unless(self.bins.is_consistent(), "a bitmap of bins", 0)?;
        let mut tally = Tally::default();
        for bin in BinIndex::all() {
            let mut prev = None;
            for block in self.bins.members(bin) {
                let tag = block.tag();
                // SAFETY: bins hold blocks of live segments.
                let segment = unsafe { SegmentRef::of_block(block.payload().addr().get(), S::SEGMENT_SIZE) };
                let is_ours = segment.is_live(supply.owner, SegmentKind::Coalescing) && segment.root() == self.index;
                Corruption::unless(is_ours, "a block in the bins of another root", block.addr())?;
                Corruption::unless(tag.is_free(), "an allocated block in a bin", block.addr())?;
                let belongs = BinIndex::of(tag.len().wrapping_sub(BLOCK_HEADER)) == Some(bin);
                Corruption::unless(belongs, "a free block in the bin of another length", block.addr())?;
                let linked = block.has_intact_links() && block.prev() == prev;
                Corruption::unless(linked, "the links of a bin", block.addr())?;
                tally.free_blocks += 1;
                tally.free_bytes += tag.len();
                prev = Some(block);
            }
        }
        Ok(tally)
    }
}

fn validate_segment(segment: CoalescingSegment) -> Result<Tally, Corruption> {
    let Extent { first, end, single } = segment.extent();
    let addr = segment.common().addr();
    Corruption::unless(end <= segment.common().len() && first < end, "the extent of a segment", addr)?;
    let mut tally = Tally::default();
    if single && segment.is_empty() {
        return Ok(tally);
    }
    let (mut offset, mut mirror) = (first, BoundaryTag::NONE);
    while offset < end {
        let block = segment.block_at(offset);
        validate_block(block, mirror, end - offset)?;
        mirror = block.tag().mirrored();
        offset += mirror.len();
        if mirror.is_free() {
            tally.free_blocks += 1;
            tally.free_bytes += mirror.len();
        } else {
            tally.blocks += 1;
            tally.bytes += mirror.len();
        }
    }
    Corruption::unless(
        !single || tally.blocks == 1 && tally.free_blocks == 0,
        "a single segment that was split",
        addr,
    )?;
    Corruption::unless(tally.bytes == segment.out(), "a segment's sum of blocks in use", addr)?;
    Ok(tally)
}

/// Checks one block; `left` is the tag of its left neighbour, `room` the distance to the end of its segment.
fn validate_block(block: Block, left: BoundaryTag, room: usize) -> Result<(), Corruption> {
    let tag = block.tag();
    let fits = tag.len() >= SMALLEST_BLOCK && tag.len() <= room && is_aligned(block.addr(), GRANULE);
    Corruption::unless(fits, "the length of a block", block.addr())?;
    Corruption::unless(tag.is_last() == (tag.len() == room), "the last block of a segment", block.addr())?;
    Corruption::unless(block.mirror() == left, "the mirror of a boundary tag", block.addr())?;
    Corruption::unless(!(tag.is_free() && left.is_free()), "two free neighbours", block.addr())
}
