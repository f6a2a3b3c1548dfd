//! From the address of a small block to the slab or the nursery that it was cut from, and from a slab to its segment.

#![expect(unsafe_code, reason = "turns block addresses into descriptors and back")]

use core::ptr::NonNull;

use crate::os::PageSource;
use crate::os::lock::RawLock;
use crate::primitives::abort::corruption;
use crate::primitives::address::align_down;
use crate::segment::{Geometry, SegmentKind, SegmentRef, Supply};
use crate::slab::nursery::Nursery;
use crate::slab::root::SlabContext;
use crate::slab::segment::SlabSegment;
use crate::slab::size_class::SizeClass;
use crate::slab::slab::Slab;

/// What a small block was cut from, and its number there.
#[derive(Clone, Copy)]
pub(crate) enum Origin<'a> {
    /// A slab, by the number of the block.
    Slab(NonNull<Slab>, usize),
    /// The nursery, by the block's offset from the segment's base, and its class.
    Nursery(&'a Nursery, usize, SizeClass),
}

impl Origin<'_> {
    /// The class of the block.
    pub(crate) fn class(self) -> SizeClass {
        match self {
            // SAFETY: descriptors live as long as their segment.
            Self::Slab(slab, _) => unsafe { slab.as_ref() }.class(),
            Self::Nursery(_, _, class) => class,
        }
    }

    /// Sets or clears the allocated-bit of the block; false where it had that value already.
    #[cfg(any(debug_assertions, feature = "hardened"))]
    pub(crate) fn set_allocated<S: PageSource>(self, allocated: bool) -> bool {
        match self {
            Self::Slab(slab, index) => SlabSegment::of_slab::<S>(slab).set_allocated(slab, index, allocated),
            Self::Nursery(nursery, offset, _) => nursery.set_allocated(offset, allocated),
        }
    }

    /// The allocated-bit of the block.
    #[cfg(any(debug_assertions, feature = "hardened"))]
    pub(crate) fn is_allocated<S: PageSource>(self) -> bool {
        match self {
            Self::Slab(slab, index) => SlabSegment::of_slab::<S>(slab).is_allocated(slab, index),
            Self::Nursery(nursery, offset, _) => nursery.is_allocated(offset),
        }
    }
}

/// What a small block was cut from.
///
/// Answers what is wrong with the address where it is not that of a block that was ever handed out.
pub(crate) fn locate<'a, S: PageSource, L: RawLock>(
    context: &SlabContext<'a, S, L>,
    block: usize,
) -> Result<Origin<'a>, &'static str> {
    // SAFETY: what is freed is the start of some block, by the contract of every call that frees.
    let segment = unsafe { segment_of(&context.supply, block) }.ok_or("freed block is not of this heap")?;
    let offset = block - segment.segment().addr();
    let Some(slab) = segment.slab_at(offset) else {
        let nursery = nursery_at(segment, offset).ok_or("freed block is in no slab")?;
        let class = nursery.block_at(offset).ok_or(NO_START)?;
        return Ok(Origin::Nursery(nursery, offset, class));
    };
    // SAFETY: descriptors live as long as their segment.
    let descriptor = unsafe { slab.as_ref() };
    descriptor.cut_block(offset - descriptor.start()).map(|index| Origin::Slab(slab, index)).ok_or(NO_START)
}

const NO_START: &str = "freed address is not the start of a block";

pub(super) const FREED_TWICE: &str = "block freed twice";

/// The nursery that has cut the byte at `offset` of a segment.
fn nursery_at<'a>(segment: SlabSegment, offset: usize) -> Option<&'a Nursery> {
    segment.nursery().filter(|nursery| nursery.has_cut(offset))
}

/// The class of a live small block.
///
/// # Safety
///
/// `block` is the start of a block in a live slab segment.
pub(crate) unsafe fn class_of<S: PageSource>(block: usize) -> Option<SizeClass> {
    // SAFETY: the caller has a block start.
    let segment = unsafe { SegmentRef::of_block(block, S::SEGMENT_SIZE) };
    let (segment, offset) = (SlabSegment::of(segment), block - segment.addr());
    match segment.slab_at(offset) {
        // SAFETY: descriptors live as long as their segment.
        Some(slab) => Some(unsafe { slab.as_ref() }.class()),
        None => nursery_at(segment, offset)?.block_at(offset),
    }
}

pub(super) fn capacity_of<S: PageSource>(class: SizeClass) -> usize {
    class.blocks_in(class.slab_len(S::LARGEST_SLAB))
}

/// The segment that a descriptor lies in: headers are shorter than a segment.
pub(super) fn segment_ref(slab: NonNull<Slab>, segment_size: usize) -> SegmentRef {
    debug_assert!(align_down(slab.addr().get(), segment_size) != slab.addr().get());
    // SAFETY: a descriptor lies in its segment's header, behind its first byte.
    unsafe { SegmentRef::of_block(slab.addr().get(), segment_size) }
}

pub(super) fn base_of(slab: NonNull<Slab>, segment_size: usize) -> NonNull<u8> {
    // SAFETY: the caller has a live slab.
    let start = unsafe { slab.as_ref() }.start();
    // SAFETY: a slab lies within its segment.
    unsafe { segment_ref(slab, segment_size).at(start) }
}

/// The slab that the bump range that ends at `end` was cut from.
pub(super) fn slab_before<S: PageSource, L: RawLock>(context: &SlabContext<'_, S, L>, end: usize) -> NonNull<Slab> {
    // SAFETY: the range's last byte lies in a slab segment of this heap.
    let segment = unsafe { segment_of(&context.supply, end) };
    let slab = segment.and_then(|segment| segment.slab_at(end - segment.segment().addr() - 1));
    slab.unwrap_or_else(|| corruption("bump range ends in no slab", core::ptr::without_provenance(end)))
}

/// The slab segment that a block start belongs to, where the segment is a live one of this heap.
///
/// # Safety
///
/// `block` is an address within a segment's worth behind readable memory: the start of some block.
unsafe fn segment_of<S: PageSource, L: RawLock>(supply: &Supply<'_, S, L>, block: usize) -> Option<SlabSegment> {
    // SAFETY: the caller says that there is a header.
    let segment = unsafe { supply.segment_of(block) }?;
    segment.is_live(supply.owner, SegmentKind::Slab).then(|| SlabSegment::of(segment))
}
