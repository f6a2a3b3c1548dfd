//! The operating system as a page source.

#![expect(unsafe_code, reason = "implements a page source")]

use core::ptr::NonNull;

#[cfg(feature = "std")]
use super::leftovers;
#[cfg(feature = "std")]
use super::long_ranges::LONGEST;
#[cfg(feature = "std")]
use super::native;
#[cfg(feature = "std")]
use super::ranges;
#[cfg(feature = "std")]
use super::segment_cache::{self, Spare};
use super::source::{Discarded, MapRequest, PageError, PageSource, Pages, Release};
#[cfg(feature = "std")]
use super::source::{Growth, HugeAdvice};
#[cfg(feature = "std")]
use crate::primitives::address::{align_up, checked_align_up, is_aligned};
#[cfg(feature = "std")]
use crate::primitives::sanitizer;

/// The operating system's pages.
///
/// All values of the type are the same source. It keeps recently released segments for the whole process, and a few longer
/// ranges, up to 32 MiB, so that a heap made soon after makes no system call and finds warm memory; what a heap left in them
/// passes to the next one.
///
/// On 64-bit systems a range of a quarter of a segment or more has the addresses of a whole one, so that it, too, comes from
/// there, and a longer one those of a kept range of up to twice its length; what an earlier heap touched behind it may stay
/// resident meanwhile, no more than the range's own length. Neither is so with the feature `hardened`.
///
/// With the feature `hardened` a page that cannot be touched (64 KiB on Windows) stands in front of each range and behind it,
/// beside the range's own length, and ranges do not grow in place.
///
/// ```
/// use mallocstate::os::SystemPages;
///
/// // At most 8 MiB of kept segments may take memory, and 64 MiB addresses.
/// SystemPages::set_cache_bounds(8 << 20, 64 << 20);
/// // Give all of them back to the system.
/// SystemPages::trim();
/// assert_eq!(SystemPages::cached_bytes(), 0);
/// ```
#[cfg(feature = "std")]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SystemPages {
    _private: (),
}

/// Stands for the operating system's pages, which need the feature `std`: there are no values of this type.
#[cfg(not(feature = "std"))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SystemPages {}

#[cfg(feature = "std")]
impl SystemPages {
    /// The operating system.
    #[must_use]
    pub const fn new() -> Self {
        Self { _private: () }
    }

    /// Gives all that is cached back to the system, and whatever else it refused to take when it was asked before.
    /// Returns how many bytes of addresses that was.
    pub fn trim() -> usize {
        segment_cache::trim() + leftovers::retry(usize::MAX)
    }

    /// Bytes of addresses that cached segments and longer ranges take, and ranges that the system has refused to take back: Linux does that
    /// in a process that has as many maps as it may.
    #[must_use]
    pub fn cached_bytes() -> usize {
        segment_cache::cached_bytes() + leftovers::bytes()
    }

    /// Bounds what is cached: `dirty` bytes of it may take memory, and all may take `mapped` bytes of addresses.
    ///
    /// At first these are 64 MiB, and 256 MiB (32 MiB on 32-bit systems). Zero is allowed. No more than 1024 segments
    /// and eight longer ranges are kept in any case.
    pub fn set_cache_bounds(dirty: usize, mapped: usize) {
        segment_cache::set_bounds(dirty, mapped);
    }
}

/// A request that a segment satisfies. Where addresses are not scarce, what needs a good part of one has all of it: the cache
/// has segments whose pages are there already, and a block in one can grow.
#[cfg(feature = "std")]
fn wants_segment(request: &MapRequest) -> bool {
    let segment = SystemPages::SEGMENT_SIZE;
    let least = if PLENTY { segment / 4 } else { segment };
    (least..=segment).contains(&request.len) && has_segments_alignment(request)
}

/// Addresses are not scarce, and a range may end behind its last block: a guard page would have to follow that.
#[cfg(feature = "std")]
const PLENTY: bool = usize::BITS >= 64 && cfg!(not(feature = "hardened"));

#[cfg(feature = "std")]
fn has_segments_alignment(request: &MapRequest) -> bool {
    request.align <= SystemPages::SEGMENT_SIZE && is_aligned(request.offset, request.align)
}

