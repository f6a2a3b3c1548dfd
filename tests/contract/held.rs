//! A block with its owner: what the trait leaves to the caller's care, once and for all.

use std::alloc::Layout;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use mallocstate::allocator_api2::alloc::Allocator;

use crate::support::pattern::{is_zero, pattern};

/// A layout that the test believes possible.
pub(crate) fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a possible layout")
}

/// A block in use; dropping it deallocates it with the layout that it has at that time.
pub(crate) struct Held<'a, A: Allocator + ?Sized> {
    allocator: &'a A,
    block: NonNull<[u8]>,
    layout: Layout,
}

impl<'a, A: Allocator + ?Sized> Held<'a, A> {
    /// A new block, full of the pattern that is its size's.
    pub(crate) fn new(allocator: &'a A, layout: Layout) -> Option<Self> {
        let block = allocator.allocate(layout).ok()?;
        let mut held = Self { allocator, block, layout };
        held.check_placement();
        held.stamp(0);
        Some(held)
    }

    /// A new block that is expected to be there.
    pub(crate) fn expect(allocator: &'a A, layout: Layout) -> Self {
        Self::new(allocator, layout).unwrap_or_else(|| panic!("{layout:?} was refused"))
    }

    /// A new block, zero in all its length.
    pub(crate) fn zeroed(allocator: &'a A, layout: Layout) -> Self {
        let block = allocator.allocate_zeroed(layout).unwrap_or_else(|_| panic!("{layout:?} was refused"));
        let held = Self { allocator, block, layout };
        held.check_placement();
        assert!(is_zero(held.bytes()), "{layout:?} is not zero");
        held
    }

    fn check_placement(&self) {
        assert_eq!(self.start().addr().get() % self.layout.align(), 0, "{:?} at {:?}", self.layout, self.block);
        assert!(self.usable() >= self.layout.size(), "{:?} got {} bytes", self.layout, self.usable());
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.block.cast()
    }

    /// Bytes returned.
    pub(crate) fn usable(&self) -> usize {
        self.block.len()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the block is in use, and was written in all its length.
        unsafe { self.block.as_ref() }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; the borrow is exclusive.
        unsafe { self.block.as_mut() }
    }

    /// Writes the pattern from `from` to the end.
    fn stamp(&mut self, from: usize) {
        let (salt, len) = (self.layout.align(), self.usable());
        // SAFETY: `from` is within the block.
        let rest = unsafe { self.start().add(from) };
        // SAFETY: the rest of the block is this value's.
        unsafe { rest.copy_from_nonoverlapping(NonNull::from(&pattern(salt, len)[from..]).cast(), len - from) };
    }

    /// Another size that fits, for what comes next: this one, or all that was returned where that is less.
    pub(crate) fn refit(mut self, size: usize) -> Self {
        assert!(size >= self.layout.size(), "{size} does not fit {:?}", self.layout);
        self.layout = layout(size.min(self.usable()), self.layout.align());
        self
    }

    /// `grow`, or `shrink` where the layout is smaller. A refusal leaves the block as it was.
    pub(crate) fn resize(self, new: Layout) -> Result<Self, Self> {
        let (old, before) = (self.layout, self.bytes().to_vec());
        let resized = if new.size() < old.size() {
            // SAFETY: the block is in use, the layout fits it, and the new one is smaller.
            unsafe { self.allocator.shrink(self.start(), old, new) }
        } else {
            // SAFETY: the block is in use, the layout fits it, and the new one is no smaller.
            unsafe { self.allocator.grow(self.start(), old, new) }
        };
        let Ok(block) = resized else {
            assert!(self.bytes() == before, "{old:?} was changed by a refused resize to {new:?}");
            return Err(self);
        };
        let kept = old.size().min(new.size());
        let mut resized = Self { allocator: ManuallyDrop::new(self).allocator, block, layout: new };
        resized.check_placement();
        resized.stamp(kept);
        assert!(resized.bytes()[..kept] == before[..kept], "{old:?} lost its contents on the way to {new:?}");
        Ok(resized)
    }

    /// `grow_zeroed`: what was there is kept, and all behind the old layout's size is zero.
    pub(crate) fn grow_zeroed(self, new: Layout) -> Result<Self, Self> {
        let (old, before) = (self.layout, self.bytes().to_vec());
        // SAFETY: the block is in use, the layout fits it, and the new one is no smaller.
        let Ok(block) = (unsafe { self.allocator.grow_zeroed(self.start(), old, new) }) else {
            assert!(self.bytes() == before, "{old:?} was changed by a refused growth to {new:?}");
            return Err(self);
        };
        let grown = Self { allocator: ManuallyDrop::new(self).allocator, block, layout: new };
        grown.check_placement();
        assert!(grown.bytes()[..old.size()] == before[..old.size()], "{old:?} lost its contents on the way to {new:?}");
        assert!(is_zero(&grown.bytes()[old.size()..]), "{old:?} grew to {new:?} without zeros behind it");
        Ok(grown)
    }

    /// Leaves the block to the allocator's end.
    pub(crate) fn forget(self) {
        std::mem::forget(self);
    }
}

impl<A: Allocator + ?Sized> Drop for Held<'_, A> {
    fn drop(&mut self) {
        // SAFETY: the block is in use, the layout fits it, and this value is its only owner.
        unsafe { self.allocator.deallocate(self.start(), self.layout) };
    }
}

impl<A: Allocator + ?Sized> std::fmt::Debug for Held<'_, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("block", &self.block).field("layout", &self.layout).finish()
    }
}
