//! Linux: maps that grow, and transparent huge pages.

#![expect(unsafe_code, reason = "calls the system")]

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU8, AtomicU32};

use super::leftovers;
use super::native::page_size;
use super::ranges::map;
use super::source::{Growth, HugeAdvice, PageError};
use crate::primitives::sanitizer;

/// Makes a range longer. What is added reads as zero.
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
    // SAFETY: the caller owns the range; the system takes addresses behind it only where they are free.
    let same = unsafe { libc::mremap(ptr.as_ptr().cast(), len, new_len, 0) };
    if same != libc::MAP_FAILED {
        return NonNull::new(same.cast()).ok_or(PageError);
    }
    match growth {
        // A range of several maps, parts of which differ in their advice, does not move.
        Growth::MayMove { align, offset } if last_error() == libc::ENOMEM => {
            // SAFETY: the caller gives the old range up.
            unsafe { move_to_reservation(ptr, len, new_len, align, offset) }
        }
        _ => Err(PageError),
    }
}

/// Moves a range, pages and all, into a longer one that is mapped for it at the right alignment.
///
/// # Safety
///
/// As for [`grow`].
unsafe fn move_to_reservation(
    ptr: NonNull<u8>,
    len: usize,
    new_len: usize,
    align: usize,
    offset: usize,
) -> Result<NonNull<u8>, PageError> {
    let target = map(new_len, align, offset)?;
    // SAFETY: mapped just now, and nobody knows of it.
    let Ok(seal) = (unsafe { Seal::put_on(target) }) else {
        // SAFETY: as above.
        unsafe { leftovers::give_back_range(target, new_len) };
        return Err(PageError);
    };
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: the caller gives the old range up, and nobody knows of the reservation, which the move replaces.
    let moved = unsafe { libc::mremap(ptr.as_ptr().cast(), len, new_len, flags, target.as_ptr()) };
    if moved == libc::MAP_FAILED {
        // The system may have removed the reservation before it refused.
        if seal.is_whole() {
            // SAFETY: the reservation is still there, and nobody knows of it.
            unsafe { leftovers::give_back_range(target, new_len) };
        }
        return Err(PageError);
    }
    NonNull::new(moved.cast()).ok_or(PageError)
}

/// Tells a range from whatever another thread may map in its place when the system has removed it.
struct Seal {
    place: NonNull<u32>,
    words: [u32; 2],
}

impl Seal {
    /// Writes what nobody else writes at a range's start.
    ///
    /// # Safety
    ///
    /// The range was mapped just now, and nobody knows of it.
    unsafe fn put_on(range: NonNull<u8>) -> Result<Self, PageError> {
        static NEXT: AtomicU32 = AtomicU32::new(1);

        if unadvised() == Some(HugeAdvice::For) {
            // A huge page would have to be made zero for these few bytes.
            // SAFETY: the caller has the range.
            unsafe { advise_huge(range, page_size(), HugeAdvice::Against)? };
        }
        let place = range.cast::<u32>();
        let words = [0x6d61_6c73, NEXT.fetch_add(1, Relaxed)];
        // SAFETY: the first page of the range, which is the caller's.
        unsafe { place.cast().write(words) };
        Ok(Self { place, words })
    }

    /// Whether the range is still there, whatever is there now.
    fn is_whole(&self) -> bool {
        let places = [self.place.as_ptr(), self.place.as_ptr().wrapping_add(1)];
        places.into_iter().zip(self.words).all(|(place, word)| says(place, word))
    }
}

/// Whether there is a word at the address that says this. Where no page is there, or another one, that is no fault.
fn says(place: *mut u32, word: u32) -> bool {
    let no_time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let wait = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    loop {
        // SAFETY: the system reads the word itself, and says where it cannot; it waits no time for it to change.
        let ask = || unsafe { libc::syscall(libc::SYS_futex, place, wait, word, &raw const no_time) };
        let outcome = sanitizer::unreported(ask);
        match last_error() {
            _ if outcome == 0 => return true,
            libc::EINTR => {}
            error => return error == libc::ETIMEDOUT,
        }
    }
}

fn last_error() -> libc::c_int {
    // SAFETY: asks for the address of the thread's own variable.
    let location = unsafe { libc::__errno_location() };
    // SAFETY: the thread's own variable, alive as long as the thread.
    unsafe { location.read() }
}

/// What the system does with ranges that nobody gave advice for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum HugePages {
    /// No huge pages, whatever the advice.
    Never,
    /// Huge pages where they are asked for.
    Advised,
    /// Huge pages everywhere.
    Always,
}

impl HugePages {
    /// Reads the system's setting once.
    fn setting() -> Self {
        static SETTING: AtomicU8 = AtomicU8::new(UNREAD);
        const UNREAD: u8 = 0;
        const NEVER: u8 = 1;
        const ADVISED: u8 = 2;
        const ALWAYS: u8 = 3;

        match SETTING.load(Relaxed) {
            UNREAD => {
                let mut text = [0; 64];
                let setting = Self::parse(read_setting(&mut text));
                let known = match setting {
                    Self::Never => NEVER,
                    Self::Advised => ADVISED,
                    Self::Always => ALWAYS,
                };
                SETTING.store(known, Relaxed);
                setting
            }
            ADVISED => Self::Advised,
            ALWAYS => Self::Always,
            _ => Self::Never,
        }
    }