/// A range that [`wants_segment`] asks for.
#[cfg(feature = "std")]
fn is_segment(ptr: NonNull<u8>, len: usize) -> bool {
    len == SystemPages::SEGMENT_SIZE && is_aligned(ptr.addr().get(), len)
}

/// A length of ranges that the cache keeps beside segments.
#[cfg(feature = "std")]
fn is_long(len: usize) -> bool {
    PLENTY && len > SystemPages::SEGMENT_SIZE && len <= LONGEST
}

/// A range from the cache.
#[cfg(feature = "std")]
fn cached(request: &MapRequest) -> Option<Pages> {
    let (spare, huge) = if wants_segment(request) {
        let (mut spare, huge) = segment_cache::take(request.huge)?;
        if spare.dirty / 2 > request.len {
            discard_behind(&mut spare, request.len);
        }
        (spare, huge)
    } else if is_long(request.len) && has_segments_alignment(request) {
        segment_cache::take_long(request.len)?
    } else {
        return None;
    };
    Some(Pages {
        ptr: spare.ptr,
        len: spare.len,
        zero_from: spare.zero_from,
        needs_commit: native::NEEDS_COMMIT,
        huge: if native::unadvised().is_some() { huge } else { request.huge },
    })
}

/// Discards what earlier users touched behind the first `len` bytes of a spare segment.
#[cfg(feature = "std")]
fn discard_behind(spare: &mut Spare, len: usize) {
    let kept = align_up(len, native::page_size());
    // SAFETY: what is kept is less than is dirty, and so than the segment.
    let behind = unsafe { spare.ptr.byte_add(kept) };
    // SAFETY: a spare owns its range, and its contents are nobody's.
    if unsafe { native::discard(behind, SystemPages::SEGMENT_SIZE - kept) }.is_ok_and(|discarded| discarded.zeroed) {
        spare.zero_from = spare.zero_from.min(kept);
        sanitizer::define_behind(NonNull::slice_from_raw_parts(spare.ptr, SystemPages::SEGMENT_SIZE), spare.zero_from);
    }
}

#[cfg(feature = "std")]
fn fresh(request: &MapRequest, len: usize) -> Result<Pages, PageError> {
    let refused = |_| match SystemPages::trim() {
        0 => Err(PageError),
        _ => ranges::map(len, request.align, request.offset),
    };
    let ptr = ranges::map(len, request.align, request.offset).or_else(refused)?;
    let unadvised = native::unadvised();
    let huge = unadvised.unwrap_or(request.huge);
    Ok(Pages { ptr, len, zero_from: 0, needs_commit: native::NEEDS_COMMIT, huge })
}

// SAFETY: the system hands out memory that nobody else has, and the cache holds only ranges that were given back.
// New ranges are zero, and cached ones from where their last user had touched them. Nothing allocates.
#[cfg(feature = "std")]
unsafe impl PageSource for SystemPages {
    fn page_size(&self) -> usize {
        native::page_size()
    }

    fn map(&self, request: MapRequest) -> Result<Pages, PageError> {
        let page = native::page_size();
        let pages = match cached(&request) {
            Some(pages) => pages,
            None if wants_segment(&request) => fresh(&request, SystemPages::SEGMENT_SIZE)?,
            None => fresh(&request, checked_align_up(request.len, page).ok_or(PageError)?)?,
        };
        // SAFETY: the range was handed out just now.
        if pages.needs_commit && unsafe { native::commit(pages.ptr, page) }.is_err() {
            // A long range is kept only where its first page is committed.
            let release = Release { zero_from: pages.zero_from, huge: pages.huge, keep: !is_long(pages.len) };
            // SAFETY: as above, and nobody uses it. No system that needs commits refuses to take a range back.
            let _ = unsafe { self.unmap(pages.ptr, pages.len, release) };
            return Err(PageError);
        }
        Ok(pages)
    }

    unsafe fn commit(&self, ptr: NonNull<u8>, len: usize) -> Result<(), PageError> {
        // SAFETY: the caller keeps the contract.
        unsafe { native::commit(ptr, len) }
    }

    unsafe fn discard(&self, ptr: NonNull<u8>, len: usize) -> Result<Discarded, PageError> {
        // SAFETY: the caller keeps the contract.
        unsafe { native::discard(ptr, len) }
    }

