//! Systems whose pages this crate does not know: every call refuses.

#![expect(unsafe_code, reason = "the same signatures on every system")]

use core::ptr::NonNull;

use super::source::{Discarded, Growth, HugeAdvice, PageError};

/// Whether memory must be committed before it is touched.
pub(super) const NEEDS_COMMIT: bool = false;

pub(super) fn page_size() -> usize {
    4096
}

pub(super) fn map(_len: usize, _align: usize, _offset: usize) -> Result<NonNull<u8>, PageError> {
    Err(PageError)
}

pub(super) unsafe fn commit(_ptr: NonNull<u8>, _len: usize) -> Result<(), PageError> {
    Err(PageError)
}

pub(super) unsafe fn discard(_ptr: NonNull<u8>, _len: usize) -> Result<Discarded, PageError> {
    Err(PageError)
}

pub(super) unsafe fn unmap(_ptr: NonNull<u8>, _len: usize) -> Result<(), PageError> {
    Err(PageError)
}

#[cfg(feature = "hardened")]
pub(super) fn guard_len() -> usize {
    page_size()
}

#[cfg(feature = "hardened")]
pub(super) unsafe fn forbid(_ptr: NonNull<u8>, _len: usize) -> Result<(), PageError> {
    Err(PageError)
}

pub(super) unsafe fn grow(
    _ptr: NonNull<u8>,
    _len: usize,
    _new_len: usize,
    _growth: Growth,
) -> Result<NonNull<u8>, PageError> {
    Err(PageError)
}

pub(super) fn unadvised() -> Option<HugeAdvice> {
    None
}

pub(super) unsafe fn advise_huge(_ptr: NonNull<u8>, _len: usize, _advice: HugeAdvice) -> Result<(), PageError> {
    Ok(())
}
