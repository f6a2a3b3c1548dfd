//! The records of segments: an iteration that holds nothing, headers that stand when they are said to, and what the
//! source refuses to take back.

#![expect(unsafe_code, reason = "implements a page source, and releases segments")]

use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use super::{Plain, check, join, spawn};
use crate::os::raw_locks::SystemLock;
use crate::os::{Discarded, MapRequest, PageError, PageSource, Pages, Release};
use crate::segment::{
    Account, Cursor, HEADER_BYTES, OwnerId, Records, SegmentKind, SegmentRef, SegmentRequest, Supply, SupplyOptions,
    Usage,
};

/// Bytes of a segment: models use nothing but the header.
const SEGMENT: usize = 512;

#[repr(align(64))]
struct Place {
    memory: UnsafeCell<[u8; SEGMENT]>,
    held: AtomicBool,
}

/// A source of a few segments, which knows which of them are out. The lowest that is free goes out first.
struct Shelf {
    places: Box<[Place]>,
    /// How many calls of `unmap` it refuses from now on.
    refusals: AtomicUsize,
}

// SAFETY: places are handed out to one at a time.
unsafe impl Sync for Shelf {}

impl Shelf {
    fn new(places: usize) -> Self {
        let place = || Place { memory: UnsafeCell::new([0; SEGMENT]), held: AtomicBool::new(false) };
        Self { places: (0..places).map(|_| place()).collect(), refusals: AtomicUsize::new(0) }
    }

    fn held(&self) -> usize {
        self.places.iter().filter(|place| place.held.load(Relaxed)).count()
    }
}

// SAFETY: a place goes out only while nobody has it.
unsafe impl PageSource for Shelf {
    fn page_size(&self) -> usize {
        SEGMENT
    }

    fn map(&self, request: MapRequest) -> Result<Pages, PageError> {
        let place = self.places.iter().find(|place| !place.held.swap(true, Relaxed)).ok_or(PageError)?;
        let ptr = NonNull::from(&place.memory).cast();
        Ok(Pages { ptr, len: SEGMENT, zero_from: SEGMENT, needs_commit: false, huge: request.huge })
    }

    unsafe fn discard(&self, _: NonNull<u8>, _: usize) -> Result<Discarded, PageError> {
        Err(PageError)
    }

    unsafe fn unmap(&self, ptr: NonNull<u8>, _: usize, _: Release) -> Result<(), PageError> {
        if self.refusals.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
            return Err(PageError);
        }
        let place = self.places.iter().find(|place| place.memory.get().addr() == ptr.addr().get());
        assert!(place.expect("a place").held.swap(false, Relaxed), "a segment is given back twice");
        Ok(())
    }
}

/// What of a heap its tiers get segments from.
struct Heap {
    source: Shelf,
    account: Account,
    records: Records<SystemLock>,
    /// The tier's own header of a segment.
    tier_header: Plain,
}

impl Heap {
    fn new(places: usize) -> Arc<Self> {
        let (account, records) = (Account::new(usize::MAX), Records::new());
        assert_eq!((account.committed(), account.peak(), account.mapped(), account.limit()), (0, 0, 0, usize::MAX));
        assert!(!records.contain(0));
        Arc::new(Self { source: Shelf::new(places), account, records, tier_header: Plain::new(0) })
    }

    fn supply(&self) -> Supply<'_, Shelf, SystemLock> {
        Supply {
            source: &self.source,
            account: &self.account,
            records: &self.records,
            owner: OwnerId::next(),
            options: SupplyOptions::DEFAULT,
            beyond_limit: false,
            reclaimed: None,
        }
    }

    fn map(&self) -> SegmentRef {
        self.supply().map(SegmentRequest::ordinary::<Shelf>(SegmentKind::Slab, 0, true)).unwrap()
    }

    fn release(&self, segment: SegmentRef) {
        // SAFETY: nobody uses what is in the segment.
        unsafe { self.supply().release(segment, HEADER_BYTES, |_| ()) }.unwrap();
    }

    /// All segments, as an iteration finds them: their addresses, batch by batch.
    fn segments(&self) -> Vec<usize> {
        let (mut cursor, mut seen) = (Cursor::new(), Vec::new());
        loop {
            let mut batch = self.records.next_batch(&mut cursor, |_| Usage::default());
            let before = seen.len();
            while let Some(segment) = batch.take_next() {
                seen.push(segment.address());
            }
            if seen.len() == before {
                return seen;
            }
        }
    }

    /// What is charged and mapped is what the source has handed out.
    fn check_sums(&self, segments: usize) {
        assert_eq!(self.source.held(), segments);
        assert_eq!(self.account.mapped(), segments * SEGMENT);
        assert_eq!(self.account.committed(), segments * HEADER_BYTES);
    }
}

/// A batch has 32 records: the last segment of the first batch goes, and a new one takes its place in memory.
#[test]
fn a_segment_that_is_there_throughout_is_seen_once() {
    check(|| {
        let heap = Heap::new(34);
        let segments: Vec<SegmentRef> = (0..34).map(|_| heap.map()).collect();
        let (first, last_of_batch) = (segments[0], segments[31]);
        let changing = spawn(&heap, move |heap| {
            heap.release(last_of_batch);
            heap.map();
            heap.release(first);
        });
        let seen = heap.segments();
        join([changing]);
        for (index, segment) in segments.iter().enumerate().filter(|(index, _)| ![0, 31].contains(index)) {
            assert_eq!(seen.iter().filter(|&&address| address == segment.addr()).count(), 1, "segment {index}");
        }
        heap.check_sums(33);
    });
}

#[test]
fn a_header_stands_when_it_is_said_to() {
    check(|| {
        let heap = Heap::new(1);
        let segment = heap.map();
        assert!(!segment.is_ready());
        let making = spawn(&heap, move |heap| {
            heap.tier_header.set(5);
            segment.set_ready();
        });
        let usage = |segment: SegmentRef| {
            if segment.is_ready() {
                assert_eq!(heap.tier_header.get(), 5);
            }
            Usage::default()
        };
        heap.records.next_batch(&mut Cursor::new(), usage);
        join([making]);
        heap.check_sums(1);
    });
}

#[test]
fn an_abandoned_segment_is_given_back_once() {
    check(|| {
        let heap = Heap::new(2);
        let (kept, abandoned) = (heap.map(), heap.map());
        kept.set_ready();
        heap.source.refusals.store(1, Relaxed);
        // SAFETY: nobody has heard of the segment.
        unsafe { heap.supply().abandon(abandoned) };
        heap.check_sums(2);
        let releasing = [(); 2].map(|()| {
            spawn(&heap, |heap| {
                heap.supply().release_abandoned().unwrap();
            })
        });
        assert!(heap.segments().contains(&kept.addr()));
        join(releasing);
        heap.check_sums(1);
    });
}
