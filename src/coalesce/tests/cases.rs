//! What single calls do, and leave undone.

#![expect(unsafe_code, reason = "plays the part of users")]

use std::vec::Vec;

use super::super::block::{BLOCK_HEADER, SMALLEST_BLOCK};
use super::super::root::{CoalescingRoot, MediumBlock, MediumRequest};
use super::super::segment::{CoalescingSegment, FIRST_BLOCK, OVERHEAD};
use super::{Heap, Live, region};
use crate::os::testing::{Call, TestPages};
use crate::os::{MIN_SEGMENT_SIZE, PageSource, SystemPages};
use crate::primitives::abort::last_words;
use crate::primitives::address::is_aligned;
use crate::segment::{HugePages, Refusal, ReleasePolicy, SegmentRef};

const SEGMENT: usize = SystemPages::SEGMENT_SIZE;

#[test]
fn a_leading_fragment_serves_the_next_request() {
    let heap = Heap::new(TestPages::new());
    let mut root = CoalescingRoot::new(0);
    let aligned = heap.allocate(&mut root, 40_000, SEGMENT / 4).unwrap();
    let base = aligned.ptr.addr().get() & !(SEGMENT - 1);
    let front = heap.allocate(&mut root, SEGMENT / 4 - 100_000, 16).unwrap();
    assert_eq!(front.ptr.addr().get(), base + FIRST_BLOCK + BLOCK_HEADER);
    assert_eq!(heap.source.outstanding_ranges(), 1);
    heap.check(&root);
}

#[test]
fn growth_takes_what_is_asked_and_leaves_the_rest_free() {
    let heap = Heap::new(TestPages::new());
    let mut root = CoalescingRoot::new(0);
    let first = heap.allocate(&mut root, 40_000, 16).unwrap();
    let second = heap.allocate(&mut root, 200_000, 16).unwrap();
    let third = heap.allocate(&mut root, 40_000, 16).unwrap();
    // SAFETY: the block is live.
    assert!(!unsafe { root.grow_in_place(&heap.supply(), first.ptr, 40_001) });
    heap.free(&mut root, second.ptr);
    // SAFETY: the block is live.
    assert!(unsafe { root.grow_in_place(&heap.supply(), first.ptr, 50_000) });
    assert_eq!(root.out(), (2, 50_000 + third.payload));
    heap.check(&root);
    let rest = 40_000 + BLOCK_HEADER + 200_000 - 50_000 - BLOCK_HEADER;
    let between = heap.allocate(&mut root, rest, 16).unwrap();
    assert!(between.ptr > first.ptr && between.ptr < third.ptr);
    heap.check(&root);
}

#[test]
fn growth_commits_what_it_takes_and_the_header_behind() {
    let heap = Heap::new(TestPages::new().demanding_commits());
    let mut root = CoalescingRoot::new(0);
    let block = heap.allocate(&mut root, 40_000, 16).unwrap();
    // The block ends with a page.
    let payload = (block.ptr.addr().get() + SEGMENT / 4).next_multiple_of(1 << 16) - block.ptr.addr().get();
    // SAFETY: the block is live.
    assert!(unsafe { root.grow_in_place(&heap.supply(), block.ptr, payload) });
    Live { ptr: block.ptr, payload, fill: 1, direct: false }.write(0);
    heap.check(&root);
}

#[test]
fn what_growth_took_is_no_longer_known_to_be_zero() {
    let heap = Heap::new(TestPages::new());
    let mut root = CoalescingRoot::new(0);
    let block = heap.allocate(&mut root, 40_000, 16).unwrap();
    // SAFETY: the block is live.
    assert!(unsafe { root.grow_in_place(&heap.supply(), block.ptr, SEGMENT / 4) });
    heap.free(&mut root, block.ptr);
    let again = heap.allocate(&mut root, SEGMENT / 2, 16).unwrap();
    assert_eq!(again.ptr, block.ptr);
    assert!(again.zero_from >= again.ptr.addr().get() + SEGMENT / 4);
}

#[test]
fn what_was_never_touched_is_not_discarded() {
    let heap = Heap::new(TestPages::new());
    let mut root = CoalescingRoot::new(0);
    let block = heap.allocate(&mut root, 40_000, 16).unwrap();
    let zero_from = (block.zero_from - block.ptr.addr().get()).max(40_000);
    assert!(root.reclaim(&heap.supply()) <= zero_from);
    assert_eq!(root.reclaim(&heap.supply()), 0);
    heap.check(&root);
}