    /// The setting in force is the word in brackets.
    fn parse(text: &[u8]) -> Self {
        let has = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
        if has(b"[always]") {
            Self::Always
        } else if has(b"[madvise]") {
            Self::Advised
        } else {
            Self::Never
        }
    }
}

/// The text of the system's setting, without allocating; empty where there is none.
fn read_setting(text: &mut [u8]) -> &[u8] {
    let path = c"/sys/kernel/mm/transparent_hugepage/enabled";
    // SAFETY: the path ends in a zero byte.
    let file = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if file < 0 {
        return &[];
    }
    // SAFETY: the pointer and the length are those of a slice.
    let len = unsafe { libc::read(file, text.as_mut_ptr().cast(), text.len()) };
    // SAFETY: opened above, and not used again.
    unsafe { libc::close(file) };
    &text[..usize::try_from(len).unwrap_or(0)]
}

/// The advice in force for a new range; `None` where advice changes nothing.
pub(super) fn unadvised() -> Option<HugeAdvice> {
    match HugePages::setting() {
        HugePages::Never => None,
        HugePages::Advised => Some(HugeAdvice::Against),
        HugePages::Always => Some(HugeAdvice::For),
    }
}

/// Gives advice.
///
/// # Safety
///
/// The range lies within one that `map` or `grow` returned.
pub(super) unsafe fn advise_huge(ptr: NonNull<u8>, len: usize, advice: HugeAdvice) -> Result<(), PageError> {
    let advice = match advice {
        HugeAdvice::For => libc::MADV_HUGEPAGE,
        HugeAdvice::Against => libc::MADV_NOHUGEPAGE,
    };
    // SAFETY: the advice changes nothing that a program can see in the range.
    let refused = unsafe { libc::madvise(ptr.as_ptr().cast(), len, advice) };
    if refused == 0 { Ok(()) } else { Err(PageError) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::native;
    use crate::os::ranges::unmap;

    #[test]
    fn the_word_in_brackets_is_the_setting() {
        assert_eq!(HugePages::parse(b"always [madvise] never\n"), HugePages::Advised);
        assert_eq!(HugePages::parse(b"[always] madvise never\n"), HugePages::Always);
        assert_eq!(HugePages::parse(b"always madvise [never]\n"), HugePages::Never);
        assert_eq!(HugePages::parse(b""), HugePages::Never);
    }

    #[test]
    fn neighbours_merge_into_few_maps() {
        let maps = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
        let (len, before) = (4 << 20, maps());
        let ranges = [(); 500].map(|()| native::map(len, len, 0).unwrap());
        // Other tests map at the same time, but not much.
        assert!(maps() < before + 100);
        for range in ranges {
            // SAFETY: mapped above, and not used again.
            unsafe { native::unmap(range, len).unwrap() };
        }
    }

    #[test]
    fn a_range_that_moves_keeps_its_contents_and_its_alignment() {
        let (len, align) = (4 << 20, 4 << 20);
        let upper = map(len, align, 0).unwrap();
        let lower = map(len, align, 0).unwrap();
        // SAFETY: the first byte of a mapped range.
        unsafe { lower.write(7) };
        // SAFETY: `lower` is given up for what comes back.
        let grown = unsafe { grow(lower, len, 2 * len, Growth::MayMove { align, offset: 0 }) }.unwrap();
        assert!(grown.addr().get() % align == 0);
        // SAFETY: the first byte of the grown range.
        assert_eq!(unsafe { grown.read() }, 7);
        // SAFETY: within the grown range.
        let last = unsafe { grown.add(2 * len - 1) };
        // SAFETY: within the grown range, whose added part reads as zero.
        assert_eq!(unsafe { last.read() }, 0);
        // SAFETY: mapped above, and not used again.
        unsafe { unmap(grown, 2 * len).unwrap() };
        // SAFETY: mapped above, and not used again.
        unsafe { unmap(upper, len).unwrap() };
    }

    #[test]
    fn a_seal_tells_its_range_from_another_one() {
        let (len, align) = (4 * page_size(), page_size());
        let range = map(len, align, 0).unwrap();
        // SAFETY: mapped just now, and this test's own.
        let first = unsafe { Seal::put_on(range) }.unwrap();
        assert!(first.is_whole());
        // SAFETY: as above.
        let second = unsafe { Seal::put_on(range) }.unwrap();
        assert!(second.is_whole() && !first.is_whole());
        // SAFETY: as above.
        unsafe { range.write_bytes(0, len) };
        assert!(!second.is_whole());
        // SAFETY: as above.
        let third = unsafe { Seal::put_on(range) }.unwrap();
        // SAFETY: mapped above, and not used again.
        unsafe { unmap(range, len).unwrap() };
        assert!(!third.is_whole(), "there is nothing any more, or another thread's range");
    }
}
