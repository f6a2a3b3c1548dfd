//! What the feature `hardened` leaves of freed memory.

#![expect(unsafe_code, reason = "writes over what was freed")]

use core::ptr::NonNull;

use crate::primitives::sanitizer;

/// The byte that freed memory is filled with: as an address it leads nowhere, as a length it is far too long, as text it is
/// none.
const FREED: u8 = 0xDF;

/// Fills what is freed.
///
/// # Safety
///
/// The `len` bytes at `start` are writable, and nobody uses them any more.
#[inline]
pub(crate) unsafe fn freed(start: NonNull<u8>, len: usize) {
    let len = sanitizer::accessible(start, len);
    // SAFETY: the caller says that the bytes are writable, and gives them up.
    unsafe { start.write_bytes(FREED, len) };
}
