//! The ancestor's C-style calls on a state: blocks without layouts.
//!
//! A block made here is freed here: what it is stands in its slab's descriptor, its tag, or its mapping's header.

#![expect(unsafe_code, reason = "takes back raw blocks without their layouts")]

use core::alloc::Layout;
use core::ptr::NonNull;

use crate::coalesce::payload_of;
use crate::heap::{Extent, MallocState, Mode, Route, direct_usable, whole_block};
use crate::mapping;
use crate::os::PageSource;
use crate::primitives::abort::corruption;
use crate::primitives::sanitizer;
use crate::segment::{Geometry, SegmentKind};
use crate::slab::{BLOCK_ALIGN, class_of};

/// Where a request by size alone is heading; `None` for sizes that no layout has. Zero bytes get a real block.
fn layout_for(size: usize, align: usize) -> Option<Layout> {
    // These are what the shortest block has, and its user may have them.
    let none = if sanitizer::ENABLED { BLOCK_ALIGN } else { 1 };
    Layout::from_size_align(if size == 0 { none } else { size }, align.max(BLOCK_ALIGN)).ok()
}

impl<M: Mode, S: PageSource> MallocState<M, S> {
    /// A block of at least `size` bytes, aligned to 16; 16 bytes for 0.
    ///
    /// ```
    /// let heap = mallocstate::MallocState::new();
    /// let block = heap.malloc(100).unwrap();
    /// // SAFETY: the block is of this heap, and in use.
    /// assert_eq!(unsafe { heap.usable_size(block) }, 112);
    /// // SAFETY: as above.
    /// unsafe { heap.free(block) };
    /// ```
    pub fn malloc(&self, size: usize) -> Option<NonNull<u8>> {
        self.allocate_block(layout_for(size, BLOCK_ALIGN)?).map(NonNull::cast)
    }

    /// A zeroed block for `count` elements of `size` bytes; `None` also where the product overflows.
    ///
    /// ```
    /// let heap = mallocstate::MallocState::new();
    /// assert!(heap.calloc(usize::MAX / 2, 3).is_none());
    /// let block = heap.calloc(10, 10).unwrap();
    /// // SAFETY: the block has 100 bytes.
    /// assert_eq!(unsafe { block.add(99).read() }, 0);
    /// ```
    pub fn calloc(&self, count: usize, size: usize) -> Option<NonNull<u8>> {
        self.allocate_zeroed_block(layout_for(count.checked_mul(size)?, BLOCK_ALIGN)?).map(NonNull::cast)
    }

    /// A block of at least `size` bytes at a multiple of `align`; `None` also where `align` is no power of two.
    pub fn aligned_alloc(&self, align: usize, size: usize) -> Option<NonNull<u8>> {
        self.allocate_block(layout_for(size, align).filter(|_| align.is_power_of_two())?).map(NonNull::cast)
    }

    /// As [`aligned_alloc`](Self::aligned_alloc), with POSIX's bound: `align` is a power of two and a multiple of the
    /// size of a pointer.
    ///
    /// ```
    /// let heap = mallocstate::MallocState::new();
    /// assert!(heap.posix_memalign(24, 100).is_none());
    /// assert!(heap.posix_memalign(2, 100).is_none());
    /// assert_eq!(heap.posix_memalign(4096, 100).unwrap().addr().get() % 4096, 0);
    /// ```
    pub fn posix_memalign(&self, align: usize, size: usize) -> Option<NonNull<u8>> {
        if align % size_of::<usize>() == 0 { self.aligned_alloc(align, size) } else { None }
    }

    /// Takes a block back.
    ///
    /// # Safety
    ///
    /// The block was made by one of this heap's C-style calls, and is in use; the caller gives it up.
    pub unsafe fn free(&self, block: NonNull<u8>) {
        self.check_free(block, 1);
        // SAFETY: the caller owns the block.
        let route = unsafe { self.route_of(block) };
        // SAFETY: the caller gives the block up.
        unsafe { self.free_by_route(block, route) }
    }

