//! What is wrong with tags, mirrors, links and headers, and how that is told.

#![expect(unsafe_code, reason = "writes over what belongs to the root")]

use core::ptr::NonNull;
use std::vec::Vec;

use super::super::block::{BLOCK_HEADER, SMALLEST_BLOCK};
use super::super::boundary_tag::{BoundaryTag, FreePages};
use super::super::root::CoalescingRoot;
use super::super::segment::{CoalescingSegment, Extent, FIRST_BLOCK};
use super::{Heap, Live};
use crate::os::testing::TestPages;
use crate::os::{PageSource, SystemPages};
use crate::primitives::sanitizer;
use crate::segment::SegmentRef;

const SEGMENT: usize = SystemPages::SEGMENT_SIZE;

#[test]
fn damage_is_noticed_when_a_block_comes_back() {
    let heap = Heap::new(TestPages::new());
    let mut root = CoalescingRoot::new(0);
    let blocks: Vec<Live> = (0..4)
        .map(|_| heap.allocate(&mut root, 40_000, 16).unwrap())
        .map(|block| Live { ptr: block.ptr, payload: block.payload, fill: 0, direct: false })
        .collect();
    // SAFETY: the block is live.
    let segment = unsafe { SegmentRef::of_block(blocks[0].ptr.addr().get(), SEGMENT) };
    // SAFETY: it is a segment of the root.
    let segment = unsafe { CoalescingSegment::new(segment) };
    let offset = |live: &Live| live.ptr.addr().get() - segment.common().addr();
    let is_sound = |live: &Live| segment.allocated_at(offset(live)).is_ok();
    assert!(blocks.iter().all(is_sound));
    for wrong in [0, 8, 16, FIRST_BLOCK, offset(&blocks[1]) + 8, offset(&blocks[1]) + 16, SEGMENT, SEGMENT + 16] {
        assert!(segment.allocated_at(wrong).is_err());
    }
    // An overflow by one word changes the right neighbour's mirror; a memory tool lets it pass here.
    sanitizer::surrender(blocks[1].ptr, blocks[1].payload + size_of::<usize>());
    let mirror = blocks[1].byte(blocks[1].payload).cast::<usize>();
    let allocated = |len, last| BoundaryTag::allocated(len, last, false).word();
    let left = offset(&blocks[2]) - BLOCK_HEADER - FIRST_BLOCK;
    let plausible = [allocated(left, true), allocated(left + 16, false), allocated(2 * SEGMENT, false)];
    for damage in [0, 1, 7, usize::MAX, 0x6161_6161].into_iter().chain(plausible) {
        // SAFETY: the word belongs to the root, which is not called meanwhile.
        let before = unsafe { mirror.replace(damage) };
        assert!(!is_sound(&blocks[1]) && !is_sound(&blocks[2]) && is_sound(&blocks[0]), "{damage:#x}");
        // SAFETY: as above.
        unsafe { mirror.write(before) };
    }
    // A tag that is too short, that reaches beyond its segment, or that of a last block.
    let own = blocks[0].byte(0).cast::<usize>().wrapping_sub(1);
    sanitizer::surrender(NonNull::new(own).unwrap().cast(), size_of::<usize>());
    for damage in [allocated(16, false), allocated(SEGMENT, false), allocated(blocks[0].payload + BLOCK_HEADER, true)] {
        // SAFETY: the word in front of a block is its tag; the root is not called meanwhile.
        let before = unsafe { own.replace(damage) };
        let said = segment.allocated_at(offset(&blocks[0])).err();
        assert_eq!(said, Some("the boundary tag of a medium block was overwritten"));
        // SAFETY: as above.
        unsafe { own.write(before) };
    }
    let stale = [heap.free(&mut root, blocks[1].ptr), heap.free(&mut root, blocks[2].ptr)];
    assert_eq!(stale, [40_000; 2]);
    assert!(!is_sound(&blocks[1]) && !is_sound(&blocks[2]));
    assert_eq!(segment.block_at(offset(&blocks[2]) - BLOCK_HEADER).tag(), BoundaryTag::NONE);
    assert!(is_sound(&blocks[0]) && is_sound(&blocks[3]));
}

