//! The list of mappings against a model: random calls over sources of all kinds, with everything checked after each.

#![expect(unsafe_code, reason = "plays the part of users")]

mod cases;

use core::ptr::NonNull;
use std::vec::Vec;

use super::list::{MappingBlock, MappingList};
use super::segment::{OVERHEAD, len_of, usage};
use crate::os::raw_locks::NoLock;
use crate::os::testing::TestPages;
use crate::os::{PageSource, SystemPages};
use crate::primitives::address::is_aligned;
use crate::primitives::random::Random;
use crate::primitives::sanitizer;
use crate::primitives::scale::scale;
use crate::segment::{Account, OwnerId, Records, Supply, SupplyOptions, Usage};

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