    unsafe fn unmap(&self, ptr: NonNull<u8>, len: usize, release: Release) -> Result<(), PageError> {
        let Release { zero_from, huge, keep } = release;
        let spare = Spare { ptr, len, dirty: zero_from, zero_from };
        let outcome = if keep && is_segment(ptr, len) {
            segment_cache::release(spare, huge)
        } else if keep
            && is_long(len)
            && is_aligned(ptr.addr().get(), SystemPages::SEGMENT_SIZE)
            && segment_cache::release_long(spare, huge)
        {
            Ok(())
        } else {
            // SAFETY: the caller gives the range up.
            let outcome = unsafe { ranges::unmap(ptr, len) };
            if outcome.is_ok() {
                leftovers::retry(1);
            }
            outcome
        };
        if keep && outcome.is_err() {
            // SAFETY: as above; the first page of what this source hands out is committed.
            unsafe { leftovers::keep(ptr, len) };
            return Ok(());
        }
        outcome
    }

    fn is_ready(&self, len: usize) -> bool {
        is_long(len) && segment_cache::has_long(len)
    }

    unsafe fn grow(&self, ptr: NonNull<u8>, len: usize, new_len: usize, growth: Growth) -> Result<Pages, PageError> {
        // SAFETY: the caller keeps the contract.
        let grown = unsafe { ranges::grow(ptr, len, new_len, growth) }?;
        let huge = native::unadvised().unwrap_or_default();
        Ok(Pages { ptr: grown, len: new_len, zero_from: len, needs_commit: native::NEEDS_COMMIT, huge })
    }

    unsafe fn advise_huge(&self, ptr: NonNull<u8>, len: usize, advice: HugeAdvice) -> Result<(), PageError> {
        if native::unadvised().is_none() {
            return Ok(());
        }
        // SAFETY: the caller keeps the contract.
        unsafe { native::advise_huge(ptr, len, advice) }
    }
}

// SAFETY: there are no values to call a method of.
#[cfg(not(feature = "std"))]
unsafe impl PageSource for SystemPages {
    fn page_size(&self) -> usize {
        match *self {}
    }

    fn map(&self, _request: MapRequest) -> Result<Pages, PageError> {
        match *self {}
    }

    unsafe fn discard(&self, _ptr: NonNull<u8>, _len: usize) -> Result<Discarded, PageError> {
        match *self {}
    }

    unsafe fn unmap(&self, _ptr: NonNull<u8>, _len: usize, _release: Release) -> Result<(), PageError> {
        match *self {}
    }
}

#[cfg(all(test, feature = "std", any(unix, windows)))]
mod tests {
    use super::*;
    use crate::primitives::scale::scale;

    const SEGMENT: usize = SystemPages::SEGMENT_SIZE;

    fn map(huge: HugeAdvice) -> Pages {
        let pages = SystemPages::new()
            .map(MapRequest { len: SEGMENT, least: SEGMENT, align: SEGMENT, offset: 0, huge })
            .unwrap();
        assert_eq!((pages.ptr.addr().get() % SEGMENT, pages.len), (0, SEGMENT));
        // SAFETY: the range is handed out.
        unsafe { SystemPages::new().commit(pages.ptr, SEGMENT).unwrap() };
        pages
    }

    fn unmap(pages: &Pages, zero_from: usize) {
        let release = Release { zero_from: zero_from.max(pages.zero_from), huge: pages.huge, keep: true };
        // SAFETY: the tests give back what they got, once.
        unsafe { SystemPages::new().unmap(pages.ptr, pages.len, release).unwrap() };
    }

    fn is_zero(pages: &Pages) -> bool {
        // SAFETY: the range is committed, readable and initialised, and borrowed for this function.
        let bytes = unsafe { core::slice::from_raw_parts(pages.ptr.as_ptr(), pages.len) };
        bytes[pages.zero_from..].iter().all(|&byte| byte == 0)
    }

