//! Ranges between two guards, for the feature `hardened`: what runs over either end of one ends the program.
//!
//! ```text
//! │ guard │ range ………………………………… │ guard │
//!         └─ what map returns
//! ```
//!
//! A guard is an OS page that cannot be touched (on Windows 64 KiB, the grain of reservations). It is no part of the range:
//! nobody counts it, and it comes and goes with the range. The segment cache keeps ranges with their guards.
//!
//! To the system a range is a map of its own, and so is each of its guards: of the 65 530 maps that Linux allows a process, a
//! range takes three, which leaves room for 21 843 segments, 85 GiB. Since a guard stands where the next segment could begin,
//! segments stand every other segment size: they take twice the addresses, and what is between them is not mapped. Ranges do
//! not grow in place.

#![expect(unsafe_code, reason = "calls the system")]

use core::ptr::NonNull;

use super::leftovers;
use super::native;
use super::source::{Growth, PageError};

/// Maps `len` bytes, whole pages, so that `ptr + offset` is a multiple of `align`, between two guards.
pub(super) fn map(len: usize, align: usize, offset: usize) -> Result<NonNull<u8>, PageError> {
    let guard = native::guard_len();
    let more = len.checked_add(2 * guard).ok_or(PageError)?;
    let room = native::map(more, align, offset + guard)?;
    // SAFETY: `guard + len + guard` bytes are mapped.
    let range = unsafe { room.add(guard) };
    // SAFETY: as above.
    let end = unsafe { range.add(len) };
    for guarded in [room, end] {
        // SAFETY: mapped just now, and nobody knows of it.
        if unsafe { native::forbid(guarded, guard) }.is_err() {
            // SAFETY: as above; the range itself can be touched.
            unsafe { leftovers::give_back(room, more, range) };
            return Err(PageError);
        }
    }
    Ok(range)
}

/// A range with its guards: the first byte, and how many there are.
pub(super) fn whole(ptr: NonNull<u8>, len: usize) -> (NonNull<u8>, usize) {
    let guard = native::guard_len();
    // SAFETY: a guard is in front of every range of this file.
    (unsafe { ptr.sub(guard) }, len + 2 * guard)
}

/// Gives a range back, guards and all.
///
/// # Safety
///
/// `map` or `grow` returned the range, of this length, and nobody uses it.
pub(super) unsafe fn unmap(ptr: NonNull<u8>, len: usize) -> Result<(), PageError> {
    let (room, more) = whole(ptr, len);
    // SAFETY: the caller gives the range up, and the guards are this file's own.
    unsafe { native::unmap(room, more) }
}

/// Moves a range to where it can be longer, between new guards. It never grows where it is.
///
/// # Safety
///
/// `map` or `grow` returned the range; on success the old range is no longer the caller's. `new_len` is larger and
/// covers whole pages.
pub(super) unsafe fn grow(
    ptr: NonNull<u8>,
    len: usize,
    new_len: usize,
    growth: Growth,
) -> Result<NonNull<u8>, PageError> {
    // The guard behind the range is in the way of growing in place, and the range moves to one that `map` made.
    // SAFETY: the caller keeps the contract.
    let grown = unsafe { native::grow(ptr, len, new_len, growth) }?;
    let guard = native::guard_len();
    // SAFETY: a guard stood in front of the range.
    let before = unsafe { ptr.sub(guard) };
    // SAFETY: a guard stood behind the range.
    let behind = unsafe { ptr.add(len) };
    for left in [before, behind] {
        // SAFETY: the guards stay when their range moves, and are this file's own. They end where a map does, so that
        // no system has a reason to refuse.
        let _ = unsafe { native::unmap(left, guard) };
    }
    Ok(grown)
}

#[cfg(all(test, any(unix, windows)))]
mod tests {
    use super::*;

    #[test]
    fn ranges_between_guards_are_aligned_and_come_and_go_whole() {
        let page = native::page_size().max(native::guard_len());
        for (len, align, offset) in [(page, page, 0), (4 << 20, 4 << 20, 0), (5 << 20, 64 << 20, 4 << 20)] {
            let range = map(len, align, offset).unwrap();
            assert_eq!((range.addr().get() + offset) % align, 0);
            // SAFETY: the range was mapped above.
            unsafe { native::commit(range, len).unwrap() };
            // SAFETY: as above.
            unsafe { range.write_bytes(1, len) };
            // SAFETY: as above, and it is not used again.
            unsafe { unmap(range, len).unwrap() };
        }
        assert!(map(usize::MAX - page, page, 0).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn no_guard_stays_behind_a_range_that_moves() {
        let protections = |from: usize, to: usize| {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            let mut found = std::string::String::new();
            for line in maps.lines() {
                let (range, rest) = line.split_once(' ').unwrap();
                let (start, end) = range.split_once('-').unwrap();
                let number = |text| usize::from_str_radix(text, 16).unwrap();
                if number(start) < to && number(end) > from {
                    found += &rest[..4];
                }
            }
            found
        };
        let (len, align) = (4 << 20, 4 << 20);
        let around = |range: NonNull<u8>, len: usize| {
            let guard = native::guard_len();
            protections(range.addr().get() - guard, range.addr().get() + len + guard)
        };
        // Nobody else takes addresses between its neighbours' guards.
        let range = map(16 * len, align, 0).unwrap();
        assert_eq!(around(range, 16 * len), "---prw-p---p");
        // SAFETY: the first byte of a mapped range.
        unsafe { range.write(7) };
        // SAFETY: the range is mapped; it stays, since it does not grow in place.
        assert!(unsafe { grow(range, 16 * len, 17 * len, Growth::InPlace) }.is_err());
        // SAFETY: `range` is given up for what comes back.
        let grown = unsafe { grow(range, 16 * len, 17 * len, Growth::MayMove { align, offset: 0 }) }.unwrap();
        // SAFETY: the first byte of the grown range.
        assert_eq!(unsafe { grown.read() }, 7);
        assert_eq!(around(grown, 17 * len), "---prw-p---p");
        assert!(!around(range, 16 * len).contains("---p"), "a guard stayed");
        // SAFETY: mapped above, and not used again.
        unsafe { unmap(grown, 17 * len).unwrap() };
    }
}
