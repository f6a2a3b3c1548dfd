//! The header in front of every segment, and the way from an address to it.
//!
//! ```text
//! base                      base + HEADER_BYTES                                base + len
//! │ SegmentHeader           │ the tier's own header, then what it hands out      │
//! └─ a multiple of SEGMENT_SIZE
//! ```
//!
//! # Invariants
//!
//! - `base` is a multiple of the source's segment size, and every block starts after `base` and no further than
//!   `SEGMENT_SIZE` behind it: `(block - 1)` rounded down to the segment size is `base`.
//! - `magic` is right from registration until release, and wrong after.
//! - Every byte at or above `touched` is zero.

#![expect(unsafe_code, reason = "turns addresses into headers")]

use core::cell::Cell;
use core::ptr::{self, NonNull};
use core::sync::atomic;

use crate::os::HugeAdvice;
use crate::primitives::address::align_down;
use crate::primitives::list::{Linked, Links};
use crate::primitives::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

/// What a segment holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum SegmentKind {
    /// Small blocks, cut from slabs.
    Slab,
    /// Medium blocks with boundary tags.
    Coalescing,
    /// One large block.
    Mapping,
}

/// How far a segment has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Nothing but the common header stands.
    New,
    /// The tier's own header stands, too.
    Ready,
    /// Nobody uses it, and it could not be given back.
    Abandoned,
}

/// Tells the segments of one heap from those of all others, for as long as the process runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OwnerId(usize);

impl OwnerId {
    /// An id that no other heap has.
    pub(crate) fn next() -> Self {
        static NEXT: atomic::AtomicUsize = atomic::AtomicUsize::new(1);
        Self(NEXT.fetch_add(1, Relaxed))
    }

    /// The heap's number among the pools of a memory tool.
    pub(crate) const fn pool(self) -> usize {
        self.0
    }
}

/// Bytes at a segment's start that all kinds use alike.
pub(crate) const HEADER_BYTES: usize = size_of::<SegmentHeader>();

const MAGIC: usize = 0x6d61_6c73_u32 as usize;

/// What every segment says of itself. `len` and `serial` change only under the records' lock.
#[repr(C, align(64))]
pub(super) struct SegmentHeader {
    magic: Cell<usize>,
    owner: OwnerId,
    serial: Cell<u64>,
    links: Links<SegmentHeader>,
    len: Cell<usize>,
    touched: AtomicUsize,
    kind: SegmentKind,
    /// Which of the heap's coalescing roots the segment belongs to.
    root: u8,
    needs_commit: bool,
    huge: HugeAdvice,
    /// How far the segment has come: see [`Stage`].
    stage: AtomicU8,
}

// SAFETY: always the same field.
unsafe impl Linked for SegmentHeader {
    fn links(&self) -> &Links<Self> {
        &self.links
    }
}

/// What a new header says.
pub(super) struct NewSegment {
    pub(super) owner: OwnerId,
    pub(super) serial: u64,
    pub(super) len: usize,
    pub(super) kind: SegmentKind,
    pub(super) root: u8,
    pub(super) zero_from: usize,
    pub(super) needs_commit: bool,
    pub(super) huge: HugeAdvice,
}

/// A live segment: from registration to release its header can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentRef(NonNull<SegmentHeader>);

// SAFETY: a segment has no thread; what its header shares is atomic or under a lock.
unsafe impl Send for SegmentRef {}

impl SegmentRef {
    /// Writes the header of a new segment at `base`.
    ///
    /// # Safety
    ///
    /// At least [`HEADER_BYTES`] at `base`, a multiple of the segment size, are writable and nobody else's.
    pub(super) unsafe fn write(base: NonNull<u8>, new: NewSegment) -> Self {
        // Blocks come back as bare addresses; `of_block` and `at_address` regain this provenance.
        let header = base.cast::<SegmentHeader>();
        let magic = MAGIC ^ base.as_ptr().expose_provenance();
        let value = SegmentHeader {
            magic: Cell::new(magic),
            owner: new.owner,
            serial: Cell::new(new.serial),
            links: Links::new(),
            len: Cell::new(new.len),
            touched: AtomicUsize::new(new.zero_from.max(HEADER_BYTES)),
            kind: new.kind,
            root: new.root,
            needs_commit: new.needs_commit,
            huge: new.huge,
            stage: AtomicU8::new(Stage::New as u8),
        };
        // SAFETY: the caller says that the bytes are writable; a segment's start is aligned for any header.
        unsafe { header.write(value) };
        Self(header)
    }

