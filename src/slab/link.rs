//! The words that free blocks carry: all that reads or writes a list of free blocks does it here.
//!
//! ```text
//! block + 0        next block of the same list
//! block + 1 word   of a full magazine's first block in a depot: the next magazine
//! ```

#![expect(unsafe_code, reason = "reads and writes free blocks")]

use core::ptr::NonNull;

use crate::primitives::sanitizer::{read, write};

/// The block behind `block` in its list; null at the end.
///
/// # Safety
///
/// `block` is a free block that the caller owns, and [`set_next`] was the last to write to its first word.
#[inline(always)]
pub(crate) unsafe fn next(block: NonNull<u8>) -> *mut u8 {
    // SAFETY: the caller owns the block, whose first word is a link.
    unsafe { read(block.cast()) }
}

/// Links a free block to the one behind it.
///
/// # Safety
///
/// `block` is a free block that the caller owns.
#[inline(always)]
pub(crate) unsafe fn set_next(block: NonNull<u8>, next: *mut u8) {
    // SAFETY: the caller owns the block, which has room for a word.
    unsafe { write(block.cast(), next) };
}

/// The magazine behind the one that `block` heads.
///
/// # Safety
///
/// `block` is a free block that the caller owns, and [`set_next_magazine`] was the last to write to its second word.
pub(super) unsafe fn next_magazine(block: NonNull<u8>) -> *mut u8 {
    // SAFETY: every block has room for two words.
    let second = unsafe { block.cast().add(1) };
    // SAFETY: the caller owns the block, whose second word is a link.
    unsafe { read(second) }
}

/// Links the first block of a magazine to the next magazine.
///
/// # Safety
///
/// `block` is a free block that the caller owns.
pub(super) unsafe fn set_next_magazine(block: NonNull<u8>, next: *mut u8) {
    // SAFETY: every block has room for two words.
    let second = unsafe { block.cast().add(1) };
    // SAFETY: the caller owns the block.
    unsafe { write(second, next) };
}
