//! Random calls over sources of all kinds, with everything checked after each.

#![expect(unsafe_code, reason = "plays the part of users")]

use std::vec::Vec;

use super::super::root::{CoalescingRoot, payload_of};
use super::super::segment::OVERHEAD;
use super::{Heap, Live, accept, region};
use crate::os::PageSource;
use crate::os::testing::TestPages;
use crate::primitives::random::Random;
use crate::primitives::scale::scale;
use crate::segment::{Geometry, ReleasePolicy};

/// What a random run does besides allocating and freeing.
#[derive(Clone, Copy)]
struct Run {
    seed: u64,
    steps: usize,
    live: usize,
    refusals: bool,
}

fn run<S: PageSource>(heap: &Heap<S>, Run { seed, steps, live, refusals }: Run) {
    let mut random = Random::new(seed);
    let mut root = CoalescingRoot::new(3);
    let mut blocks: Vec<Live> = Vec::new();
    for step in 0..scale(steps) {
        if refusals && random.below(8) == 0 {
            heap.source.refuse_once_after(random.below(3));
        }
        match random.below(100) {
            0..50 if blocks.len() < live => {
                let largest = if random.below(60) == 0 { 2 * S::SEGMENT_SIZE } else { S::MEDIUM_MAX };
                let align = if random.below(3) == 0 { random.length(S::SEGMENT_SIZE).next_power_of_two() } else { 1 };
                let payload = random.length(largest);
                let before = heap.account.committed();
                match heap.allocate(&mut root, payload, align) {
                    Ok(block) => blocks.push(accept::<S>(block, payload, align, step as u8, &blocks)),
                    Err(_) => assert!(heap.account.committed() <= before + OVERHEAD),
                }
            }
            0..85 if !blocks.is_empty() => {
                let live = blocks.swap_remove(random.below(blocks.len()));
                live.verify(live.payload);
                assert_eq!(heap.free(&mut root, live.ptr), live.payload);
            }
            85..91 if !blocks.is_empty() => {
                let index = random.below(blocks.len());
                let live = &mut blocks[index];
                let payload = live.payload + random.length(S::MEDIUM_MAX);
                // SAFETY: the model says that the block is live.
                if unsafe { root.grow_in_place(&heap.supply(), live.ptr, payload) } {
                    let before = live.payload;
                    // SAFETY: as above.
                    live.payload = unsafe { payload_of(live.ptr, S::SEGMENT_SIZE) };
                    assert!((payload..payload + 32).contains(&live.payload));
                    live.write(before);
                }
            }
            91..97 if !blocks.is_empty() => {
                let index = random.below(blocks.len());
                let live = &mut blocks[index];
                let payload = random.length(live.payload);
                // SAFETY: the model says that the block is live.
                let kept = unsafe { root.shrink_in_place(&heap.supply(), live.ptr, payload) };
                assert!(kept >= payload && kept <= live.payload);
                live.verify(kept);
                live.payload = kept;
                live.write(0);
            }
            97 => {
                root.reclaim(&heap.supply());
                if !refusals {
                    assert_eq!(root.reclaim(&heap.supply()), 0);
                }
            }
            98 if random.below(30) == 0 => {
                blocks.clear();
                root.reset(&heap.supply());
                assert_eq!(root.out(), (0, 0));
            }
            _ => {}
        }
        heap.check(&root);
        let payload: usize = blocks.iter().map(|live| live.payload).sum();
        assert_eq!(root.out(), (blocks.len(), payload));
    }
    heap.source.refuse_nothing();
    for live in blocks {
        live.verify(live.payload);
        heap.free(&mut root, live.ptr);
    }
    heap.check(&root);
    root.release_empty(&heap.supply());
    assert_eq!((heap.source.outstanding_ranges(), heap.account.committed()), (0, 0));
}

const LONG: Run = Run { seed: 0x1234_5678_9abc, steps: 4000, live: 60, refusals: false };

#[test]
fn random_calls_agree_with_the_model() {
    run(&Heap::new(TestPages::new()), LONG);
}

#[test]
fn random_calls_with_few_blocks_empty_segments_often() {
    run(&Heap::new(TestPages::new()), Run { live: 6, seed: 99, ..LONG });
}

#[test]
fn random_calls_over_dirty_pages_that_need_commits() {
    run(&Heap::new(TestPages::new().dirty()), LONG);
    run(&Heap::new(TestPages::new().demanding_commits()), LONG);
}

#[test]
fn random_calls_over_a_region_that_runs_out() {
    for (seed, len) in [(5, 5 << 20), (6, (1 << 20) + (150 << 10))] {
        run(&Heap::new(TestPages::over(region(len))), Run { seed, ..LONG });
    }
}

#[test]
fn random_calls_to_a_source_that_refuses() {
    for seed in 1..5 {
        let run_refusing = Run { seed, refusals: true, steps: 2000, ..LONG };
        let mut heap = Heap::new(TestPages::new().demanding_commits());
        heap.options.policy = ReleasePolicy { interval: 1, batch: 1 };
        run(&heap, Run { live: 5, ..run_refusing });
        let mut heap = Heap::new(TestPages::over(region(8 << 20)));
        heap.options.zero_on_release = seed % 2 == 0;
        heap.options.policy = ReleasePolicy { interval: 1, batch: 1 };
        run(&heap, run_refusing);
    }
}

#[test]
fn random_calls_under_a_limit() {
    let heap = Heap::new(TestPages::new());
    heap.account.set_limit(3 << 20);
    run(&heap, LONG);
}
