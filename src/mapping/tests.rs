//! The list of mappings against a model: random calls over sources of all kinds, with everything checked after each.

#![expect(unsafe_code, reason = "plays the part of users")]

use core::ptr::NonNull;
use std::vec::Vec;

use super::list::{MappingBlock, MappingList};
use super::segment::{OVERHEAD, len_of, usage};
use crate::os::raw_locks::NoLock;
use crate::os::testing::{Call, TestPages};
use crate::os::{PageSource, SystemPages};
use crate::primitives::abort::last_words;
use crate::primitives::address::is_aligned;
use crate::primitives::random::Random;
use crate::primitives::sanitizer;
use crate::primitives::scale::scale;
use crate::segment::{Account, OwnerId, Records, Refusal, Supply, SupplyOptions, Usage};

const SEGMENT: usize = SystemPages::SEGMENT_SIZE;
const MIB: usize = 1 << 20;

/// A heap of mappings only.
struct Heap {
    source: TestPages,
    account: Account,
    records: Records<NoLock>,
    owner: OwnerId,
    options: SupplyOptions,
}

impl Heap {
    fn new(source: TestPages) -> Self {
        let account = Account::new(usize::MAX);
        Self { source, account, records: Records::new(), owner: OwnerId::next(), options: SupplyOptions::DEFAULT }
    }

    fn supply(&self) -> Supply<'_, TestPages, NoLock> {
        let Self { source, account, records, owner, options } = self;
        Supply { source, account, records, owner: *owner, options: *options, beyond_limit: false, reclaimed: None }
    }

    /// Checks the list, and that all sums agree with one another.
    fn check(&self, list: &MappingList) {
        list.validate(&self.supply()).unwrap();
        let mut sum = Usage::default();
        self.records.for_each(|segment| {
            let usage = usage(segment);
            sum.committed += usage.committed;
            sum.in_use += usage.in_use;
        });
        let (_, bytes) = list.live();
        assert_eq!((sum.committed, sum.in_use), (self.account.committed(), bytes));
        assert_eq!(self.account.committed(), bytes + list.cached_bytes() + self.source.outstanding_ranges() * OVERHEAD);
        assert_eq!(self.account.mapped(), self.source.outstanding_bytes());
    }

    fn free(&self, list: &mut MappingList, block: NonNull<u8>) {
        // SAFETY: the tests free each block once.
        unsafe { list.free(&self.supply(), block) }
    }

    fn grow(&self, list: &mut MappingList, block: NonNull<u8>, size: usize, may_move: bool) -> Option<MappingBlock> {
        // SAFETY: the tests grow live blocks, and forget those that have moved.
        unsafe { list.grow(&self.supply(), block, size, 1, may_move) }
    }

    fn shrink(&self, list: &mut MappingList, block: NonNull<u8>, size: usize) -> usize {
        // SAFETY: the tests shrink live blocks.
        let kept = unsafe { list.shrink(&self.supply(), block, size) };
        sanitizer::surrender(block, kept);
        kept
    }
}

/// A block that the model knows, with a mark every so often.
struct Live {
    ptr: NonNull<u8>,
    len: usize,
    fill: u8,
}

const STRIDE: usize = 4093;

impl Live {
    fn new(block: MappingBlock, fill: u8) -> Self {
        // SAFETY: the block was just handed out.
        assert_eq!(unsafe { len_of(block.ptr, SEGMENT) }, block.len);
        // A heap would do it.
        sanitizer::surrender(block.ptr, block.len);
        Self { ptr: block.ptr, len: block.len, fill }
    }

    fn marks(&self, from: usize) -> impl Iterator<Item = *mut u8> {
        let (ptr, last) = (self.ptr, self.len - 1);
        let places = (from.next_multiple_of(STRIDE)..self.len).step_by(STRIDE).chain([last]);
        // SAFETY: the places are within the block.
        places.filter(move |&place| place >= from).map(move |place| unsafe { ptr.add(place) }.as_ptr())
    }

    fn write(&self, from: usize) {
        for mark in self.marks(from) {
            // SAFETY: marks are within the block.
            unsafe { mark.write(self.fill) };
        }
    }

    fn verify(&self) {
        for mark in self.marks(0) {
            // SAFETY: marks are within the block.
            assert_eq!(unsafe { mark.read() }, self.fill);
        }
    }

    fn assert_zero(&self, zero_from: usize) {
        for mark in self.marks(zero_from.saturating_sub(self.ptr.addr().get()).min(self.len)) {
            // SAFETY: marks are within the block.
            assert_eq!(unsafe { mark.read() }, 0);
        }
    }
}

