//! What leaves a coalescing root other than blocks: empty segments, and the pages inside free blocks.

#![expect(unsafe_code, reason = "gives memory back to the source")]

use super::bins::Bins;
use super::block::{Block, SMALLEST_BLOCK};
use super::boundary_tag::{BoundaryTag, FreePages};
use super::root::CoalescingRoot;
#[cfg(any(debug_assertions, feature = "hardened"))]
use super::segment::Extent;
use super::segment::{CoalescingSegment, OVERHEAD};
use crate::os::PageSource;
use crate::os::lock::RawLock;
use crate::primitives::list::List;
use crate::segment::Supply;

impl CoalescingRoot {
    /// Every segment, the empty ones first.
    pub(super) fn segments<S: PageSource>(&self) -> impl Iterator<Item = CoalescingSegment> {
        // SAFETY: the header is in this root's list.
        let headers = core::iter::successors(self.segments.first(), |&header| unsafe { List::after(header) });
        headers.map(|header| CoalescingSegment::of_header(header, S::SEGMENT_SIZE))
    }

    pub(super) fn empty_segments<S: PageSource>(&self) -> impl Iterator<Item = CoalescingSegment> {
        self.segments::<S>().take_while(|segment| segment.is_empty())
    }

    /// The last block of a segment has come back: now and then, empty segments leave.
    #[cold]
    pub(super) fn segment_emptied<S: PageSource, L: RawLock>(
        &mut self,
        supply: &Supply<'_, S, L>,
        segment: CoalescingSegment,
    ) {
        // SAFETY: the segment is in this root's list.
        unsafe { self.segments.remove(segment.own_header()) };
        // INVARIANT: empty segments stand in front.
        // SAFETY: it was just taken out.
        unsafe { self.segments.push_front(segment.own_header()) };
        if segment.extent().single {
            // It serves nobody but a request of just its size.
            self.release(supply, segment);
            return;
        }
        let leaving = self.emptied.emptied(supply.options.policy);
        if leaving > 0 {
            self.release_up_to(supply, leaving);
            for staying in self.empty_segments::<S>().filter(|staying| !staying.extent().single) {
                discard::<S, L>(supply, staying.first_block());
            }
        }
    }

    /// Gives an empty segment back; the answer is its length, or 0 where the source refuses and the segment stays.
    pub(super) fn release<S: PageSource, L: RawLock>(
        &mut self,
        supply: &Supply<'_, S, L>,
        segment: CoalescingSegment,
    ) -> usize {
        let extent = segment.extent();
        if !extent.single {
            self.bins.remove(segment.first_block());
        }
        // SAFETY: the segment is in this root's list.
        unsafe { self.segments.remove(segment.own_header()) };
        // SAFETY: the segment has no block in use, and no bin or list of the root leads to it any more.
        if let Ok(len) = unsafe { supply.release(segment.common(), OVERHEAD, |_| segment.restore(extent)) } {
            return len;
        }
        if !extent.single {
            self.bins.insert(segment.write_whole_block(segment.used_pages()));
        }
        // SAFETY: it was taken out above, and is still live.
        unsafe { self.segments.push_front(segment.own_header()) };
        0
    }

    fn release_up_to<S: PageSource, L: RawLock>(&mut self, supply: &Supply<'_, S, L>, count: usize) -> usize {
        let (mut next, mut released) = (self.segments.first(), 0);
        for _ in 0..count {
            let Some(header) = next else { break };
            let segment = CoalescingSegment::of_header(header, S::SEGMENT_SIZE);
            if !segment.is_empty() {
                break;
            }
            // SAFETY: the header is in this root's list. A refused segment comes back at the front, behind this walk.
            next = unsafe { List::after(header) };
            released += self.release(supply, segment);
        }
        released
    }

    /// Gives all empty segments back; the answer is their length.
    pub(crate) fn release_empty<S: PageSource, L: RawLock>(&mut self, supply: &Supply<'_, S, L>) -> usize {
        self.release_up_to(supply, usize::MAX)
    }

    /// Gives all empty segments back, and the whole pages inside free blocks; the answer is how many bytes that was.
    pub(crate) fn reclaim<S: PageSource, L: RawLock>(&mut self, supply: &Supply<'_, S, L>) -> usize {
        let released = self.release_empty(supply);
        let discarded: usize = self.bins.iter().map(|block| discard::<S, L>(supply, block)).sum();
        released + discarded
    }

    /// Frees every block at once and keeps the segments, except for those of single blocks.
    pub(crate) fn reset<S: PageSource, L: RawLock>(&mut self, supply: &Supply<'_, S, L>) {
        self.bins = Bins::new();
        (self.blocks, self.payload) = (0, 0);
        let mut next = self.segments.first();
        while let Some(header) = next {
            // SAFETY: the header is in this root's list.
            next = unsafe { List::after(header) };
            let segment = CoalescingSegment::of_header(header, S::SEGMENT_SIZE);
            let out = segment.out();
            segment.set_out(0);
            supply.uncharge(out);
            if segment.extent().single {
                self.release(supply, segment);
                continue;
            }
            let block = match out {
                0 => segment.first_block(),
                _ => {
                    #[cfg(any(debug_assertions, feature = "hardened"))]
                    erase_blocks(segment);
                    segment.write_whole_block(segment.used_pages())
                }
            };
            segment.poison();
            self.bins.insert(block);
        }
    }
}

/// Makes the headers of a segment's blocks those of no blocks, so that none is taken for a block in use when its former user
/// frees it.
#[cfg(any(debug_assertions, feature = "hardened"))]
fn erase_blocks(segment: CoalescingSegment) {
    let Extent { first, end, .. } = segment.extent();
    let mut offset = first;
    while offset < end {
        let block = segment.block_at(offset);
        let len = block.tag().len();
        block.erase();
        if !(SMALLEST_BLOCK..=end - offset).contains(&len) {
            // Somebody wrote over a tag: nobody can tell where the next one is.
            break;
        }
        offset += len;
    }
}

/// Gives the whole pages inside a free block back, once; the answer is how many bytes that was.
fn discard<S: PageSource, L: RawLock>(supply: &Supply<'_, S, L>, block: Block) -> usize {
    let tag = block.tag();
    if tag.pages().discarded {
        return 0;
    }
    let segment = CoalescingSegment::of_block(block, S::SEGMENT_SIZE);
    let start = segment.offset_of(block);
    // What was never touched is zero, and must stay so: not every source discards to zeros.
    let end = segment.common().touched().min(start + tag.len());
    // SAFETY: behind header and links nobody needs what a free block holds; its tag tells of missing commits.
    let bytes = unsafe { supply.discard(segment.common(), start + SMALLEST_BLOCK, end) }.unwrap_or(0);
    if bytes > 0 {
        let pages = FreePages { discarded: true, uncommitted: segment.common().needs_commit() };
        block.set_tag(BoundaryTag::free(tag.len(), tag.is_last(), pages));
    }
    bytes
}
