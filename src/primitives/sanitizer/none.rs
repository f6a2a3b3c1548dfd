//! Neither tool: the hooks are empty, and the heap's own words are words like any other.

#![expect(unsafe_code, reason = "reads and writes raw words")]

use core::ptr::NonNull;

/// Whether there is a tool to tell.
pub(crate) const ENABLED: bool = false;

/// Does what would be reported, and is right all the same.
#[cfg(all(feature = "std", target_os = "linux"))]
#[inline(always)]
pub(crate) fn unreported<T>(what: impl FnOnce() -> T) -> T {
    what()
}

/// The word at `ptr`, poisoned or not.
///
/// # Safety
///
/// As for reading the pointer.
#[inline(always)]
pub(crate) unsafe fn read<T: Copy>(ptr: NonNull<T>) -> T {
    // SAFETY: the caller keeps the contract.
    unsafe { *ptr.as_ptr() }
}

/// Writes the word at `ptr`, poisoned or not.
///
/// # Safety
///
/// As for writing the pointer.
#[inline(always)]
pub(crate) unsafe fn write<T: Copy>(ptr: NonNull<T>, word: T) {
    // SAFETY: the caller keeps the contract.
    unsafe { *ptr.as_ptr() = word };
}

/// Says that nobody may access these bytes.
#[inline(always)]
pub(crate) fn poison(_ptr: NonNull<u8>, _len: usize) {}

/// Says that these bytes may be accessed, and hold nothing yet.
#[inline(always)]
pub(crate) fn unpoison(_ptr: NonNull<u8>, _len: usize) {}

/// Says that these bytes hold something: zeros from the system, for one.
#[inline(always)]
pub(super) fn define(_ptr: NonNull<u8>, _len: usize) {}

/// How many of the first `len` bytes may be accessed: of a block, as many as its user has asked for.
#[inline(always)]
pub(crate) fn accessible(_ptr: NonNull<u8>, len: usize) -> usize {
    len
}

/// Says that the system may move these pages away, and others may come to their addresses.
#[inline(always)]
pub(crate) fn leaving(_ptr: NonNull<u8>, _len: usize) {}

/// Says that a block may have moved along with its pages.
#[inline(always)]
pub(crate) fn moved(_pool: usize, _from: NonNull<u8>, _to: NonNull<u8>, _requested: usize) {}

/// Says that a heap has come to be.
#[inline(always)]
pub(crate) fn pool_made(_pool: usize) {}

/// Says that a heap goes, with all its blocks.
#[inline(always)]
pub(crate) fn pool_gone(_pool: usize) {}

/// Says that a user has a block of `requested` bytes.
#[inline(always)]
pub(super) fn allocated(_pool: usize, _block: NonNull<u8>, _requested: usize) {}

/// Says that a block of `old` bytes has `requested` now.
#[inline(always)]
pub(super) fn resized(_pool: usize, _block: NonNull<u8>, _old: usize, _requested: usize) {}

/// Says that a user gives a block up, before anything else looks at that: the tool reports it where there is no such block.
#[inline(always)]
pub(crate) fn freed(_pool: usize, _block: NonNull<u8>) {}
