//! What debug builds and the feature `hardened` check at once: each block that is freed or resized is one of this heap, in
//! use, and what its layout says. Other builds check when blocks go back to their slab or root.

#![expect(unsafe_code, reason = "reads what stands beside a block that is freed")]

use core::alloc::Layout;
use core::ptr::NonNull;

use crate::coalesce;
use crate::heap::core::Core;
use crate::heap::route::{Route, direct_usable};
use crate::heap::{MallocState, Mode, whole_block};
use crate::os::PageSource;
use crate::primitives::abort::corruption;
use crate::primitives::address::is_aligned;
#[cfg(feature = "hardened")]
use crate::primitives::fill;
use crate::segment::SegmentKind;
use crate::slab::{Origin, SizeClass, locate};

impl<M: Mode, S: PageSource> MallocState<M, S> {
    /// Notes that a small block is with a user.
    pub(crate) fn mark_allocated(&self, block: NonNull<u8>, class: SizeClass) {
        if !self.small_block(block, Some(class)).set_allocated::<S>(true) {
            corruption("free list has a block that is in use", block.as_ptr());
        }
    }

    /// Notes that a medium block is with a user again.
    pub(crate) fn mark_medium_allocated(&self, block: NonNull<u8>) {
        // SAFETY: the block comes from a cache of this heap, and belongs to nobody else.
        if !unsafe { coalesce::set_cached(block, S::SEGMENT_SIZE, false) } {
            corruption("the boundary tag of a medium block was overwritten", block.as_ptr());
        }
    }

    /// Notes that a user has given a block up. Where it goes back directly, its root or list does.
    pub(crate) fn mark_freed(&self, block: NonNull<u8>, route: Route) {
        match route {
            Route::Small(SizeClass::ZERO) | Route::Direct | Route::Mapping => {}
            Route::Small(class) => {
                if !self.small_block(block, Some(class)).set_allocated::<S>(false) {
                    corruption("block freed twice", block.as_ptr());
                }
            }
            Route::Medium(class) => {
                self.check_medium(block, Some(class));
                // SAFETY: it was just found to be a block in use, of this heap.
                if unsafe { coalesce::set_cached(whole_block(block), S::SEGMENT_SIZE, true) } {
                    corruption("block freed twice", block.as_ptr());
                }
            }
        }
    }

    /// Checks what a block's route does not say of its layout: of a class it says all.
    #[inline(always)]
    pub(crate) fn check_layout(&self, block: NonNull<u8>, layout: Layout, route: Route) {
        if matches!(route, Route::Direct | Route::Mapping) {
            self.check_length(block, layout, route);
        }
    }

    /// Checks a block that is in no class: in use, as long as its layout, and aligned as that.
    fn check_length(&self, block: NonNull<u8>, layout: Layout, route: Route) {
        let len = match route {
            Route::Small(class) | Route::Medium(class) => class.size(),
            Route::Direct => {
                self.check_medium(block, None);
                // SAFETY: it was just found to be a block in use, of this heap.
                direct_usable::<S>(unsafe { coalesce::payload_of(whole_block(block), S::SEGMENT_SIZE) })
            }
            Route::Mapping => {
                let core = self.core_of(block);
                core.mappings.lock().check(&self.context(core).supply, block)
            }
        };
        if layout.size() > len {
            corruption("block is shorter than its layout", block.as_ptr());
        }
        if !is_aligned(block.addr().get(), layout.align()) {
            corruption("block is not aligned as its layout", block.as_ptr());
        }
    }

    /// Checks a block that is to be resized.
    pub(crate) fn check_resized(&self, block: NonNull<u8>, layout: Layout, route: Route) {
        match route {
            Route::Small(SizeClass::ZERO) => {}
            Route::Small(class) => self.check_small(block, Some(class)),
            Route::Medium(class) => self.check_medium(block, Some(class)),
            Route::Direct | Route::Mapping => self.check_length(block, layout, route),
        }
    }

    /// Checks a block of which only the kind of segment is known.
    pub(crate) fn check_in_use(&self, block: NonNull<u8>, kind: SegmentKind) {
        let core = self.core_of(block);
        match kind {
            SegmentKind::Slab => self.check_small(block, None),
            SegmentKind::Coalescing => self.root_of(core, block).1.lock().check(&self.context(core).supply, block),
            SegmentKind::Mapping => _ = core.mappings.lock().check(&self.context(core).supply, block),
        }
    }

    fn check_small(&self, block: NonNull<u8>, class: Option<SizeClass>) {
        if !self.small_block(block, class).is_allocated::<S>() {
            corruption("a small block that is free already", block.as_ptr());
        }
    }

    /// What a small block was cut from, after a check of all that does not change: owner, start, class.
    fn small_block(&self, block: NonNull<u8>, class: Option<SizeClass>) -> Origin<'_> {
        match locate(&self.context(self.core_of(block)), block.addr().get()) {
            Ok(origin) if class.is_some_and(|class| origin.class() != class) => {
                corruption("block freed as one of another size class", block.as_ptr())
            }
            Ok(found) => found,
            Err(what) => corruption(what, block.as_ptr()),
        }
    }

    /// Checks that a medium block is one of this heap, in use, and of its class; or of none.
    fn check_medium(&self, block: NonNull<u8>, class: Option<SizeClass>) {
        self.check_in_use(block, SegmentKind::Coalescing);
        // SAFETY: it was just found to be a block in use, of this heap.
        if unsafe { self.medium_class_of(whole_block(block)) } != class {
            corruption("block freed as one of another size class", block.as_ptr());
        }
    }

    fn core_of(&self, block: NonNull<u8>) -> &Core<M> {
        self.core().unwrap_or_else(|| corruption("freed block is of no heap", block.as_ptr()))
    }

    /// Fills what a user has given up; mappings are filled by their list, which knows whether they stay.
    ///
    /// # Safety
    ///
    /// The block is of this heap and came by this route; nobody uses it any more.
    #[cfg(feature = "hardened")]
    #[inline]
    pub(crate) unsafe fn fill_freed(&self, block: NonNull<u8>, route: Route) {
        let len = match route {
            Route::Small(class) | Route::Medium(class) => class.size(),
            // SAFETY: the block is a medium one of this heap.
            Route::Direct => direct_usable::<S>(unsafe { coalesce::payload_of(block, S::SEGMENT_SIZE) }),
            Route::Mapping => 0,
        };
        // SAFETY: the block has this many bytes, and nobody uses them.
        unsafe { fill::freed(block, len) };
    }

    /// Fills what a block of `before` bytes gives up when it keeps `kept`.
    ///
    /// # Safety
    ///
    /// The block has `before` bytes; nobody uses those behind `kept` any more.
    #[cfg(feature = "hardened")]
    pub(crate) unsafe fn fill_behind(&self, block: NonNull<u8>, kept: usize, before: usize) {
        if kept < before {
            // SAFETY: `kept` is within the block.
            let behind = unsafe { block.add(kept) };
            // SAFETY: what is behind is within the block, and nobody uses it.
            unsafe { fill::freed(behind, before - kept) };
        }
    }
}
