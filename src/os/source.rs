//! The platform contract: where a heap gets its address space from.

#![expect(unsafe_code, reason = "declares an unsafe trait")]

use core::fmt;
use core::ptr::NonNull;

/// Segment size of [`SystemPages`](crate::os::SystemPages), in bytes: 4 MiB on 64-bit systems, 1 MiB on others.
pub const DEFAULT_SEGMENT_SIZE: usize = if usize::BITS >= 64 { 4 << 20 } else { 1 << 20 };

/// Smallest [`PageSource::SEGMENT_SIZE`], in bytes.
pub const MIN_SEGMENT_SIZE: usize = 256 << 10;

/// Largest [`PageSource::SEGMENT_SIZE`], in bytes.
pub const MAX_SEGMENT_SIZE: usize = 1 << 30;

/// Advice about transparent huge pages for one range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HugeAdvice {
    /// Back the range with ordinary pages: it may stay small.
    #[default]
    Against,
    /// Back the range with huge pages: most of it will be used.
    For,
}

/// What [`PageSource::map`] is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapRequest {
    /// Bytes wanted; the source rounds up to whole OS pages.
    pub len: usize,
    /// The shortest length that will do, where a source has no range of `len` bytes left: at most `len`.
    pub least: usize,
    /// A power of two, at least the page size.
    pub align: usize,
    /// `ptr + offset` is to be a multiple of `align`; a multiple of the page size, at most `len`.
    pub offset: usize,
    /// The advice that the caller means to give for the range. A source may prefer a range that has it already.
    pub huge: HugeAdvice,
}

/// A range of whole OS pages handed out by a source.
#[derive(Debug)]
pub struct Pages {
    /// First byte; its provenance covers the range.
    pub ptr: NonNull<u8>,
    /// Bytes: at least [`MapRequest::len`], or at least [`MapRequest::least`] where that is all there is.
    pub len: usize,
    /// From this offset on, in bytes, everything reads as zero (once committed); `len` where nothing is known.
    pub zero_from: usize,
    /// [`PageSource::commit`] must succeed for a part of the range before that part is touched. The first OS page is
    /// committed from the start.
    pub needs_commit: bool,
    /// The advice in force for the range.
    pub huge: HugeAdvice,
}

/// What is known of a range that goes back through [`PageSource::unmap`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Release {
    /// From this offset on, in bytes, everything still reads as zero: at most this much of the range takes memory.
    pub zero_from: usize,
    /// The advice in force for the range.
    pub huge: HugeAdvice,
    /// The source may keep the range for a later [`PageSource::map`]; else it goes to where the source has it from.
    pub keep: bool,
}

/// What a range is like after [`PageSource::discard`]. A heap relies on neither: it keeps its own mark of what is zero, and
/// commits again wherever [`Pages::needs_commit`] was true. Sources that wrap others may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Discarded {
    /// Every byte reads as zero (once committed again).
    pub zeroed: bool,
    /// The range must be committed again before it is touched; only where [`Pages::needs_commit`] was true.
    pub needs_commit: bool,
}

/// Where a range may end up when [`PageSource::grow`] makes it longer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Growth {
    /// The range stays where it is.
    InPlace,
    /// The range may stay, or move, contents and all, to a `ptr` for which `ptr + offset` is a multiple of `align`.
    MayMove {
        /// As in [`MapRequest::align`].
        align: usize,
        /// As in [`MapRequest::offset`].
        offset: usize,
    },
}

/// The source refused: there is no memory, no address space, or no such operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageError;

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the page source refused")
    }
}

impl core::error::Error for PageError {}

/// Where a heap gets address space.
///
/// [`SystemPages`](crate::os::SystemPages) asks the operating system, [`RegionPages`](crate::os::RegionPages) cuts up
/// memory that the caller supplies. Implement it for memory of another kind.
///
/// All lengths and addresses are in bytes and cover whole OS pages of [`page_size`](Self::page_size).
///
/// What stands around a range is the source's own affair: the guards of the feature `hardened` are those of `SystemPages`, and
/// memory of another source has none unless the source sets them up outside the ranges that it hands out.
///
/// # Guarantees
///
/// What an implementation may rely on:
///
/// - `commit`, `discard`, `grow` and `advise_huge` are called only for ranges within one range that `map` or `grow`
///   returned and that was not given back; `unmap` only for exactly such a range.
/// - After a range has been given to `unmap` successfully, the heap does not touch it.
/// - A heap drops its source after it has given back all that it could.
/// - A source that panics aborts the process: no method of a heap unwinds.
///
/// # Safety
///
/// - [`SEGMENT_SIZE`](Self::SEGMENT_SIZE) and [`page_size`](Self::page_size) never change.
/// - A range returned by `map` or `grow` is readable and writable for its whole length (after `commit` where
///   `needs_commit` says so), aligned as asked, and overlaps no other live object until `unmap` has succeeded for it.
///   Moving the source does not move it, and it stays valid when the source is moved to another thread.
/// - What `zero_from` and `zeroed` say of zeros is true.
/// - A call that fails leaves everything as it was.
/// - No method allocates from, frees to, or otherwise calls a heap that uses this source; nor, where a heap of the mode
///   `Global` uses it, any heap of that mode.
pub unsafe trait PageSource {
    /// Length and alignment of an ordinary segment, in bytes: a power of two from [`MIN_SEGMENT_SIZE`] to
    /// [`MAX_SEGMENT_SIZE`]. Slab sizes, the largest small block and the mapping threshold follow from it.
    const SEGMENT_SIZE: usize = DEFAULT_SEGMENT_SIZE;

