//! The life of a heap: what it holds, what it says of that, and what it gives back.

mod blocks;
mod support;

#[path = "lifecycle/options.rs"]
mod options;

use blocks::probe::Probe;
use blocks::{Block, Random, check_all, check_sums, free_all, sizes_of_all_tiers, usable};
use mallocstate::os::testing::{Call, TestPages};
use mallocstate::{LocalMallocState, MallocState, Mode, PageSource, ReleasePolicy, SegmentKind, SystemPages};
use support::classes::class_size;
use support::returned::assert_counted;
use support::scale;

const SEGMENT: usize = SystemPages::SEGMENT_SIZE;

/// A block of each tier.
fn one_of_each<M: Mode, S: PageSource>(heap: &MallocState<M, S>) -> Vec<Block> {
    sizes_of_all_tiers::<S>().into_iter().map(|size| Block::new(heap, size, 8, 9).unwrap()).collect()
}

/// Runs `test` with sources that hand pages out as different systems do.
fn with_each_source(test: impl Fn(&TestPages)) {
    test(&TestPages::new());
    test(&TestPages::new().dirty());
    test(&TestPages::new().refusing_growth());
    test(&TestPages::new().demanding_commits());
}

/// Panics where heap and source disagree about what the heap holds.
fn check_identity<M: Mode>(heap: &mut MallocState<M, &TestPages>) {
    check_all(heap);
    assert_eq!(heap.mapped(), heap.source().outstanding_bytes());
    assert_eq!(heap.segments().count(), heap.source().outstanding_ranges());
}

fn live_through<M: Mode>(mut heap: MallocState<M, &TestPages>) -> MallocState<M, &TestPages> {
    check_identity(&mut heap);
    let mut blocks = Vec::new();
    for round in 0..3 {
        for _ in 0..4 {
            blocks.extend(one_of_each(&heap));
            check_identity(&mut heap);
        }
        heap.alloc_slice_copy(&[round; 50_000]);
        blocks.truncate(20);
        heap.reset();
        blocks.clear();
        check_identity(&mut heap);
        assert_eq!(heap.stats().live, 0);
        free_all(&heap, one_of_each(&heap));
        check_identity(&mut heap);
        heap.reclaim();
        check_identity(&mut heap);
        assert_eq!(heap.reclaim(), 0);
    }
    blocks.extend(one_of_each(&heap));
    heap.reclaim();
    check_identity(&mut heap);
    blocks.iter().for_each(Block::check);
    heap
}

#[test]
fn mapped_is_what_the_source_has_handed_out() {
    with_each_source(|source| {
        drop(live_through(MallocState::new_in(source)));
        assert_eq!((source.outstanding_bytes(), source.outstanding_ranges()), (0, 0));
        drop(live_through(MallocState::local_in(source)));
        assert_eq!((source.outstanding_bytes(), source.outstanding_ranges()), (0, 0));
        let heap = live_through(MallocState::new_in(source));
        let mapped = heap.mapped();
        let teardown = heap.destroy();
        assert_eq!((teardown.mapped(), teardown.refused()), (mapped, 0));
        assert_eq!((source.outstanding_bytes(), source.outstanding_ranges()), (0, 0));
    });
}

#[test]
fn the_quantities_add_up_after_every_kind_of_operation() {
    fn run<M: Mode>(mut heap: MallocState<M, &TestPages>) {
        let sizes = sizes_of_all_tiers::<&TestPages>();
        let (mut random, mut blocks, mut arena) = (Random::new(5), Vec::<Block>::new(), (0, 0));
        for _ in 0..scale(400) {
            let (size, byte) = (sizes[random.below(sizes.len())], random.byte());
            let (align, place) = (1 << random.below(13), random.below(blocks.len().max(1)));
            match random.below(10) {
                0..=2 => blocks.push(Block::new(&heap, size, align, byte).unwrap()),
                3 => blocks.push(Block::zeroed(&heap, size, align, byte).unwrap()),
                4 | 5 if !blocks.is_empty() => blocks.swap_remove(place).free(&heap),
                6 if !blocks.is_empty() => assert!(blocks[place].resize(&heap, size, align, byte)),
                7 => {
                    heap.alloc([byte; 48]);
                    arena = (arena.0 + 48, arena.1 + 1);
                }
                8 => _ = heap.reclaim(),
                9 if random.below(8) == 0 => {
                    blocks.clear();
                    heap.reset();
                    arena = (0, 0);
                }
                _ => {}
            }
            let ((bytes, count), stats) = (usable(&blocks), heap.stats());
            assert_counted((stats.live_blocks, stats.live), (count + arena.1, bytes + arena.0));
            check_identity(&mut heap);
        }
        blocks.iter().for_each(Block::check);
    }
    with_each_source(|source| {
        run(MallocState::new_in(source));
        run(MallocState::local_in(source));
        assert_eq!(source.outstanding_bytes(), 0);
    });
}

