//! The words that free blocks carry: all that reads or writes a list of free blocks does it here.
//!
//! ```text
//! block + 0        next block of the same list
//! block + 1 word   of a full magazine's first block in a depot: the next magazine
//! ```

#![expect(unsafe_code, reason = "reads and writes free blocks")]

use core::mem::offset_of;
use core::ptr::NonNull;

use crate::primitives::abort::corruption;
use crate::segment::LinkWord;
use crate::slab::size_class::BLOCK_ALIGN;

/// The two words that every free block has room for.
#[repr(C)]
struct FreeWords {
    next: LinkWord,
    next_magazine: LinkWord,
}

const _: () = assert!(size_of::<FreeWords>() <= BLOCK_ALIGN, "the smallest block has room for both words");

#[inline(always)]
fn first(block: NonNull<u8>) -> NonNull<LinkWord> {
    block.cast()
}

#[inline(always)]
fn second(block: NonNull<u8>) -> NonNull<LinkWord> {
    // SAFETY: every block has room for two words.
    unsafe { block.byte_add(offset_of!(FreeWords, next_magazine)) }.cast()
}

#[cold]
fn overwritten(block: NonNull<u8>) -> ! {
    corruption("free list link was overwritten", block.as_ptr())
}

/// The block behind `block` in its list; null at the end. Aborts where the link shows that it was overwritten.
///
/// # Safety
///
/// `block` is a free block that the caller owns, and [`set_next`] was the last to write to its first word.
#[inline(always)]
pub(crate) unsafe fn next(block: NonNull<u8>) -> *mut u8 {
    // SAFETY: the caller owns the block.
    unsafe { LinkWord::target_at(first(block)) }.unwrap_or_else(|| overwritten(block))
}

/// As [`next`]; `None` where the link shows that it was overwritten.
///
/// # Safety
///
/// As for [`next`].
pub(crate) unsafe fn intact_next(block: NonNull<u8>) -> Option<*mut u8> {
    // SAFETY: the caller owns the block.
    unsafe { LinkWord::target_at(first(block)) }
}

/// Links a free block to the one behind it.
///
/// # Safety
///
/// `block` is a free block that the caller owns.
#[inline(always)]
pub(crate) unsafe fn set_next(block: NonNull<u8>, next: *mut u8) {
    // SAFETY: the caller owns the block.
    unsafe { LinkWord::set_at(first(block), next) };
}

/// The magazine behind the one that `block` heads. Aborts where the link shows that it was overwritten.
///
/// # Safety
///
/// `block` is a free block that the caller owns, and [`set_next_magazine`] was the last to write to its second word.
pub(super) unsafe fn next_magazine(block: NonNull<u8>) -> *mut u8 {
    // SAFETY: the caller owns the block.
    unsafe { LinkWord::target_at(second(block)) }.unwrap_or_else(|| overwritten(block))
}

/// Links the first block of a magazine to the next magazine.
///
/// # Safety
///
/// `block` is a free block that the caller owns.
pub(super) unsafe fn set_next_magazine(block: NonNull<u8>, next: *mut u8) {
    // SAFETY: the caller owns the block.
    unsafe { LinkWord::set_at(second(block), next) };
}