#[test]
fn reclaim_answers_with_segments_and_pages() {
    let heap = Heap::new(TestPages::new());
    let mut root = CoalescingRoot::new(0);
    let [kept, freed, alone] =
        [40_000, SEGMENT / 2, SEGMENT / 4 * 3].map(|payload| heap.allocate(&mut root, payload, 16).unwrap());
    for block in [&freed, &alone] {
        Live { ptr: block.ptr, payload: block.payload, fill: 1, direct: false }.write(0);
        heap.free(&mut root, block.ptr);
    }
    assert_eq!(heap.source.outstanding_ranges(), 2);
    // A segment that served another heap before was touched further.
    let mut touched = 0;
    heap.records.for_each(|segment| {
        if segment.base() < freed.ptr && freed.ptr.addr().get() < segment.base().addr().get() + SEGMENT {
            touched = segment.base().addr().get() + segment.touched() - freed.ptr.addr().get();
        }
    });
    assert!(touched >= freed.payload);
    let bytes = root.reclaim(&heap.supply());
    let pages = bytes - SEGMENT;
    assert!(pages <= touched && pages + 3 * heap.source.page_size() > touched, "{pages} of {touched}");
    assert_eq!((root.reclaim(&heap.supply()), heap.source.outstanding_ranges()), (0, 1));
    heap.free(&mut root, kept.ptr);
    heap.check(&root);
}

#[test]
fn the_limit_refuses_before_anything_changes() {
    let heap = Heap::new(TestPages::new());
    let mut root = CoalescingRoot::new(0);
    heap.account.set_limit(100_000);
    let block = heap.allocate(&mut root, 60_000, 16).unwrap();
    let (committed, calls) = (heap.account.committed(), heap.source.calls());
    assert_eq!(heap.allocate(&mut root, 60_000, 16).unwrap_err(), Refusal::Limit);
    // SAFETY: the block is live.
    assert!(!unsafe { root.grow_in_place(&heap.supply(), block.ptr, 99_990) });
    assert_eq!((heap.account.committed(), heap.source.calls()), (committed, calls));
    assert_eq!(committed, OVERHEAD + BLOCK_HEADER + 60_000);
}

#[test]
fn empty_segments_leave_by_the_policy() {
    let mut heap = Heap::new(TestPages::new());
    heap.options.policy = ReleasePolicy { interval: 3, batch: 2 };
    let mut root = CoalescingRoot::new(0);
    let blocks: Vec<MediumBlock> = (0..4).map(|_| heap.allocate(&mut root, SEGMENT / 4 * 3, 16).unwrap()).collect();
    let mapped: Vec<usize> = blocks
        .into_iter()
        .map(|block| {
            heap.free(&mut root, block.ptr);
            heap.check(&root);
            heap.source.outstanding_ranges()
        })
        .collect();
    assert_eq!(mapped, [4, 4, 2, 2]);
    assert_eq!(heap.source.calls_of(Call::Discard), 1);
}

#[test]
fn a_segment_that_the_source_refuses_to_take_serves_on() {
    let heap = Heap::new(TestPages::new().demanding_commits());
    let mut root = CoalescingRoot::new(0);
    let block = heap.allocate(&mut root, 40_000, 16).unwrap();
    heap.free(&mut root, block.ptr);
    heap.source.refuse_call_once_after(Call::Unmap, 0);
    assert_eq!(root.release_empty(&heap.supply()), 0);
    heap.check(&root);
    let again = heap.allocate(&mut root, SEGMENT / 2, 16).unwrap();
    assert_eq!((again.ptr, heap.source.calls_of(Call::Map)), (block.ptr, 1));
    Live { ptr: again.ptr, payload: again.payload, fill: 1, direct: false }.write(0);
    heap.free(&mut root, again.ptr);
    assert_eq!(root.release_empty(&heap.supply()), SEGMENT);
    heap.check(&root);
}

#[test]
fn requests_beyond_a_segment_get_one_of_their_own() {
    let heap = Heap::new(TestPages::over(region(8 << 20)));
    let mut root = CoalescingRoot::new(0);
    let large = heap.allocate(&mut root, 3 * MIN_SEGMENT_SIZE, 64).unwrap();
    assert_eq!(large.payload, 3 * MIN_SEGMENT_SIZE);
    let aligned = heap.allocate(&mut root, 100_000, 4 * MIN_SEGMENT_SIZE).unwrap();
    assert!(is_aligned(aligned.ptr.addr().get(), 4 * MIN_SEGMENT_SIZE));
    heap.check(&root);
    assert_eq!(heap.free(&mut root, large.ptr), large.payload);
    heap.source.refuse_call_once_after(Call::Unmap, 0);
    heap.free(&mut root, aligned.ptr);
    assert_eq!(heap.source.outstanding_ranges(), 1);
    heap.check(&root);
    let again = heap.allocate(&mut root, 90_000, 4 * MIN_SEGMENT_SIZE).unwrap();
    assert_eq!((again.ptr, heap.source.outstanding_ranges()), (aligned.ptr, 1));
    heap.free(&mut root, again.ptr);
    assert_eq!((heap.source.outstanding_ranges(), heap.account.committed()), (0, 0));
    for (payload, align) in [(isize::MAX as usize, 16), (usize::MAX, 1), (1 << 20, 1 << (isize::BITS - 2))] {
        assert_eq!(heap.allocate(&mut root, payload, align).unwrap_err(), Refusal::Size);
    }
}