#[test]
fn damage_is_told_by_the_deep_check() {
    /// How many words a mirror lies in front of its payload.
    const MIRROR: isize = -((BLOCK_HEADER / size_of::<usize>()) as isize);
    let heap = Heap::new(TestPages::new());
    let mut root = CoalescingRoot::new(0);
    let blocks: Vec<NonNull<u8>> = (0..4).map(|_| heap.allocate(&mut root, 40_000, 16).unwrap().ptr).collect();
    heap.free(&mut root, blocks[1]);
    // SAFETY: the words around the start of a block's payload are its header and, of a free block, its links.
    let word = |block: usize, at: isize| unsafe { blocks[block].cast::<usize>().offset(at) };
    // A memory tool lets the damage pass.
    (0..4).for_each(|block| sanitizer::surrender(word(block, MIRROR).cast(), SMALLEST_BLOCK));
    // What becomes of which words, and what is said of it.
    let free = |len: usize, last: bool| BoundaryTag::free(len, last, FreePages::USED).word();
    let used = |len: usize, last: bool| BoundaryTag::allocated(len, last, false).word();
    // SAFETY: the word is within the segment.
    let len = BoundaryTag::from_word(unsafe { word(0, -1).read() }).len();
    let first_mirror = word(1, MIRROR);
    type Damage<'a> = (&'a [(NonNull<usize>, usize)], &'a str);
    let damages: [Damage<'_>; 8] = [
        (&[(word(0, -1), 0)], "the length of a block"),
        (&[(word(0, -1), used(SMALLEST_BLOCK - 16, false))], "the length of a block"),
        (&[(word(3, -1), used(2 * SEGMENT, false))], "the length of a block"),
        (&[(word(0, -1), used(len, true))], "the last block of a segment"),
        (&[(first_mirror, used(len + 16, false))], "the mirror of a boundary tag"),
        (&[(word(0, -1), free(len, false)), (first_mirror, free(len, false))], "two free neighbours"),
        (&[(word(1, -1), used(len, false)), (word(2, MIRROR), used(len, false))], "a segment's sum of blocks in use"),
        (&[(word(1, 1), !0)], "the links of a bin"),
    ];
    assert_eq!(root.validate(&heap.supply()), Ok(()));
    for (words, what) in damages {
        // SAFETY: the words belong to the root, which only reads them meanwhile.
        let before: Vec<usize> = words.iter().map(|&(word, damage)| unsafe { word.replace(damage) }).collect();
        let said = root.validate(&heap.supply()).expect_err(what);
        assert!(std::format!("{said}").contains(what), "{said}: {what}");
        for (&(word, _), before) in words.iter().zip(before) {
            // SAFETY: as above.
            unsafe { word.write(before) };
        }
    }
    heap.check(&root);
}

#[test]
fn damaged_segments_are_told_by_the_deep_check() {
    let (heap, other) = (Heap::new(TestPages::new()), Heap::new(TestPages::new()));
    let mut root = CoalescingRoot::new(0);
    let segments = [(); 2].map(|()| {
        let block = heap.allocate(&mut root, SEGMENT / 4 * 3, 16).unwrap().ptr;
        // SAFETY: the block is live.
        let segment = unsafe { SegmentRef::of_block(block.addr().get(), SEGMENT) };
        // SAFETY: it is a segment of the root.
        unsafe { CoalescingSegment::new(segment) }
    });
    let said = |heap: &Heap<_>| std::format!("{}", root.validate(&heap.supply()).expect_err("damage"));
    assert!(said(&other).contains("a segment of another root"));
    for segment in segments {
        let (extent, out) = (segment.extent(), segment.out());
        let Extent { first, end, single } = extent;
        let wrong = [Extent { first, end: end + 16, single }, Extent { first: end, end, single }];
        let whole = Extent { single: true, ..extent };
        for (wrong, what) in wrong.map(|wrong| (wrong, "the extent of a segment")).into_iter().chain([(whole, "split")])
        {
            segment.restore(wrong);
            assert!(said(&heap).contains(what), "{what}");
        }
        segment.restore(extent);
        segment.set_out(0);
        let said = said(&heap);
        let behind = segment.common().addr() == segments[1].common().addr();
        let what = if behind { "an empty segment behind one in use" } else { "a segment's sum of blocks in use" };
        assert!(said.contains(what), "{said}");
        segment.set_out(out);
    }
    heap.check(&root);
}

#[cfg(any(debug_assertions, feature = "hardened"))]
#[test]
fn a_reset_leaves_no_block_that_looks_allocated() {
    let heap = Heap::new(TestPages::new());
    let mut root = CoalescingRoot::new(0);
    let blocks: Vec<NonNull<u8>> = (0..4).map(|_| heap.allocate(&mut root, 40_000, 16).unwrap().ptr).collect();
    root.reset(&heap.supply());
    assert_eq!(heap.allocate(&mut root, 40_000, 16).unwrap().ptr, blocks[0]);
    // SAFETY: the segment is the root's, and stays in a reset.
    let segment = unsafe { SegmentRef::of_block(blocks[0].addr().get(), SEGMENT) };
    // SAFETY: as above.
    let segment = unsafe { CoalescingSegment::new(segment) };
    let is_sound = |block: &NonNull<u8>| segment.allocated_at(block.addr().get() - segment.common().addr()).is_ok();
    assert_eq!(blocks.iter().map(is_sound).collect::<Vec<bool>>(), [true, false, false, false]);
}
