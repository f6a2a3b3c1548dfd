//! Unix: anonymous maps.

#![expect(unsafe_code, reason = "calls the system")]

use core::ptr::{self, NonNull};
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use super::leftovers;
use super::source::{Discarded, PageError};
use crate::primitives::address::{align_down, align_up, is_aligned};

#[cfg(target_os = "linux")]
pub(super) use super::linux::{advise_huge, grow, unadvised};
#[cfg(not(target_os = "linux"))]
pub(super) use plain::{advise_huge, grow, unadvised};

/// Whether memory must be committed before it is touched.
pub(super) const NEEDS_COMMIT: bool = false;

/// Address of the range mapped last, or zero.
static LAST: AtomicUsize = AtomicUsize::new(0);

pub(super) fn page_size() -> usize {
    static PAGE_SIZE: AtomicUsize = AtomicUsize::new(0);

    match PAGE_SIZE.load(Relaxed) {
        0 => {
            // SAFETY: asks for a constant of the system.
            let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
            let size = usize::try_from(size).unwrap_or(4096);
            PAGE_SIZE.store(size, Relaxed);
            size
        }
        size => size,
    }
}

/// Maps `len` bytes, whole pages, so that `ptr + offset` is a multiple of `align`. They read as zero.
///
/// First right below the range mapped last: the system merges neighbours into one map, of which a process may have but
/// so many. Else too much is mapped and both ends are given back.
pub(super) fn map(len: usize, align: usize, offset: usize) -> Result<NonNull<u8>, PageError> {
    let range = map_below_last(len, align, offset).map_or_else(|| map_and_trim(len, align, offset), Ok)?;
    LAST.store(range.addr().get(), Relaxed);
    Ok(range)
}

fn map_below_last(len: usize, align: usize, offset: usize) -> Option<NonNull<u8>> {
    let highest = LAST.load(Relaxed).checked_sub(len)?;
    let hint = align_down(highest.checked_add(offset)?, align).checked_sub(offset)?;
    if hint == 0 {
        return None;
    }
    let range = map_anywhere(ptr::without_provenance_mut(hint), len).ok()?;
    if is_aligned(range.addr().get() + offset, align) {
        return Some(range);
    }
    // SAFETY: mapped just now, and nobody knows of it.
    unsafe { leftovers::give_back(range, len, range) };
    None
}

fn map_and_trim(len: usize, align: usize, offset: usize) -> Result<NonNull<u8>, PageError> {
    let more = len.checked_add(align - page_size()).filter(|&sum| sum <= isize::MAX as usize).ok_or(PageError)?;
    let room = map_anywhere(ptr::null_mut(), more)?;
    let before = align_up(room.addr().get() + offset, align) - offset - room.addr().get();
    let after = more - before - len;
    // SAFETY: `before + len + after` bytes are mapped.
    let range = unsafe { room.add(before) };
    // SAFETY: as above.
    let end = unsafe { range.add(len) };
    // Trimming fails where the process has as many maps as it may.
    // SAFETY: mapped just now, and nobody knows of it.
    if before > 0 && unsafe { unmap(room, before) }.is_err() {
        // SAFETY: as above; nothing of it was given back yet.
        unsafe { leftovers::give_back(room, more, room) };
        return Err(PageError);
    }
    // SAFETY: mapped just now, and nobody knows of it.
    if after > 0 && unsafe { unmap(end, after) }.is_err() {
        // SAFETY: as above; only what lies before `range` was given back.
        unsafe { leftovers::give_back(range, len + after, range) };
        return Err(PageError);
    }
    Ok(range)
}

/// Maps `len` bytes, at `hint` where there is room.
fn map_anywhere(hint: *mut u8, len: usize) -> Result<NonNull<u8>, PageError> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: without `MAP_FIXED` no memory that is in use is touched.
    let range = unsafe { libc::mmap(hint.cast(), len, access, libc::MAP_PRIVATE | libc::MAP_ANON, -1, 0) };
    if range == libc::MAP_FAILED { Err(PageError) } else { NonNull::new(range.cast()).ok_or(PageError) }
}

/// Nothing is to be done.
///
/// # Safety
///
/// The range lies within one that `map` returned.
pub(super) unsafe fn commit(_ptr: NonNull<u8>, _len: usize) -> Result<(), PageError> {
    Ok(())
}

