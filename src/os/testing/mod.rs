//! A page source for tests: checks what a heap does with its pages, and fails on demand.

#![expect(unsafe_code, reason = "implements a page source")]

mod ledger;
#[cfg(test)]
mod tests;

use core::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use ledger::Call;
use ledger::{Ledger, Refusal};

use crate::os::source::{Discarded, Growth, HugeAdvice, MapRequest, PageError, PageSource, Pages, Release};
use crate::os::system::SystemPages;

/// What dirty pages are filled with.
const DIRT: u8 = 0xAA;

/// A page source around another one, for tests.
///
/// It panics, and so aborts the process of a heap, where a call breaks the contract: a range given back that was not
/// handed out, or not in that length; work on a range that is nobody's; pages cut in pieces. It refuses calls on demand.
/// Options make it hand out pages as other systems do.
///
/// Its own records come from the global allocator: it is not for a heap that is the global allocator.
///
/// ```
/// use mallocstate::os::testing::TestPages;
/// use mallocstate::os::{HugeAdvice, MapRequest, PageSource};
///
/// let source = TestPages::new().dirty();
/// let len = 16 * source.page_size();
/// let request = MapRequest { len, least: len, align: len, offset: 0, huge: HugeAdvice::Against };
/// let pages = source.map(request)?;
/// assert_eq!(pages.zero_from, pages.len);
/// assert_eq!((source.outstanding_bytes(), source.outstanding_ranges()), (len, 1));
///
/// source.refuse_after(0);
/// assert!(source.map(request).is_err());
/// source.refuse_nothing();
///
/// // SAFETY: the range was handed out above, and nobody uses it.
/// let release = mallocstate::os::Release { zero_from: len, huge: pages.huge, keep: true };
/// unsafe { source.unmap(pages.ptr, pages.len, release)? };
/// assert_eq!(source.outstanding_bytes(), 0);
/// assert_eq!(source.calls(), 3);
/// # Ok::<(), mallocstate::os::PageError>(())
/// ```
#[derive(Debug)]
pub struct TestPages<S = SystemPages> {
    source: S,
    dirty: bool,
    demands_commits: bool,
    refuses_growth: bool,
    ledger: Mutex<Ledger>,
}

impl TestPages {
    /// A source around the operating system's.
    #[must_use]
    pub const fn new() -> Self {
        Self::over(SystemPages::new())
    }
}

impl Default for TestPages {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> TestPages<S> {
    /// A source around `source`.
    #[must_use]
    pub const fn over(source: S) -> Self {
        Self { source, dirty: false, demands_commits: false, refuses_growth: false, ledger: Mutex::new(Ledger::NEW) }
    }

    /// Hands out pages full of `0xAA`, after a discard as well.
    #[must_use]
    pub fn dirty(self) -> Self {
        Self { dirty: true, ..self }
    }

    /// Demands commits, as Windows does. On Unix, touching what is not committed is a fault. Nothing grows.
    #[must_use]
    pub fn demanding_commits(self) -> Self {
        Self { demands_commits: true, ..self }
    }

    /// Lets nothing grow.
    #[must_use]
    pub fn refusing_growth(self) -> Self {
        Self { refuses_growth: true, ..self }
    }

    /// Lets the next `calls` calls pass, of any kind, and refuses all that follow.
    pub fn refuse_after(&self, calls: usize) {
        self.ledger().refuse(None, Refusal::From(calls));
    }

    /// Lets the next `calls` calls pass, of any kind, and refuses the one that follows.
    pub fn refuse_once_after(&self, calls: usize) {
        self.ledger().refuse(None, Refusal::Once(calls));
    }

    /// Lets the next `calls` calls of this kind pass, and refuses all that follow.
    pub fn refuse_call_after(&self, call: Call, calls: usize) {
        self.ledger().refuse(Some(call), Refusal::From(calls));
    }

    /// Lets the next `calls` calls of this kind pass, and refuses the one that follows.
    pub fn refuse_call_once_after(&self, call: Call, calls: usize) {
        self.ledger().refuse(Some(call), Refusal::Once(calls));
    }

    /// Refuses nothing from here on.
    pub fn refuse_nothing(&self) {
        self.ledger().refuse_nothing();
    }

    /// Bytes handed out and not got back.
    #[must_use]
    pub fn outstanding_bytes(&self) -> usize {
        self.ledger().bytes()
    }

    /// Ranges handed out and not got back.
    #[must_use]
    pub fn outstanding_ranges(&self) -> usize {
        self.ledger().ranges()
    }

    /// Calls so far, refused ones included; `page_size` does not count.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.ledger().calls(None)
    }

