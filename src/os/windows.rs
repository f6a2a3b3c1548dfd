//! Windows: address space is reserved, then committed piece by piece.
//!
//! A reservation is given back whole or not at all, so nothing can be trimmed: an address of the right alignment is
//! found by reserving too much, giving that back, and reserving again right there.

#![expect(unsafe_code, reason = "calls the system")]

use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};

use windows_sys::Win32::System::Memory::{
    MEM_COMMIT, MEM_DECOMMIT, MEM_RELEASE, MEM_RESERVE, PAGE_READWRITE, VirtualAlloc, VirtualFree,
};
use windows_sys::Win32::System::SystemInformation::{GetSystemInfo, SYSTEM_INFO};

use super::source::{Discarded, Growth, HugeAdvice, PageError};
use crate::primitives::address::{align_up, is_aligned};

/// Whether memory must be committed before it is touched.
pub(super) const NEEDS_COMMIT: bool = true;

/// Addresses of reservations are multiples of this, in bytes.
const GRANULARITY: usize = 64 << 10;

/// How often a reservation is tried anew when another thread took the address in between.
const TRIES: usize = 32;

pub(super) fn page_size() -> usize {
    let mut info = MaybeUninit::<SYSTEM_INFO>::uninit();
    // SAFETY: the system writes to a local of the right type.
    unsafe { GetSystemInfo(info.as_mut_ptr()) };
    // SAFETY: written by the call above, which cannot fail.
    let info = unsafe { info.assume_init() };
    info.dwPageSize as usize
}

/// Reserves `len` bytes so that `ptr + offset` is a multiple of `align`; refuses an offset that a reservation's address
/// cannot make up for.
pub(super) fn map(len: usize, align: usize, offset: usize) -> Result<NonNull<u8>, PageError> {
    if !is_aligned(offset, align.min(GRANULARITY)) {
        return Err(PageError);
    }
    let more = len.checked_add(align).filter(|&sum| sum <= isize::MAX as usize).ok_or(PageError)?;
    let mut next = ptr::null_mut();
    for _ in 0..TRIES {
        if let Some(range) = reserve(next, len) {
            if is_aligned(range.addr().get() + offset, align) {
                return Ok(range);
            }
            // SAFETY: reserved just now, and nobody knows of it.
            unsafe { unmap(range, len)? };
        }
        let room = reserve(ptr::null_mut(), more).ok_or(PageError)?;
        next = ptr::without_provenance_mut(align_up(room.addr().get() + offset, align) - offset);
        // SAFETY: reserved just now, and nobody knows of it.
        unsafe { unmap(room, more)? };
    }
    Err(PageError)
}

/// Reserves addresses at `hint`, or anywhere where it is null.
fn reserve(hint: *mut u8, len: usize) -> Option<NonNull<u8>> {
    // SAFETY: reserving touches no memory that is in use.
    let range = unsafe { VirtualAlloc(hint.cast(), len, MEM_RESERVE, PAGE_READWRITE) };
    NonNull::new(range.cast())
}

/// Makes memory usable.
///
/// # Safety
///
/// The range lies within one that `map` returned.
pub(super) unsafe fn commit(ptr: NonNull<u8>, len: usize) -> Result<(), PageError> {
    // SAFETY: the range is reserved; committing what is committed changes nothing.
    let range = unsafe { VirtualAlloc(ptr.as_ptr().cast(), len, MEM_COMMIT, PAGE_READWRITE) };
    if range.is_null() { Err(PageError) } else { Ok(()) }
}

/// Gives memory back, keeping the addresses.
///
/// # Safety
///
/// The range lies within one that `map` returned; nobody needs its contents.
pub(super) unsafe fn discard(ptr: NonNull<u8>, len: usize) -> Result<Discarded, PageError> {
    // SAFETY: the caller gives the contents up.
    let done = unsafe { VirtualFree(ptr.as_ptr().cast(), len, MEM_DECOMMIT) };
    if done == 0 { Err(PageError) } else { Ok(Discarded { zeroed: true, needs_commit: true }) }
}

/// Gives a range back.
///
/// # Safety
///
/// `map` returned the range, and nobody uses it.
pub(super) unsafe fn unmap(ptr: NonNull<u8>, _len: usize) -> Result<(), PageError> {
    // SAFETY: the caller gives the range up; a release takes the whole reservation and asks for no length.
    let done = unsafe { VirtualFree(ptr.as_ptr().cast(), 0, MEM_RELEASE) };
    if done == 0 { Err(PageError) } else { Ok(()) }
}

/// Bytes of a guard: reservations start at multiples of it, and so do ranges.
#[cfg(feature = "hardened")]
pub(super) fn guard_len() -> usize {
    GRANULARITY
}

/// Leaves memory one that nobody can touch: it is reserved, and never committed.
///
/// # Safety
///
/// None: nothing is done.
#[cfg(feature = "hardened")]
pub(super) unsafe fn forbid(_ptr: NonNull<u8>, _len: usize) -> Result<(), PageError> {
    Ok(())
}

/// A reservation cannot grow.
///
/// # Safety
///
/// None: nothing is done.
pub(super) unsafe fn grow(
    _ptr: NonNull<u8>,
    _len: usize,
    _new_len: usize,
    _growth: Growth,
) -> Result<NonNull<u8>, PageError> {
    Err(PageError)
}

/// The advice in force for a new range; `None` where there is no such thing.
pub(super) fn unadvised() -> Option<HugeAdvice> {
    None
}

/// There is no such advice.
///
/// # Safety
///
/// None: nothing is done.
pub(super) unsafe fn advise_huge(_ptr: NonNull<u8>, _len: usize, _advice: HugeAdvice) -> Result<(), PageError> {
    Ok(())
}
