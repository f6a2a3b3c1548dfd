//! What a nursery knows of each of its granules: a byte.

#![expect(unsafe_code, reason = "clears many tags at a time")]

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crate::slab::size_class::{BLOCK_ALIGN, SizeClass};

/// Classes that a nursery serves: to 4 KiB.
pub(super) const NURSERY_CLASSES: usize = SizeClass::of(4 << 10).index() + 1;

/// Every block starts at a multiple of this, in bytes.
pub(super) const GRANULE: usize = BLOCK_ALIGN;

/// What is known of a granule: no block starts there, or one of a class does, with the marks that it has.
#[repr(transparent)]
pub(super) struct Tag(AtomicU8);

impl Tag {
    /// The block came back.
    pub(super) const FREE: u8 = 0x80;
    /// The block is with a user.
    #[cfg(any(debug_assertions, feature = "hardened"))]
    pub(super) const ALLOCATED: u8 = 0x40;
    const CLASS: u8 = 0x3f;

    /// Makes this the tag of a granule where no block starts, or where one does.
    #[inline]
    pub(super) fn write(&self, class: Option<SizeClass>) {
        const { assert!(NURSERY_CLASSES <= Self::CLASS as usize) };
        self.0.store(class.map_or(0, |class| class.index() as u8), Relaxed);
    }

    /// Makes `count` tags from `first` on those of granules where no block starts.
    ///
    /// # Safety
    ///
    /// They are tags in a row, and nobody else looks at them.
    pub(super) unsafe fn clear(first: NonNull<Self>, count: usize) {
        // SAFETY: each tag is a byte, and the caller keeps the contract.
        unsafe { first.write_bytes(0, count) };
    }

    /// The class of the block that starts here, and whether it came back: who sees that it did sees what its users did.
    #[inline]
    pub(super) fn read(&self) -> Option<(SizeClass, bool)> {
        let tag = self.0.load(Acquire);
        let class = usize::from(tag & Self::CLASS);
        (class != 0).then(|| (SizeClass::from_index(class), tag & Self::FREE != 0))
    }

    #[cfg(any(debug_assertions, feature = "hardened"))]
    pub(super) fn is_marked(&self, mark: u8) -> bool {
        self.0.load(Relaxed) & mark != 0
    }

    /// Sets a mark; false where it was set. Nobody but who has the block does, which is why this need not be one step: of two
    /// threads that free the same block at the very same time, both may pass.
    #[inline]
    pub(super) fn mark(&self, mark: u8) -> bool {
        let tag = self.0.load(Relaxed);
        self.0.store(tag | mark, Release);
        tag & mark == 0
    }

    /// Takes a mark away; false where it was not set. As [`mark`](Self::mark).
    #[cfg(any(debug_assertions, feature = "hardened"))]
    pub(super) fn unmark(&self, mark: u8) -> bool {
        let tag = self.0.load(Relaxed);
        self.0.store(tag & !mark, Relaxed);
        tag & mark != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_leave_the_class_alone() {
        for index in 1..NURSERY_CLASSES {
            let (class, tag) = (SizeClass::from_index(index), Tag(AtomicU8::new(u8::MAX)));
            tag.write(None);
            assert_eq!(tag.read(), None);
            tag.write(Some(class));
            assert_eq!(tag.read(), Some((class, false)));
            assert!(tag.mark(Tag::FREE));
            assert!(!tag.mark(Tag::FREE));
            assert_eq!(tag.read(), Some((class, true)));
            #[cfg(any(debug_assertions, feature = "hardened"))]
            for _ in 0..2 {
                assert!(tag.is_marked(Tag::FREE) && !tag.is_marked(Tag::ALLOCATED));
                assert!(tag.mark(Tag::ALLOCATED) && !tag.mark(Tag::ALLOCATED) && tag.is_marked(Tag::ALLOCATED));
                assert_eq!(tag.read(), Some((class, true)));
                assert!(tag.unmark(Tag::ALLOCATED) && !tag.unmark(Tag::ALLOCATED));
            }
        }
    }
}
