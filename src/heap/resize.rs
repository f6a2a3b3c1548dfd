//! Blocks that grow and shrink: in place where they keep tier and class, else by moving.

#![expect(unsafe_code, reason = "resizes raw blocks")]

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use crate::heap::allocate::{Terms, dangling, whole_block, zero_up_to};
use crate::heap::route::{Route, direct_usable, medium_index, route};
use crate::heap::{MallocState, Mode};
use crate::os::PageSource;
use crate::primitives::address::{align_up, is_aligned};
use crate::primitives::sanitizer;
use crate::slab::SizeClass;

/// A block after it was resized: its bytes, and the address from which on what was added is known to be zero.
type Resized = (NonNull<[u8]>, usize);

/// What is known of a block: the route by which it came or is to come, and how many of its bytes matter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) route: Route,
    pub(crate) size: usize,
}

impl Extent {
    /// The extent of a layout's block.
    #[inline]
    pub(crate) fn of<S: PageSource>(layout: Layout) -> Self {
        Self { route: route::<S>(layout), size: layout.size() }
    }
}

impl<M: Mode, S: PageSource> MallocState<M, S> {
    /// The extent of a block that is to be resized, and that the layout fits.
    #[inline]
    pub(crate) fn extent(&self, ptr: NonNull<u8>, layout: Layout) -> Extent {
        let extent = Extent::of::<S>(layout);
        self.check_access(ptr, extent.size);
        #[cfg(any(debug_assertions, feature = "hardened"))]
        self.check_resized(ptr, layout, extent.route);
        #[cfg(not(any(debug_assertions, feature = "hardened")))]
        let _ = ptr;
        extent
    }

    /// A block of the new layout with the contents of the old one.
    ///
    /// # Safety
    ///
    /// The block is of this heap, in use, and came by the route of `old`. On success the old pointer is void.
    pub(crate) unsafe fn resize_block(&self, ptr: NonNull<u8>, old: Extent, new: Layout) -> Option<NonNull<[u8]>> {
        // SAFETY: the caller keeps the contract of `resize_in_place`.
        if let Some((block, _)) = unsafe { self.resize_in_place(ptr, old, Extent::of::<S>(new), new.align(), true) } {
            return Some(block);
        }
        // A smaller size with a larger alignment may need a larger block: that is no shrink.
        let shrinks = new.size() < old.size && align_up(new.size(), new.align()) <= old.size;
        let terms = if shrinks { Terms::BeyondLimit } else { Terms::WithinLimit };
        let block = self.allocate_on(new, terms)?;
        // SAFETY: both blocks are at least this long, and in use at the same time.
        unsafe { ptr.copy_to_nonoverlapping(block.cast(), old.size.min(new.size())) };
        self.check_free(ptr, old.size);
        // SAFETY: the caller gives the old block up.
        unsafe { self.free_by_route(ptr, old.route) };
        if terms == Terms::BeyondLimit {
            self.return_to_limit();
        }
        Some(block)
    }

    /// As [`resize_block`](Self::resize_block) to a larger layout, with zeros behind the old layout's size.
    ///
    /// # Safety
    ///
    /// As for [`resize_block`](Self::resize_block).
    pub(crate) unsafe fn grow_zeroed_block(&self, ptr: NonNull<u8>, old: Extent, new: Layout) -> Option<NonNull<[u8]>> {
        // SAFETY: the caller keeps the contract of `resize_in_place`.
        let resized = unsafe { self.resize_in_place(ptr, old, Extent::of::<S>(new), new.align(), true) };
        let (block, zero_from) = match resized {
            Some(resized) => resized,
            // SAFETY: the caller keeps the contract of `resize_block`.
            None => (unsafe { self.resize_block(ptr, old, new) }?, usize::MAX),
        };
        // SAFETY: a block is at least as long as its layout.
        let added = unsafe { block.cast::<u8>().add(old.size) };
        // SAFETY: the rest of the block is the caller's.
        unsafe { zero_up_to(NonNull::slice_from_raw_parts(added, block.len() - old.size), zero_from) };
        Some(block)
    }

    /// Resizes a block where it is; a mapping may move along with its pages where `may_move` says so.
    ///
    /// # Safety
    ///
    /// As for [`resize_block`](Self::resize_block).
    pub(crate) unsafe fn resize_in_place(
        &self,
        ptr: NonNull<u8>,
        old: Extent,
        new: Extent,
        align: usize,
        may_move: bool,
    ) -> Option<Resized> {
        // SAFETY: the caller keeps the contract of `resize_in_tier`.
        let (block, zero_from) = unsafe { self.resize_in_tier(ptr, old, new, align, may_move) }?;
        Some((self.hand_out_resized(block, old.size, new.size), zero_from))
    }

