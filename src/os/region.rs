//! Memory that the caller supplies, as a page source.
//!
//! ```text
//! region:  │ handed out │ len,next ···· │ handed out │ len,next ·········· │
//!                         └──────────────────────────►
//!          free ranges hold their own list, in address order
//! ```
//!
//! # Invariants
//!
//! - Free ranges are whole pages, in address order, and never touch each other.
//! - `free_bytes` is the sum of their lengths.

#![expect(unsafe_code, reason = "a list within raw memory; implements a page source")]

use core::fmt;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use super::lock::Locked;
use super::raw_locks::SystemLock;
use super::source::{
    Discarded, Growth, HugeAdvice, MAX_SEGMENT_SIZE, MIN_SEGMENT_SIZE, MapRequest, PageError, PageSource, Pages,
    Release,
};
use crate::primitives::abort::corruption;
use crate::primitives::address::{align_down, align_up, checked_align_up};

/// What the region calls a page, in bytes.
const PAGE: usize = 4096;

/// Memory that the caller supplies: a static buffer, one huge page, a shared mapping.
///
/// Segments are `SEGMENT` bytes, 256 KiB unless chosen otherwise. Memory before the first multiple of that serves
/// nothing but odd requests, so a region is best aligned to it. Where no whole segment is left, the largest aligned rest
/// of at least a quarter of one is handed out as a short segment.
///
/// A range is found in time linear in the number of free ranges. Nothing is ever zeroed or given back to the system.
///
/// ```
/// use std::mem::MaybeUninit;
/// use mallocstate::os::{HugeAdvice, MapRequest, PageSource, RegionPages, Release};
///
/// let memory: &'static mut [MaybeUninit<u8>] = Box::leak(Box::new_uninit_slice(2 << 20));
/// let region = RegionPages::new(memory);
/// let before = region.free_bytes();
///
/// let request = MapRequest { len: 8192, least: 8192, align: 4096, offset: 0, huge: HugeAdvice::Against };
/// let pages = region.map(request)?;
/// assert_eq!(region.free_bytes(), before - 8192);
///
/// let release = Release { zero_from: pages.len, huge: HugeAdvice::Against, keep: true };
/// // SAFETY: the range was handed out above, and nobody uses it.
/// unsafe { region.unmap(pages.ptr, pages.len, release)? };
/// assert_eq!(region.free_bytes(), before);
/// # Ok::<(), mallocstate::os::PageError>(())
/// ```
pub struct RegionPages<const SEGMENT: usize = MIN_SEGMENT_SIZE> {
    free: Locked<SystemLock, FreeRanges>,
}

impl RegionPages {
    /// A source over `memory`, with segments of 256 KiB. Partial pages at its ends stay unused.
    #[must_use]
    pub fn new(memory: &'static mut [MaybeUninit<u8>]) -> Self {
        Self::with_segment_size(memory)
    }
}

impl<const SEGMENT: usize> RegionPages<SEGMENT> {
    const VALID: () = assert!(
        SEGMENT.is_power_of_two() && SEGMENT >= MIN_SEGMENT_SIZE && SEGMENT <= MAX_SEGMENT_SIZE,
        "a segment's size is a power of two from 256 KiB to 1 GiB"
    );

    /// A source over `memory`, with segments of `SEGMENT` bytes. Partial pages at its ends stay unused.
    #[must_use]
    pub fn with_segment_size(memory: &'static mut [MaybeUninit<u8>]) -> Self {
        let len = memory.len();
        let ptr = NonNull::from(memory).cast();
        // SAFETY: the memory is borrowed exclusively and for ever, and writing to it leaves it as good as it was.
        unsafe { Self::from_raw(ptr, len) }
    }

