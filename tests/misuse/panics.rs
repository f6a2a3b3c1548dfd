//! A page source that panics.

use std::ptr::NonNull;

use mallocstate::os::{Discarded, Growth, HugeAdvice, MapRequest, PageError, PageSource, Pages, Release, SystemPages};

/// The system's pages, but for one call, which panics.
pub(crate) struct Panics(pub(crate) &'static str);

impl Panics {
    fn at(&self, call: &str) {
        assert!(self.0 != call, "no {call} today");
    }
}

// SAFETY: what does not panic is passed on to a source that keeps the contract.
unsafe impl PageSource for Panics {
    fn page_size(&self) -> usize {
        self.at("page_size");
        SystemPages::new().page_size()
    }

    fn map(&self, request: MapRequest) -> Result<Pages, PageError> {
        self.at("map");
        SystemPages::new()
            .map(request)
            .map(|pages| Pages { needs_commit: pages.needs_commit || self.0 == "commit", ..pages })
    }

    unsafe fn commit(&self, ptr: NonNull<u8>, len: usize) -> Result<(), PageError> {
        self.at("commit");
        // SAFETY: the caller keeps the contract of this very method.
        unsafe { SystemPages::new().commit(ptr, len) }
    }

    unsafe fn discard(&self, ptr: NonNull<u8>, len: usize) -> Result<Discarded, PageError> {
        self.at("discard");
        // SAFETY: as above.
        unsafe { SystemPages::new().discard(ptr, len) }
    }

    unsafe fn unmap(&self, ptr: NonNull<u8>, len: usize, release: Release) -> Result<(), PageError> {
        self.at("unmap");
        // SAFETY: as above.
        unsafe { SystemPages::new().unmap(ptr, len, release) }
    }

    unsafe fn grow(&self, ptr: NonNull<u8>, len: usize, new_len: usize, growth: Growth) -> Result<Pages, PageError> {
        self.at("grow");
        // SAFETY: as above.
        unsafe { SystemPages::new().grow(ptr, len, new_len, growth) }
    }

    unsafe fn advise_huge(&self, _: NonNull<u8>, _: usize, _: HugeAdvice) -> Result<(), PageError> {
        self.at("advise_huge");
        Ok(())
    }
}
