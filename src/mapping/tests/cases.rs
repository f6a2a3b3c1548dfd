//! What single calls do, and leave undone.

#![expect(unsafe_code, reason = "plays the part of users")]

use core::ptr::NonNull;
use std::vec::Vec;

#[cfg(target_os = "linux")]
use super::super::list::MappingBlock;
use super::super::list::MappingList;
use super::super::segment::{Mapping, OVERHEAD};
use super::{Heap, Live, MIB, SEGMENT};
use crate::os::PageSource;
use crate::os::testing::{Call, TestPages};
use crate::primitives::abort::last_words;
use crate::primitives::address::{align_up, is_aligned};
use crate::segment::{HUGE_PAGE, HugePages, Refusal, SegmentRef, Supply, SupplyOptions};

#[test]
fn a_freed_mapping_serves_a_request_of_a_quarter_of_its_length() {
    let heap = Heap::new(TestPages::new());
    let mut list = MappingList::new();
    let first = list.allocate(&heap.supply(), 8 * MIB, 16).unwrap();
    heap.free(&mut list, first.ptr);
    // Where pages need commits, one makes sure that none lacks any.
    let calls = || heap.source.calls() - heap.source.calls_of(Call::Commit);
    let before = calls();
    for size in [8 * MIB, 8 * MIB - 1, 5 * MIB, 2 * MIB] {
        let again = list.allocate(&heap.supply(), size, 4096).unwrap();
        assert_eq!((again.ptr, again.len), (first.ptr, 8 * MIB));
        assert!(again.zero_from >= again.ptr.addr().get() + again.len);
        heap.free(&mut list, again.ptr);
    }
    assert_eq!(calls(), before);
    let page = heap.source.page_size();
    for (size, align) in [(2 * MIB - page, 16), (8 * MIB + 1, 16), (8 * MIB, 2 * SEGMENT)] {
        assert_ne!(list.allocate(&heap.supply(), size, align).unwrap().ptr, first.ptr);
    }
    heap.check(&list);
    assert!(list.reclaim(&heap.supply()) >= 8 * MIB);
}

#[test]
fn a_block_of_huge_pages_begins_with_one() {
    for (huge, len, gap) in [
        (HugePages::Adaptive, HUGE_PAGE, SEGMENT > HUGE_PAGE),
        (HugePages::Always, 3 * HUGE_PAGE, SEGMENT > HUGE_PAGE),
        (HugePages::Adaptive, HUGE_PAGE - (64 << 10), false),
        (HugePages::Never, HUGE_PAGE, false),
    ] {
        let heap = Heap::new(TestPages::new());
        let supply = Supply { options: SupplyOptions { huge, ..SupplyOptions::DEFAULT }, ..heap.supply() };
        let mut list = MappingList::new();
        let block = list.allocate(&supply, len, 16).unwrap();
        let offset = block.ptr.addr().get() % SEGMENT;
        assert_eq!(offset, if gap { HUGE_PAGE } else { align_up(OVERHEAD, heap.source.page_size()) });
        heap.check(&list);
    }
}

#[test]
fn a_long_freed_mapping_serves_only_what_needs_most_of_it() {
    let heap = Heap::new(TestPages::new());
    for (freed, size, serves) in [(16, 4, true), (17, 5, false), (30, 23, false), (30, 24, true), (40, 32, true)] {
        let mut list = MappingList::new();
        let first = list.allocate(&heap.supply(), freed * MIB, 16).unwrap().ptr;
        heap.free(&mut list, first);
        assert_eq!(list.allocate(&heap.supply(), size * MIB, 16).unwrap().ptr == first, serves, "{freed} {size}");
    }
}

#[test]
fn the_shortest_freed_mapping_serves_and_of_these_the_last_one_freed() {
    let heap = Heap::new(TestPages::new());
    let mut list = MappingList::new();
    let blocks = [4, 3, 3, 6].map(|len| list.allocate(&heap.supply(), len * MIB, 16).unwrap().ptr);
    blocks.into_iter().for_each(|block| heap.free(&mut list, block));
    for place in [2, 1, 0, 3] {
        assert_eq!(list.allocate(&heap.supply(), 2 * MIB, 16).unwrap().ptr, blocks[place]);
    }
    heap.check(&list);
}

#[test]
fn the_cache_is_bounded_and_a_limited_heap_has_none() {
    let heap = Heap::new(TestPages::new());
    let mut list = MappingList::new();
    let allocate = |list: &mut MappingList, size| list.allocate(&heap.supply(), size, 16).unwrap().ptr;
    let many: Vec<NonNull<u8>> = (0..12).map(|_| allocate(&mut list, 2 * MIB)).collect();
    many.into_iter().for_each(|block| heap.free(&mut list, block));
    assert_eq!((list.cached_bytes(), heap.source.outstanding_ranges()), (16 * MIB, 8));
    let large = allocate(&mut list, 60 * MIB);
    heap.free(&mut list, large);
    assert_eq!((list.cached_bytes(), heap.source.outstanding_ranges()), (64 * MIB, 3));
    let larger = allocate(&mut list, 100 * MIB);
    heap.free(&mut list, larger);
    assert_eq!((list.cached_bytes(), heap.source.outstanding_ranges()), (64 * MIB, 3));
    list.reclaim(&heap.supply());
    heap.account.set_limit(1 << 30);
    let block = allocate(&mut list, 2 * MIB);
    heap.source.refuse_call_once_after(Call::Unmap, 0);
    heap.free(&mut list, block);
    assert_eq!(list.cached_bytes(), 2 * MIB);
    heap.check(&list);
}

