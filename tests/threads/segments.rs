//! Iteration over the segments of a heap in which something happens meanwhile.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use mallocstate::{MallocState, PageSource, SegmentKind, SystemPages};

use super::blocks::{Block, Random, check_all, free_all};
use super::support::scale;
use super::{alone, check_nothing_stranded, churn, in_threads};

const SEGMENT: usize = SystemPages::SEGMENT_SIZE;

#[test]
fn the_body_of_an_iteration_reclaims_and_allocates() {
    let _alone = alone();
    let mut heap = MallocState::new();
    let mut blocks: Vec<Block> = (0..80).map(|_| Block::new(&heap, SEGMENT / 3, 8, 1).unwrap()).collect();
    let mut seen = 0;
    for segment in heap.segments() {
        seen += 1;
        assert!(segment.in_use() <= segment.committed() && segment.committed() <= segment.mapped());
        heap.reclaim();
        if let Some(block) = blocks.pop() {
            block.free(&heap);
        }
        if seen < 200 {
            free_all(&heap, vec![Block::new(&heap, SEGMENT / 2, 8, 2).unwrap(), Block::new(&heap, 100, 8, 3).unwrap()]);
        }
        assert_eq!(heap.validate(), Ok(()));
    }
    assert!(seen >= 40);
    free_all(&heap, blocks);
    check_nothing_stranded(&mut heap);
}

#[test]
fn forgotten_and_dropped_iterators_are_harmless() {
    let _alone = alone();
    let mut heap = MallocState::new();
    let blocks: Vec<Block> = (0..40).map(|_| Block::new(&heap, SEGMENT / 3, 8, 1).unwrap()).collect();
    for taken in 0..40 {
        let mut iterator = heap.segments();
        assert_eq!(iterator.by_ref().take(taken).count(), taken);
        if taken % 2 == 0 {
            let _forgotten = std::mem::ManuallyDrop::new(iterator);
        }
    }
    let (mut early, late) = (heap.segments(), heap.segments());
    assert!(early.next().is_some());
    free_all(&heap, blocks);
    heap.reclaim();
    // What was copied before the segments left still comes out; then the iteration finds the end.
    assert!(early.count() <= 40);
    assert_eq!(late.count(), heap.segments().count());
    check_nothing_stranded(&mut heap);
    drop(heap);
}

#[test]
fn a_segment_that_is_there_throughout_is_seen_exactly_once() {
    let _alone = alone();
    let mut heap = MallocState::new();
    let fleeting: Vec<Block> = (0..30).map(|_| Block::new(&heap, SEGMENT / 3, 8, 2).unwrap()).collect();
    let mut staying = Vec::new();
    for block in fleeting {
        // Serials of staying segments have gaps.
        staying.extend((0..4).map(|_| heap.aligned_alloc(64, SEGMENT / 3).unwrap()));
        block.free(&heap);
    }
    let there: Vec<usize> = heap
        .segments()
        .filter(|segment| staying.iter().any(|block| segment.range().contains(&block.addr().get())))
        .map(|segment| segment.address())
        .collect();
    assert_eq!(there.len(), staying.len());
    let done = AtomicBool::new(false);
    in_threads(3, |number| {
        let mut random = Random::new(number as u64 + 1);
        if number > 0 {
            while !done.load(Relaxed) {
                free_all(&heap, churn(&heap, &mut random, 20));
                let sizes = [SEGMENT / 3, SEGMENT / 2, SEGMENT];
                free_all(&heap, sizes.map(|size| Block::new(&heap, size, 8, 1).unwrap()).into());
                heap.reclaim();
            }
            return;
        }
        for _ in 0..scale(100) {
            let mut seen = BTreeMap::new();
            for segment in heap.segments() {
                assert!(matches!(segment.kind(), SegmentKind::Slab | SegmentKind::Coalescing | SegmentKind::Mapping));
                *seen.entry(segment.address()).or_insert(0) += 1;
            }
            for address in &there {
                assert_eq!(seen.get(address), Some(&1));
            }
        }
        done.store(true, Relaxed);
    });
    check_all(&mut heap);
    assert_eq!(heap.destroy().mappings().0, there.len());
}
