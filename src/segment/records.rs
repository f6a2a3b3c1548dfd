//! A heap's records of its segments: one ordered list under one lock.
//!
//! # Invariants
//!
//! - The list is ordered by serial number; a segment keeps its serial for life and no two share one.
//! - A segment is in the list exactly from registration to release.
//!
//! Iteration pins nothing: it copies a batch of records, unlocks, and resumes after the last serial it has seen. Where
//! no segment has left since, the last record still stands and the walk goes on from it; else it starts again at the
//! list's head, passing over what it has seen.

#![expect(unsafe_code, reason = "walks the headers of live segments")]

use core::ptr::NonNull;

use crate::os::lock::{Guard, Locked, RawLock};
use crate::primitives::list::List;
use crate::segment::header::{SegmentHeader, SegmentKind, SegmentRef};
#[cfg(any(debug_assertions, feature = "hardened"))]
use crate::segment::known;

/// One segment as iteration shows it: a copy, true at the moment it was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    kind: SegmentKind,
    address: usize,
    mapped: usize,
    usage: Usage,
}

/// What of a segment is put to use, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) committed: usize,
    pub(crate) in_use: usize,
}

impl Segment {
    /// What the segment holds.
    pub fn kind(&self) -> SegmentKind {
        self.kind
    }

    /// Address of the first byte.
    pub fn address(&self) -> usize {
        self.address
    }

    /// The addresses of the segment.
    pub fn range(&self) -> core::ops::Range<usize> {
        self.address..self.address + self.mapped
    }

    /// Bytes of address space.
    pub fn mapped(&self) -> usize {
        self.mapped
    }

    /// Bytes put to use, the segment's own header included.
    pub fn committed(&self) -> usize {
        self.usage.committed
    }

    /// Bytes of blocks that are with users or with the heap's caches.
    pub fn in_use(&self) -> usize {
        self.usage.in_use
    }
}

const BATCH: usize = 32;

/// A batch of records, copied out of the lock.
pub(crate) struct SegmentBatch {
    segments: [Option<Segment>; BATCH],
    next: usize,
}

impl SegmentBatch {
    pub(crate) const fn new() -> Self {
        Self { segments: [None; BATCH], next: 0 }
    }

    /// The next record of the batch.
    pub(crate) fn take_next(&mut self) -> Option<Segment> {
        let segment = self.segments.get_mut(self.next)?.take()?;
        self.next += 1;
        Some(segment)
    }
}

/// Where an iteration stands between two batches.
pub(crate) struct Cursor {
    last_serial: u64,
    last: Option<NonNull<SegmentHeader>>,
    releases: u64,
}

impl Cursor {
    pub(crate) const fn new() -> Self {
        Self { last_serial: 0, last: None, releases: 0 }
    }
}

/// What the lock of [`Records`] protects.
pub(super) struct RecordList {
    list: List<SegmentHeader>,
    last_serial: u64,
    /// How many segments have left so far.
    releases: u64,
    /// How many segments are abandoned: nobody uses them, and the source has refused to take them back.
    abandoned: usize,
}

impl RecordList {
    pub(super) fn next_serial(&mut self) -> u64 {
        self.last_serial += 1;
        self.last_serial
    }

    /// Puts a segment with the newest serial at the end.
    pub(super) fn register(&mut self, segment: SegmentRef) {
        // SAFETY: a segment is registered once, and lives until it is released.
        unsafe { self.list.push_back(segment.as_header()) };
        #[cfg(any(debug_assertions, feature = "hardened"))]
        known::enter(segment.addr());
    }

    /// Takes a segment out while `change` runs; it comes back, in its place, as what `change` returns.
    pub(super) fn replace(&mut self, segment: SegmentRef, change: impl FnOnce() -> Option<SegmentRef>) {
        // SAFETY: a registered segment is in the list.
        let after = unsafe { List::after(segment.as_header()) };
        // SAFETY: as above.
        unsafe { self.list.remove(segment.as_header()) };
        self.releases += 1;
        if let Some(changed) = change() {
            // SAFETY: it was taken out above; `after` is still in the list.
            unsafe { self.list.insert_before(after, changed.as_header()) };
        }
    }

    /// Keeps a segment that nobody uses, until the source takes it back.
    pub(super) fn abandon(&mut self, segment: SegmentRef) {
        segment.set_abandoned();
        self.abandoned += 1;
    }

