//! A page source that refuses calls and answers oddly by the fuzzer's choice.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ptr::NonNull;

use arbitrary::Arbitrary;
use mallocstate::PageSource;
use mallocstate::os::testing::{Call, TestPages};
use mallocstate::os::{Discarded, Growth, HugeAdvice, MIN_SEGMENT_SIZE, MapRequest, PageError, Pages, Release};

use crate::observed::Observed;
use crate::probe::Probe;

/// The smallest segments: a heap has many of them soon.
type Small = Probe<MIN_SEGMENT_SIZE>;

/// What a source is like all the time.
#[derive(Arbitrary, Clone, Copy, Debug, Default)]
pub struct Habits {
    dirty: bool,
    demands_commits: bool,
    refuses_growth: bool,
    /// Hands out more than was asked for.
    generous: bool,
}

/// Which of the coming calls are refused.
#[derive(Arbitrary, Clone, Copy, Debug, Default)]
pub(crate) struct Script {
    /// A bit for each kind of call that may be refused.
    kinds: u8,
    /// A bit for each of the next calls of these kinds, again and again.
    pattern: u16,
}

/// A page source after a script. Knows what it has handed out, and takes what is left back at its own end.
pub(crate) struct Scripted {
    pages: TestPages<Small>,
    generous: bool,
    script: Cell<Script>,
    refusals: Cell<usize>,
    out: RefCell<BTreeMap<NonNull<u8>, usize>>,
}

impl Scripted {
    pub(crate) fn new(habits: Habits) -> Self {
        let mut pages = TestPages::over(Small::new());
        if habits.dirty {
            pages = pages.dirty();
        }
        if habits.demands_commits {
            pages = pages.demanding_commits();
        }
        if habits.refuses_growth {
            pages = pages.refusing_growth();
        }
        let (script, refusals) = (Cell::default(), Cell::new(0));
        Self { pages, generous: habits.generous, script, refusals, out: RefCell::default() }
    }

    /// From here on, calls are refused after this script.
    pub(crate) fn set_script(&self, script: Script) {
        self.script.set(script);
    }

    fn begin(&self, call: Call) -> Result<(), PageError> {
        let Script { kinds, pattern } = self.script.get();
        if kinds >> call as u8 & 1 == 0 {
            return Ok(());
        }
        self.script.set(Script { kinds, pattern: pattern.rotate_right(1) });
        if pattern & 1 == 0 {
            return Ok(());
        }
        self.refusals.set(self.refusals.get() + 1);
        Err(PageError)
    }

    /// A length that may be beyond what was asked for.
    fn rounded(&self, len: usize) -> usize {
        if self.generous { len.next_multiple_of(64 << 10) } else { len }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.pages.refuse_nothing();
        for (&ptr, &len) in self.out.get_mut().iter() {
            let release = Release { zero_from: len, huge: HugeAdvice::Against, keep: false };
            // SAFETY: the range was handed out and not got back, and the heaps that had it are gone.
            let _ = unsafe { self.pages.unmap(ptr, len, release) };
        }
    }
}

impl Observed for &Scripted {
    fn outstanding(&self) -> Option<usize> {
        let bytes = self.out.borrow().values().sum();
        assert_eq!(bytes, self.pages.outstanding_bytes());
        Some(bytes)
    }

    fn refuse(&self, after: Option<usize>) {
        match after {
            Some(calls) => self.pages.refuse_once_after(calls),
            None => {
                self.script.take();
                self.pages.refuse_nothing();
            }
        }
    }

    fn refusals(&self) -> usize {
        self.refusals.get() + self.pages.refusals()
    }
}

// SAFETY: every call is refused at once or passed on to a source that keeps the contract, maps and growth with a length
// that is no shorter; ranges are unmapped behind a heap's back only after the heap.
unsafe impl PageSource for Scripted {
    const SEGMENT_SIZE: usize = Small::SEGMENT_SIZE;

    fn page_size(&self) -> usize {
        self.pages.page_size()
    }

    fn map(&self, request: MapRequest) -> Result<Pages, PageError> {
        self.begin(Call::Map)?;
        let pages = self.pages.map(MapRequest { len: self.rounded(request.len), ..request })?;
        self.out.borrow_mut().insert(pages.ptr, pages.len);
        Ok(pages)
    }

    unsafe fn commit(&self, ptr: NonNull<u8>, len: usize) -> Result<(), PageError> {
        self.begin(Call::Commit)?;
        // SAFETY: the caller keeps the contract.
        unsafe { self.pages.commit(ptr, len) }
    }

    unsafe fn discard(&self, ptr: NonNull<u8>, len: usize) -> Result<Discarded, PageError> {
        self.begin(Call::Discard)?;
        // SAFETY: the caller keeps the contract.
        unsafe { self.pages.discard(ptr, len) }
    }

    unsafe fn unmap(&self, ptr: NonNull<u8>, len: usize, release: Release) -> Result<(), PageError> {
        self.begin(Call::Unmap)?;
        // SAFETY: the caller keeps the contract.
        unsafe { self.pages.unmap(ptr, len, release)? };
        self.out.borrow_mut().remove(&ptr);
        Ok(())
    }

    unsafe fn grow(&self, ptr: NonNull<u8>, len: usize, new_len: usize, growth: Growth) -> Result<Pages, PageError> {
        self.begin(Call::Grow)?;
        // SAFETY: the caller keeps the contract; the length is no shorter.
        let pages = unsafe { self.pages.grow(ptr, len, self.rounded(new_len), growth)? };
        let mut out = self.out.borrow_mut();
        out.remove(&ptr);
        out.insert(pages.ptr, pages.len);
        Ok(pages)
    }

    unsafe fn advise_huge(&self, ptr: NonNull<u8>, len: usize, advice: HugeAdvice) -> Result<(), PageError> {
        self.begin(Call::Advise)?;
        // SAFETY: the caller keeps the contract.
        unsafe { self.pages.advise_huge(ptr, len, advice) }
    }
}