#[test]
fn a_hundred_thousand_heaps_leave_nothing() {
    let source = TestPages::new();
    for round in 0..scale(100_000) {
        let heap = MallocState::new_in(&source);
        let block = Block::new(&heap, 1 + round % 500, 8, 1).unwrap();
        if round % 1000 == 0 {
            one_of_each(&heap);
        }
        if round % 2 == 0 {
            block.free(&heap);
        }
        if round % 3 == 0 {
            assert_eq!(heap.destroy().refused(), 0);
        }
    }
    assert_eq!((source.outstanding_bytes(), source.outstanding_ranges()), (0, 0));
    assert_eq!(source.calls_of(Call::Map), source.calls_of(Call::Unmap));
}

#[test]
fn twenty_thousand_heaps_are_alive_at_once() {
    // Each takes a segment of addresses, of which 32-bit systems have some thousands.
    let most = if usize::BITS >= 64 { 20_000 } else { 500 };
    let heaps: Vec<MallocState> = (0..scale(most)).map(|_| MallocState::new()).collect();
    let numbers: Vec<&mut usize> = heaps.iter().enumerate().map(|(number, heap)| heap.alloc(number)).collect();
    for (index, (heap, number)) in heaps.iter().zip(&numbers).enumerate() {
        assert_eq!(**number, index);
        assert!(heap.contains(&raw const **number));
        assert_eq!(heap.mapped(), SEGMENT);
    }
    for (heap, number) in heaps.iter().zip(&numbers).take(1000) {
        assert_eq!(heaps.iter().take(1000).filter(|other| other.contains(&raw const **number)).count(), 1);
        assert_eq!(heap.stats().live_blocks, 1);
    }
}

#[test]
fn a_heap_moves_and_its_blocks_stay() {
    fn use_it<M: Mode, S: PageSource>(heap: &mut MallocState<M, S>, blocks: &mut Vec<Block>) {
        blocks.iter().for_each(Block::check);
        for block in &mut *blocks {
            let larger = block.len() + 1;
            assert!(block.resize(heap, larger, 8, 4));
        }
        blocks.pop().unwrap().free(heap);
        blocks.extend(one_of_each(heap));
        check_all(heap);
    }

    fn run<M: Mode, S: PageSource>(heap: MallocState<M, S>) -> (Box<MallocState<M, S>>, Vec<Block>) {
        let mut blocks = one_of_each(&heap);
        let mut boxed = Box::new(heap);
        use_it(&mut boxed, &mut blocks);
        let mut listed = vec![*boxed];
        use_it(&mut listed[0], &mut blocks);
        (Box::new(listed.remove(0)), blocks)
    }

    fn end<M: Mode, S: PageSource>(mut heap: MallocState<M, S>, mut blocks: Vec<Block>) {
        use_it(&mut heap, &mut blocks);
        free_all(&heap, blocks);
        assert_eq!(heap.destroy().live_blocks(), 0);
    }

    let (heap, blocks) = run(MallocState::new());
    std::thread::spawn(move || end(*heap, blocks)).join().unwrap();
    let (heap, blocks) = run(MallocState::local());
    std::thread::spawn(move || end(*heap, blocks)).join().unwrap();
    let (heap, blocks) = run(MallocState::new_in(TestPages::new().demanding_commits()));
    std::thread::spawn(move || end(*heap, blocks)).join().unwrap();
}

#[test]
fn a_teardown_tells_what_was_live_per_class_and_in_all() {
    let heap = MallocState::new();
    let small: Vec<Block> = (0..10).map(|_| Block::new(&heap, 33, 1, 1).unwrap()).collect();
    let medium: Vec<Block> = (0..3).map(|_| Block::new(&heap, SEGMENT / 100, 1, 2).unwrap()).collect();
    let large = Block::new(&heap, SEGMENT, 1, 3).unwrap();
    let freed: Vec<Block> = (0..7).map(|_| Block::new(&heap, 64, 1, 4).unwrap()).collect();
    let aligned = Block::new(&heap, SEGMENT / 100, 4096, 5).unwrap();
    free_all(&heap, freed);
    let (mapped, peak) = (heap.mapped(), heap.peak());
    let teardown = heap.destroy();
    let classes: Vec<_> = teardown.classes().map(|class| (class.block_size, class.live_blocks, class.live())).collect();
    let class = class_size(SEGMENT / 100);
    assert_eq!(classes, [(48, 10, 480), (class, 3, 3 * class)]);
    assert_eq!(teardown.mappings(), (1, large.len()));
    let (bytes, count) = usable(small.iter().chain(&medium).chain([&large, &aligned]));
    assert_eq!(count, 15);
    assert_counted((teardown.live_blocks(), teardown.live()), (count, bytes));
    assert_eq!((teardown.mapped(), teardown.peak()), (mapped, peak));
    assert_eq!(MallocState::new().destroy().live_blocks(), 0);
}