    /// Bytes of an OS page: a power of two, at most 64 KiB.
    fn page_size(&self) -> usize;

    /// Hands out a range.
    ///
    /// # Errors
    ///
    /// [`PageError`] where there is no such range.
    fn map(&self, request: MapRequest) -> Result<Pages, PageError>;

    /// Makes the range usable, where `needs_commit` asks for it. Committing twice is harmless.
    ///
    /// # Errors
    ///
    /// [`PageError`] where the system has no memory for it.
    ///
    /// # Safety
    ///
    /// The range lies within one that this source handed out.
    unsafe fn commit(&self, ptr: NonNull<u8>, len: usize) -> Result<(), PageError> {
        let _ = (ptr, len);
        Ok(())
    }

    /// Gives the memory of the range back while keeping its addresses.
    ///
    /// # Errors
    ///
    /// [`PageError`] where the system refuses; the contents are then unchanged.
    ///
    /// # Safety
    ///
    /// The range lies within one that this source handed out, and nobody needs its contents.
    unsafe fn discard(&self, ptr: NonNull<u8>, len: usize) -> Result<Discarded, PageError>;

    /// Takes a range back.
    ///
    /// # Errors
    ///
    /// [`PageError`] where the system refuses: the caller keeps the range.
    ///
    /// # Safety
    ///
    /// `ptr` and `len` are those of a range that `map` or `grow` returned; nobody uses it any more.
    unsafe fn unmap(&self, ptr: NonNull<u8>, len: usize, release: Release) -> Result<(), PageError>;

    /// Whether [`map`](Self::map) has a range of about `len` bytes whose pages are there already: then a block that doubles moves
    /// there rather than to new pages. No promise is in it. The default says that there is none.
    fn is_ready(&self, len: usize) -> bool {
        let _ = len;
        false
    }

    /// Makes a range longer, keeping its contents and its advice; `zero_from` of the answer is at least `len`. The added part
    /// needs commits exactly where the range did before.
    ///
    /// # Errors
    ///
    /// [`PageError`] where it cannot be done; the range is then unchanged. The default always refuses.
    ///
    /// # Safety
    ///
    /// `ptr` and `len` are those of a range that `map` or `grow` returned; `new_len` is larger and covers whole pages.
    /// On success the old range is no longer the caller's.
    unsafe fn grow(&self, ptr: NonNull<u8>, len: usize, new_len: usize, growth: Growth) -> Result<Pages, PageError> {
        let _ = (ptr, len, new_len, growth);
        Err(PageError)
    }

    /// Gives advice about huge pages. Nothing is lost when it fails.
    ///
    /// # Errors
    ///
    /// [`PageError`] where the system refuses.
    ///
    /// # Safety
    ///
    /// The range lies within one that this source handed out.
    unsafe fn advise_huge(&self, ptr: NonNull<u8>, len: usize, advice: HugeAdvice) -> Result<(), PageError> {
        let _ = (ptr, len, advice);
        Ok(())
    }
}

// SAFETY: every call is passed on unchanged to a source that keeps the contract.
unsafe impl<S: PageSource + ?Sized> PageSource for &S {
    const SEGMENT_SIZE: usize = S::SEGMENT_SIZE;

    fn page_size(&self) -> usize {
        (**self).page_size()
    }

    fn map(&self, request: MapRequest) -> Result<Pages, PageError> {
        (**self).map(request)
    }

    unsafe fn commit(&self, ptr: NonNull<u8>, len: usize) -> Result<(), PageError> {
        // SAFETY: the caller keeps the contract of this very method.
        unsafe { (**self).commit(ptr, len) }
    }

    unsafe fn discard(&self, ptr: NonNull<u8>, len: usize) -> Result<Discarded, PageError> {
        // SAFETY: the caller keeps the contract of this very method.
        unsafe { (**self).discard(ptr, len) }
    }

    unsafe fn unmap(&self, ptr: NonNull<u8>, len: usize, release: Release) -> Result<(), PageError> {
        // SAFETY: the caller keeps the contract of this very method.
        unsafe { (**self).unmap(ptr, len, release) }
    }

    fn is_ready(&self, len: usize) -> bool {
        (**self).is_ready(len)
    }

    unsafe fn grow(&self, ptr: NonNull<u8>, len: usize, new_len: usize, growth: Growth) -> Result<Pages, PageError> {
        // SAFETY: the caller keeps the contract of this very method.
        unsafe { (**self).grow(ptr, len, new_len, growth) }
    }

    unsafe fn advise_huge(&self, ptr: NonNull<u8>, len: usize, advice: HugeAdvice) -> Result<(), PageError> {
        // SAFETY: the caller keeps the contract of this very method.
        unsafe { (**self).advise_huge(ptr, len, advice) }
    }
}
