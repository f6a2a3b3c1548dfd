//! From the address of a small block to its slab, and from a slab to its segment.

#![expect(unsafe_code, reason = "turns block addresses into descriptors and back")]

use core::ptr::NonNull;

use crate::os::PageSource;
use crate::os::lock::RawLock;
use crate::primitives::abort::corruption;
use crate::primitives::address::align_down;
use crate::segment::{Geometry, SegmentKind, SegmentRef, Supply};
use crate::slab::root::SlabContext;
use crate::slab::segment::SlabSegment;
use crate::slab::size_class::SizeClass;
use crate::slab::slab::Slab;

/// The slab that a small block lies in, and the block's number there.
///
/// Answers what is wrong with the address where it is not that of a block that was ever handed out.
pub(crate) fn locate<S: PageSource, L: RawLock>(
    context: &SlabContext<'_, S, L>,
    block: usize,
) -> Result<(NonNull<Slab>, usize), &'static str> {
    // SAFETY: what is freed is the start of some block, by the contract of every call that frees.
    let segment = unsafe { segment_of(&context.supply, block) }.ok_or("freed block is not of this heap")?;
    let slab = segment.slab_at(block - segment.segment().addr()).ok_or("freed block is in no slab")?;
    // SAFETY: descriptors live as long as their segment.
    let descriptor = unsafe { slab.as_ref() };
    let offset = block - segment.segment().addr() - descriptor.start();
    match descriptor.class().block_index(offset) {
        Some(index) if index < descriptor.cut() => Ok((slab, index)),
        _ => Err("freed address is not the start of a block"),
    }
}

/// The class of a live slab.
pub(crate) fn class_of_slab(slab: NonNull<Slab>) -> SizeClass {
    // SAFETY: descriptors live as long as their segment.
    unsafe { slab.as_ref() }.class()
}

/// The class of the slab that a live small block lies in.
///
/// # Safety
///
/// `block` is the start of a block in a live slab segment.
pub(crate) unsafe fn class_of<S: PageSource>(block: usize) -> Option<SizeClass> {
    // SAFETY: the caller has a block start.
    let segment = unsafe { SegmentRef::of_block(block, S::SEGMENT_SIZE) };
    let slab = SlabSegment::of(segment).slab_at(block - segment.addr())?;
    // SAFETY: descriptors live as long as their segment.
    Some(unsafe { slab.as_ref() }.class())
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

/// The slab whose bump range ends at `end`.
pub(super) fn slab_before<S: PageSource, L: RawLock>(context: &SlabContext<'_, S, L>, end: usize) -> NonNull<Slab> {
    // SAFETY: the range's last byte lies in a slab segment of this heap.
    let segment = unsafe { segment_of(&context.supply, end) };
    let slab = segment.and_then(|segment| segment.slab_at(end - 1 - segment.segment().addr()));
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
