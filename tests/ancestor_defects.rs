//! The ancestor's defects: a test for each, which fails where the defect is back.

#![expect(unsafe_code, reason = "calls the heap by hand")]

mod blocks;
mod support;

#[path = "ancestor_defects/walk.rs"]
mod walk;

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use blocks::probe::Probe;
use blocks::{Block, Random, check_all, check_sums, free_all, sizes_of_all_tiers};
use mallocstate::allocator_api2::alloc::Allocator;
use mallocstate::os::testing::{Call, TestPages};
use mallocstate::{CoalescingAllocator, MallocState, Mode, PageSource, ReleasePolicy, SegmentKind, SystemPages};
use support::scale;

const SEGMENT: usize = SystemPages::SEGMENT_SIZE;
const SMALL_MAX: usize = SEGMENT / 128;
const MEDIUM_MAX: usize = SEGMENT / 4;

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// Runs `work` in a thread of its own.
fn elsewhere(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap());
}

/// Defect 1: the root was found from a block's current size, which in-place growth and unsplit remainders change.
#[test]
fn d01_a_block_that_changes_its_size_stays_with_its_root() {
    let mut heap = MallocState::new();
    // Threads pick different roots; blocks change size and thread between allocation and free.
    let mut blocks: Vec<Block> = Vec::new();
    let mut random = Random::new(1);
    for _ in 0..scale(40) {
        elsewhere(|| {
            for _ in 0..4 {
                let size = SMALL_MAX + 1 + random.below(MEDIUM_MAX / 8);
                blocks.push(Block::new(&heap, size, 64, 1).unwrap());
            }
            for block in &mut blocks {
                let size = SMALL_MAX + 1 + random.below(MEDIUM_MAX - SMALL_MAX);
                assert!(block.resize(&heap, size, 64, 2));
            }
        });
        elsewhere(|| blocks.drain(..blocks.len() / 2).for_each(|block| block.free(&heap)));
        assert_eq!(heap.validate(), Ok(()));
    }
    elsewhere(|| free_all(&heap, blocks));
    heap.reclaim();
    check_all(&mut heap);
    assert_eq!((heap.stats().live, heap.stats().cached), (0, 0));
    assert!(heap.segments().all(|segment| segment.kind() != SegmentKind::Coalescing), "a block went to no root");
}

/// Defect 2: in-place growth took the whole neighbour, read it before it took the lock, and asserted the opposite.
#[test]
fn d02_growth_in_place_takes_what_it_needs_under_the_lock() {
    let engine = CoalescingAllocator::new();
    let mut first = Block::new(&engine, 10_000, 16, 1).unwrap();
    let start = first.addr();
    let committed = engine.committed();
    assert!(first.resize(&engine, 20_000, 16, 2));
    assert_eq!((first.addr(), first.len()), (start, 20_000));
    assert_eq!(engine.committed() - committed, 10_000);
    let second = Block::new(&engine, 10_000, 16, 3).unwrap();
    assert!(second.addr() < start + 20_100, "the rest of the neighbour is lost");
    assert!(first.resize(&engine, 30_000, 16, 4));
    assert_ne!(first.addr(), start, "grown over a neighbour in use");
    free_all(&engine, vec![first, second]);
    assert_eq!(engine.validate(), Ok(()));

    // One thread grows while another makes and frees what is behind.
    let engine = CoalescingAllocator::new();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                free_all(&engine, (1..4).map(|size| Block::new(&engine, size * 3000, 16, 9).unwrap()).collect());
            }
        });
        for round in 0..scale(3000) {
            let mut block = Block::new(&engine, 2000, 16, 1).unwrap();
            for step in 1..5 {
                assert!(block.resize(&engine, 2000 + step * (500 + round % 1000), 16, 2));
            }
            block.free(&engine);
        }
        done.store(true, Relaxed);
    });
    assert_eq!((engine.validate(), engine.live()), (Ok(()), (0, 0)));
}

