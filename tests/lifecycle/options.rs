//! The options of a heap do what they say.

use std::sync::atomic::Ordering::Relaxed;

use mallocstate::os::testing::{Call, TestPages};
use mallocstate::{ConfigError, HugePages, MIN_LIMIT, MallocState, Mode, PageSource, ReleasePolicy};

use super::blocks::probe::Probe;
use super::blocks::{Block, check_all, check_sums, free_all};
use super::support::least_limit;
use super::{SEGMENT, one_of_each};

#[test]
fn a_builder_refuses_what_no_heap_can_have() {
    let wrong = |error: ConfigError, field: &str, value: usize, bound: &str| {
        assert_eq!((error.field(), error.value()), (field, value));
        assert!(error.to_string().contains(bound), "{error}");
    };
    let policy = |interval, batch| MallocState::builder().release_policy(ReleasePolicy { interval, batch }).build();
    let least = least_limit();
    wrong(MallocState::builder().limit(least - 1).build().unwrap_err(), "limit", least - 1, &least.to_string());
    wrong(MallocState::builder().name(&"n".repeat(64)).build().unwrap_err(), "name", 64, "63");
    wrong(policy(1, 0).unwrap_err(), "release_policy.batch", 0, "1");
    wrong(policy(0, 1).unwrap_err(), "release_policy.interval", 0, "1");
    let odd = MallocState::builder().source(Probe::<{ 3 << 20 }>::new()).build().unwrap_err();
    wrong(odd, "SEGMENT_SIZE", 3 << 20, "power of two");
    let short = MallocState::builder().source(Probe::<{ 128 << 10 }>::new()).build().unwrap_err();
    wrong(short, "SEGMENT_SIZE", 128 << 10, "262144");
    let name = "é".repeat(31) + "x";
    let heap = MallocState::builder().name(&name).limit(least).local().build().unwrap();
    assert_eq!((heap.name(), heap.limit()), (&*name, Some(least)));
    assert!(heap.malloc(100).is_some());
}

#[test]
fn zero_on_release_gives_back_nothing_but_zeros() {
    fn run<M: Mode>(mut heap: MallocState<M, Probe<SEGMENT>>) {
        for _ in 0..3 {
            let mut blocks: Vec<Block> = (0..3).flat_map(|_| one_of_each(&heap)).collect();
            blocks.extend((0..2000).map(|_| Block::new(&heap, SEGMENT / 1024, 8, 0xEE).unwrap()));
            blocks.extend((0..20).map(|_| Block::new(&heap, SEGMENT / 5, 64, 0xEE).unwrap()));
            free_all(&heap, blocks);
            heap.reclaim();
            check_all(&mut heap);
            one_of_each(&heap);
            heap.reset();
        }
        one_of_each(&heap);
        assert!(heap.source().unmapped.load(Relaxed) > SEGMENT);
    }
    let source = Probe::insisting_on_zeros;
    run(MallocState::builder().zero_on_release(true).source(source()).build().unwrap());
    run(MallocState::builder().zero_on_release(true).local().source(source()).build().unwrap());
}

#[test]
fn the_release_policy_says_when_empty_segments_leave() {
    for (interval, batch, expected) in [(1, 1, [9, 8, 7, 6, 5, 4]), (3, 2, [10, 10, 8, 8, 8, 6]), (100, 1, [10; 6])] {
        let source = TestPages::new();
        let policy = ReleasePolicy { interval, batch };
        let heap = MallocState::builder().release_policy(policy).source(&source).build().unwrap();
        // An alignment keeps these blocks out of the caches; a segment has four of them.
        let blocks: Vec<Block> = (0..40).map(|_| Block::new(&heap, SEGMENT / 5, 64, 1).unwrap()).collect();
        let others = source.outstanding_ranges() - 10;
        let mut segments = Vec::new();
        for (index, block) in blocks.into_iter().enumerate().take(24) {
            block.free(&heap);
            if index % 4 == 3 {
                segments.push(source.outstanding_ranges() - others);
            }
        }
        assert_eq!(segments, expected, "{policy:?}");
        check_sums(&heap);
    }
}

#[test]
fn slab_segments_leave_by_the_release_policy_as_well() {
    let segments_left = |interval| {
        let policy = ReleasePolicy { interval, batch: 1 };
        let heap = MallocState::builder().release_policy(policy).build().unwrap();
        free_all(&heap, (0..1000).map(|_| Block::new(&heap, SEGMENT / 128, 8, 1).unwrap()).collect());
        check_sums(&heap);
        heap.segments().count()
    };
    assert!(segments_left(1) <= 3);
    assert!(segments_left(1000) >= 8);
}

#[test]
fn huge_pages_are_asked_for_as_the_option_says() {
    for (huge, expected) in [
        (HugePages::Never, [0; 6]),
        // Not for the first segment of each kind, nor for a short mapping.
        (HugePages::Adaptive, [0, 1, 1, 2, 2, 3]),
        (HugePages::Always, [1, 2, 3, 4, 5, 6]),
    ] {
        let source = TestPages::over(Probe::<SEGMENT>::new());
        let heap = MallocState::builder().huge_pages(huge).source(&source).build().unwrap();
        let mut calls = Vec::new();
        let mut fill = |size, count| {
            (0..count).for_each(|_| _ = Block::new(&heap, size, 64, 1).unwrap());
            calls.push(source.calls_of(Call::Advise));
        };
        fill(1, 1);
        fill(SEGMENT / 128, 130);
        fill(SEGMENT / 5, 1);
        fill(SEGMENT / 5, 4);
        fill(SEGMENT / 4 + 1, 1);
        fill(SEGMENT.max(2 << 20), 1);
        assert_eq!(calls, expected, "{huge:?}");
    }
}

#[test]
fn below_committed_a_limit_stops_new_commits_only() {
    fn run<M: Mode, S: PageSource>(mut heap: MallocState<M, S>) {
        let mut blocks = one_of_each(&heap);
        let committed = heap.committed();
        heap.set_limit(Some(MIN_LIMIT));
        assert_eq!((heap.limit(), heap.committed()), (Some(MIN_LIMIT), committed));
        assert!(Block::new(&heap, SEGMENT, 8, 1).is_none());
        assert!(Block::new(&heap, SEGMENT / 6, 8, 1).is_none());
        assert!(heap.stats().failures.limit >= 2);
        blocks.iter().for_each(Block::check);
        // A shrink may move beyond the limit.
        for block in &mut blocks {
            let size = block.len().div_ceil(3);
            assert!(block.resize(&heap, size, 8, 6));
        }
        check_all(&mut heap);
        free_all(&heap, blocks);
        heap.reclaim();
        assert!(heap.committed() < committed);
        heap.set_limit(None);
        free_all(&heap, one_of_each(&heap));
        check_all(&mut heap);
    }
    run(MallocState::new());
    run(MallocState::local());
}