    /// A source over the `len` bytes at `ptr`. Partial pages at the ends stay unused.
    ///
    /// # Safety
    ///
    /// The bytes are readable and writable, and nobody else uses them, as long as the source or anything in a range of
    /// it is in use.
    #[must_use]
    pub unsafe fn from_raw(ptr: NonNull<u8>, len: usize) -> Self {
        const { Self::VALID }
        let mut free = FreeRanges { first: None, bytes: 0 };
        let start = ptr.addr().get();
        let before = align_up(start, PAGE) - start;
        if let Some(pages) = len.checked_sub(before).map(|rest| align_down(rest, PAGE)).filter(|&pages| pages > 0) {
            // SAFETY: `before` is at most `len`.
            let base = unsafe { ptr.add(before) };
            // SAFETY: the caller gives the bytes, and these are whole pages among them.
            unsafe { free.insert(base, pages) };
        }
        Self { free: Locked::new(free) }
    }

    /// Bytes that are not handed out.
    #[must_use]
    pub fn free_bytes(&self) -> usize {
        self.free.lock().bytes
    }
}

impl<const SEGMENT: usize> fmt::Debug for RegionPages<SEGMENT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegionPages").field("segment", &SEGMENT).field("free_bytes", &self.free_bytes()).finish()
    }
}

fn handed_out(ptr: NonNull<u8>, len: usize, request: &MapRequest) -> Pages {
    Pages { ptr, len, zero_from: len, needs_commit: false, huge: request.huge }
}

// SAFETY: ranges come from the free list and go back to it, so none is handed out twice. Nothing allocates.
unsafe impl<const SEGMENT: usize> PageSource for RegionPages<SEGMENT> {
    const SEGMENT_SIZE: usize = SEGMENT;

    fn page_size(&self) -> usize {
        PAGE
    }

    fn map(&self, request: MapRequest) -> Result<Pages, PageError> {
        let len = checked_align_up(request.len.max(1), PAGE).ok_or(PageError)?;
        let mut free = self.free.lock();
        if let Some(ptr) = free.take(len, request.align, request.offset) {
            return Ok(handed_out(ptr, len, &request));
        }
        let short = free.longest_aligned(request.align);
        if request.offset != 0 || request.least >= len || short < request.least.max(PAGE) {
            return Err(PageError);
        }
        free.take(short, request.align, 0).map(|ptr| handed_out(ptr, short, &request)).ok_or(PageError)
    }

    unsafe fn discard(&self, _ptr: NonNull<u8>, _len: usize) -> Result<Discarded, PageError> {
        Ok(Discarded { zeroed: false, needs_commit: false })
    }

    unsafe fn unmap(&self, ptr: NonNull<u8>, len: usize, _release: Release) -> Result<(), PageError> {
        // SAFETY: the caller gives back a range that was handed out.
        unsafe { self.free.lock().insert(ptr, len) };
        Ok(())
    }

    /// Grows in place only.
    unsafe fn grow(&self, ptr: NonNull<u8>, len: usize, new_len: usize, _growth: Growth) -> Result<Pages, PageError> {
        if self.free.lock().take_at(ptr.addr().get() + len, new_len - len) {
            Ok(Pages { ptr, len: new_len, zero_from: new_len, needs_commit: false, huge: HugeAdvice::default() })
        } else {
            Err(PageError)
        }
    }
}

/// What the first bytes of a free range say.
#[derive(Clone, Copy)]
struct Header {
    len: usize,
    next: Option<FreeRange>,
}

/// A range in the free list. Its pointer may be used for the whole region.
#[derive(Clone, Copy)]
struct FreeRange(NonNull<Header>);

impl FreeRange {
    fn header(self) -> Header {
        // SAFETY: the list's lock is held, and the range is in the list: it starts with a header.
        unsafe { self.0.read() }
    }

    fn set(self, header: Header) {
        // SAFETY: the list's lock is held, and the range is free: a whole page or more, aligned, and nobody else's.
        unsafe { self.0.write(header) }
    }

    fn address(self) -> usize {
        self.0.addr().get()
    }

    fn end(self) -> usize {
        self.address() + self.header().len
    }

    /// What lies `offset` bytes into the range, or at its end.
    fn at(self, offset: usize) -> NonNull<u8> {
        debug_assert!(offset <= self.header().len);
        // SAFETY: the offset is within the range or at its end, and the range is within the region.
        unsafe { self.0.cast().add(offset) }
    }