    #[test]
    fn what_is_said_to_be_zero_is_zero() {
        for round in 0..scale(40) {
            let pages = [HugeAdvice::Against, HugeAdvice::For].map(map);
            for pages in &pages {
                assert!(is_zero(pages));
                // SAFETY: the range is committed and this test's own.
                unsafe { pages.ptr.write_bytes(1, SEGMENT) };
                if round % 3 == 0 {
                    // SAFETY: the range is handed out, and its contents are nobody's.
                    let discarded = unsafe { SystemPages::new().discard(pages.ptr, SEGMENT) }.unwrap();
                    // SAFETY: the range is handed out.
                    unsafe { SystemPages::new().commit(pages.ptr, SEGMENT).unwrap() };
                    assert!(!discarded.zeroed || is_zero(&Pages { zero_from: 0, ..*pages }));
                }
            }
            for pages in &pages {
                unmap(pages, SEGMENT);
            }
        }
    }

    #[test]
    fn a_range_that_is_not_to_be_kept_is_gone() {
        let pages = map(HugeAdvice::Against);
        let release = Release { zero_from: SEGMENT, huge: pages.huge, keep: false };
        // SAFETY: the range was handed out above, and is not used again.
        unsafe { SystemPages::new().unmap(pages.ptr, pages.len, release).unwrap() };
        let again = map(HugeAdvice::Against);
        assert!(again.ptr != pages.ptr || again.zero_from == 0);
        unmap(&again, 0);
    }

    #[test]
    fn what_needs_a_good_part_of_a_segment_has_all_of_it_where_addresses_are_plenty() {
        let plenty = usize::BITS >= 64 && cfg!(not(feature = "hardened"));
        for (len, whole) in [(SEGMENT / 4 - 1, false), (SEGMENT / 4, plenty), (SEGMENT - 1, plenty), (SEGMENT, true)] {
            let request = MapRequest { len, least: len, align: SEGMENT, offset: 0, huge: HugeAdvice::Against };
            let pages = SystemPages::new().map(request).unwrap();
            assert_eq!(pages.len, if whole { SEGMENT } else { align_up(len, native::page_size()) });
            // SAFETY: the range is handed out, and nobody else's.
            unsafe { SystemPages::new().commit(pages.ptr, pages.len).unwrap() };
            assert!(is_zero(&pages));
            unmap(&pages, 0);
        }
    }

    #[test]
    fn a_short_range_keeps_no_more_behind_it_than_its_own_length() {
        for len in [SEGMENT / 4, SEGMENT / 3, SEGMENT / 2] {
            let dirty = map(HugeAdvice::Against);
            // SAFETY: the range is committed and this test's own.
            unsafe { dirty.ptr.write_bytes(1, SEGMENT) };
            // SAFETY: the range is handed out, and its contents are nobody's.
            let zeroed = unsafe { SystemPages::new().discard(dirty.ptr, SEGMENT) }.unwrap().zeroed;
            // SAFETY: the range is handed out, and this test's own once more.
            unsafe { SystemPages::new().commit(dirty.ptr, SEGMENT).unwrap() };
            // SAFETY: as above.
            unsafe { dirty.ptr.write_bytes(1, SEGMENT) };
            unmap(&dirty, SEGMENT);
            let request = MapRequest { len, least: len, align: SEGMENT, offset: 0, huge: HugeAdvice::Against };
            let pages = SystemPages::new().map(request).unwrap();
            assert!(!zeroed || pages.zero_from <= 2 * len.next_multiple_of(native::page_size()), "{}", pages.zero_from);
            // SAFETY: the range is handed out, and nobody else's.
            unsafe { SystemPages::new().commit(pages.ptr, pages.len).unwrap() };
            assert!(is_zero(&pages));
            unmap(&pages, pages.len);
        }
    }

    #[test]
    fn odd_ranges_pass_the_cache_by() {
        let source = SystemPages::new();
        for (len, align, offset) in
            [(1, source.page_size(), 0), (SEGMENT, 2 * SEGMENT, SEGMENT), (LONGEST + 1, SEGMENT, 0)]
        {
            let pages = source.map(MapRequest { len, least: len, align, offset, huge: HugeAdvice::Against }).unwrap();
            assert!(pages.zero_from == 0 && pages.len >= len && pages.len % source.page_size() == 0);
            assert_eq!((pages.ptr.addr().get() + offset) % align, 0);
            unmap(&pages, 0);
        }
        let most =
            MapRequest { len: usize::MAX, least: usize::MAX, align: SEGMENT, offset: 0, huge: HugeAdvice::Against };
        assert_eq!(source.map(most).unwrap_err(), PageError);
    }
}
