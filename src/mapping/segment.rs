//! Mappings: the header behind the common one, and the one block.
//!
//! ```text
//! │ SegmentHeader │ MappingHeader │ (rest of the first pages) │ block ………… │ (pages that a shrink left) │
//! base                                                        offset       offset + len
//! ```
//!
//! Where huge pages are wanted, the block begins with one: nothing between the headers' page and the block is touched.
//!
//! # Invariants
//!
//! - `offset` and `len` are whole pages; `offset` is at most `SEGMENT_SIZE`, and `offset + len` within the segment.
//! - Headers and `len` are charged, whether the block is in use or cached.

#![expect(unsafe_code, reason = "reads the headers of live segments")]

use core::cell::Cell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use crate::primitives::list::{Linked, Links};
use crate::primitives::sanitizer;
use crate::segment::{HEADER_BYTES, SegmentRef, Usage};

/// What a mapping says of itself, behind the common header.
#[repr(C, align(16))]
pub(super) struct MappingHeader {
    links: Links<MappingHeader>,
    offset: Cell<usize>,
    /// Read by the block's owner and by iteration; written under the list's lock only.
    len: AtomicUsize,
    /// As `len`.
    in_use: AtomicBool,
}

// SAFETY: always the same field.
unsafe impl Linked for MappingHeader {
    fn links(&self) -> &Links<Self> {
        &self.links
    }
}

/// Bytes of a mapping's own header.
pub(super) const OWN_HEADER: usize = size_of::<MappingHeader>();

/// Bytes charged for a mapping, apart from its block.
pub(super) const OVERHEAD: usize = HEADER_BYTES + OWN_HEADER;

/// A live mapping. Whoever has one holds the list's lock, or owns the block and reads its length only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Mapping(SegmentRef);

impl Mapping {
    /// Writes the own header of a new mapping, whose block is not in use yet.
    ///
    /// # Safety
    ///
    /// The segment is new and of kind `Mapping`; nobody uses what is behind the common header.
    pub(super) unsafe fn write(segment: SegmentRef, offset: usize, len: usize) -> Self {
        let value = MappingHeader {
            links: Links::new(),
            offset: Cell::new(offset),
            len: AtomicUsize::new(len),
            in_use: AtomicBool::new(false),
        };
        // SAFETY: the own header lies in the first page of the new segment, which is committed.
        unsafe { header_of(segment).write(value) };
        segment.set_ready();
        Self(segment).poison_beyond(0);
        Self(segment)
    }

    /// How many bytes of the block its user may access, where a memory tool knows that.
    pub(super) fn accessible(self) -> usize {
        if sanitizer::ENABLED { sanitizer::accessible(self.block(), self.len()) } else { 0 }
    }

    /// Poisons all but the headers and the first `requested` bytes of the block.
    pub(super) fn poison_beyond(self, requested: usize) {
        let body = NonNull::slice_from_raw_parts(self.0.base(), self.0.len());
        let block = self.offset();
        sanitizer::poison_behind(NonNull::slice_from_raw_parts(self.0.base(), block), OVERHEAD);
        sanitizer::poison_behind(body, block + requested);
    }

    /// # Safety
    ///
    /// The segment is live, of kind `Mapping`, and its own header was written.
    pub(super) const unsafe fn new(segment: SegmentRef) -> Self {
        Self(segment)
    }

    /// The mapping of a header that is in a list.
    pub(super) fn of_header(header: NonNull<MappingHeader>, segment_size: usize) -> Self {
        // SAFETY: the header lies behind the base of a live segment, as a block might.
        Self(unsafe { SegmentRef::of_block(header.addr().get(), segment_size) })
    }

    pub(super) const fn common(self) -> SegmentRef {
        self.0
    }

    pub(super) fn own_header(self) -> NonNull<MappingHeader> {
        header_of(self.0)
    }

    fn header(&self) -> &MappingHeader {
        // SAFETY: the segment is live, and its header holds nothing but cells and atomics.
        unsafe { header_of(self.0).as_ref() }
    }

    /// How far behind the base the block starts.
    pub(super) fn offset(self) -> usize {
        self.header().offset.get()
    }

    /// First byte of the block.
    pub(super) fn block(self) -> NonNull<u8> {
        // SAFETY: the offset is within the segment.
        unsafe { self.0.at(self.offset()) }
    }

    /// Bytes of the block.
    pub(super) fn len(self) -> usize {
        self.header().len.load(Relaxed)
    }

    pub(super) fn set_len(self, len: usize) {
        self.header().len.store(len, Relaxed);
    }

    /// Whether the block is out of the cache.
    pub(super) fn is_in_use(self) -> bool {
        self.header().in_use.load(Relaxed)
    }

    pub(super) fn set_in_use(self, in_use: bool) {
        self.header().in_use.store(in_use, Relaxed);
    }

    /// Writes again what a refused release may have overwritten, and poisons what it has unpoisoned.
    pub(super) fn restore(self, offset: usize, len: usize) {
        self.header().offset.set(offset);
        self.set_len(len);
        self.set_in_use(false);
        self.poison_beyond(0);
    }

    /// Says that the block may be written up to `len` bytes from its start; the answer is the address from which on
    /// memory is known to be zero.
    pub(super) fn touch(self, len: usize) -> usize {
        self.0.addr() + self.0.touch(self.offset() + len)
    }
}

fn header_of(segment: SegmentRef) -> NonNull<MappingHeader> {
    // SAFETY: the segment is longer than its headers.
    unsafe { segment.at(HEADER_BYTES) }.cast()
}

/// What of a mapping is put to use. Any thread may ask under the records' lock, once the segment is ready.
pub(crate) fn usage(segment: SegmentRef) -> Usage {
    let mapping = Mapping(segment);
    let len = mapping.len();
    Usage { committed: OVERHEAD + len, in_use: if mapping.is_in_use() { len } else { 0 } }
}

/// Bytes of a large block. Needs no lock.
///
/// # Safety
///
/// `block` is that of a mapping, and the caller's own.
pub(crate) unsafe fn len_of(block: NonNull<u8>, segment_size: usize) -> usize {
    // SAFETY: the caller owns the block, so that its segment is live.
    Mapping(unsafe { SegmentRef::of_block(block.addr().get(), segment_size) }).len()
}