    /// How far into the range a piece would start that is aligned as asked, if the range is long enough.
    fn fit(self, len: usize, align: usize, offset: usize) -> Option<usize> {
        let start = self.address();
        let piece = start.checked_add(offset)?.checked_next_multiple_of(align)? - offset;
        let before = piece - start;
        (before.checked_add(len)? <= self.header().len).then_some(before)
    }
}

/// The free ranges, in address order.
struct FreeRanges {
    first: Option<FreeRange>,
    bytes: usize,
}

// SAFETY: the list owns what its pointers reach.
unsafe impl Send for FreeRanges {}

impl FreeRanges {
    /// Each free range with the one before it.
    fn iter(&self) -> impl Iterator<Item = (Option<FreeRange>, FreeRange)> {
        let first = self.first.map(|first| (None, first));
        core::iter::successors(first, |&(_, range)| range.header().next.map(|next| (Some(range), next)))
    }

    /// Takes the first `len` bytes, a whole number of pages, that are aligned as asked.
    fn take(&mut self, len: usize, align: usize, offset: usize) -> Option<NonNull<u8>> {
        let fit = |(prev, range): (_, FreeRange)| Some((prev, range, range.fit(len, align, offset)?));
        let (prev, range, before) = self.iter().find_map(fit)?;
        Some(self.cut(prev, range, before, len))
    }

    /// Takes the `len` bytes at `address`, if a free range starts there and is long enough.
    fn take_at(&mut self, address: usize, len: usize) -> bool {
        let found = self.iter().find(|(_, range)| range.address() == address && range.header().len >= len);
        if let Some((prev, range)) = found {
            self.cut(prev, range, 0, len);
        }
        found.is_some()
    }

    /// Length of the longest free piece that starts at a multiple of `align`.
    fn longest_aligned(&self, align: usize) -> usize {
        let piece = |(_, range): (_, FreeRange)| Some(range.header().len - range.fit(0, align, 0)?);
        self.iter().filter_map(piece).max().unwrap_or(0)
    }

    /// Cuts `len` bytes out of a range, `before` bytes from its start.
    fn cut(&mut self, prev: Option<FreeRange>, range: FreeRange, before: usize, len: usize) -> NonNull<u8> {
        let piece = range.at(before);
        let header = range.header();
        let after = header.len - before - len;
        let mut next = header.next;
        if after > 0 {
            let rest = FreeRange(range.at(before + len).cast());
            rest.set(Header { len: after, next });
            next = Some(rest);
        }
        if before > 0 {
            range.set(Header { len: before, next });
        } else {
            self.link(prev, next);
        }
        self.bytes -= len;
        piece
    }

    fn link(&mut self, prev: Option<FreeRange>, next: Option<FreeRange>) {
        match prev {
            Some(prev) => prev.set(Header { next, ..prev.header() }),
            None => self.first = next,
        }
    }