    /// A segment that waits for the source to take it back.
    pub(super) fn abandoned(&self) -> Option<SegmentRef> {
        let mut next = self.list.first().filter(|_| self.abandoned > 0);
        while let Some(header) = next.filter(|&header| !SegmentRef::from_header(header).is_abandoned()) {
            // SAFETY: the header is in the list.
            next = unsafe { List::after(header) };
        }
        next.map(SegmentRef::from_header)
    }

    /// One of the abandoned segments is gone.
    pub(super) fn forget_abandoned(&mut self) {
        self.abandoned -= 1;
    }

    fn pop(&mut self) -> Option<SegmentRef> {
        self.list.pop_front().map(SegmentRef::from_header)
    }

    fn resume(&self, cursor: &Cursor) -> Option<NonNull<SegmentHeader>> {
        if let Some(last) = cursor.last.filter(|_| cursor.releases == self.releases) {
            // SAFETY: no segment has left since the cursor stopped at this one, so it is still in the list.
            return unsafe { List::after(last) };
        }
        let mut next = self.list.first();
        while let Some(header) = next.filter(|&header| SegmentRef::from_header(header).serial() <= cursor.last_serial) {
            // SAFETY: the header is in the list.
            next = unsafe { List::after(header) };
        }
        next
    }
}

/// A heap's segments.
pub(crate) struct Records<L> {
    list: Locked<L, RecordList>,
}

impl<L: RawLock> Records<L> {
    pub(crate) const fn new() -> Self {
        Self { list: Locked::new(RecordList { list: List::new(), last_serial: 0, releases: 0, abandoned: 0 }) }
    }

    pub(super) fn lock(&self) -> Guard<'_, L, RecordList> {
        self.list.lock()
    }

    /// The bare lock, for the fork handlers.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn raw(&self) -> &L {
        self.list.raw()
    }

    /// Takes out any segment: for teardown.
    pub(crate) fn pop(&mut self) -> Option<SegmentRef> {
        self.list.get_mut().pop()
    }

    /// Whether one of the segments starts at `base`.
    #[cfg(any(debug_assertions, feature = "hardened"))]
    #[cold]
    fn have(&self, base: usize) -> bool {
        let list = self.lock();
        let mut next = list.list.first();
        while let Some(header) = next.filter(|header| header.addr().get() != base) {
            // SAFETY: the header is in the list.
            next = unsafe { List::after(header) };
        }
        if next.is_some() {
            // Under the lock: nobody gives the segment back meanwhile.
            known::enter(base);
        }
        next.is_some()
    }

    /// Whether a live segment starts at `base`: one of this heap, or of another one.
    #[cfg(any(debug_assertions, feature = "hardened"))]
    #[inline]
    pub(super) fn know(&self, base: usize) -> bool {
        // A place that nothing was entered in says 0.
        base != 0 && (known::has(base) || self.have(base))
    }

    /// Whether the address lies in a segment; walks the records.
    pub(crate) fn contain(&self, address: usize) -> bool {
        let list = self.lock();
        let mut next = list.list.first();
        while let Some(header) = next {
            let segment = SegmentRef::from_header(header);
            if address.wrapping_sub(segment.addr()) < segment.len() {
                return true;
            }
            // SAFETY: the header is in the list.
            next = unsafe { List::after(header) };
        }
        false
    }

    /// Runs `visit` for each segment; the lock is held meanwhile.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(SegmentRef)) {
        let list = self.lock();
        let mut next = list.list.first();
        while let Some(header) = next {
            // SAFETY: the header is in the list. It may leave the list in `visit` only if `visit` takes it to pieces.
            next = unsafe { List::after(header) };
            visit(SegmentRef::from_header(header));
        }
    }

    /// Copies the next records after `cursor`; an empty batch is the end.
    pub(crate) fn next_batch(&self, cursor: &mut Cursor, usage: impl Fn(SegmentRef) -> Usage) -> SegmentBatch {
        let list = self.lock();
        let mut batch = SegmentBatch::new();
        let mut next = list.resume(cursor);
        for place in &mut batch.segments {
            let Some(header) = next else { break };
            let segment = SegmentRef::from_header(header);
            *place = Some(Segment {
                kind: segment.kind(),
                address: segment.addr(),
                mapped: segment.len(),
                usage: usage(segment),
            });
            *cursor = Cursor { last_serial: segment.serial(), last: Some(header), releases: list.releases };
            // SAFETY: the header is in the list.
            next = unsafe { List::after(header) };
        }
        batch
    }
}