/// Defect 3: what an alignment left in front was in no list, the last block's flag came from a pointer, and requests
/// beyond the largest range had no root.
#[test]
fn d03_an_aligned_block_loses_nothing_and_every_size_has_a_root() {
    let engine = CoalescingAllocator::new();
    let aligned = Block::new(&engine, 1000, 64 << 10, 1).unwrap();
    let in_front = Block::new(&engine, 50_000, 16, 2).unwrap();
    assert!(in_front.addr() < aligned.addr() && in_front.addr() + in_front.len() < aligned.addr());
    // An aligned block that ends the segment: the free block before it, and none behind it.
    let segment = engine.segments().next().unwrap();
    let taken = aligned.addr() + aligned.len() - segment.address();
    let last_start = (SEGMENT - (64 << 10)).max(taken.next_multiple_of(64 << 10));
    let most = SEGMENT - last_start;
    let mut fillers = Vec::new();
    while let Some(block) = Block::new(&engine, most - 1024, 64 << 10, 3) {
        let ended = !segment.range().contains(&block.addr());
        fillers.push(block);
        if ended {
            break;
        }
        assert_eq!(engine.validate(), Ok(()));
    }
    assert!(fillers.len() > SEGMENT / (128 << 10), "{} aligned blocks in a segment", fillers.len());
    free_all(&engine, fillers);
    free_all(&engine, vec![aligned, in_front]);
    assert_eq!(engine.validate(), Ok(()));
    engine.reclaim();
    assert_eq!(engine.mapped(), 0, "the free blocks did not merge");

    let mut heap = MallocState::new();
    let sizes = [MEDIUM_MAX - 1, MEDIUM_MAX, MEDIUM_MAX + 1, SEGMENT - 4096, SEGMENT, SEGMENT + 1, 5 * SEGMENT];
    let aligns = [1, 64, 4096, MEDIUM_MAX, SEGMENT, 16 * SEGMENT];
    for (size, align) in support::thin(sizes.into_iter().flat_map(|size| aligns.map(|align| (size, align)))) {
        let block = Block::new(&heap, size, align, 4).unwrap_or_else(|| panic!("{size} B at {align}"));
        block.free(&heap);
        let block = Block::new(&engine, size, align, 4).unwrap_or_else(|| panic!("{size} B at {align}"));
        block.free(&engine);
    }
    check_all(&mut heap);
}

/// Defect 5: iteration left out empty slabs and segments; teardown walked a list that it was unmapping.
#[test]
fn d05_iteration_sees_empty_segments_and_teardown_gives_every_mapping_back() {
    let source = TestPages::new();
    let policy = ReleasePolicy { interval: usize::MAX, batch: 1 };
    let heap = MallocState::builder().release_policy(policy).source(&source).build().unwrap();
    free_all(&heap, (0..400).map(|_| Block::new(&heap, SMALL_MAX, 8, 1).unwrap()).collect());
    free_all(&heap, (0..9).map(|_| Block::new(&heap, SEGMENT / 5, 64, 1).unwrap()).collect());
    let live: Vec<Block> = (0..50).map(|_| Block::new(&heap, SEGMENT / 3, 8, 2).unwrap()).collect();
    free_all(&heap, (0..5).map(|_| Block::new(&heap, SEGMENT / 2, 8, 3).unwrap()).collect());
    assert_eq!(heap.segments().count(), source.outstanding_ranges());
    assert_eq!(heap.segments().map(|segment| segment.mapped()).sum::<usize>(), source.outstanding_bytes());
    for kind in [SegmentKind::Slab, SegmentKind::Coalescing, SegmentKind::Mapping] {
        let unused = heap.segments().filter(|segment| segment.kind() == kind && segment.in_use() == 0).count();
        assert!(unused > 0, "no empty segment of {kind:?}");
    }
    check_sums(&heap);
    live.iter().for_each(Block::check);
    let teardown = heap.destroy();
    assert_eq!((teardown.mappings().0, teardown.refused()), (50, 0));
    assert_eq!((source.outstanding_bytes(), source.outstanding_ranges()), (0, 0));
}

