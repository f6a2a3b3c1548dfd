//! The word by which a free block leads to another one.
//!
//! With the feature `hardened` it has 64 bits and stands for the other block's address in a way that depends on a secret and
//! on where the word itself is: see [`secret`](crate::primitives::secret). One that was overwritten, or copied from elsewhere,
//! is recognised before anything follows it. In other builds it is the address.

#![expect(unsafe_code, reason = "reads and writes raw words")]

use core::ptr::NonNull;

use crate::primitives::sanitizer::{read, write};
#[cfg(feature = "hardened")]
use crate::{primitives::secret, segment::at_address};

/// A link in free memory. It means something only where it was set.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct LinkWord(#[cfg(not(feature = "hardened"))] *mut u8, #[cfg(feature = "hardened")] u64);

impl LinkWord {
    /// Where the link at `place` leads; `None` where somebody wrote over it, as far as that shows.
    ///
    /// # Safety
    ///
    /// The place is the caller's to read, and [`set_at`](Self::set_at) was the last to write there.
    #[inline(always)]
    pub(crate) unsafe fn target_at(place: NonNull<Self>) -> Option<*mut u8> {
        // SAFETY: the caller may read the place.
        let word = unsafe { read(place) }.0;
        #[cfg(feature = "hardened")]
        return secret::decode(place.addr().get(), word).map(at_address);
        #[cfg(not(feature = "hardened"))]
        Some(word)
    }

    /// Makes the link at `place` lead to `target`, or nowhere where that is null.
    ///
    /// # Safety
    ///
    /// The place is the caller's to write.
    #[inline(always)]
    pub(crate) unsafe fn set_at(place: NonNull<Self>, target: *mut u8) {
        #[cfg(feature = "hardened")]
        let word = secret::encode(place.addr().get(), target.expose_provenance());
        #[cfg(not(feature = "hardened"))]
        let word = target;
        // SAFETY: the caller may write the place.
        unsafe { write(place, Self(word)) };
    }
}
