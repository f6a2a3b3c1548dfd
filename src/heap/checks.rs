//! What debug builds and the feature `hardened` check at once: an allocated-bit for each small block, and the tag of
//! each medium one. Other builds check when blocks go back to their slab or root.
//!
//! Costs a free two dependent loads to the slab's descriptor and an atomic read-modify-write, and an allocation the same.

#![expect(unsafe_code, reason = "reads the tag of the block that is freed")]

use core::ptr::NonNull;

use crate::heap::{MallocState, Mode};
use crate::os::PageSource;
use crate::primitives::abort::corruption;
use crate::slab::{SizeClass, SlabSegment, class_of_slab, locate};

impl<M: Mode, S: PageSource> MallocState<M, S> {
    /// Notes that a small block is with a user.
    pub(crate) fn mark_allocated(&self, block: NonNull<u8>, class: SizeClass) {
        if !self.set_bit(block, class, true) {
            corruption("free list has a block that is in use", block.as_ptr());
        }
    }

    /// Notes that a user has given a small block up.
    pub(crate) fn mark_freed(&self, block: NonNull<u8>, class: SizeClass) {
        if class != SizeClass::ZERO && !self.set_bit(block, class, false) {
            corruption("block freed twice", block.as_ptr());
        }
    }

    fn set_bit(&self, block: NonNull<u8>, class: SizeClass, allocated: bool) -> bool {
        let Some(core) = self.core() else { corruption("block is of no heap", block.as_ptr()) };
        match locate(&self.context(core), block.addr().get()) {
            Ok((slab, _)) if class_of_slab(slab) != class => {
                corruption("block freed as one of another size class", block.as_ptr())
            }
            Ok((slab, index)) => SlabSegment::of_slab::<S>(slab).set_allocated(slab, index, allocated),
            Err(what) => corruption(what, block.as_ptr()),
        }
    }

    /// Checks that a medium block is one of this heap, and as long as its class.
    pub(crate) fn check_medium(&self, block: NonNull<u8>, class: SizeClass) {
        let Some(core) = self.core() else { corruption("freed block is of no heap", block.as_ptr()) };
        let _ = self.root_of(core, block);
        // SAFETY: the caller frees the block, and so owns it.
        if unsafe { self.medium_class_of(block) } != Some(class) {
            corruption("block freed as one of another size class", block.as_ptr());
        }
    }
}