/// Defect 6: `calloc` multiplied without a check, and used a state that might not be initialised.
#[test]
fn d06_calloc_checks_the_product_and_initialises_the_heap() {
    let source = TestPages::new().dirty();
    let heap = MallocState::new_in(&source);
    let half = usize::MAX / 2;
    for (count, size) in
        [(usize::MAX, 2), (2, usize::MAX), (half + 1, 2), (1 << (usize::BITS / 2), 1 << (usize::BITS / 2))]
    {
        assert!(heap.calloc(count, size).is_none(), "{count} × {size}");
    }
    assert_eq!(source.calls(), 0);
    // The first call of a heap's life.
    let block = heap.calloc(100, 7).unwrap();
    // SAFETY: the block has 700 bytes, all of them written.
    assert_eq!(unsafe { NonNull::slice_from_raw_parts(block, 700).as_ref() }, [0; 700]);
    // SAFETY: the block is of this heap, and not used again.
    unsafe { heap.free(block) };
    assert!(heap.calloc(0, usize::MAX).is_some() && heap.calloc(usize::MAX, 0).is_some());
    assert_eq!(heap.stats().live_blocks, 2);
}

/// Defect 7: `posix_memalign` accepted alignments that are no powers of two, and refused some that are.
#[test]
fn d07_posix_memalign_takes_exactly_the_alignments_of_posix() {
    let heap = MallocState::new();
    let powers = (13..28).map(|exponent| 1 << exponent);
    let odd = [3 << 13, (1 << 20) - 8, (1 << 20) + 8, usize::MAX, usize::MAX - 7];
    for align in (0..=4200).chain(powers).chain(odd) {
        let right = align.is_power_of_two() && align >= size_of::<usize>();
        for size in [0, 1, 500] {
            let block = heap.posix_memalign(align, size);
            assert_eq!(block.is_some(), right, "{size} B at {align}");
            let Some(block) = block else { continue };
            assert_eq!(block.addr().get() % align, 0);
            // SAFETY: the block is of this heap, and not used again.
            unsafe { heap.free(block) };
        }
    }
}

/// Defect 8: slab pages came in batches and went back one page at a time.
#[test]
fn d08_slab_pages_go_back_in_whole_segments() {
    let source = TestPages::over(Probe::<SEGMENT>::new());
    let heap = MallocState::new_in(&source);
    let blocks: Vec<Block> =
        (0..20 * SEGMENT / SMALL_MAX).map(|_| Block::new(&heap, SMALL_MAX, 8, 1).unwrap()).collect();
    let segments = source.outstanding_ranges();
    assert!(segments > 20);
    free_all(&heap, blocks);
    heap.reclaim();
    assert_eq!(source.outstanding_ranges(), 1);
    assert_eq!(source.calls_of(Call::Unmap), segments - 1);
    // What stays mapped in the first segment goes back in units and more.
    let most = SEGMENT / (16 << 10);
    assert!(source.calls_of(Call::Discard) <= most, "{} discards", source.calls_of(Call::Discard));
}

/// Defect 9: sizes near the maximum wrapped around when they were rounded up.
#[test]
fn d09_sizes_near_the_maximum_are_refused() {
    let mut heap = MallocState::new();
    let small = heap.malloc(100).unwrap();
    let (mapped, most) = (heap.mapped(), isize::MAX as usize);
    for less in support::thin(0..200).chain([4095, 4096, 65_535, SEGMENT, SEGMENT + 1]) {
        let sizes = [usize::MAX - less, most - less, most / 2 + 1 + less];
        for size in sizes.into_iter().filter(|&size| support::is_impossible(size)) {
            assert!(heap.malloc(size).is_none());
            assert!(heap.calloc(1, size).is_none());
            assert!(heap.aligned_alloc(64, size).is_none());
            assert!(heap.posix_memalign(1 << 30, size).is_none());
            assert!(heap.try_alloc_slice_fill_with(size, |_| 0_u64).is_err());
            // SAFETY: the block is of this heap, and stays where it is refused.
            assert!(unsafe { heap.realloc(small, size) }.is_none());
            // SAFETY: as above.
            assert!(!unsafe { heap.realloc_in_place(small, size) });
            for align in [1, 16, 4096, SEGMENT] {
                let Ok(layout) = Layout::from_size_align(size, align) else { continue };
                assert!(heap.allocate(layout).is_err());
                assert!(heap.allocate_zeroed(layout).is_err());
            }
        }
    }
    for exponent in 0..usize::BITS - 1 {
        let _ = heap.allocate(layout(0, 1 << exponent)).unwrap();
    }
    let highest = most / 2 + 1;
    if support::is_impossible(highest) {
        assert!(heap.allocate(layout(1, highest)).is_err());
    }
    assert!(heap.aligned_alloc(most + 1, 1).is_none());
    assert_eq!((heap.mapped(), heap.stats().live_blocks), (mapped, 1));
    check_all(&mut heap);
}

