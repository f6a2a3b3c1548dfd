//! Options that no heap can have: each is refused with its name, its value and its bound, and the nearest good one is not.

#![expect(unsafe_code, reason = "implements page sources")]

mod support;

use std::alloc::Layout;
use std::error::Error;
use std::ptr::NonNull;

use mallocstate::allocator_api2::alloc::{AllocError, Allocator};
use mallocstate::allocator_api2::vec::Vec as HeapVec;
use mallocstate::os::testing::TestPages;
use mallocstate::os::{
    Discarded, MAX_SEGMENT_SIZE, MIN_SEGMENT_SIZE, MapRequest, PageError, PageSource, Pages, Release,
};
use mallocstate::{
    CoalescingAllocator, ConfigError, MAX_NAME, MallocState, RegionPages, ReleasePolicy, SlabAllocator, SystemPages,
};
use support::least_limit;

/// Checks all that an error says.
fn assert_says(error: &ConfigError, field: &str, value: usize, bound: &str) {
    assert_eq!((error.field(), error.value()), (field, value));
    assert_eq!(error.to_string(), format!("{field} is {value}, but must be {bound}"));
    let as_error: &dyn Error = error;
    assert!(as_error.source().is_none());
}

/// The error of what must not be built.
fn refused<T>(outcome: Result<T, ConfigError>) -> ConfigError {
    outcome.err().expect("out of bounds")
}

#[test]
fn a_limit_below_the_least() {
    for limit in [0, 1, 1000, least_limit() - 1] {
        let bound = format!("at least {}", least_limit());
        assert_says(&refused(MallocState::builder().limit(limit).build()), "limit", limit, &bound);
        assert_says(&refused(MallocState::builder().local().limit(limit).build()), "limit", limit, &bound);
    }
    for limit in [least_limit(), least_limit() + 1, 1 << 30, usize::MAX - 1] {
        let heap = MallocState::builder().limit(limit).build().expect("a limit within bounds");
        assert_eq!(heap.limit(), Some(limit));
    }
    assert_eq!(MallocState::builder().build().expect("defaults are within bounds").limit(), None);
}

#[test]
fn the_least_limit_is_of_use() {
    let heap = MallocState::builder().limit(least_limit()).build().expect("the least limit");
    let mut numbers = HeapVec::new_in(&heap);
    let mut refusals = 0;
    while numbers.len() < 1_000_000 && refusals == 0 {
        match numbers.try_reserve(1) {
            Ok(()) => numbers.push(numbers.len()),
            Err(_) => refusals += 1,
        }
    }
    assert!(numbers.len() >= 64, "room for {} numbers", numbers.len());
    assert!(numbers.iter().enumerate().all(|(index, &number)| index == number));
    assert!(refusals > 0 && heap.stats().failures.limit > 0);
    drop(numbers);
    let text = heap.try_alloc_str("still of use").expect("room for a word");
    assert_eq!(text, "still of use");
    assert!(heap.peak() <= least_limit() && heap.committed() <= least_limit());
}

#[test]
fn a_name_too_long() {
    let cases = ["x".repeat(64), "x".repeat(1000), "ä".repeat(32), "日".repeat(22), "🦀".repeat(16)];
    for name in cases {
        assert_says(&refused(MallocState::builder().name(&name).build()), "name", name.len(), "at most 63");
    }
    assert_eq!(MAX_NAME, 63);
    for name in ["", "tenant", &"x".repeat(63), &("ä".repeat(31) + "x"), &"日".repeat(21), &("🦀".repeat(15) + "日")]
    {
        let heap = MallocState::builder().name(name).build().expect("a name within bounds");
        assert_eq!(heap.name(), name);
        let moved = Box::new(heap);
        assert_eq!(moved.name(), name);
    }
}

#[test]
fn a_name_is_copied() {
    let heap = {
        let name = String::from("short-lived");
        MallocState::builder().name(&name).build().expect("a name within bounds")
    };
    assert_eq!(heap.name(), "short-lived");
    assert_eq!(MallocState::new().name(), "");
}

#[test]
fn a_policy_that_never_releases() {
    for (interval, batch, field) in
        [(0, 4, "release_policy.interval"), (4, 0, "release_policy.batch"), (0, 0, "release_policy.interval")]
    {
        let error = refused(MallocState::builder().release_policy(ReleasePolicy { interval, batch }).build());
        assert_says(&error, field, 0, "at least 1");
    }
    for policy in [ReleasePolicy { interval: 1, batch: 1 }, ReleasePolicy { interval: usize::MAX, batch: usize::MAX }] {
        let heap = MallocState::builder().release_policy(policy).build().expect("a policy within bounds");
        assert_eq!(*heap.alloc(7), 7);
    }
}

/// A source that nobody can use: its segments are `SIZE` bytes, and it hands out none.
struct Sized<const SIZE: usize>;

// SAFETY: it never hands anything out.
unsafe impl<const SIZE: usize> PageSource for Sized<SIZE> {
    const SEGMENT_SIZE: usize = SIZE;