#[test]
fn a_block_of_enormous_alignment_lies_one_segment_behind_its_header() {
    let heap = Heap::new(TestPages::new());
    let mut list = MappingList::new();
    // A small address space need not have a gigabyte in one piece.
    let largest = if usize::BITS < 64 { 25 } else { 30 };
    for shift in 0..=largest {
        let block = list.allocate(&heap.supply(), 3 * MIB, 1 << shift).unwrap();
        assert!(is_aligned(block.ptr.addr().get(), 1 << shift));
        // SAFETY: the block is live.
        let grown = unsafe { list.grow(&heap.supply(), block.ptr, 9 * MIB, 1 << shift, true) };
        if let Some(grown) = grown {
            assert!(is_aligned(grown.ptr.addr().get(), 1 << shift));
        }
        heap.check(&list);
        heap.free(&mut list, grown.unwrap_or(block).ptr);
        list.reclaim(&heap.supply());
    }
    assert_eq!(heap.source.outstanding_bytes(), 0);
}

#[test]
fn what_a_shrink_gives_up_is_committed_again_by_growth() {
    let heap = Heap::new(TestPages::new().demanding_commits());
    let mut list = MappingList::new();
    let block = list.allocate(&heap.supply(), 8 * MIB, 16).unwrap();
    let mapped = heap.account.mapped();
    let header = align_up(OVERHEAD, heap.source.page_size());
    assert_eq!(heap.source.committed_bytes(), 8 * MIB + header);
    assert_eq!(heap.shrink(&mut list, block.ptr, 2 * MIB - 5), 2 * MIB);
    assert_eq!((heap.account.mapped(), heap.account.committed()), (mapped, 2 * MIB + OVERHEAD));
    // A shorter block is taken from the cache as long as it came back.
    heap.free(&mut list, block.ptr);
    assert_eq!(list.allocate(&heap.supply(), MIB, 16).unwrap().ptr, block.ptr);
    assert_eq!(heap.source.committed_bytes(), 2 * MIB + header);
    let grown = heap.grow(&mut list, block.ptr, 6 * MIB, false).unwrap();
    assert_eq!((grown.ptr, grown.len, heap.account.mapped()), (block.ptr, 6 * MIB, mapped));
    assert!(grown.zero_from >= block.ptr.addr().get() + 6 * MIB);
    assert_eq!(heap.source.committed_bytes(), 6 * MIB + header);
    Live::new(grown, 7).write(0);
    // The range may be longer than was asked for, but not so long.
    assert_eq!(heap.grow(&mut list, block.ptr, mapped, true), None);
    heap.account.set_limit(heap.account.committed() + MIB);
    assert_eq!(heap.grow(&mut list, block.ptr, 7 * MIB + 1, true), None);
    assert!(heap.grow(&mut list, block.ptr, 7 * MIB, true).is_some());
    heap.check(&list);
}

#[test]
fn a_mapping_that_is_neither_committed_nor_taken_back_serves_later() {
    let heap = Heap::new(TestPages::new().demanding_commits());
    let mut list = MappingList::new();
    heap.source.refuse_call_once_after(Call::Commit, 0);
    heap.source.refuse_call_once_after(Call::Unmap, 0);
    assert_eq!(list.allocate(&heap.supply(), 2 * MIB, 16), Err(Refusal::Source));
    assert_eq!((list.live(), list.cached_bytes()), ((0, 0), 2 * MIB));
    heap.check(&list);
    let block = list.allocate(&heap.supply(), 2 * MIB, 16).unwrap();
    assert_eq!((heap.source.outstanding_ranges(), list.cached_bytes()), (1, 0));
    Live::new(block, 3).write(0);
    heap.free(&mut list, block.ptr);
}

#[test]
fn sizes_near_the_maximum_are_refused_without_a_call() {
    let heap = Heap::new(TestPages::new());
    let mut list = MappingList::new();
    let largest = isize::MAX as usize;
    for (size, align) in [(usize::MAX, 1), (largest, 1), (largest - 4096, 16), (largest - SEGMENT, SEGMENT)] {
        assert_eq!(list.allocate(&heap.supply(), size, align), Err(Refusal::Size));
    }
    let block = list.allocate(&heap.supply(), 2 * MIB, 16).unwrap();
    let calls = heap.source.calls();
    assert_eq!(heap.grow(&mut list, block.ptr, usize::MAX, true), None);
    assert_eq!(heap.grow(&mut list, block.ptr, largest - 4096, true), None);
    assert_eq!(heap.source.calls(), calls);
    heap.check(&list);
    heap.free(&mut list, block.ptr);
}