/// Defect 10: reclaim took no locks.
#[test]
fn d10_reclaim_locks_what_it_takes_from() {
    let source = TestPages::new();
    let mut heap = MallocState::new_in(&source);
    let working = std::sync::atomic::AtomicUsize::new(2);
    std::thread::scope(|scope| {
        for seed in 1..3 {
            let (heap, working) = (&heap, &working);
            scope.spawn(move || {
                let mut random = Random::new(seed);
                for _ in 0..scale(100) {
                    let sizes = sizes_of_all_tiers::<SystemPages>();
                    let blocks = (0..30).map(|_| Block::new(heap, sizes[random.below(6)], 8, random.byte()).unwrap());
                    free_all(heap, blocks.collect());
                    free_all(heap, vec![Block::new(heap, SEGMENT / 3, 8, 1).unwrap()]);
                }
                working.fetch_sub(1, Relaxed);
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                while working.load(Relaxed) > 0 {
                    heap.reclaim();
                }
            });
        }
    });
    assert_eq!(heap.mapped(), source.outstanding_bytes());
    check_all(&mut heap);
}

/// Defect 11: `realloc` copied the old block's usable size, whatever the new one's.
#[test]
fn d11_realloc_copies_no_more_than_fits() {
    fn run<M: Mode>(mut heap: MallocState<M, &TestPages>) {
        let sizes = [24, 200, 3000, SMALL_MAX, SMALL_MAX * 2, MEDIUM_MAX, MEDIUM_MAX * 2, SEGMENT * 2];
        for (from, to) in support::thin(sizes.into_iter().flat_map(|from| sizes.map(|to| (from, to)))) {
            // Neighbours of the new block, on both sides, in use.
            let mut guards: Vec<Block> = (0..9).map(|_| Block::new(&heap, to, 8, 0x55).unwrap()).collect();
            guards.swap_remove(4).free(&heap);
            let old = heap.malloc(from).unwrap();
            // SAFETY: the block is of this heap.
            let usable = unsafe { heap.usable_size(old) };
            // SAFETY: these are all bytes of the block.
            unsafe { old.write_bytes(0xCC, usable) };
            // SAFETY: the block is of this heap, and not used again.
            let new = unsafe { heap.realloc(old, to) }.unwrap();
            // SAFETY: the block has that many bytes, and they were written before it was resized.
            let kept = unsafe { NonNull::slice_from_raw_parts(new, from.min(to)).as_ref() };
            assert!(kept[0] == 0xCC && kept[1..] == kept[..kept.len() - 1], "{from} to {to}");
            guards.iter().for_each(Block::check);
            // SAFETY: the block is of this heap, and not used again.
            unsafe { heap.free(new) };
            free_all(&heap, guards);
        }
        check_all(&mut heap);
    }
    let source = TestPages::new();
    run(MallocState::new_in(&source));
    run(MallocState::local_in(&source));
    assert_eq!(source.outstanding_bytes(), 0);
}

/// Defect 12: a tag of 8 bytes in front of every small block.
#[test]
fn d12_small_blocks_have_no_tag() {
    for size in [16, 32, 64, 128, 512, 2048, 4096] {
        let heap = MallocState::local();
        // Whole magazines: with the feature `hardened`, the blocks of one come in any order.
        let blocks: Vec<Block> = (0..1024).map(|_| Block::new(&heap, size, 1, 1).unwrap()).collect();
        let mut starts: Vec<usize> = blocks.iter().map(Block::addr).collect();
        starts.sort_unstable();
        // But for the slabs' ends, each block begins where the one before it ends.
        let touching = starts.windows(2).filter(|pair| pair[1] - pair[0] == size).count();
        assert!(touching >= 1024 - 1 - 1024 * size / (16 << 10), "{size} B: {touching} of 1024");
        assert!(starts.iter().all(|start| start % size == 0));
        assert_eq!(heap.stats().live, 1024 * size);
        free_all(&heap, blocks);
    }
}
