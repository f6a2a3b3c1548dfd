//! A page source that measures what goes back, and can insist on zeros.

#![expect(unsafe_code, reason = "implements a page source")]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use mallocstate::os::{Discarded, Growth, HugeAdvice, MapRequest, PageError, Pages, Release};
use mallocstate::{PageSource, SystemPages};

/// The system's pages in segments of another length. No range comes with advice in force.
#[derive(Debug, Default)]
pub(crate) struct Probe<const SEGMENT: usize> {
    /// Lengths of all unmapped ranges.
    pub(crate) unmapped: AtomicUsize,
    /// Lengths of all discarded ranges.
    pub(crate) discarded: AtomicUsize,
    /// How many ranges were discarded.
    pub(crate) discards: AtomicUsize,
    insists_on_zeros: bool,
}

impl<const SEGMENT: usize> Probe<SEGMENT> {
    /// The bytes in front of a range that may come back other than zero: a segment's own header.
    const HEADER: usize = 128;

    /// A probe that lets everything pass.
    pub(crate) const fn new() -> Self {
        Self {
            unmapped: AtomicUsize::new(0),
            discarded: AtomicUsize::new(0),
            discards: AtomicUsize::new(0),
            insists_on_zeros: false,
        }
    }

    /// A probe that panics, and so ends the process, where a range comes back with other bytes than zeros.
    pub(crate) fn insisting_on_zeros() -> Self {
        Self { insists_on_zeros: true, ..Self::new() }
    }

    /// Bytes that went back so far, in whichever way.
    pub(crate) fn given_back(&self) -> usize {
        self.unmapped.load(Relaxed) + self.discarded.load(Relaxed)
    }
}

// SAFETY: every call is passed on to a source that keeps the contract; advice is only understated.
unsafe impl<const SEGMENT: usize> PageSource for Probe<SEGMENT> {
    const SEGMENT_SIZE: usize = SEGMENT;

    fn page_size(&self) -> usize {
        SystemPages::new().page_size()
    }

    fn map(&self, request: MapRequest) -> Result<Pages, PageError> {
        let pages = SystemPages::new().map(request)?;
        Ok(Pages { huge: HugeAdvice::Against, ..pages })
    }

    unsafe fn commit(&self, ptr: NonNull<u8>, len: usize) -> Result<(), PageError> {
        // SAFETY: the caller keeps the contract.
        unsafe { SystemPages::new().commit(ptr, len) }
    }

    unsafe fn discard(&self, ptr: NonNull<u8>, len: usize) -> Result<Discarded, PageError> {
        self.discarded.fetch_add(len, Relaxed);
        self.discards.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { SystemPages::new().discard(ptr, len) }
    }

    unsafe fn unmap(&self, ptr: NonNull<u8>, len: usize, release: Release) -> Result<(), PageError> {
        self.unmapped.fetch_add(len, Relaxed);
        if self.insists_on_zeros {
            // SAFETY: the range is the heap's until this call returns. What was never committed reads as zero then.
            unsafe { SystemPages::new().commit(ptr, len) }?;
            // SAFETY: as above.
            let bytes = unsafe { std::slice::from_raw_parts(ptr.as_ptr(), len) };
            let rest = &bytes[Self::HEADER..];
            assert!(rest[0] == 0 && rest[1..] == rest[..rest.len() - 1], "a range comes back with what was in it");
        }
        // SAFETY: the caller keeps the contract.
        unsafe { SystemPages::new().unmap(ptr, len, release) }
    }

    unsafe fn grow(&self, ptr: NonNull<u8>, len: usize, new_len: usize, growth: Growth) -> Result<Pages, PageError> {
        // SAFETY: the caller keeps the contract.
        unsafe { SystemPages::new().grow(ptr, len, new_len, growth) }
    }

    unsafe fn advise_huge(&self, ptr: NonNull<u8>, len: usize, advice: HugeAdvice) -> Result<(), PageError> {
        // SAFETY: the caller keeps the contract.
        unsafe { SystemPages::new().advise_huge(ptr, len, advice) }
    }
}