fn run(heap: &Heap, seed: u64, refusals: bool) {
    let mut random = Random::new(seed);
    let mut list = MappingList::new();
    let mut blocks: Vec<Live> = Vec::new();
    for step in 0..scale(600) {
        if refusals && random.below(6) == 0 {
            heap.source.refuse_once_after(random.below(3));
        }
        let size = 1 + random.below(6 * MIB);
        match random.below(100) {
            0..40 if blocks.len() < 12 => {
                let align = if random.below(3) == 0 { 1 << random.below(25) } else { 16 };
                if let Ok(block) = list.allocate(&heap.supply(), size, align) {
                    assert!(is_aligned(block.ptr.addr().get(), align) && block.len >= size);
                    let live = Live::new(block, step as u8);
                    live.assert_zero(block.zero_from);
                    live.write(0);
                    blocks.push(live);
                }
            }
            0..70 if !blocks.is_empty() => {
                let live = blocks.swap_remove(random.below(blocks.len()));
                live.verify();
                heap.free(&mut list, live.ptr);
            }
            70..85 if !blocks.is_empty() => {
                let index = random.below(blocks.len());
                let size = blocks[index].len + random.below(3 * MIB);
                if let Some(block) = heap.grow(&mut list, blocks[index].ptr, size, random.below(2) == 0) {
                    let before = Live { ptr: block.ptr, len: blocks[index].len, fill: blocks[index].fill };
                    before.verify();
                    let grown = Live::new(block, step as u8);
                    assert!(grown.len >= size);
                    grown.assert_zero(block.zero_from);
                    grown.write(0);
                    blocks[index] = grown;
                } else {
                    blocks[index].verify();
                }
            }
            85..96 if !blocks.is_empty() => {
                let index = random.below(blocks.len());
                let live = &mut blocks[index];
                let size = 1 + random.below(live.len);
                let before = live.len;
                live.len = heap.shrink(&mut list, live.ptr, size);
                assert!(live.len >= size && live.len <= before);
                live.write(live.len - 1);
                live.verify();
            }
            96 => {
                list.reclaim(&heap.supply());
                if !refusals {
                    assert_eq!((list.cached_bytes(), list.reclaim(&heap.supply())), (0, 0));
                }
            }
            97 if random.below(4) == 0 => {
                blocks.clear();
                list.reset(&heap.supply());
            }
            _ => {}
        }
        heap.check(&list);
        assert_eq!(list.live(), (blocks.len(), blocks.iter().map(|live| live.len).sum()));
    }
    heap.source.refuse_nothing();
    list.reset(&heap.supply());
    list.reclaim(&heap.supply());
    heap.check(&list);
    assert_eq!((heap.source.outstanding_ranges(), heap.account.committed()), (0, 0));
}

#[test]
fn random_calls_agree_with_the_model() {
    run(&Heap::new(TestPages::new()), 0x1234_5678, false);
    run(&Heap::new(TestPages::new().dirty()), 1, false);
    run(&Heap::new(TestPages::new().refusing_growth()), 2, false);
    run(&Heap::new(TestPages::new().demanding_commits()), 3, false);
}

#[test]
fn random_calls_to_a_source_that_refuses() {
    for seed in 4..8 {
        let mut heap = Heap::new(if seed < 6 { TestPages::new() } else { TestPages::new().demanding_commits() });
        heap.options.zero_on_release = seed % 2 == 0;
        run(&heap, seed, true);
    }
}

#[test]
fn random_calls_under_a_limit() {
    let heap = Heap::new(TestPages::new());
    heap.account.set_limit(20 * MIB);
    run(&heap, 9, false);
    assert!(heap.account.peak() <= 20 * MIB);
}

#[test]
fn a_freed_mapping_serves_a_request_of_about_its_length() {
    let heap = Heap::new(TestPages::new());
    let mut list = MappingList::new();
    let first = list.allocate(&heap.supply(), 4 * MIB, 16).unwrap();
    heap.free(&mut list, first.ptr);
    // Where pages need commits, one makes sure that none lacks any.
    let calls = || heap.source.calls() - heap.source.calls_of(Call::Commit);
    let before = calls();
    for size in [4 * MIB, 4 * MIB - 1, 7 * MIB / 2] {
        let again = list.allocate(&heap.supply(), size, 4096).unwrap();
        assert_eq!(again.ptr, first.ptr);
        assert!(again.zero_from >= again.ptr.addr().get() + again.len);
        heap.free(&mut list, again.ptr);
    }
    assert_eq!(calls(), before);
    for (size, align) in [(3 * MIB, 16), (4 * MIB + 1, 16), (4 * MIB, 2 * SEGMENT)] {
        assert_ne!(list.allocate(&heap.supply(), size, align).unwrap().ptr, first.ptr);
    }
    heap.check(&list);
    assert!(list.reclaim(&heap.supply()) >= 4 * MIB);
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
    assert_eq!(heap.shrink(&mut list, block.ptr, 2 * MIB - 5), 2 * MIB);
    assert_eq!((heap.account.mapped(), heap.account.committed()), (mapped, 2 * MIB + OVERHEAD));
    let grown = heap.grow(&mut list, block.ptr, 6 * MIB, false).unwrap();
    assert_eq!((grown.ptr, grown.len, heap.account.mapped()), (block.ptr, 6 * MIB, mapped));
    assert!(grown.zero_from >= block.ptr.addr().get() + 6 * MIB);
    Live::new(grown, 7).write(0);
    assert_eq!(heap.grow(&mut list, block.ptr, 9 * MIB, true), None);
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
fn free_twice() {
    let errors = last_words("mapping::tests::free_twice", || {
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
    let errors = last_words("mapping::tests::free_inside", || {
        let heap = Heap::new(TestPages::new());
        let mut list = MappingList::new();
        let block = list.allocate(&heap.supply(), 2 * MIB, 16).unwrap();
        // SAFETY: the byte is within the block.
        heap.free(&mut list, unsafe { block.ptr.add(64) });
    });
    assert!(errors.starts_with("mallocstate: not the start of a large block: 0x"), "{errors}");
}