    /// Adds a range, and joins it with its neighbours.
    ///
    /// # Safety
    ///
    /// The range is whole pages of the region, and nobody uses it.
    unsafe fn insert(&mut self, ptr: NonNull<u8>, mut len: usize) {
        let range = FreeRange(ptr.cast());
        let prev = self.iter().map(|(_, other)| other).take_while(|other| other.address() < range.address()).last();
        let mut next = prev.map_or(self.first, |prev| prev.header().next);
        let end = range.address() + len;
        if prev.is_some_and(|prev| prev.end() > range.address()) || next.is_some_and(|next| next.address() < end) {
            corruption("pages are given back twice", ptr.as_ptr());
        }
        self.bytes += len;
        if let Some(right) = next.filter(|next| next.address() == end) {
            len += right.header().len;
            next = right.header().next;
        }
        match prev.filter(|prev| prev.end() == range.address()) {
            Some(left) => left.set(Header { len: left.header().len + len, next }),
            None => {
                range.set(Header { len, next });
                self.link(prev, Some(range));
            }
        }
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    const SEGMENT: usize = MIN_SEGMENT_SIZE;

    /// A region of `len` bytes, whose first byte is a multiple of a segment's size.
    fn region(len: usize) -> RegionPages {
        let memory = std::boxed::Box::leak(std::boxed::Box::new_uninit_slice(len + SEGMENT));
        let start = memory.as_ptr().addr();
        let before = align_up(start, SEGMENT) - start;
        RegionPages::new(&mut memory[before..before + len])
    }

    fn request(len: usize, align: usize, offset: usize) -> MapRequest {
        MapRequest { len, least: if len == SEGMENT { len / 4 } else { len }, align, offset, huge: HugeAdvice::Against }
    }

    fn give_back(region: &RegionPages, pages: Pages) {
        let release = Release { zero_from: pages.len, huge: HugeAdvice::Against, keep: true };
        // SAFETY: the tests hand in what they got from the region, once, and use nothing of it.
        unsafe { region.unmap(pages.ptr, pages.len, release).unwrap() };
    }

    fn free_ranges(region: &RegionPages) -> usize {
        region.free.lock().iter().count()
    }

    #[test]
    fn ranges_join_again_in_any_order() {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let region = region(3 * SEGMENT);
            let mut pages = [(); 3].map(|()| Some(region.map(request(SEGMENT, SEGMENT, 0)).unwrap()));
            assert_eq!(region.free_bytes(), 0);
            assert!(region.map(request(PAGE, PAGE, 0)).is_err());
            for index in order {
                give_back(&region, pages[index].take().unwrap());
            }
            assert_eq!((region.free_bytes(), free_ranges(&region)), (3 * SEGMENT, 1));
        }
    }

    #[test]
    fn alignment_and_offset_are_honoured() {
        let region = region(8 * SEGMENT);
        let first = region.map(request(PAGE, PAGE, 0)).unwrap();
        let second = region.map(request(3 * SEGMENT, 4 * SEGMENT, SEGMENT)).unwrap();
        assert_eq!((second.ptr.addr().get() + SEGMENT) % (4 * SEGMENT), 0);
        let third = region.map(request(1, SEGMENT, 0)).unwrap();
        assert_eq!((third.len, third.ptr.addr().get() % SEGMENT), (PAGE, 0));
        for pages in [second, first, third] {
            give_back(&region, pages);
        }
        assert_eq!((region.free_bytes(), free_ranges(&region)), (8 * SEGMENT, 1));
    }

    #[test]
    fn the_last_segment_may_be_short() {
        let region = region(SEGMENT + SEGMENT / 2);
        assert_eq!(region.map(request(SEGMENT, SEGMENT, 0)).unwrap().len, SEGMENT);
        assert_eq!(region.map(request(SEGMENT, SEGMENT, 0)).unwrap().len, SEGMENT / 2);
        assert_eq!(region.map(request(SEGMENT, SEGMENT, 0)).unwrap_err(), PageError);
    }

    #[test]
    fn a_range_grows_into_its_free_neighbour() {
        let region = region(SEGMENT);
        let pages = region.map(request(PAGE, PAGE, 0)).unwrap();
        // SAFETY: the range was handed out above.
        let pages = unsafe { region.grow(pages.ptr, pages.len, SEGMENT, Growth::InPlace) }.unwrap();
        assert_eq!((pages.len, region.free_bytes()), (SEGMENT, 0));
        // SAFETY: the range was handed out above.
        assert!(unsafe { region.grow(pages.ptr, pages.len, 2 * SEGMENT, Growth::InPlace) }.is_err());
        give_back(&region, pages);
        assert_eq!(region.free_bytes(), SEGMENT);
    }

    #[test]
    fn a_region_too_small_hands_out_nothing() {
        let memory = std::boxed::Box::leak(std::boxed::Box::new_uninit_slice(PAGE - 1));
        let region = RegionPages::new(memory);
        assert_eq!(region.free_bytes(), 0);
        assert!(region.map(request(1, PAGE, 0)).is_err());
    }
}
