//! Limits that come and go, and what the sums say of memory that was refused, released or reset.

#![expect(unsafe_code, reason = "frees and resizes raw blocks")]

mod support;

use std::alloc::Layout;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use mallocstate::allocator_api2::alloc::Allocator;
use mallocstate::os::testing::{Call, TestPages};
use mallocstate::{MIN_LIMIT, MallocState, ReleasePolicy};

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

#[test]
fn a_heap_that_was_reset_has_room_under_its_limit() {
    let mut heap = MallocState::builder().local().limit(1 << 20).build().unwrap();
    assert!(heap.try_alloc_slice_fill_with(2 << 20, |_| 0_u8).is_err());
    heap.set_limit(None);
    heap.alloc_slice_copy(&vec![0_u8; 32 << 20]);
    heap.reset();
    heap.set_limit(Some(1 << 20));
    assert!(heap.malloc(10).is_some(), "the cached mapping makes room");
    assert!(heap.committed() <= 1 << 20);
}

#[test]
fn the_peak_does_not_count_what_was_never_had() {
    let source = TestPages::new();
    let heap = MallocState::new_in(&source);
    heap.alloc(1_u8);
    let before = heap.peak();
    source.refuse_after(0);
    for size in [100_000, 10 << 20, usize::MAX >> 4] {
        assert!(heap.malloc(size).is_none());
    }
    assert_eq!(heap.peak(), heap.committed().max(before));
    assert!(heap.peak() < before + (64 << 10), "nothing but small tables was had");
}

#[test]
fn reclaim_counts_what_the_policy_releases_meanwhile() {
    let source = TestPages::new();
    let eager = ReleasePolicy { interval: 1, batch: 1 };
    let heap = MallocState::builder().source(&source).release_policy(eager).build().unwrap();
    heap.alloc(1_u8);
    let block = heap.malloc(100_000).unwrap();
    // SAFETY: the block is of this heap, and freed once; it stays in the thread's cache.
    unsafe { heap.free(block) };
    let mapped = heap.mapped();
    let reclaimed = heap.reclaim();
    assert!(heap.mapped() < mapped && reclaimed >= mapped - heap.mapped());
    assert_eq!((heap.mapped(), heap.reclaim()), (source.outstanding_bytes(), 0));
}

#[test]
fn what_could_not_be_discarded_is_discarded_later() {
    let source = TestPages::new();
    let heap = MallocState::builder().local().source(&source).build().unwrap();
    let blocks: Vec<_> = (0..64).map(|_| heap.malloc(8 << 10).unwrap()).collect();
    for (_, block) in blocks.into_iter().enumerate().filter(|(number, _)| number % 16 != 0) {
        // SAFETY: the block is of this heap, and freed once.
        unsafe { heap.free(block) };
    }
    source.refuse_call_after(Call::Discard, 0);
    assert_eq!(heap.reclaim(), 0);
    source.refuse_nothing();
    assert!(heap.reclaim() > 0);
    assert_eq!(heap.reclaim(), 0);
}

#[test]
fn a_shrink_to_a_larger_alignment_keeps_to_the_limit() {
    let heap = MallocState::builder().limit(1 << 20).build().unwrap();
    let (old, new) = (layout(16, 1), layout(15, 32 << 10));
    for _ in 0..200 {
        let Ok(block) = heap.allocate(old) else { break };
        // SAFETY: the block has this layout; it is not used again, whether it moves or not.
        let _ = unsafe { heap.shrink(block.cast(), old, new) };
        assert!(heap.committed() <= 1 << 20);
    }
}

/// The limit changes while threads take the long way all the time; at the end, nothing is lost.
#[test]
fn a_limit_that_comes_and_goes_under_threads() {
    let heap = MallocState::new();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3_u64)
            .map(|seed| {
                let heap = &heap;
                scope.spawn(move || {
                    let mut random = seed + 1;
                    let mut blocks = Vec::new();
                    for _ in 0..support::scale(60_000) {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let size = 16 + (random >> 33) as usize % 600;
                        if (random >> 20) % 2 == 0 || blocks.len() > 2000 {
                            if let Some(block) = blocks.pop() {
                                // SAFETY: the block is of this heap, and freed once.
                                unsafe { heap.free(block) };
                            }
                        } else {
                            blocks.extend(heap.malloc(size));
                        }
                        if random >> 54 == 0 {
                            // SAFETY: as above.
                            blocks.drain(..).for_each(|block| unsafe { heap.free(block) });
                        }
                    }
                    // SAFETY: as above.
                    blocks.drain(..).for_each(|block| unsafe { heap.free(block) });
                })
            })
            .collect();
        let (heap, done) = (&heap, &done);
        scope.spawn(move || {
            while !done.load(Relaxed) {
                for limit in [Some(MIN_LIMIT), Some(300 << 10), None] {
                    heap.set_limit(limit);
                    std::thread::yield_now();
                }
            }
        });
        for worker in workers {
            worker.join().unwrap();
        }
        done.store(true, Relaxed);
    });
    let mut heap = heap;
    heap.set_limit(None);
    heap.reclaim();
    heap.validate_all().unwrap();
    assert_eq!(heap.stats().live_blocks, 0);
}