/// Gives memory back, keeping the addresses.
///
/// # Safety
///
/// The range lies within one that `map` returned; nobody needs its contents.
pub(super) unsafe fn discard(ptr: NonNull<u8>, len: usize) -> Result<Discarded, PageError> {
    /// Linux, and so Android, drops the pages at once; others may leave the contents for a while.
    const ZEROES: bool = cfg!(any(target_os = "linux", target_os = "android"));
    const ADVICE: libc::c_int = if ZEROES { libc::MADV_DONTNEED } else { libc::MADV_FREE };

    // SAFETY: the caller gives the contents up.
    let refused = unsafe { libc::madvise(ptr.as_ptr().cast(), len, ADVICE) };
    if refused == 0 { Ok(Discarded { zeroed: ZEROES, needs_commit: false }) } else { Err(PageError) }
}

/// Gives a range back.
///
/// # Safety
///
/// The range lies within one that `map` returned, and nobody uses it.
pub(super) unsafe fn unmap(ptr: NonNull<u8>, len: usize) -> Result<(), PageError> {
    // SAFETY: the caller gives the range up.
    let refused = unsafe { libc::munmap(ptr.as_ptr().cast(), len) };
    if refused == 0 { Ok(()) } else { Err(PageError) }
}

/// Bytes of a guard.
#[cfg(feature = "hardened")]
pub(super) fn guard_len() -> usize {
    page_size()
}

/// Makes memory one that nobody can touch.
///
/// # Safety
///
/// The range lies within one that `map` returned, and nobody uses it.
#[cfg(feature = "hardened")]
pub(super) unsafe fn forbid(ptr: NonNull<u8>, len: usize) -> Result<(), PageError> {
    // SAFETY: the caller says that nobody uses the range.
    let refused = unsafe { libc::mprotect(ptr.as_ptr().cast(), len, libc::PROT_NONE) };
    if refused == 0 { Ok(()) } else { Err(PageError) }
}

/// Makes the three functions run around every fork: `prepare` before it, in the thread that forks; `parent` and `child`
/// after it. False where the system refuses. May allocate with the C library's own `malloc`.
pub(crate) fn at_fork(prepare: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn()) -> bool {
    // SAFETY: the functions are there as long as the process.
    unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) == 0 }
}

/// Systems other than Linux.
#[cfg(not(target_os = "linux"))]
mod plain {
    use core::ptr::NonNull;

    use crate::os::source::{Growth, HugeAdvice, PageError};

    /// A map cannot grow.
    ///
    /// # Safety
    ///
    /// None: nothing is done.
    pub(in crate::os) unsafe fn grow(
        _ptr: NonNull<u8>,
        _len: usize,
        _new_len: usize,
        _growth: Growth,
    ) -> Result<NonNull<u8>, PageError> {
        Err(PageError)
    }

    /// The advice in force for a new range; `None` where there is no such thing.
    pub(in crate::os) fn unadvised() -> Option<HugeAdvice> {
        None
    }

    /// There is no such advice.
    ///
    /// # Safety
    ///
    /// None: nothing is done.
    pub(in crate::os) unsafe fn advise_huge(
        _ptr: NonNull<u8>,
        _len: usize,
        _advice: HugeAdvice,
    ) -> Result<(), PageError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_aligned_as_asked() {
        let page = page_size();
        for (len, align, offset) in [
            (page, page, 0),
            (1 << 20, 1 << 20, 0),
            (4 << 20, 4 << 20, 0),
            (4 << 20, 4 << 20, 0),
            (5 << 20, 64 << 20, 4 << 20),
            (3 * page, 1 << 21, page),
        ] {
            let range = map(len, align, offset).unwrap();
            assert_eq!((range.addr().get() + offset) % align, 0);
            // SAFETY: the last byte of the range.
            let last = unsafe { range.add(len - 1) };
            // SAFETY: mapped, readable and writable.
            unsafe { last.write(1) };
            // SAFETY: mapped above, and not used again.
            unsafe { unmap(range, len).unwrap() };
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn the_page_size_is_what_the_kernel_told_the_process() {
        // SAFETY: asks for a constant of the process.
        let told = unsafe { libc::getauxval(libc::AT_PAGESZ) };
        assert_eq!(page_size() as libc::c_ulong, told);
    }

    #[test]
    fn impossible_lengths_are_refused() {
        // With 32 bits, half of all addresses may be free.
        let half = isize::MAX as usize + 1 - page_size();
        let most = if usize::BITS < 64 { 0_usize.wrapping_sub(page_size()) } else { half };
        assert!(map(most, page_size(), 0).is_err());
        assert!(map(most, 1 << 22, 0).is_err());
    }
}
