//! Growth and shrinking keep what both layouts hold, and a refusal keeps everything.

use mallocstate::os::testing::{Call, TestPages};
use mallocstate::{MallocState, Mode, PageSource};

use crate::held::{Held, layout};
use crate::support::returned::{assert_counted, returned};
use crate::support::{scale, thin};
use crate::{in_every_mode, region};

const SIZES: [usize; 14] =
    [0, 1, 16, 20, 64, 200, 1024, 5000, 32_768, 40_000, 300_000, 1_048_576, 1_100_000, 4_194_304];

#[test]
fn every_way_from_size_to_size_keeps_the_contents() {
    in_every_mode(|heap| {
        for (old, new) in thin(SIZES.into_iter().flat_map(|old| SIZES.map(|new| (old, new)))) {
            Held::expect(heap, layout(old, 8)).resize(layout(new, 8)).expect("memory");
        }
    });
}

#[test]
fn one_block_goes_through_all_sizes() {
    in_every_mode(|heap| {
        let mut held = Held::expect(heap, layout(3, 1));
        for round in 0..3 {
            let sizes = SIZES.iter().chain(SIZES.iter().rev());
            for size in sizes.skip(round) {
                held = held.resize(layout(size + round, 1)).expect("memory");
            }
        }
    });
}

fn live<M: Mode, S: PageSource>(heap: &MallocState<M, S>) -> (usize, usize) {
    let stats = heap.stats();
    (stats.live_blocks, stats.live)
}

#[test]
fn a_shrunk_block_is_one_of_its_new_class() {
    let heap = MallocState::new();
    let held = Held::expect(&heap, layout(64, 8)).resize(layout(20, 8)).expect("memory");
    assert_eq!(held.usable(), returned(20, 32));
    let live: Vec<_> = heap.stats().classes().filter(|class| class.live_blocks > 0).collect();
    assert_eq!((live.len(), live[0].block_size), (1, 32));
    drop(held);
    assert_eq!(heap.stats().live_blocks, 0);
}

#[test]
fn a_medium_block_grows_into_what_is_free_behind_it() {
    let heap = MallocState::new();
    let held = Held::expect(&heap, layout(40_000, 8));
    let start = held.start();
    let held = held.resize(layout(200_000, 8)).expect("memory");
    assert_eq!(held.start(), start);
    let beyond = Held::expect(&heap, layout(40_000, 8));
    let held = held.resize(layout(300_000, 8)).expect("memory");
    assert_ne!(held.start(), start);
    let held = held.resize(layout(50_000, 8)).expect("less than before");
    assert_counted(live(&heap), (2, held.usable() + beyond.usable()));
}

#[test]
fn growth_past_the_limit_keeps_the_block() {
    let heap = MallocState::builder().limit(512 << 10).build().expect("a possible limit");
    for (old, new) in [(100, 600_000), (40_000, 600_000), (40_000, 2_000_000), (300_000, 400_000), (0, 1 << 20)] {
        let mut held = Held::expect(&heap, layout(old, 8));
        let before = heap.stats();
        match held.resize(layout(new, 8)) {
            Ok(grown) => held = grown,
            Err(kept) => {
                held = kept.grow_zeroed(layout(new, 8)).expect_err("as much as was refused just now");
                assert_eq!((heap.stats().live_blocks, heap.stats().live), (before.live_blocks, before.live));
                assert_eq!(heap.stats().failures.limit, before.failures.limit + 2);
            }
        }
        assert!(heap.committed() <= 512 << 10);
        drop(held);
    }
    assert!(heap.stats().failures.limit >= 8);
}

/// Shrinks each of a full heap's blocks, which the limit must not refuse.
#[test]
fn a_shrink_may_pass_the_limit() {
    for (old, new) in [(1000, 10), (5000, 2000), (40_000, 100), (40_000, 5000), (100_000, 40_000)] {
        let heap = MallocState::builder().limit(400 << 10).build().expect("a possible limit");
        let held: Vec<_> = std::iter::from_fn(|| Held::new(&heap, layout(old, 1))).collect();
        assert!(!held.is_empty());
        let held: Vec<_> = held.into_iter().map(|held| held.resize(layout(new, 1)).expect("a shrink")).collect();
        assert_eq!(heap.stats().live_blocks, held.len());
    }
}

/// Refuses everything from each of the first calls on that a resize makes: the block stays, or is a whole new one.
fn check_refusals<M: Mode>(make: impl Fn(&'static TestPages) -> MallocState<M, &'static TestPages>) {
    for (old, new) in
        [(100, 3_000_000), (40_000, 5_000_000), (1_500_000, 9_000_000), (2_000_000, 1_000_000), (2_000_000, 100)]
    {
        for calls in 0..6 {
            let pages: &'static TestPages = Box::leak(Box::new(TestPages::new().dirty()));
            let mut heap = make(pages);
            let held = Held::expect(&heap, layout(old, 64));
            pages.refuse_after(calls);
            let held = held.resize(layout(new, 1)).unwrap_or_else(|kept| kept);
            pages.refuse_nothing();
            assert_counted(live(&heap), (1, held.usable()));
            drop(held);
            assert_eq!(heap.validate_all(), Ok(()));
            drop(heap);
            assert_eq!(pages.outstanding_bytes(), 0);
        }
    }
}

#[test]
fn a_refusal_by_the_source_keeps_the_block() {
    check_refusals(MallocState::new_in);
    check_refusals(MallocState::local_in);
}

#[test]
fn a_source_without_growth_is_none_the_worse() {
    let pages = TestPages::new();
    pages.refuse_call_after(Call::Grow, 0);
    let heap = MallocState::new_in(&pages);
    let mut held = Held::expect(&heap, layout(1_100_000, 8));
    for size in [1_200_000, 3_000_000, 9_000_000, 4_000_000] {
        held = held.resize(layout(size, 8)).expect("memory");
    }
}

fn fill_up<M: Mode, S: PageSource>(heap: &MallocState<M, S>) {
    let mut held: Vec<_> = std::iter::from_fn(|| Held::new(heap, layout(1000, 8))).collect();
    held = held
        .into_iter()
        .map(|held| held.resize(layout(300_000, 8)).unwrap_or_else(|kept| kept))
        .map(|held| held.resize(layout(900, 16)).unwrap_or_else(|kept| kept))
        .collect();
    assert_counted(live(heap), (held.len(), held.iter().map(Held::usable).sum()));
}

#[test]
fn an_exhausted_region_keeps_its_blocks() {
    let mut heap = MallocState::local_in(region(2 << 20));
    for _ in 0..scale(3) {
        fill_up(&heap);
        assert_eq!((heap.stats().live_blocks, heap.validate_all()), (0, Ok(())));
    }
}
