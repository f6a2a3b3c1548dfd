//! Growing and shrinking a medium block where it is.

#![expect(unsafe_code, reason = "takes users' pointers")]

use core::ptr::NonNull;

use super::block::{BLOCK_HEADER, SMALLEST_BLOCK};
use super::boundary_tag::{BoundaryTag, FreePages, GRANULE};
use super::root::{CoalescingRoot, split};
use crate::os::PageSource;
use crate::os::lock::RawLock;
use crate::primitives::address::align_up;
use crate::primitives::sanitizer;
use crate::segment::Supply;

impl CoalescingRoot {
    /// Makes a block's payload at least this long, where it is; whether that was possible. Of a free right neighbour it
    /// takes only what is asked for. What it takes is not zeroed.
    ///
    /// # Safety
    ///
    /// The block was allocated from this root, and is the caller's own.
    pub(crate) unsafe fn grow_in_place<S: PageSource, L: RawLock>(
        &mut self,
        supply: &Supply<'_, S, L>,
        ptr: NonNull<u8>,
        payload: usize,
    ) -> bool {
        let (segment, block) = self.checked(supply, ptr);
        let tag = block.tag();
        if payload <= tag.len() - BLOCK_HEADER {
            return true;
        }
        let Some(right) = block.right().filter(|right| right.tag().is_free()) else { return false };
        let after = right.tag();
        let available = tag.len() + after.len();
        if payload > available - BLOCK_HEADER {
            return false;
        }
        let (len, rest) = split(available, BLOCK_HEADER + align_up(payload, GRANULE));
        let (start, added) = (segment.offset_of(block), len - tag.len());
        let reach = start + len + if rest > 0 { SMALLEST_BLOCK } else { 0 };
        if self.pay(supply, segment, after.pages(), start + tag.len()..reach, added).is_err() {
            return false;
        }
        self.bins.remove(right);
        segment.touch(reach);
        block.set_tag(tag.resized(len, rest == 0 && after.is_last()));
        if rest > 0 {
            let remainder = block.behind(len);
            remainder.set_tag(BoundaryTag::free(rest, after.is_last(), segment.remaining_pages(after.pages())));
            self.bins.insert(remainder);
        }
        self.payload += added;
        segment.set_out(segment.out() + added);
        true
    }

    /// Gives up what a block has beyond this payload, as far as that makes a block or joins a free one; the answer is
    /// the payload it keeps.
    ///
    /// # Safety
    ///
    /// As for [`grow_in_place`](Self::grow_in_place); nobody uses the part beyond.
    pub(crate) unsafe fn shrink_in_place<S: PageSource, L: RawLock>(
        &mut self,
        supply: &Supply<'_, S, L>,
        ptr: NonNull<u8>,
        payload: usize,
    ) -> usize {
        let (segment, block) = self.checked(supply, ptr);
        let tag = block.tag();
        let kept = tag.len() - BLOCK_HEADER;
        if payload >= kept || segment.extent().single {
            return kept;
        }
        let len = (BLOCK_HEADER + align_up(payload, GRANULE)).max(SMALLEST_BLOCK);
        let surplus = tag.len() - len;
        let joins = block.right().is_some_and(|right| right.tag().is_free());
        if surplus == 0 || surplus < SMALLEST_BLOCK && !joins {
            return kept;
        }
        sanitizer::poison_behind(NonNull::slice_from_raw_parts(ptr, kept), len - BLOCK_HEADER);
        block.set_tag(tag.resized(len, false));
        self.merge(block.behind(len), BoundaryTag::free(surplus, tag.is_last(), FreePages::USED));
        self.payload -= surplus;
        segment.set_out(segment.out() - surplus);
        supply.uncharge(surplus);
        len - BLOCK_HEADER
    }
}
