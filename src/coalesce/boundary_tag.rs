//! Boundary tags: one word that says how long a block is and what state it is in (Knuth 1968).
//!
//! ```text
//! bit   63      62 … 4   3            2                    1      0
//!       CACHED  length   UNCOMMITTED  DISCARDED or DIRECT  LAST   FREE
//! ```
//!
//! # Invariants
//!
//! - The length is that of the whole block, header included: a multiple of [`GRANULE`]. No block has length 0; the word
//!   0 stands for "no block".
//! - The bits 2 and 3 speak of pages in a free block, and of the way back in an allocated one.
//! - Only debug builds and the feature `hardened` have the uppermost bit, in no mirror.

use core::fmt;

/// Grain of lengths and addresses, in bytes.
pub(super) const GRANULE: usize = 16;

const FREE: usize = 1;
const LAST: usize = 2;
/// Of a free block: its whole pages have been given back already.
const DISCARDED: usize = 4;
/// Of a free block: some page in it may need a commit.
const UNCOMMITTED: usize = 8;
/// Of an allocated block: it comes back to the root directly, past the magazines.
const DIRECT: usize = 4;
/// Of an allocated block: a thread's cache has it, no user.
const CACHED: usize = if cfg!(any(debug_assertions, feature = "hardened")) { 1 << (usize::BITS - 1) } else { 0 };
const FLAGS: usize = (GRANULE - 1) | CACHED;

/// What is known of the pages inside a free block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FreePages {
    /// All whole pages have been given back, but for those never touched.
    pub(super) discarded: bool,
    /// Some page may need a commit.
    pub(super) uncommitted: bool,
}

impl FreePages {
    /// What a block leaves behind that was in use.
    pub(super) const USED: Self = Self { discarded: false, uncommitted: false };

    /// What is true of two neighbours together.
    pub(super) const fn merged(self, other: Self) -> Self {
        Self { discarded: self.discarded && other.discarded, uncommitted: self.uncommitted || other.uncommitted }
    }
}

/// Length and state of a block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct BoundaryTag(usize);

impl BoundaryTag {
    /// The tag of no block: the mirror in a segment's first block, and what a block leaves that was merged away.
    pub(super) const NONE: Self = Self(0);

    /// The tag of a free block; `len` is a multiple of [`GRANULE`].
    pub(super) const fn free(len: usize, last: bool, pages: FreePages) -> Self {
        let discarded = if pages.discarded { DISCARDED } else { 0 };
        let uncommitted = if pages.uncommitted { UNCOMMITTED } else { 0 };
        Self::new(len, last, FREE | discarded | uncommitted)
    }

    /// The tag of an allocated block; `len` is a multiple of [`GRANULE`].
    pub(super) const fn allocated(len: usize, last: bool, direct: bool) -> Self {
        Self::new(len, last, if direct { DIRECT } else { 0 })
    }

    const fn new(len: usize, last: bool, flags: usize) -> Self {
        debug_assert!(len & FLAGS == 0, "lengths are multiples of the granule");
        Self(len | flags | if last { LAST } else { 0 })
    }

    pub(super) const fn from_word(word: usize) -> Self {
        Self(word)
    }

    pub(super) const fn word(self) -> usize {
        self.0
    }

    /// Bytes of the block, header included.
    pub(super) const fn len(self) -> usize {
        self.0 & !FLAGS
    }

    /// The same tag of a block that a thread's cache has.
    #[cfg(any(debug_assertions, feature = "hardened"))]
    pub(super) const fn cached(self) -> Self {
        Self(self.0 | CACHED)
    }

    /// Whether a thread's cache has the block, as far as the build knows that.
    pub(super) const fn is_cached(self) -> bool {
        self.0 & CACHED != 0
    }

    /// The tag as the right neighbour mirrors it.
    pub(super) const fn mirrored(self) -> Self {
        Self(self.0 & !CACHED)
    }

    pub(super) const fn is_free(self) -> bool {
        self.0 & FREE != 0
    }

    /// Whether no block follows in the segment.
    pub(super) const fn is_last(self) -> bool {
        self.0 & LAST != 0
    }

    /// Whether an allocated block comes back to the root directly.
    pub(super) const fn is_direct(self) -> bool {
        self.0 & (DIRECT | FREE) == DIRECT
    }

    /// What a free block's tag says of its pages.
    pub(super) const fn pages(self) -> FreePages {
        FreePages { discarded: self.0 & DISCARDED != 0, uncommitted: self.0 & UNCOMMITTED != 0 }
    }

    /// The same state, for a block of another length.
    pub(super) const fn resized(self, len: usize, last: bool) -> Self {
        Self::new(len, last, self.0 & FLAGS & !(LAST | CACHED))
    }
}

impl fmt::Debug for BoundaryTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_free() { "free" } else { "allocated" };
        write!(f, "{state} {:#x} (flags {:#x})", self.len(), self.0 & FLAGS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [bool; 2] = [false, true];

    #[test]
    fn a_tag_says_what_it_was_made_of() {
        let lengths = (32..8192).step_by(GRANULE).chain((5..31).map(|shift| 1 << shift));
        for len in lengths.chain([(1 << 30) - GRANULE, (isize::MAX as usize / 2) & !FLAGS]) {
            for last in BOTH {
                for first in BOTH {
                    let direct = BoundaryTag::allocated(len, last, first);
                    assert_eq!((direct.len(), direct.is_last(), direct.is_direct()), (len, last, first));
                    assert!(!direct.is_free() && !direct.is_cached());
                    assert_eq!(BoundaryTag::from_word(direct.word()), direct);
                    #[cfg(any(debug_assertions, feature = "hardened"))]
                    {
                        let cached = direct.cached();
                        assert!(cached.is_cached() && cached != direct && cached.mirrored() == direct);
                        assert_eq!((cached.len(), cached.is_last(), cached.is_direct()), (len, last, first));
                    }
                    let longer = direct.resized(len + GRANULE, !last);
                    assert_eq!((longer.len(), longer.is_last(), longer.is_direct()), (len + GRANULE, !last, first));
                    for second in BOTH {
                        let pages = FreePages { discarded: first, uncommitted: second };
                        let free = BoundaryTag::free(len, last, pages);
                        assert_eq!((free.len(), free.is_last(), free.pages()), (len, last, pages));
                        assert!(free.is_free() && !free.is_direct());
                        assert_ne!(free, direct);
                    }
                }
            }
        }
        assert_eq!(BoundaryTag::NONE.len(), 0);
        assert!(!BoundaryTag::NONE.is_free() && !BoundaryTag::NONE.is_last());
    }

    #[test]
    fn neighbours_are_discarded_only_both_and_uncommitted_if_either_is() {
        for bits in 0..16_u32 {
            let bit = |index: u32| bits >> index & 1 != 0;
            let left = FreePages { discarded: bit(0), uncommitted: bit(1) };
            let right = FreePages { discarded: bit(2), uncommitted: bit(3) };
            let merged = left.merged(right);
            assert_eq!(merged.discarded, bit(0) && bit(2));
            assert_eq!(merged.uncommitted, bit(1) || bit(3));
            assert_eq!(left.merged(left), left);
        }
    }
}
