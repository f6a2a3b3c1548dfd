//! A peer's C-like calls as an allocator for collections.

#![expect(unsafe_code, reason = "implements an unsafe trait")]

use std::alloc::Layout;
use std::ptr::NonNull;

use allocator_api2::alloc::{AllocError, Allocator};

use super::Peer;

/// A peer that resizes blocks by a call of its own, and has no allocator trait.
///
/// # Safety
///
/// As for [`Peer`]: a block that [`resize`](Self::resize) returns holds what the old one did, up to the shorter length.
pub unsafe trait Resize: Peer {
    /// Makes a block longer or shorter, moving it where it must. On failure the block is as it was.
    ///
    /// # Safety
    ///
    /// The block is from this heap, in use, and of the old layout; the caller gives it up for the new one. Neither
    /// layout is empty, and both have one alignment.
    unsafe fn resize(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Option<NonNull<u8>>;
}

/// The allocator of collections that live in a peer.
pub struct In<'heap, P>(pub(super) &'heap P);

impl<P> Clone for In<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for In<'_, P> {}

fn slice(block: Option<NonNull<u8>>, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
    block.map(|block| NonNull::slice_from_raw_parts(block, layout.size())).ok_or(AllocError)
}

impl<P: Resize> In<'_, P> {
    /// # Safety
    ///
    /// As for [`Allocator::grow`] and [`Allocator::shrink`], whichever applies.
    #[inline(always)]
    unsafe fn resize(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if old.size() == 0 || new.size() == 0 || old.align() != new.align() {
            let fresh = self.allocate(new)?;
            // SAFETY: both are valid for the shorter of the two, and the new block is nobody else's.
            unsafe { fresh.cast().copy_from_nonoverlapping(block, old.size().min(new.size())) };
            // SAFETY: the caller gives the block up.
            unsafe { self.deallocate(block, old) };
            return Ok(fresh);
        }
        // SAFETY: the caller gives the block up, and no layout is empty.
        slice(unsafe { self.0.resize(block, old, new) }, new)
    }
}

// SAFETY: blocks are the peer's, of whose contract this is a part; a copy is the same reference.
unsafe impl<P: Resize> Allocator for In<'_, P> {
    #[inline(always)]
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if layout.size() == 0 {
            let dangling = NonNull::without_provenance(layout.align().try_into().map_err(|_| AllocError)?);
            return Ok(NonNull::slice_from_raw_parts(dangling, 0));
        }
        slice(self.0.allocate(layout), layout)
    }

    #[inline(always)]
    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        if layout.size() != 0 {
            // SAFETY: the block is from this peer and of this layout, since what `allocate` returns is never longer.
            unsafe { self.0.free(block, layout) }
        }
    }

    #[inline(always)]
    unsafe fn grow(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: the caller keeps the same contract.
        unsafe { self.resize(block, old, new) }
    }

    #[inline(always)]
    unsafe fn shrink(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: the caller keeps the same contract.
        unsafe { self.resize(block, old, new) }
    }
}