#[test]
fn an_aligned_block_leaves_nothing_or_a_whole_block_in_front() {
    for align in [16, 32, 64, 512] {
        let request = MediumRequest::new(48, align, true).unwrap();
        let addresses = || (4096..8192).step_by(16);
        for address in addresses() {
            let fits = |lead: &usize| (address + lead) % align == 0 && (*lead == 0 || *lead >= SMALLEST_BLOCK);
            assert_eq!(Some(request.lead(address)), (0..).step_by(16).find(fits));
        }
        let most = addresses().map(|address| request.lead(address)).max();
        assert_eq!(Some(request.anywhere()), most.map(|lead| lead + 48));
    }
}

#[test]
fn the_longest_block_of_a_segment_has_no_segment_of_its_own() {
    let first = FIRST_BLOCK + BLOCK_HEADER;
    for align in [16, 64, 4096] {
        let heap = Heap::new(TestPages::new());
        let mut root = CoalescingRoot::new(0);
        // A segment of one block needs none in front of it.
        let (start, alone) =
            (first + MediumRequest::new(16, align, true).unwrap().lead(first), first.next_multiple_of(align));
        let longest = SEGMENT - start;
        for (payload, has_its_own, start) in [(longest, false, start), (longest + 16, true, alone)] {
            let block = heap.allocate(&mut root, payload, align).unwrap();
            // SAFETY: the block is live.
            let segment = unsafe { SegmentRef::of_block(block.ptr.addr().get(), SEGMENT) };
            assert_eq!(block.ptr.addr().get() - segment.addr(), start);
            // SAFETY: it is a segment of the root.
            let single = unsafe { CoalescingSegment::new(segment) }.extent().single;
            assert_eq!(single, has_its_own, "{align} {payload}");
        }
        heap.check(&root);
    }
}

#[test]
fn pages_that_the_source_refuses_to_discard_are_discarded_later() {
    let heap = Heap::new(TestPages::new());
    let mut root = CoalescingRoot::new(0);
    // Nothing else of the segment is free.
    let rest = SEGMENT / 2 - FIRST_BLOCK - 2 * BLOCK_HEADER;
    let [block, _other] = [SEGMENT / 2, rest].map(|payload| heap.allocate(&mut root, payload, 16).unwrap());
    heap.free(&mut root, block.ptr);
    heap.source.refuse_call_once_after(Call::Discard, 0);
    assert_eq!(root.reclaim(&heap.supply()), 0);
    assert!(root.reclaim(&heap.supply()) > SEGMENT / 4);
    assert_eq!(root.reclaim(&heap.supply()), 0);
}

#[test]
fn an_aligned_request_is_served_by_what_is_free() {
    let heap = Heap::new(TestPages::new());
    let mut root = CoalescingRoot::new(0);
    let blocks: Vec<MediumBlock> =
        [40_000, 40_000, 400_000, 40_000].map(|payload| heap.allocate(&mut root, payload, 16).unwrap()).into();
    heap.free(&mut root, blocks[0].ptr);
    heap.free(&mut root, blocks[2].ptr);
    for align in [16, 32, 4096, 65_536] {
        let block = heap.allocate(&mut root, 300_000, align).unwrap();
        assert!(is_aligned(block.ptr.addr().get(), align));
        assert!((blocks[2].ptr..blocks[3].ptr).contains(&block.ptr), "{align}");
        heap.free(&mut root, block.ptr);
        heap.check(&root);
    }
    assert_eq!(heap.source.calls_of(Call::Map), 1);
}

#[test]
fn what_was_discarded_is_discarded_once_unless_pages_are_huge() {
    for (huge, again) in [(HugePages::Never, false), (HugePages::Always, true)] {
        let mut heap = Heap::new(TestPages::new());
        heap.options.huge = huge;
        let mut root = CoalescingRoot::new(0);
        let [block, _other] = [SEGMENT / 4 * 3, 40_000].map(|payload| heap.allocate(&mut root, payload, 16).unwrap());
        heap.free(&mut root, block.ptr);
        assert!(root.reclaim(&heap.supply()) > SEGMENT / 2);
        let part = heap.allocate(&mut root, SEGMENT / 2, 16).unwrap();
        assert_eq!(part.ptr, block.ptr);
        assert_eq!(root.reclaim(&heap.supply()) > 0, again);
    }
}

#[test]
fn free_twice() {
    let errors = last_words("coalesce::tests::cases::free_twice", || {
        let heap = Heap::new(TestPages::new());
        let mut root = CoalescingRoot::new(0);
        let block = heap.allocate(&mut root, 40_000, 16).unwrap();
        let _other = heap.allocate(&mut root, 40_000, 16).unwrap();
        heap.free(&mut root, block.ptr);
        heap.free(&mut root, block.ptr);
    });
    assert!(errors.starts_with("mallocstate: a medium block that is free already"), "{errors}");
}

#[test]
fn free_in_another_heap() {
    let errors = last_words("coalesce::tests::cases::free_in_another_heap", || {
        let (heap, other) = (Heap::new(TestPages::new()), Heap::new(TestPages::new()));
        let mut root = CoalescingRoot::new(0);
        let block = heap.allocate(&mut root, 40_000, 16).unwrap();
        other.free(&mut root, block.ptr);
    });
    assert!(errors.starts_with("mallocstate: not a medium block of this heap"), "{errors}");
}
