//! Blocks with boundary tags: the typed handle that all other files of this folder work with.
//!
//! ```text
//!            │ mirror of left's tag │ own tag │ payload …………………………… │ next block's header
//!            └─ block               (16 bytes) └─ what users see     └─ starts with the mirror of this block's tag
//!  free:     │ mirror               │ own tag │ next │ prev │ ………… │
//! ```
//!
//! # Invariants
//!
//! - A block's own tag equals the mirror in its right neighbour.
//! - An allocated block's own tag is written only on behalf of the block's owner, its mirror only on behalf of the left
//!   neighbour; both under the root's lock. The owner may read the own tag without the lock.
//! - The header of every block, and the links of a free one, are committed.

#![expect(unsafe_code, reason = "reads and writes the words around blocks")]

use core::mem::offset_of;
use core::ptr::NonNull;

use super::boundary_tag::{BoundaryTag, GRANULE};
use crate::primitives::sanitizer::{read, write};

/// The words in front of each payload.
#[repr(C, align(16))]
struct BlockHeader {
    mirror: BoundaryTag,
    own: BoundaryTag,
}

/// The links that a free block carries where its payload was.
#[repr(C)]
struct BinLinks {
    next: Option<Block>,
    prev: Option<Block>,
}

/// Bytes in front of each payload.
pub(super) const BLOCK_HEADER: usize = size_of::<BlockHeader>();

/// Bytes of the smallest block: header and links.
pub(super) const SMALLEST_BLOCK: usize = (BLOCK_HEADER + size_of::<BinLinks>()).next_multiple_of(GRANULE);

/// A block of a live segment. Whoever has one holds the root's lock, or owns the block and reads its own tag only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Block(NonNull<BlockHeader>);

// SAFETY: a block has no thread; what it shares is under the root's lock.
unsafe impl Send for Block {}

impl Block {
    /// The block whose header is at `header`.
    ///
    /// # Safety
    ///
    /// A header was written there, or is written before it is read; the pointer may be used for the whole segment.
    pub(super) const unsafe fn at(header: NonNull<u8>) -> Self {
        Self(header.cast())
    }

    /// A word of the header, or of a free block's links.
    fn word<T: Copy>(self, offset: usize) -> T {
        // SAFETY: every block is long enough for its header and for links.
        let word = unsafe { self.0.byte_add(offset) }.cast();
        // SAFETY: the segment is live and the word committed; who may read it, the invariants say.
        unsafe { read(word) }
    }

    /// Writes a word of the header, or of a free block's links.
    fn set_word<T: Copy>(self, offset: usize, value: T) {
        // SAFETY: every block is long enough for its header and for links.
        let word = unsafe { self.0.byte_add(offset) }.cast();
        // SAFETY: the segment is live and the word committed; who may write it, the invariants say.
        unsafe { write(word, value) }
    }

    /// Address of the header.
    pub(super) fn addr(self) -> usize {
        self.0.addr().get()
    }

    /// First byte of the payload.
    pub(super) fn payload(self) -> NonNull<u8> {
        self.behind(BLOCK_HEADER).0.cast()
    }

    /// The block that starts `bytes` behind the start of this one.
    pub(super) fn behind(self, bytes: usize) -> Self {
        // SAFETY: blocks tile their segment, so sums of their lengths stay within it.
        Self(unsafe { self.0.byte_add(bytes) })
    }

    pub(super) fn tag(self) -> BoundaryTag {
        self.word(offset_of!(BlockHeader, own))
    }

    /// What the left neighbour's tag says.
    pub(super) fn mirror(self) -> BoundaryTag {
        self.word(offset_of!(BlockHeader, mirror))
    }

    /// Sets the tag, and its mirror in the right neighbour.
    pub(super) fn set_tag(self, tag: BoundaryTag) {
        self.set_word(offset_of!(BlockHeader, own), tag);
        if !tag.is_last() {
            // INVARIANT: the mirror follows the tag.
            self.behind(tag.len()).set_word(offset_of!(BlockHeader, mirror), tag);
        }
    }

    /// Makes this the first block of a segment.
    pub(super) fn set_first(self) {
        self.set_word(offset_of!(BlockHeader, mirror), BoundaryTag::NONE);
    }

    /// Makes the header that of no block: the block had been in use, and is now part of another or gone.
    pub(super) fn erase(self) {
        self.set_word(offset_of!(BlockHeader, own), BoundaryTag::NONE);
    }

    /// The block behind this one.
    pub(super) fn right(self) -> Option<Self> {
        let tag = self.tag();
        if tag.is_last() { None } else { Some(self.behind(tag.len())) }
    }

    /// The free block in front of this one.
    pub(super) fn free_left(self) -> Option<Self> {
        let mirror = self.mirror();
        if !mirror.is_free() {
            return None;
        }
        // SAFETY: the mirror is the left neighbour's tag, so that neighbour starts this much earlier.
        Some(Self(unsafe { self.0.byte_sub(mirror.len()) }))
    }

    /// The free block behind this one in its bin.
    pub(super) fn next(self) -> Option<Self> {
        self.word(BLOCK_HEADER + offset_of!(BinLinks, next))
    }

    pub(super) fn set_next(self, next: Option<Self>) {
        self.set_word(BLOCK_HEADER + offset_of!(BinLinks, next), next);
    }

    /// The free block in front of this one in its bin.
    pub(super) fn prev(self) -> Option<Self> {
        self.word(BLOCK_HEADER + offset_of!(BinLinks, prev))
    }

    pub(super) fn set_prev(self, prev: Option<Self>) {
        self.set_word(BLOCK_HEADER + offset_of!(BinLinks, prev), prev);
    }
}

#[cfg(test)]
mod tests {
    use super::super::boundary_tag::FreePages;
    use super::*;

    #[test]
    fn the_mirror_follows_the_tag() {
        #[repr(align(16))]
        struct Room([u8; 256]);
        assert_eq!((BLOCK_HEADER, SMALLEST_BLOCK), (16, 32));
        let mut room = Room([0; 256]);
        // SAFETY: nothing is read before it is written, and the array is the whole segment.
        let first = unsafe { Block::at(NonNull::from(&mut room.0).cast()) };
        first.set_first();
        let second = first.behind(96);
        first.set_tag(BoundaryTag::free(96, false, FreePages::USED));
        second.set_tag(BoundaryTag::allocated(160, true, true));
        assert_eq!(second.mirror(), first.tag());
        assert_eq!((first.right(), second.right()), (Some(second), None));
        assert_eq!((first.free_left(), second.free_left()), (None, Some(first)));
        assert_eq!(second.payload().addr().get(), first.addr() + 96 + BLOCK_HEADER);
        second.erase();
        assert_eq!(second.tag(), BoundaryTag::NONE);
    }
}
