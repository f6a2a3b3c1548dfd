//! AddressSanitizer: poison in its shadow memory, which says of each 8 bytes how many of them may be accessed.
//!
//! The functions are the runtime's, which the compiler links where it is asked for `-Zsanitizer=address`.

#![expect(unsafe_code, reason = "calls the sanitizer's runtime")]

use core::ffi::c_void;
use core::ptr::NonNull;

unsafe extern "C" {
    fn __asan_poison_memory_region(start: *const c_void, len: usize);
    fn __asan_unpoison_memory_region(start: *const c_void, len: usize);
    fn __asan_region_is_poisoned(start: *mut c_void, len: usize) -> *mut c_void;
}

/// Whether there is a tool to tell.
pub(crate) const ENABLED: bool = true;

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
#[sanitize(address = "off")]
#[inline(never)]
pub(crate) unsafe fn read<T: Copy>(ptr: NonNull<T>) -> T {
    // SAFETY: the caller keeps the contract.
    unsafe { *ptr.as_ptr() }
}

/// Writes the word at `ptr`, poisoned or not.
///
/// # Safety
///
/// As for writing the pointer.
#[sanitize(address = "off")]
#[inline(never)]
pub(crate) unsafe fn write<T: Copy>(ptr: NonNull<T>, word: T) {
    // SAFETY: the caller keeps the contract.
    unsafe { *ptr.as_ptr() = word };
}

/// Says that nobody may access these bytes.
pub(crate) fn poison(ptr: NonNull<u8>, len: usize) {
    // SAFETY: the runtime writes to its own shadow only.
    unsafe { __asan_poison_memory_region(ptr.as_ptr().cast(), len) };
}

/// Says that these bytes may be accessed.
pub(crate) fn unpoison(ptr: NonNull<u8>, len: usize) {
    // SAFETY: the runtime writes to its own shadow only.
    unsafe { __asan_unpoison_memory_region(ptr.as_ptr().cast(), len) };
}

/// What memory holds is not watched.
pub(super) fn define(_ptr: NonNull<u8>, _len: usize) {}

/// How many of the first `len` bytes may be accessed: of a block, as many as its user has asked for.
pub(crate) fn accessible(ptr: NonNull<u8>, len: usize) -> usize {
    // SAFETY: the runtime reads its own shadow only.
    let poisoned = unsafe { __asan_region_is_poisoned(ptr.as_ptr().cast(), len) };
    if poisoned.is_null() { len } else { poisoned.addr() - ptr.addr().get() }
}

/// The shadow does not move along with pages, and whoever has the addresses next must not find poison there.
pub(crate) fn leaving(ptr: NonNull<u8>, len: usize) {
    unpoison(ptr, len);
}

/// Blocks are not watched.
pub(crate) fn moved(_pool: usize, _from: NonNull<u8>, _to: NonNull<u8>, _requested: usize) {}

/// Heaps are not watched.
pub(crate) fn pool_made(_pool: usize) {}

/// Heaps are not watched.
pub(crate) fn pool_gone(_pool: usize) {}

/// Says that a user has a block of `requested` bytes.
pub(super) fn allocated(_pool: usize, block: NonNull<u8>, requested: usize) {
    unpoison(block, requested);
}

/// Says that a block has `requested` bytes now.
pub(super) fn resized(_pool: usize, block: NonNull<u8>, _old: usize, requested: usize) {
    unpoison(block, requested);
}

/// Reads the first byte of a block that its user gives up: that is reported where the block is free.
pub(crate) fn freed(_pool: usize, block: NonNull<u8>) {
    // SAFETY: none where the block is free, and then this does not return.
    unsafe { block.read_volatile() };
}
