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
//! - A block's own tag equals the mirror in its right neighbour, but for what it says of a thread's cache.
//! - An allocated block's own tag is written only on behalf of the block's owner, its mirror only on behalf of the left
//!   neighbour; both under the root's lock. The owner may read the own tag without the lock, and say in it that a thread's
//!   cache has the block.
//! - The header of every block, and the links of a free one, are committed.

#![expect(unsafe_code, reason = "reads and writes the words around blocks")]

use core::mem::{MaybeUninit, offset_of};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::boundary_tag::{BoundaryTag, GRANULE};
use crate::primitives::abort::corruption;
use crate::primitives::address::is_aligned;
use crate::primitives::sanitizer::{self, read, write};
use crate::segment::LinkWord;

/// The words in front of each payload.
#[repr(C, align(16))]
struct BlockHeader {
    mirror: BoundaryTag,
    /// Nothing with 64 bits; else what makes both tags touch a payload, so that writing past either end of one shows.
    _between: MaybeUninit<[BoundaryTag; GRANULE / size_of::<BoundaryTag>() - 2]>,
    /// A [`BoundaryTag`].
    own: AtomicUsize,
}

/// The links that a free block carries where its payload was.
#[repr(C)]
struct BinLinks {
    next: LinkWord,
    prev: LinkWord,
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

    /// The own tag: a neighbour's owner may read it while the block's own owner marks it.
    fn own(&self) -> &AtomicUsize {
        // SAFETY: every block has a header.
        let word = unsafe { self.0.byte_add(offset_of!(BlockHeader, own)) };
        // SAFETY: the segment is live and the header committed.
        unsafe { word.cast().as_ref() }
    }

    pub(super) fn tag(self) -> BoundaryTag {
        let own = if sanitizer::ENABLED { self.word(offset_of!(BlockHeader, own)) } else { self.own().load(Relaxed) };
        BoundaryTag::from_word(own)
    }

    fn set_own(self, tag: BoundaryTag) {
        if sanitizer::ENABLED {
            self.set_word(offset_of!(BlockHeader, own), tag.word());
        } else {
            self.own().store(tag.word(), Relaxed);
        }
    }

    /// Says in the own tag whether a thread's cache has the block, on behalf of its owner; the answer is what it said before.
    /// Under a memory tool it is the tool that knows.
    #[cfg(any(debug_assertions, feature = "hardened"))]
    pub(super) fn set_cached(self, cached: bool) -> bool {
        if sanitizer::ENABLED {
            return !cached;
        }
        let bit = BoundaryTag::NONE.cached().word();
        let own = self.own();
        let before = if cached { own.fetch_or(bit, Relaxed) } else { own.fetch_and(!bit, Relaxed) };
        BoundaryTag::from_word(before).is_cached()
    }

    /// What the left neighbour's tag says.
    pub(super) fn mirror(self) -> BoundaryTag {
        self.word(offset_of!(BlockHeader, mirror))
    }

    /// Sets the tag, and its mirror in the right neighbour.
    pub(super) fn set_tag(self, tag: BoundaryTag) {
        self.set_own(tag);
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
        self.set_own(BoundaryTag::NONE);
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

    /// Where a word of a free block's links is.
    fn link(self, offset: usize) -> NonNull<LinkWord> {
        // SAFETY: every block is long enough for links behind its header.
        unsafe { self.0.byte_add(BLOCK_HEADER + offset) }.cast()
    }

    fn linked(self, offset: usize) -> Option<Option<Self>> {
        // SAFETY: a free block's payload belongs to the root.
        let target = unsafe { LinkWord::target_at(self.link(offset)) };
        let target = target.filter(|target| is_aligned(target.addr(), GRANULE))?;
        Some(NonNull::new(target).map(|header| Self(header.cast())))
    }

    fn set_link(self, offset: usize, block: Option<Self>) {
        let target = block.map_or(ptr::null_mut(), |block| block.0.as_ptr().cast());
        // SAFETY: a free block's payload belongs to the root.
        unsafe { LinkWord::set_at(self.link(offset), target) };
    }

    /// The block behind this one in its bin. Aborts where the link shows that it was overwritten.
    pub(super) fn next(self) -> Option<Self> {
        self.linked(offset_of!(BinLinks, next)).unwrap_or_else(|| self.overwritten())
    }

    /// The block in front of this one in its bin. Aborts where the link shows that it was overwritten.
    pub(super) fn prev(self) -> Option<Self> {
        self.linked(offset_of!(BinLinks, prev)).unwrap_or_else(|| self.overwritten())
    }

    pub(super) fn set_next(self, next: Option<Self>) {
        self.set_link(offset_of!(BinLinks, next), next);
    }

    pub(super) fn set_prev(self, prev: Option<Self>) {
        self.set_link(offset_of!(BinLinks, prev), prev);
    }

    /// Whether neither link of a free block shows that it was overwritten.
    pub(super) fn has_intact_links(self) -> bool {
        let links = [offset_of!(BinLinks, next), offset_of!(BinLinks, prev)];
        links.into_iter().all(|offset| self.linked(offset).is_some())
    }

    /// Ends the process over the links of this free block.
    #[cold]
    pub(super) fn overwritten(self) -> ! {
        corruption("free list link was overwritten", self.payload().as_ptr())
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
        assert_eq!(offset_of!(BlockHeader, own) + size_of::<BoundaryTag>(), BLOCK_HEADER);
        second.erase();
        assert_eq!(second.tag(), BoundaryTag::NONE);
    }
}
