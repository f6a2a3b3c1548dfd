//! How the tiers get segments and the right to touch memory: source, account and records, borrowed together.

#![expect(unsafe_code, reason = "calls the page source")]

use core::cell::Cell;
use core::ptr::NonNull;

use crate::os::lock::RawLock;
use crate::os::{Growth, HugeAdvice, MapRequest, PageSource, Release};
use crate::primitives::abort::no_unwind;
use crate::primitives::address::{align_down, align_up};
use crate::primitives::sanitizer;
use crate::segment::account::{Account, Refusal};
#[cfg(any(debug_assertions, feature = "hardened"))]
use crate::segment::header::base_of_block;
use crate::segment::header::{HEADER_BYTES, NewSegment, OwnerId, SegmentKind, SegmentRef};
#[cfg(any(debug_assertions, feature = "hardened"))]
use crate::segment::known;
use crate::segment::policy::ReleasePolicy;
use crate::segment::records::Records;

/// When a heap asks for transparent huge pages.
///
/// Most of the time spent in fresh memory goes into page faults, of which huge pages take a few for thousands; but one
/// byte touched then makes 2 MiB resident.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum HugePages {
    /// Never.
    Never,
    /// From the second segment of a kind on, and for mappings of 2 MiB and more: a small heap stays small.
    #[default]
    Adaptive,
    /// For every segment.
    Always,
}

/// Bytes of a huge page on most systems; a mapping that long is worth some.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// What a heap was built with that bears on its segments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SupplyOptions {
    pub(crate) huge: HugePages,
    pub(crate) policy: ReleasePolicy,
    pub(crate) zero_on_release: bool,
}

impl SupplyOptions {
    pub(crate) const DEFAULT: Self =
        Self { huge: HugePages::Adaptive, policy: ReleasePolicy::DEFAULT, zero_on_release: false };
}

/// What a tier asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentRequest {
    pub(crate) kind: SegmentKind,
    pub(crate) root: usize,
    pub(crate) len: usize,
    /// The shortest length that will do.
    pub(crate) least: usize,
    pub(crate) align: usize,
    pub(crate) offset: usize,
    /// The heap's first segment of this kind.
    pub(crate) first: bool,
    /// The first page is all that is touched of the first [`HUGE_PAGE`]: it stays a small one.
    pub(crate) gap: bool,
}

impl SegmentRequest {
    /// A segment of ordinary length.
    pub(crate) const fn ordinary<S: PageSource>(kind: SegmentKind, root: usize, first: bool) -> Self {
        let (len, least) = (S::SEGMENT_SIZE, S::SEGMENT_SIZE / 4);
        Self { kind, root, len, least, align: S::SEGMENT_SIZE, offset: 0, first, gap: false }
    }
}

/// A heap's source, account and records. Lock order: a root's lock, then the records', then the source's own.
pub(crate) struct Supply<'a, S, L> {
    pub(crate) source: &'a S,
    pub(crate) account: &'a Account,
    pub(crate) records: &'a Records<L>,
    pub(crate) owner: OwnerId,
    pub(crate) options: SupplyOptions,
    /// Charges may pass the limit: a block moves, and its old place is given up next.
    pub(crate) beyond_limit: bool,
    /// Set while memory is reclaimed: what is released goes to the operating system, past any cache of the source, and
    /// its bytes are counted here, discarded ones included.
    pub(crate) reclaimed: Option<&'a Cell<usize>>,
}

impl<S, L> Clone for Supply<'_, S, L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, L> Copy for Supply<'_, S, L> {}