    fn page_size(&self) -> usize {
        4096
    }

    fn map(&self, _: MapRequest) -> Result<Pages, PageError> {
        Err(PageError)
    }

    unsafe fn discard(&self, _: NonNull<u8>, _: usize) -> Result<Discarded, PageError> {
        Err(PageError)
    }

    unsafe fn unmap(&self, _: NonNull<u8>, _: usize, _: Release) -> Result<(), PageError> {
        Err(PageError)
    }
}

fn assert_refused_everywhere<const SIZE: usize>() {
    let block = Layout::new::<u64>();
    let errors = [
        refused(MallocState::builder().source(Sized::<SIZE>).build()),
        refused(MallocState::builder().local().source(Sized::<SIZE>).build()),
        refused(MallocState::builder().source(&Sized::<SIZE>).build()),
        refused(SlabAllocator::new_in(block, Sized::<SIZE>)),
        refused(SlabAllocator::local_in(block, Sized::<SIZE>)),
        refused(CoalescingAllocator::new_in(Sized::<SIZE>)),
        refused(CoalescingAllocator::local_in(Sized::<SIZE>)),
    ];
    let bound = format!("a power of two from {MIN_SEGMENT_SIZE} to {MAX_SEGMENT_SIZE}");
    errors.iter().for_each(|error| assert_says(error, "SEGMENT_SIZE", SIZE, &bound));
}

fn assert_accepted_everywhere<const SIZE: usize>() {
    let block = Layout::new::<u64>();
    let heap = MallocState::builder().source(Sized::<SIZE>).build().expect("a segment size within bounds");
    assert_eq!(heap.allocate(block), Err(AllocError));
    assert_eq!(heap.stats().failures.source, 1);
    let slabs = SlabAllocator::local_in(block, Sized::<SIZE>).expect("a segment size within bounds");
    assert_eq!(slabs.allocate(block), Err(AllocError));
    let blocks = CoalescingAllocator::local_in(Sized::<SIZE>).expect("a segment size within bounds");
    assert_eq!(blocks.allocate(block), Err(AllocError));
    assert_eq!(heap.mapped() + slabs.mapped() + blocks.mapped(), 0);
    assert_eq!(heap.committed() + slabs.committed() + blocks.committed(), 0);
}

#[test]
fn segments_of_no_good_size() {
    assert_refused_everywhere::<0>();
    assert_refused_everywhere::<1>();
    assert_refused_everywhere::<{ (1 << 20) + 4096 }>();
    assert_refused_everywhere::<{ 3 << 20 }>();
    assert_refused_everywhere::<{ MIN_SEGMENT_SIZE / 2 }>();
    assert_refused_everywhere::<{ MIN_SEGMENT_SIZE - 1 }>();
    assert_refused_everywhere::<{ MAX_SEGMENT_SIZE + 1 }>();
    assert_refused_everywhere::<{ MAX_SEGMENT_SIZE * 2 }>();
    assert_refused_everywhere::<{ usize::MAX }>();
    assert_accepted_everywhere::<MIN_SEGMENT_SIZE>();
    assert_accepted_everywhere::<{ 16 << 20 }>();
    assert_accepted_everywhere::<MAX_SEGMENT_SIZE>();
}

#[test]
fn blocks_too_large_for_slabs() {
    const MOST: usize = SystemPages::SEGMENT_SIZE / 128;
    for (size, align, padded) in
        [(MOST + 1, 1, MOST + 1), (1 << 20, 8, 1 << 20), (1, 2 * MOST, 2 * MOST), (MOST - 8, MOST / 2, MOST)]
    {
        let layout = Layout::from_size_align(size, align).expect("a layout");
        let outcome = SlabAllocator::new(layout);
        if padded <= MOST {
            assert_eq!(outcome.expect("a small block").block_size(), MOST);
        } else {
            assert_says(&refused(outcome), "block", padded, &format!("at most {MOST}"));
        }
    }
    let region = || RegionPages::new(Box::leak(Box::new_uninit_slice(4096)));
    let outcome = SlabAllocator::local_in(Layout::new::<[u8; 2049]>(), region());
    assert_says(&refused(outcome), "block", 2049, "at most 2048");
    assert!(SlabAllocator::local_in(Layout::new::<[u8; 2048]>(), region()).is_ok());
    assert_eq!(SlabAllocator::new(Layout::new::<()>()).expect("the smallest block").block_size(), 16);
}

#[test]
fn the_first_error_is_told_and_nothing_is_taken() {
    let source = TestPages::new();
    let limited = |limit| MallocState::builder().source(&source).name("tenant").limit(limit).build();
    assert_says(&refused(limited(5)), "limit", 5, &format!("at least {}", least_limit()));
    let heap = limited(least_limit()).expect("all within bounds");
    assert_eq!((source.calls(), heap.mapped(), heap.committed(), heap.peak()), (0, 0, 0, 0));
}