#[test]
fn a_heap_is_small_and_a_new_one_holds_nothing() {
    assert!(size_of::<MallocState>() <= 1024);
    assert!(size_of::<LocalMallocState>() <= 1024);
    let source = TestPages::new();
    let heap = MallocState::new_in(&source);
    assert_eq!((heap.mapped(), heap.committed(), heap.peak(), heap.limit()), (0, 0, 0, None));
    assert_eq!((heap.segments().count(), heap.reclaim(), heap.name()), (0, 0, ""));
    heap.set_limit(Some(1 << 20));
    drop(heap);
    assert_eq!(source.calls(), 0);
}

#[test]
fn reclaim_tells_what_it_gave_back_and_then_there_is_nothing_left() {
    fn run<M: Mode>(mut heap: MallocState<M, Probe<SEGMENT>>) {
        for round in 1..4 {
            let kept: Vec<Block> = (0..200).map(|_| Block::new(&heap, 3000, 8, 1).unwrap()).collect();
            let small: Vec<Block> = (0..round * 4000).map(|_| Block::new(&heap, 3000, 8, 1).unwrap()).collect();
            free_all(&heap, small);
            free_all(&heap, (0..round * 8).map(|_| Block::new(&heap, 1 << 20, 64, 2).unwrap()).collect());
            free_all(&heap, (0..6).map(|_| Block::new(&heap, SEGMENT, 8, 3).unwrap()).collect());
            let before = heap.source().given_back();
            let reclaimed = heap.reclaim();
            assert_eq!(reclaimed, heap.source().given_back() - before);
            assert!(reclaimed > SEGMENT);
            assert_eq!(heap.reclaim(), 0);
            assert_eq!(heap.stats().cached, 0);
            kept.iter().for_each(Block::check);
            free_all(&heap, kept);
            check_all(&mut heap);
        }
    }
    run(MallocState::new_in(Probe::new()));
    run(MallocState::local_in(Probe::new()));
}

/// A source may hand out more than it is asked for, and the system's pages do so where a quarter of their segments will do.
#[test]
fn blocks_lie_within_the_ordinary_length_of_a_segment() {
    let mut heap = MallocState::local_in(Probe::<{ 1 << 20 }>::new());
    for size in [64, 1000, 20_000] {
        let blocks: Vec<Block> = (0..3 << 20).step_by(size).map(|_| Block::new(&heap, size, 8, 1).unwrap()).collect();
        check_all(&mut heap);
        free_all(&heap, blocks);
    }
    heap.reclaim();
    check_all(&mut heap);
}

#[test]
fn a_reset_heap_is_warm() {
    fn run<M: Mode>(mut heap: MallocState<M, &TestPages>) {
        let mut calls = Vec::new();
        for _ in 0..4 {
            for _ in 0..300 {
                Block::new(&heap, SEGMENT / 128, 8, 1).unwrap();
            }
            for _ in 0..9 {
                Block::new(&heap, SEGMENT / 4, 8, 2).unwrap();
            }
            Block::new(&heap, SEGMENT, 8, 3).unwrap();
            heap.reset();
            check_identity(&mut heap);
            calls.push(heap.source().calls_of(Call::Map));
        }
        assert!(calls[0] >= 6);
        assert_eq!(calls[1..], [calls[0]; 3]);
    }
    let source = TestPages::new();
    run(MallocState::new_in(&source));
    run(MallocState::local_in(&source));
}

#[test]
fn peak_is_the_highest_committed() {
    let heap = MallocState::new();
    let mut highest = 0;
    for round in 0..5 {
        let mut blocks = Vec::new();
        for size in sizes_of_all_tiers::<SystemPages>().repeat(3 - round % 3) {
            blocks.push(Block::new(&heap, size, 8, 1).unwrap());
            highest = highest.max(heap.committed());
        }
        assert_eq!(heap.peak(), highest);
        for block in blocks {
            block.free(&heap);
            // A cache of freed blocks takes memory of its own.
            highest = highest.max(heap.committed());
        }
        heap.reclaim();
        assert!(heap.committed() < highest);
        assert_eq!((heap.peak(), heap.stats().peak), (highest, highest));
    }
    assert_eq!(heap.destroy().peak(), highest);
}

#[test]
fn empty_segments_are_seen_by_iteration() {
    let policy = ReleasePolicy { interval: usize::MAX, batch: 1 };
    let heap = MallocState::builder().release_policy(policy).build().unwrap();
    free_all(&heap, (0..500).map(|_| Block::new(&heap, SEGMENT / 128, 8, 1).unwrap()).collect());
    free_all(&heap, (0..9).map(|_| Block::new(&heap, SEGMENT / 4 - 4096, 64, 1).unwrap()).collect());
    for kind in [SegmentKind::Slab, SegmentKind::Coalescing] {
        let empty = heap.segments().filter(|segment| segment.kind() == kind && segment.in_use() == 0);
        assert!(empty.count() >= 3, "{kind:?}");
    }
    check_sums(&heap);
}
