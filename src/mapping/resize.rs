//! Growing and shrinking a large block, without copying it.

#![expect(unsafe_code, reason = "takes users' pointers")]

use core::ptr::NonNull;

use super::list::{MappingBlock, MappingList};
use super::segment::Mapping;
use crate::os::lock::RawLock;
use crate::os::{Growth, PageSource};
use crate::primitives::address::{checked_align_up, is_aligned};
use crate::primitives::sanitizer;
use crate::segment::Supply;

impl MappingList {
    /// Makes a block at least `new_size` bytes long and a multiple of `align`: within what is mapped, else with more
    /// pages behind it, else, where `may_move` says so, elsewhere. `None` leaves it as it was, and may also say that a new block
    /// is the better way; else the old pointer is void. `zero_from` of the answer speaks of the added part.
    ///
    /// # Safety
    ///
    /// The block was allocated from this list, and is the caller's own.
    pub(crate) unsafe fn grow<S: PageSource, L: RawLock>(
        &mut self,
        supply: &Supply<'_, S, L>,
        block: NonNull<u8>,
        new_size: usize,
        align: usize,
        may_move: bool,
    ) -> Option<MappingBlock> {
        let mapping = Self::checked(supply, block);
        let (offset, len) = (mapping.offset(), mapping.len());
        let new_len = checked_align_up(new_size, supply.page_size())?;
        let new_end = new_len.checked_add(offset).filter(|&end| end <= isize::MAX as usize)?;
        let stays = is_aligned(block.addr().get(), align);
        if new_len <= len {
            return stays.then_some(MappingBlock { ptr: block, len, zero_from: usize::MAX });
        }
        let doubles = may_move && new_len / 2 >= len && new_end > mapping.common().len();
        // Under a limit there may be no room for both.
        if doubles && !supply.account.is_limited() && supply.is_ready(new_end) {
            // To copy what is there costs less than as many new pages.
            return None;
        }
        supply.charge(new_len - len).ok()?;
        let in_place = stays && self.extend::<S, L>(supply, mapping, new_end);
        let grown = if in_place {
            Some(mapping)
        } else if may_move && stays {
            // A source may leave the range where it is: its alignment must suit already.
            self.relocate(supply, mapping, new_end, align)
        } else {
            None
        };
        let Some(grown) = grown else {
            supply.refund(new_len - len);
            return None;
        };
        grown.set_len(new_len);
        self.bytes += new_len - len;
        Some(MappingBlock { ptr: grown.block(), len: new_len, zero_from: grown.touch(new_len) })
    }

    /// Makes the bytes up to `end` usable where the mapping is; whether that was possible.
    fn extend<S: PageSource, L: RawLock>(&self, supply: &Supply<'_, S, L>, mapping: Mapping, end: usize) -> bool {
        let segment = mapping.common();
        if end > segment.len() {
            // SAFETY: the mapping has one block, which is the caller's; the added part is charged.
            let grown = unsafe { supply.grow(segment, end, Growth::InPlace) };
            if grown.is_none() {
                return false;
            }
        }
        supply.commit_charged(segment, mapping.offset() + mapping.len(), end).is_ok()
    }

    /// Moves the mapping to where it can be `end` bytes long and its block is a multiple of `align`.
    fn relocate<S: PageSource, L: RawLock>(
        &mut self,
        supply: &Supply<'_, S, L>,
        mapping: Mapping,
        end: usize,
        align: usize,
    ) -> Option<Mapping> {
        let (segment, offset) = (mapping.common(), mapping.offset());
        let far = align >= S::SEGMENT_SIZE;
        // A block keeps its distance from the base, so that must suit the alignment. What needs commits must not move,
        // since a commit refused afterwards could not be undone.
        let suits = if far { offset == S::SEGMENT_SIZE } else { is_aligned(offset, align) };
        if !suits || segment.needs_commit() || end <= segment.len() {
            return None;
        }
        let growth =
            Growth::MayMove { align: align.max(S::SEGMENT_SIZE), offset: if far { S::SEGMENT_SIZE } else { 0 } };
        // SAFETY: a mapping in use is in the live list. It must not be there while it moves.
        unsafe { self.live.remove(mapping.own_header()) };
        let accessible = mapping.accessible();
        sanitizer::leaving(segment.base(), segment.len());
        // SAFETY: the mapping has one block, which is the caller's; the added part is charged.
        let moved = unsafe { supply.grow(segment, end, growth) };
        // SAFETY: a segment that has moved is as live as it was, and so are its headers.
        let there = unsafe { Mapping::new(moved.unwrap_or(segment)) };
        // SAFETY: it was taken out above.
        unsafe { self.live.push_back(there.own_header()) };
        there.poison_beyond(accessible);
        moved.map(|_| there)
    }

    /// Gives up what a block has beyond `new_size` bytes, in whole pages: they stay mapped, but no longer committed.
    /// The answer is the length that the block keeps.
    ///
    /// # Safety
    ///
    /// As for [`grow`](Self::grow); nobody uses the part beyond.
    pub(crate) unsafe fn shrink<S: PageSource, L: RawLock>(
        &mut self,
        supply: &Supply<'_, S, L>,
        block: NonNull<u8>,
        new_size: usize,
    ) -> usize {
        let mapping = Self::checked(supply, block);
        let (offset, len) = (mapping.offset(), mapping.len());
        let Some(new_len) = checked_align_up(new_size.max(1), supply.page_size()).filter(|&new_len| new_len < len)
        else {
            return len;
        };
        sanitizer::poison_behind(NonNull::slice_from_raw_parts(block, len), new_len);
        // SAFETY: the caller gives the part beyond up; `grow` commits it again.
        if unsafe { supply.discard(mapping.common(), offset + new_len, offset + len) }.unwrap_or(0) == 0 {
            return len;
        }
        mapping.set_len(new_len);
        self.bytes -= len - new_len;
        supply.uncharge(len - new_len);
        new_len
    }
}