    /// Calls of one kind so far, refused ones included.
    #[must_use]
    pub fn calls_of(&self, call: Call) -> usize {
        self.ledger().calls(Some(call))
    }

    /// Calls refused on demand so far.
    #[must_use]
    pub fn refusals(&self) -> usize {
        self.ledger().refusals()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: PageSource> TestPages<S> {
    /// Bytes that are committed, where commits are demanded; 0 elsewhere.
    #[must_use]
    pub fn committed_bytes(&self) -> usize {
        self.ledger().committed_pages() * self.page_size()
    }

    /// Makes a range what the options say, whatever it was before.
    ///
    /// # Safety
    ///
    /// The range lies within one that is handed out, and nobody needs its contents. `needs_commit` tells whether the
    /// source within wants a commit before it is touched.
    unsafe fn soil(
        &self,
        ledger: &mut Ledger,
        ptr: NonNull<u8>,
        len: usize,
        needs_commit: bool,
    ) -> Result<(), PageError> {
        if self.dirty {
            if needs_commit {
                // SAFETY: the caller keeps the contract.
                unsafe { self.source.commit(ptr, len)? };
            }
            // SAFETY: the range is accessible, and its contents are nobody's.
            unsafe { ptr.write_bytes(DIRT, len) };
        }
        // SAFETY: the range lies within one that is handed out.
        unsafe { self.set_accessible(ledger, ptr, len, false) }
    }

    /// Where commits are demanded, makes touching the range a fault, or allows it.
    ///
    /// # Safety
    ///
    /// The range lies within one that is handed out, and nobody touches it where it becomes inaccessible.
    unsafe fn set_accessible(
        &self,
        ledger: &mut Ledger,
        ptr: NonNull<u8>,
        len: usize,
        accessible: bool,
    ) -> Result<(), PageError> {
        if !self.demands_commits {
            return Ok(());
        }
        // SAFETY: the caller keeps the contract.
        unsafe { set_accessible(ptr, len, accessible)? };
        ledger.set_committed(ptr, len, self.page_size(), accessible);
        Ok(())
    }
}

// SAFETY: the source within keeps the contract. Ranges are made dirty or inaccessible only before they are handed out
// or after their contents were given up, and the flags say so.
unsafe impl<S: PageSource> PageSource for TestPages<S> {
    const SEGMENT_SIZE: usize = S::SEGMENT_SIZE;

    fn page_size(&self) -> usize {
        self.source.page_size()
    }

    fn map(&self, request: MapRequest) -> Result<Pages, PageError> {
        let page = self.page_size();
        let MapRequest { len, least, align, offset, .. } = request;
        assert!(len > 0, "map of no bytes");
        assert!(align.is_power_of_two() && align >= page, "map with an alignment of {align:#x}");
        assert!(offset % page == 0 && offset <= len, "map of {len:#x} bytes with an offset of {offset:#x}");
        let mut ledger = self.ledger();
        ledger.begin(Call::Map)?;
        let pages = self.source.map(request)?;
        let address = pages.ptr.addr().get();
        assert!(pages.len >= least && least <= len, "{len:#x} bytes asked for, {:#x} got", pages.len);
        assert!(address % page == 0 && pages.len % page == 0, "pages cut in pieces: {address:#x}, {:#x}", pages.len);
        assert!((address + offset) % align == 0, "{address:#x} + {offset:#x} is not a multiple of {align:#x}");
        // SAFETY: handed out just now, and nobody knows of it.
        let soiled = unsafe { self.soil(&mut ledger, pages.ptr, pages.len, pages.needs_commit) };
        // SAFETY: as above; the first page is committed from the start.
        let opened = soiled.and_then(|()| unsafe { self.set_accessible(&mut ledger, pages.ptr, page, true) });
        if opened.is_err() {
            // SAFETY: as above. What the source within does not take back is lost.
            let _ = unsafe {
                self.source.unmap(pages.ptr, pages.len, Release { zero_from: pages.len, huge: pages.huge, keep: false })
            };
            return Err(PageError);
        }
        ledger.insert(address, pages.len);
        let needs_commit = pages.needs_commit || self.demands_commits;
        Ok(Pages { zero_from: if self.dirty { pages.len } else { pages.zero_from }, needs_commit, ..pages })
    }

    unsafe fn commit(&self, ptr: NonNull<u8>, len: usize) -> Result<(), PageError> {
        let mut ledger = self.ledger();
        ledger.check_within(Call::Commit, ptr, len, self.page_size());
        ledger.begin(Call::Commit)?;
        // SAFETY: the caller keeps the contract.
        unsafe { self.source.commit(ptr, len)? };
        // SAFETY: the range lies within one that is handed out.
        unsafe { self.set_accessible(&mut ledger, ptr, len, true) }
    }

    unsafe fn discard(&self, ptr: NonNull<u8>, len: usize) -> Result<Discarded, PageError> {
        let mut ledger = self.ledger();
        ledger.check_within(Call::Discard, ptr, len, self.page_size());
        ledger.begin(Call::Discard)?;
        // SAFETY: the range lies within one that is handed out.
        unsafe { self.set_accessible(&mut ledger, ptr, len, true)? };
        // SAFETY: the caller keeps the contract.
        let discarded = unsafe { self.source.discard(ptr, len)? };
        // SAFETY: the caller gave the contents up.
        let soiled = unsafe { self.soil(&mut ledger, ptr, len, discarded.needs_commit) };
        assert!(soiled.is_ok(), "discarded pages at {ptr:?} cannot be made dirty");
        let needs_commit = discarded.needs_commit || self.demands_commits;
        Ok(Discarded { zeroed: discarded.zeroed && !self.dirty, needs_commit })
    }

    unsafe fn unmap(&self, ptr: NonNull<u8>, len: usize, release: Release) -> Result<(), PageError> {
        let mut ledger = self.ledger();
        ledger.check_whole(Call::Unmap, ptr, len);
        let Release { zero_from, .. } = release;
        assert!(zero_from <= len, "{zero_from:#x} bytes touched of {len:#x}");
        ledger.begin(Call::Unmap)?;
        // SAFETY: the range is handed out.
        unsafe { self.set_accessible(&mut ledger, ptr, len, true)? };
        let release = Release { zero_from: if self.dirty { len } else { zero_from }, ..release };
        // SAFETY: the caller keeps the contract.
        unsafe { self.source.unmap(ptr, len, release)? };
        ledger.remove(ptr.addr().get());
        Ok(())
    }

    unsafe fn grow(&self, ptr: NonNull<u8>, len: usize, new_len: usize, growth: Growth) -> Result<Pages, PageError> {
        let mut ledger = self.ledger();
        ledger.check_whole(Call::Grow, ptr, len);
        assert!(new_len > len && new_len % self.page_size() == 0, "growth from {len:#x} to {new_len:#x} bytes");
        ledger.begin(Call::Grow)?;
        if self.refuses_growth || self.demands_commits {
            return Err(PageError);
        }
        // SAFETY: the caller keeps the contract.
        let pages = unsafe { self.source.grow(ptr, len, new_len, growth)? };
        let address = pages.ptr.addr().get();
        let placed = match growth {
            Growth::InPlace => pages.ptr == ptr,
            Growth::MayMove { align, offset } => pages.ptr == ptr || (address + offset) % align == 0,
        };
        assert!(placed && pages.len >= new_len, "{growth:?} to {new_len:#x} bytes gave {pages:?}");
        ledger.remove(ptr.addr().get());
        ledger.insert(address, pages.len);
        // SAFETY: the old length is within the new one.
        let added = unsafe { pages.ptr.add(len) };
        // SAFETY: the added part was handed out just now, and nobody knows of it.
        let soiled = unsafe { self.soil(&mut ledger, added, pages.len - len, pages.needs_commit) };
        assert!(soiled.is_ok(), "pages grown to {pages:?} cannot be made dirty");
        Ok(Pages { zero_from: if self.dirty { pages.len } else { pages.zero_from }, ..pages })
    }

    unsafe fn advise_huge(&self, ptr: NonNull<u8>, len: usize, advice: HugeAdvice) -> Result<(), PageError> {
        let mut ledger = self.ledger();
        ledger.check_within(Call::Advise, ptr, len, self.page_size());
        ledger.begin(Call::Advise)?;
        // SAFETY: the caller keeps the contract.
        unsafe { self.source.advise_huge(ptr, len, advice) }
    }
}

/// Makes touching the range a fault, or allows it.
///
/// # Safety
///
/// The range lies within one that is handed out, and nobody touches it where it becomes inaccessible.
#[cfg(unix)]
unsafe fn set_accessible(ptr: NonNull<u8>, len: usize, accessible: bool) -> Result<(), PageError> {
    let access = if accessible { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_NONE };
    // SAFETY: the caller speaks for the range.
    let refused = unsafe { libc::mprotect(ptr.as_ptr().cast(), len, access) };
    if refused == 0 { Ok(()) } else { Err(PageError) }
}

/// Does nothing: the flags alone demand commits.
///
/// # Safety
///
/// None.
#[cfg(not(unix))]
unsafe fn set_accessible(_ptr: NonNull<u8>, _len: usize, _accessible: bool) -> Result<(), PageError> {
    Ok(())
}