    /// Bytes of a block that may be used, at least what was asked for.
    ///
    /// # Safety
    ///
    /// `block` is the start of a block of this heap, and in use.
    pub unsafe fn usable_size(&self, block: NonNull<u8>) -> usize {
        // SAFETY: the caller owns the block.
        let (Extent { size, .. }, usable) = unsafe { self.extent_of(block) };
        // A memory tool learns that the user may have the rest, too.
        self.hand_out_resized(NonNull::slice_from_raw_parts(block, usable), size, usable).len()
    }

    /// What stands beside a block of its route, and the bytes that may be used of it. The extent's size is that, or under
    /// a memory tool what was asked for.
    ///
    /// # Safety
    ///
    /// As for [`usable_size`](Self::usable_size).
    unsafe fn extent_of(&self, block: NonNull<u8>) -> (Extent, usize) {
        self.check_access(block, 1);
        // SAFETY: the caller owns the block.
        let route = unsafe { self.route_of(block) };
        let usable = match route {
            Route::Small(class) | Route::Medium(class) => class.size(),
            // SAFETY: as above.
            Route::Direct => direct_usable::<S>(unsafe { payload_of(whole_block(block), S::SEGMENT_SIZE) }),
            // SAFETY: as above.
            Route::Mapping => unsafe { mapping::len_of(whole_block(block), S::SEGMENT_SIZE) },
        };
        (Extent { route, size: sanitizer::accessible(block, usable) }, usable)
    }

    /// A block of at least `size` bytes with the contents of the old one, as far as both go. `None` leaves the old block
    /// as it was. The new block is aligned to 16.
    ///
    /// # Safety
    ///
    /// The block was made by one of this heap's C-style calls, and is in use. On success it is given up.
    pub unsafe fn realloc(&self, block: NonNull<u8>, size: usize) -> Option<NonNull<u8>> {
        // SAFETY: the caller owns the block.
        let (old, _) = unsafe { self.extent_of(block) };
        // SAFETY: as above; the extent has the block's route.
        unsafe { self.resize_block(block, old, layout_for(size, BLOCK_ALIGN)?) }.map(NonNull::cast)
    }

    /// Whether the block now has at least `size` bytes, without moving.
    ///
    /// # Safety
    ///
    /// The block was made by one of this heap's C-style calls, and is in use.
    pub unsafe fn realloc_in_place(&self, block: NonNull<u8>, size: usize) -> bool {
        // SAFETY: the caller owns the block.
        let (old, _) = unsafe { self.extent_of(block) };
        let Some(layout) = layout_for(size, BLOCK_ALIGN) else { return false };
        let new = match old.route {
            // These stay what they are, as long as they are no larger than such a block may be.
            Route::Direct if size <= S::MEDIUM_MAX => Extent { route: Route::Direct, size },
            Route::Mapping => Extent { route: Route::Mapping, size },
            _ => Extent::of::<S>(layout),
        };
        // SAFETY: as above; the extent has the block's route.
        size <= old.size || unsafe { self.resize_in_place(block, old, new, BLOCK_ALIGN, false) }.is_some()
    }

    /// The route by which a block came, from what stands beside it.
    ///
    /// # Safety
    ///
    /// `block` is the start of a block of this heap, and in use.
    unsafe fn route_of(&self, block: NonNull<u8>) -> Route {
        let address = block.addr().get();
        let segment = self.core().and_then(|core| {
            // SAFETY: the caller owns the block.
            let segment = unsafe { self.context(core).supply.segment_of(address) }?;
            segment.is_live(core.owner, segment.kind()).then_some(segment)
        });
        let Some(segment) = segment else { corruption("block is not of this heap", block.as_ptr()) };
        #[cfg(any(debug_assertions, feature = "hardened"))]
        self.check_in_use(block, segment.kind());
        match segment.kind() {
            // SAFETY: as above, and the segment is of the slab kind.
            SegmentKind::Slab => match unsafe { class_of::<S>(address) } {
                Some(class) => Route::Small(class),
                None => corruption("freed address is not the start of a block", block.as_ptr()),
            },
            // SAFETY: as above, and the segment is a coalescing one.
            SegmentKind::Coalescing => match unsafe { self.medium_class_of(whole_block(block)) } {
                Some(class) if class.size() > S::SMALL_MAX => Route::Medium(class),
                Some(_) => corruption("address is not the start of a block", block.as_ptr()),
                None => Route::Direct,
            },
            SegmentKind::Mapping => Route::Mapping,
        }
    }
}
