//! A page source over one piece of memory: without system calls, and with the habits of whichever system a test wants.

#![expect(unsafe_code, reason = "implements a page source")]

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use mallocstate::os::{Discarded, Growth, HugeAdvice, MapRequest, PageError, Pages, RegionPages, Release};
use mallocstate::{PageSource, SystemPages};

/// Segments of this length make a run short: the tiers begin at a sixteenth of the usual sizes.
pub(crate) const SEGMENT: usize = 256 << 10;

/// What dirty pages are full of.
const DIRT: u8 = 0xAA;

/// How a pool hands its pages out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Habits {
    /// Pages are zero, after a discard as well; else they are dirty both times.
    pub(crate) zeroed: bool,
    /// Ranges ask for commits, those that have grown included.
    pub(crate) needs_commit: bool,
    /// Ordinary segments are of three lengths in turn, the first as short as the request allows.
    pub(crate) short: bool,
}

/// Memory for one pool after the other.
#[derive(Debug)]
pub(crate) struct Memory(Box<[MaybeUninit<u8>]>);

impl Memory {
    /// More than any workload holds at once; only what is touched takes memory.
    pub(crate) fn new() -> Self {
        Self(Box::new_uninit_slice(64 << 20))
    }
}

/// A page source over a borrowed piece of memory.
#[derive(Debug)]
pub(crate) struct Pool<'a> {
    region: RegionPages<SEGMENT>,
    habits: Habits,
    is_short: AtomicBool,
    maps: AtomicUsize,
    given_back: AtomicUsize,
    memory: PhantomData<&'a mut Memory>,
}

impl<'a> Pool<'a> {
    /// A pool that has handed nothing out. It must outlive every heap over it, as any source does.
    pub(crate) fn new(memory: &'a mut Memory, habits: Habits) -> Self {
        let (start, len) = (NonNull::from(&mut *memory.0).cast(), memory.0.len());
        // SAFETY: the memory is borrowed for as long as the pool may be used.
        let region = unsafe { RegionPages::from_raw(start, len) };
        let is_short = AtomicBool::new(habits.short);
        let [maps, given_back] = [(); 2].map(|()| AtomicUsize::new(0));
        Self { region, habits, is_short, maps, given_back, memory: PhantomData }
    }

    /// Bytes that were unmapped or discarded so far.
    pub(crate) fn given_back(&self) -> usize {
        self.given_back.load(Relaxed)
    }

    /// Hands out ordinary segments in full from here on.
    pub(crate) fn be_generous(&self) {
        self.is_short.store(false, Relaxed);
    }

    /// The length for a request that would do with less.
    fn length(&self, MapRequest { len, least, .. }: MapRequest) -> usize {
        if least == len || !self.is_short.load(Relaxed) {
            return len;
        }
        match self.maps.fetch_add(1, Relaxed) % 3 {
            0 => least,
            1 => len,
            _ => len / 2,
        }
    }

    /// Fills a range that is nobody's with what new pages hold.
    ///
    /// # Safety
    ///
    /// The range lies within one that is handed out, and nobody needs its contents.
    unsafe fn fill(&self, start: NonNull<u8>, len: usize) {
        // SAFETY: the caller keeps the contract.
        unsafe { start.write_bytes(if self.habits.zeroed { 0 } else { DIRT }, len) };
    }
}

// SAFETY: ranges come from a region that keeps the contract; `zero_from` says where this source has made them zero.
unsafe impl PageSource for Pool<'_> {
    const SEGMENT_SIZE: usize = SEGMENT;

    fn page_size(&self) -> usize {
        // The region's pages may be smaller: what it hands out is aligned as asked.
        SystemPages::new().page_size()
    }

    fn map(&self, request: MapRequest) -> Result<Pages, PageError> {
        let len = self.length(request);
        let pages = self.region.map(MapRequest { len, least: len, ..request })?;
        // SAFETY: handed out just now, and nobody knows of it.
        unsafe { self.fill(pages.ptr, pages.len) };
        let zero_from = if self.habits.zeroed { 0 } else { pages.len };
        Ok(Pages { zero_from, needs_commit: self.habits.needs_commit, huge: HugeAdvice::Against, ..pages })
    }

    unsafe fn discard(&self, ptr: NonNull<u8>, len: usize) -> Result<Discarded, PageError> {
        // SAFETY: the caller gives the contents up.
        unsafe { self.fill(ptr, len) };
        self.given_back.fetch_add(len, Relaxed);
        Ok(Discarded { zeroed: self.habits.zeroed, needs_commit: self.habits.needs_commit })
    }

    unsafe fn unmap(&self, ptr: NonNull<u8>, len: usize, release: Release) -> Result<(), PageError> {
        self.given_back.fetch_add(len, Relaxed);
        // SAFETY: the caller keeps the contract of this very method.
        unsafe { self.region.unmap(ptr, len, release) }
    }

    unsafe fn grow(&self, ptr: NonNull<u8>, len: usize, new_len: usize, growth: Growth) -> Result<Pages, PageError> {
        // SAFETY: the caller keeps the contract of this very method.
        let grown = match (unsafe { self.region.grow(ptr, len, new_len, Growth::InPlace) }, growth) {
            (Ok(pages), _) => pages,
            (Err(refused), Growth::InPlace) => return Err(refused),
            (Err(_), Growth::MayMove { align, offset }) => {
                let huge = HugeAdvice::Against;
                let pages = self.region.map(MapRequest { len: new_len, least: new_len, align, offset, huge })?;
                // SAFETY: the new range is longer than the old one, and another one.
                unsafe { ptr.copy_to_nonoverlapping(pages.ptr, len) };
                // SAFETY: the caller gives the old range up.
                unsafe { self.region.unmap(ptr, len, Release { zero_from: len, huge, keep: true })? };
                pages
            }
        };
        // SAFETY: the old length is within the new one.
        let added = unsafe { grown.ptr.add(len) };
        // SAFETY: the added part was handed out just now, and nobody knows of it.
        unsafe { self.fill(added, grown.len - len) };
        let zero_from = if self.habits.zeroed { len } else { grown.len };
        Ok(Pages { zero_from, needs_commit: self.habits.needs_commit, ..grown })
    }
}