    /// As [`resize_in_place`](Self::resize_in_place), for the whole block: a memory tool does not know of it yet.
    ///
    /// # Safety
    ///
    /// As for [`resize_block`](Self::resize_block).
    unsafe fn resize_in_tier(
        &self,
        ptr: NonNull<u8>,
        old: Extent,
        new: Extent,
        align: usize,
        may_move: bool,
    ) -> Option<Resized> {
        // The caller's pointer may speak for less than the block.
        let whole = |len: usize| Some((NonNull::slice_from_raw_parts(whole_block(ptr), len), usize::MAX));
        let grows = new.size > old.size;
        match (old.route, new.route) {
            (Route::Small(SizeClass::ZERO), Route::Small(SizeClass::ZERO)) if may_move => {
                Some((dangling(align), usize::MAX))
            }
            (Route::Small(SizeClass::ZERO), _) => None,
            (Route::Small(from), Route::Small(to)) | (Route::Medium(from), Route::Medium(to)) if from == to => {
                whole(to.size())
            }
            (Route::Medium(from), Route::Medium(to)) => {
                // SAFETY: the caller owns the block.
                unsafe { self.resize_medium(ptr, to.size(), grows) }?;
                if let Some(tier) = self.core()?.medium() {
                    tier.out[medium_index::<S>(from)].fetch_sub(1, Relaxed);
                    tier.out[medium_index::<S>(to)].fetch_add(1, Relaxed);
                }
                whole(to.size())
            }
            (Route::Direct, Route::Direct) if is_aligned(ptr.addr().get(), align) => {
                // SAFETY: the caller owns the block.
                let (before, after) = unsafe { self.resize_medium(ptr, new.size, grows) }?;
                let (before, after) = (direct_usable::<S>(before), direct_usable::<S>(after));
                if let Some(tier) = self.core()?.medium() {
                    tier.direct_bytes.fetch_add(after.wrapping_sub(before), Relaxed);
                }
                whole(after)
            }
            (Route::Mapping, Route::Mapping) if grows => {
                let (core, block) = (self.core()?, whole_block(ptr));
                let supply = self.context(core).supply;
                let mut mappings = core.mappings.lock();
                // SAFETY: the caller owns the block.
                let grown = unsafe { mappings.grow(&supply, block, new.size, align, may_move) }?;
                // Still under the lock: a block that comes to the old place is another one.
                sanitizer::moved(core.owner.pool(), block, grown.ptr, old.size);
                Some((NonNull::slice_from_raw_parts(grown.ptr, grown.len), grown.zero_from))
            }
            (Route::Mapping, Route::Mapping) if is_aligned(ptr.addr().get(), align) => {
                let (core, block) = (self.core()?, whole_block(ptr));
                let supply = self.context(core).supply;
                // SAFETY: the caller owns the block, and gives up the part beyond.
                whole(unsafe { core.mappings.lock().shrink(&supply, block, new.size) })
            }
            _ => None,
        }
    }

    /// The block's payload before and after, in bytes, where it could be resized in its root.
    unsafe fn resize_medium(&self, ptr: NonNull<u8>, payload: usize, grow: bool) -> Option<(usize, usize)> {
        let (core, block) = (self.core()?, whole_block(ptr));
        let (_, root) = self.root_of(core, block);
        let supply = self.context(core).supply;
        // SAFETY: the caller owns the block.
        let before = unsafe { crate::coalesce::payload_of(block, S::SEGMENT_SIZE) };
        let mut root = root.lock();
        if grow {
            // SAFETY: the caller owns the block, and its segment names this root.
            unsafe { root.grow_in_place(&supply, block, payload) }.then_some(())?;
        } else {
            #[cfg(feature = "hardened")]
            // SAFETY: the caller owns the block, which has `before` bytes, and gives up the part beyond.
            unsafe {
                self.fill_behind(block, payload, before)
            };
            // SAFETY: as above; nobody uses the part beyond.
            unsafe { root.shrink_in_place(&supply, block, payload) };
        }
        // SAFETY: the caller owns the block.
        Some((before, unsafe { crate::coalesce::payload_of(block, S::SEGMENT_SIZE) }))
    }

    /// Makes a block longer without moving it; the answer is the bytes that may be used from now on.
    ///
    /// A small block grows to the end of its class, a medium one into free memory behind it, a large one where the
    /// system has address space behind it.
    ///
    /// ```
    /// use core::alloc::Layout;
    /// use mallocstate::{MallocState, allocator_api2::alloc::Allocator};
    ///
    /// let heap = MallocState::new();
    /// let layout = Layout::from_size_align(40_000, 8)?;
    /// let block = heap.allocate(layout)?.cast::<u8>();
    /// // SAFETY: the block is of this heap, and the layout is the one it was asked for with.
    /// let usable = unsafe { heap.grow_in_place(block, layout, 90_000) }.expect("nothing is behind it yet");
    /// assert!(usable >= 90_000);
    /// // SAFETY: the block has this layout now.
    /// unsafe { heap.deallocate(block, Layout::from_size_align(90_000, 8)?) };
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `None` where the block cannot grow where it is; it is then unchanged.
    ///
    /// # Safety
    ///
    /// `ptr` is a block of this heap, in use, and `layout` fits it. On success the layout is one of at least `new_size`
    /// and at most the returned bytes, and the same alignment.
    pub unsafe fn grow_in_place(&self, ptr: NonNull<u8>, layout: Layout, new_size: usize) -> Option<usize> {
        let new = Layout::from_size_align(new_size, layout.align()).ok().filter(|new| new.size() >= layout.size())?;
        // SAFETY: the caller keeps the contract of `resize_in_place`.
        unsafe { self.resize_in_place(ptr, self.extent(ptr, layout), Extent::of::<S>(new), new.align(), false) }
            .map(|(block, _)| block.len())
    }
}