    pub(super) const fn from_header(header: NonNull<SegmentHeader>) -> Self {
        Self(header)
    }

    pub(super) const fn as_header(self) -> NonNull<SegmentHeader> {
        self.0
    }

    /// The segment that a block start belongs to.
    ///
    /// # Safety
    ///
    /// `block` is the start of a block in a live segment of a source with this segment size.
    #[inline(always)]
    pub(crate) unsafe fn of_block(block: usize, segment_size: usize) -> Self {
        let base = base_of_block(block, segment_size);
        // SAFETY: by the first invariant there is a header at `base`, which is not null.
        Self(unsafe { NonNull::new_unchecked(at_address(base)) })
    }

    fn header(&self) -> &SegmentHeader {
        // SAFETY: the segment is live.
        unsafe { self.0.as_ref() }
    }

    /// First byte of the segment, with the provenance of all of it.
    pub(crate) fn base(self) -> NonNull<u8> {
        // SAFETY: a segment's base is not null.
        unsafe { NonNull::new_unchecked(at_address(self.addr())) }
    }

    /// Address of the first byte.
    #[inline(always)]
    pub(crate) fn addr(self) -> usize {
        self.0.addr().get()
    }

    /// The byte `offset` behind the base.
    ///
    /// # Safety
    ///
    /// `offset` is at most the segment's length.
    #[inline(always)]
    pub(crate) unsafe fn at(self, offset: usize) -> NonNull<u8> {
        // SAFETY: the caller keeps the offset within the segment.
        unsafe { self.base().add(offset) }
    }

    /// Whether the header is that of a live segment of `owner` and `kind`.
    #[inline]
    pub(crate) fn is_live(self, owner: OwnerId, kind: SegmentKind) -> bool {
        let header = self.header();
        header.magic.get() == MAGIC ^ self.addr() && header.owner == owner && header.kind == kind
    }

    /// Makes the header that of no live segment, or of one again.
    pub(super) fn set_live(self, live: bool) {
        self.header().magic.set(if live { MAGIC ^ self.addr() } else { 0 });
    }

    #[inline]
    pub(crate) fn kind(self) -> SegmentKind {
        self.header().kind
    }

    /// Whose segment it is.
    pub(crate) fn owner(self) -> OwnerId {
        self.header().owner
    }

    pub(crate) fn root(self) -> usize {
        usize::from(self.header().root)
    }

    pub(super) fn serial(self) -> u64 {
        self.header().serial.get()
    }

    /// Bytes mapped, header included.
    pub(crate) fn len(self) -> usize {
        self.header().len.get()
    }

    pub(super) fn set_len(self, len: usize) {
        self.header().len.set(len);
    }

    pub(crate) fn needs_commit(self) -> bool {
        self.header().needs_commit
    }

    pub(crate) fn huge(self) -> HugeAdvice {
        self.header().huge
    }

    /// Says that the tier's own header stands: until then iteration shows nothing but the common header.
    pub(crate) fn set_ready(self) {
        self.header().stage.store(Stage::Ready as u8, Release);
    }

    /// Whether the tier's own header stands.
    pub(crate) fn is_ready(self) -> bool {
        self.header().stage.load(Acquire) == Stage::Ready as u8
    }

    /// Says that nobody uses the segment, and that the source has refused to take it back.
    pub(super) fn set_abandoned(self) {
        self.header().stage.store(Stage::Abandoned as u8, Release);
    }

    pub(super) fn is_abandoned(self) -> bool {
        self.header().stage.load(Acquire) == Stage::Abandoned as u8
    }

    /// Offset below which bytes may be other than zero.
    pub(crate) fn touched(self) -> usize {
        self.header().touched.load(Relaxed)
    }

    /// Says that bytes below `offset` may be written from now on; the answer is the offset from which on memory was
    /// known to be zero before.
    pub(crate) fn touch(self, offset: usize) -> usize {
        let header = self.header();
        let mut before = header.touched.load(Relaxed);
        if before < offset {
            before = header.touched.fetch_max(offset, Relaxed);
        }
        before
    }
}

/// Where the segment of a block start begins.
#[inline(always)]
pub(super) fn base_of_block(block: usize, segment_size: usize) -> usize {
    align_down(block.wrapping_sub(1), segment_size)
}

/// The one place where an address becomes a pointer again: its provenance was exposed when the segment was mapped.
#[inline(always)]
pub(crate) fn at_address<T>(address: usize) -> *mut T {
    ptr::with_exposed_provenance_mut(address)
}