impl<S: PageSource, L: RawLock> Supply<'_, S, L> {
    /// Bytes of an OS page.
    pub(crate) fn page_size(&self) -> usize {
        no_unwind(|| self.source.page_size())
    }

    /// Charges bytes that are about to be put to use.
    #[inline]
    pub(crate) fn charge(&self, bytes: usize) -> Result<(), Refusal> {
        let limit = if self.beyond_limit { usize::MAX } else { self.account.limit() };
        self.account.charge::<L>(bytes, limit)
    }

    /// Takes back the charge of bytes that were not to be had.
    pub(crate) fn refund(&self, bytes: usize) {
        self.account.refund::<L>(bytes);
    }

    /// Takes back the charge of bytes that are no longer in use.
    pub(crate) fn uncharge(&self, bytes: usize) {
        self.account.uncharge::<L>(bytes);
    }

    /// The segment that a block start belongs to, to be asked whose it is: of this heap, or of another one.
    ///
    /// Debug builds and the feature `hardened` take any address, and answer `None` where no segment of this heap or of
    /// another one is there.
    ///
    /// # Safety
    ///
    /// In other builds, `block` is the start of some block.
    #[inline(always)]
    pub(crate) unsafe fn segment_of(&self, block: usize) -> Option<SegmentRef> {
        #[cfg(any(debug_assertions, feature = "hardened"))]
        if !self.records.know(base_of_block(block, S::SEGMENT_SIZE)) {
            return None;
        }
        // SAFETY: the caller has a block start, or the records say that a segment is there.
        Some(unsafe { SegmentRef::of_block(block, S::SEGMENT_SIZE) })
    }

    fn advice(&self, request: &SegmentRequest) -> HugeAdvice {
        let wanted = match self.options.huge {
            HugePages::Never => false,
            HugePages::Always => true,
            HugePages::Adaptive if request.kind == SegmentKind::Mapping => request.len >= HUGE_PAGE,
            HugePages::Adaptive => !request.first,
        };
        if wanted { HugeAdvice::For } else { HugeAdvice::Against }
    }

    /// Maps a segment, charges its common header and registers it.
    pub(crate) fn map(&self, request: SegmentRequest) -> Result<SegmentRef, Refusal> {
        let (base, new) = self.map_unregistered(request)?;
        let mut list = self.records.lock();
        let serial = list.next_serial();
        // SAFETY: the range is new, longer than a header, and its first page is committed.
        let segment = unsafe { SegmentRef::write(base, NewSegment { serial, ..new }) };
        list.register(segment);
        drop(list);
        if request.gap && new.huge == HugeAdvice::For {
            self.advise(base, new.len, new.huge);
        }
        Ok(segment)
    }

    fn advise(&self, base: NonNull<u8>, len: usize, advice: HugeAdvice) {
        // SAFETY: the range is the heap's. A refusal loses nothing.
        let _ = no_unwind(|| unsafe { self.source.advise_huge(base, len, advice) });
    }

    fn map_unregistered(&self, request: SegmentRequest) -> Result<(NonNull<u8>, NewSegment), Refusal> {
        // A source that refuses to commit and to unmap is not asked for ever more segments.
        self.release_abandoned()?;
        self.charge(HEADER_BYTES)?;
        let huge = self.advice(&request);
        let at_first = if request.gap { HugeAdvice::Against } else { huge };
        let SegmentRequest { len, least, align, offset, kind, root, .. } = request;
        let Ok(pages) = no_unwind(|| self.source.map(MapRequest { len, least, align, offset, huge: at_first })) else {
            self.refund(HEADER_BYTES);
            return Err(Refusal::Source);
        };
        if pages.huge != at_first {
            self.advise(pages.ptr, pages.len, at_first);
        }
        self.account.add_mapped(pages.len);
        let new = NewSegment {
            owner: self.owner,
            serial: 0,
            len: pages.len,
            kind,
            root: u8::try_from(root).unwrap_or(u8::MAX),
            zero_from: pages.zero_from,
            needs_commit: pages.needs_commit,
            huge,
        };
        Ok((pages.ptr, new))
    }

    /// Gives a segment back; the answer is its length. `committed` is what is charged for it, its header included.
    /// Where the source refuses, the segment stays registered, live and charged; all behind the common header may then
    /// have been zeroed and is unpoisoned, and `restore` runs before anybody else sees it.
    ///
    /// # Safety
    ///
    /// Nobody uses anything in the segment any more, and the tier has forgotten it (or keeps it on refusal).
    pub(crate) unsafe fn release(
        &self,
        segment: SegmentRef,
        committed: usize,
        restore: impl FnOnce(SegmentRef),
    ) -> Result<usize, Refusal> {
        let mut outcome = Err(Refusal::Source);
        self.records.lock().replace(segment, || {
            // SAFETY: the caller gives the segment up.
            outcome = unsafe { self.unmap(segment) };
            if outcome.is_err() {
                restore(segment);
            }
            outcome.is_err().then_some(segment)
        });
        if outcome.is_ok() {
            self.uncharge(committed);
        }
        outcome
    }

    /// Gives a segment back of which nothing but the common header is charged; where the source refuses, it waits in the
    /// records.
    ///
    /// # Safety
    ///
    /// Nobody has heard of the segment.
    pub(crate) unsafe fn abandon(&self, segment: SegmentRef) {
        // SAFETY: the caller gives the segment up.
        if unsafe { self.release(segment, HEADER_BYTES, |_| ()) }.is_err() {
            self.records.lock().abandon(segment);
        }
    }

    /// Tries again to give back what was abandoned; the answer is how many bytes that was.
    pub(crate) fn release_abandoned(&self) -> Result<usize, Refusal> {
        let mut released = 0;
        loop {
            let mut list = self.records.lock();
            let Some(segment) = list.abandoned() else { return Ok(released) };
            let mut outcome = Err(Refusal::Source);
            list.replace(segment, || {
                // SAFETY: nobody uses an abandoned segment, and it is found and released under one lock.
                outcome = unsafe { self.unmap(segment) };
                outcome.is_err().then_some(segment)
            });
            released += outcome?;
            list.forget_abandoned();
            self.uncharge(HEADER_BYTES);
        }
    }

    /// Gives a segment back that is in no record any more: the end of [`release`](Self::release), and teardown.
    ///
    /// # Safety
    ///
    /// Nobody uses anything in the segment any more.
    pub(crate) unsafe fn unmap(&self, segment: SegmentRef) -> Result<usize, Refusal> {
        let (base, len, touched) = (segment.base(), segment.len(), segment.touched().min(segment.len()));
        sanitizer::surrender(base, len);
        if self.options.zero_on_release && touched > HEADER_BYTES {
            // Parts of it may have been discarded; only what is committed can be written.
            self.commit_charged(segment, HEADER_BYTES, touched)?;
            // SAFETY: the header is within the segment.
            let body = unsafe { segment.at(HEADER_BYTES) };
            // SAFETY: the bytes up to `touched` are within the segment and committed, and nobody uses them.
            unsafe { body.write_bytes(0, touched - HEADER_BYTES) };
        }
        segment.set_live(false);
        #[cfg(any(debug_assertions, feature = "hardened"))]
        known::take_out(segment.addr());
        let release = Release { zero_from: touched, huge: segment.huge(), keep: self.reclaimed.is_none() };
        // SAFETY: a segment is a whole range of the source; the caller gives it up.
        if no_unwind(|| unsafe { self.source.unmap(base, len, release) }).is_err() {
            segment.set_live(true);
            return Err(Refusal::Source);
        }
        self.account.sub_mapped(len);
        self.count_reclaimed(len);
        Ok(len)
    }

    /// Charges `bytes` and makes the bytes at `offset..end` of the segment usable.
    pub(crate) fn commit(&self, segment: SegmentRef, offset: usize, end: usize, bytes: usize) -> Result<(), Refusal> {
        self.charge(bytes)?;
        self.commit_charged(segment, offset, end).inspect_err(|_| self.refund(bytes))
    }

    /// Makes bytes usable that are charged already.
    pub(crate) fn commit_charged(&self, segment: SegmentRef, offset: usize, end: usize) -> Result<(), Refusal> {
        if !segment.needs_commit() {
            return Ok(());
        }
        let page = self.page_size();
        let (from, to) = (align_down(offset, page), align_up(end, page).min(segment.len()));
        // SAFETY: `from` is at most `end`, which is within the segment.
        let start = unsafe { segment.at(from) };
        // SAFETY: the range lies within the segment.
        no_unwind(|| unsafe { self.source.commit(start, to - from) }).map_err(|_| Refusal::Source)
    }

    /// Gives the whole OS pages in `offset..end` back to the system; the answer is how many bytes that was.
    ///
    /// # Safety
    ///
    /// Nobody needs what these bytes hold. Where the segment needs commits, they are committed again before use.
    pub(crate) unsafe fn discard(&self, segment: SegmentRef, offset: usize, end: usize) -> Result<usize, Refusal> {
        let page = self.page_size();
        // What was never touched takes no memory, and is known to be zero: a discard would not leave it so everywhere.
        let end = end.min(align_up(segment.touched(), page));
        let (from, to) = (align_up(offset, page), align_down(end, page));
        if from >= to {
            return Ok(0);
        }
        // SAFETY: `from` is below `end`, which is within the segment.
        let start = unsafe { segment.at(from) };
        // A source may write to what it is given.
        sanitizer::unpoison(start, to - from);
        // SAFETY: the range lies within the segment, and the caller says that it is free.
        let discarded = no_unwind(|| unsafe { self.source.discard(start, to - from) });
        sanitizer::poison(start, to - from);
        discarded.map_err(|_| Refusal::Source)?;
        self.count_reclaimed(to - from);
        Ok(to - from)
    }

    fn count_reclaimed(&self, bytes: usize) {
        if let Some(reclaimed) = self.reclaimed {
            reclaimed.set(reclaimed.get() + bytes);
        }
    }

    /// Whether the source has a segment of about `len` bytes whose pages are there already.
    pub(crate) fn is_ready(&self, len: usize) -> bool {
        no_unwind(|| self.source.is_ready(len))
    }

    /// Makes a segment longer; where it moves, the answer is its new place, and the old one is gone.
    ///
    /// # Safety
    ///
    /// The caller owns the one block of the segment; the added part's charge is already paid.
    pub(crate) unsafe fn grow(&self, segment: SegmentRef, new_len: usize, growth: Growth) -> Option<SegmentRef> {
        let (base, len) = (segment.base(), segment.len());
        let mut grown = None;
        self.records.lock().replace(segment, || {
            #[cfg(any(debug_assertions, feature = "hardened"))]
            known::take_out(segment.addr());
            // SAFETY: a segment is a whole range of the source.
            let pages = no_unwind(|| unsafe { self.source.grow(base, len, new_len, growth) }).ok();
            let Some(pages) = pages else { return Some(segment) };
            pages.ptr.as_ptr().expose_provenance();
            // The header has moved along with everything else.
            let moved = SegmentRef::from_header(pages.ptr.cast());
            moved.set_live(true);
            moved.set_len(pages.len);
            if pages.zero_from > len {
                moved.touch(pages.zero_from);
            }
            self.account.add_mapped(pages.len - len);
            grown = Some(moved);
            grown
        });
        grown
    }
}