#[test]
fn a_mapping_of_the_bound_is_cached_and_one_beyond_is_not() {
    let heap = Heap::new(TestPages::new());
    let mut list = MappingList::new();
    for (size, cached) in [(64 * MIB, 64 * MIB), (64 * MIB + 1, 0)] {
        let block = list.allocate(&heap.supply(), size, 16).unwrap();
        heap.free(&mut list, block.ptr);
        assert_eq!(list.cached_bytes(), cached);
        list.reclaim(&heap.supply());
    }
}

/// Where the system moves pages.
#[cfg(target_os = "linux")]
#[test]
fn what_cannot_grow_in_place_moves_where_its_alignment_allows() {
    for demands_commits in [false, true] {
        let source = if demands_commits { TestPages::new().demanding_commits() } else { TestPages::new() };
        let heap = Heap::new(source);
        let mut list = MappingList::new();
        for (align, then, moves) in
            [(16, 16, true), (16, MIB, false), (16, SEGMENT, false), (SEGMENT, SEGMENT, true), (SEGMENT, 16, true)]
        {
            let block = list.allocate(&heap.supply(), MIB, align).unwrap();
            let live = Live::new(block, 5);
            live.write(0);
            let (asked, mapped) = (heap.source.calls_of(Call::Grow), heap.source.calls_of(Call::Map));
            heap.source.refuse_call_once_after(Call::Grow, 0);
            // SAFETY: the block is live.
            let grown = unsafe { list.grow(&heap.supply(), block.ptr, 9 * MIB, then, true) };
            heap.source.refuse_nothing();
            let moves = moves && !demands_commits;
            assert_eq!(grown.is_some(), moves, "{align} {then}");
            // Where it is, it can only grow if it suits.
            let tries = usize::from(is_aligned(block.ptr.addr().get(), then)) + usize::from(moves);
            assert_eq!(heap.source.calls_of(Call::Grow) - asked, tries, "{align} {then}");
            assert_eq!(heap.source.calls_of(Call::Map), mapped);
            let there = grown.map_or(block, |grown| MappingBlock { len: block.len, ..grown });
            assert!(is_aligned(there.ptr.addr().get(), align.min(then)));
            Live { ptr: there.ptr, ..live }.verify();
            heap.check(&list);
            heap.free(&mut list, there.ptr);
            list.reclaim(&heap.supply());
        }
    }
}

#[test]
fn damage_is_told_by_the_deep_check() {
    let (heap, other) = (Heap::new(TestPages::new()), Heap::new(TestPages::new()));
    let mut list = MappingList::new();
    let [live, freed] = [(); 2].map(|()| list.allocate(&heap.supply(), 2 * MIB, 16).unwrap().ptr);
    heap.free(&mut list, freed);
    let [live, freed] = [live, freed].map(|block| {
        // SAFETY: the block's segment is there until the end.
        let segment = unsafe { SegmentRef::of_block(block.addr().get(), SEGMENT) };
        // SAFETY: it is of this kind.
        unsafe { Mapping::new(segment) }
    });
    let said = |list: &MappingList| std::format!("{}", list.validate(&heap.supply()).expect_err("damage"));
    let (len, page) = (live.len(), heap.source.page_size());
    for (mapping, in_use, what) in [(live, true, "in use"), (freed, false, "cached")] {
        mapping.set_in_use(!in_use);
        assert!(said(&list).contains("a mapping in the wrong list"));
        mapping.set_in_use(in_use);
        mapping.set_len(len - page);
        assert!(said(&list).contains("the sums of") && said(&list).contains(what));
        for wrong in [len - 1, len + 1, len + page, len + 2 * SEGMENT, usize::MAX - page + 1] {
            mapping.set_len(wrong);
            assert!(said(&list).contains("the extent of a large block"), "{wrong}");
        }
        mapping.set_len(len);
    }
    let said = std::format!("{}", list.validate(&other.supply()).expect_err("another heap's"));
    assert!(said.contains("a mapping of another heap"), "{said}");
    heap.check(&list);
}

#[test]
fn free_twice() {
    let errors = last_words("mapping::tests::cases::free_twice", || {
        let heap = Heap::new(TestPages::new());
        let mut list = MappingList::new();
        let block = list.allocate(&heap.supply(), 2 * MIB, 16).unwrap();
        heap.free(&mut list, block.ptr);
        heap.free(&mut list, block.ptr);
    });
    assert!(errors.starts_with("mallocstate: a large block that is free already: 0x"), "{errors}");
}

#[test]
fn free_inside() {
    let errors = last_words("mapping::tests::cases::free_inside", || {
        let heap = Heap::new(TestPages::new());
        let mut list = MappingList::new();
        let block = list.allocate(&heap.supply(), 2 * MIB, 16).unwrap();
        // SAFETY: the byte is within the block.
        heap.free(&mut list, unsafe { block.ptr.add(64) });
    });
    assert!(errors.starts_with("mallocstate: not the start of a large block: 0x"), "{errors}");
}
