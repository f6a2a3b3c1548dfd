//! Tests of coalescing roots: a heap of one root, and a model of its blocks.

#![expect(unsafe_code, reason = "plays the part of users")]

mod cases;
mod damage;
mod random;

use core::ptr::NonNull;
use std::boxed::Box;

use super::block::BLOCK_HEADER;
use super::root::{CoalescingRoot, MediumBlock, MediumRequest, is_direct, payload_of};
use super::usage;
use crate::os::raw_locks::NoLock;
use crate::os::testing::TestPages;
use crate::os::{PageSource, RegionPages};
use crate::primitives::address::is_aligned;
use crate::primitives::sanitizer;
use crate::segment::{Account, OwnerId, Records, Refusal, Supply, SupplyOptions, Usage};

/// A heap of one root.
struct Heap<S> {
    source: TestPages<S>,
    account: Account,
    records: Records<NoLock>,
    owner: OwnerId,
    options: SupplyOptions,
}

impl<S: PageSource> Heap<S> {
    fn new(source: TestPages<S>) -> Self {
        let account = Account::new(usize::MAX);
        Self { source, account, records: Records::new(), owner: OwnerId::next(), options: SupplyOptions::DEFAULT }
    }

    fn supply(&self) -> Supply<'_, TestPages<S>, NoLock> {
        let Self { source, account, records, owner, options } = self;
        Supply { source, account, records, owner: *owner, options: *options, beyond_limit: false, reclaimed: None }
    }

    /// Checks the root, and that all sums agree with one another.
    fn check(&self, root: &CoalescingRoot) {
        root.validate(&self.supply()).unwrap();
        let mut sum = Usage::default();
        self.records.for_each(|segment| {
            let usage = usage(segment);
            sum.committed += usage.committed;
            sum.in_use += usage.in_use;
        });
        assert_eq!(self.account.committed(), sum.committed);
        let (blocks, payload) = root.out();
        assert_eq!(sum.in_use, payload + blocks * BLOCK_HEADER);
        assert_eq!(self.account.mapped(), self.source.outstanding_bytes());
        assert!(self.account.committed() <= self.account.limit());
    }

    fn allocate(&self, root: &mut CoalescingRoot, payload: usize, align: usize) -> Result<MediumBlock, Refusal> {
        let request = MediumRequest::new(payload, align, align > 16)?;
        match root.allocate(&self.supply(), request)? {
            Some(block) => Ok(block),
            None => root.allocate_in_new_segment(&self.supply(), request, self.source.outstanding_bytes() == 0),
        }
    }

    fn free(&self, root: &mut CoalescingRoot, ptr: NonNull<u8>) -> usize {
        // SAFETY: the tests free each block once.
        unsafe { root.free(&self.supply(), ptr) }
    }
}

/// A block that the model knows.
struct Live {
    ptr: NonNull<u8>,
    payload: usize,
    fill: u8,
    direct: bool,
}

impl Live {
    /// Offsets in `from..to` at which the model looks.
    fn places(from: usize, to: usize) -> impl Iterator<Item = usize> {
        let sparse = (from.next_multiple_of(509)..to).step_by(509);
        (from..to.min(from + 300)).chain(sparse).chain(to.saturating_sub(40).max(from)..to)
    }

    fn byte(&self, offset: usize) -> *mut u8 {
        // SAFETY: the tests ask for bytes within the block.
        unsafe { self.ptr.add(offset) }.as_ptr()
    }

    fn write(&self, from: usize) {
        // A heap would do it.
        sanitizer::surrender(self.ptr, self.payload);
        for place in Self::places(from, self.payload) {
            // SAFETY: the byte is within the block.
            unsafe { self.byte(place).write(self.fill ^ place as u8) };
        }
    }

    fn verify(&self, to: usize) {
        for place in (0..to.min(300)).chain((0..to).step_by(509)) {
            // SAFETY: the byte is within the block.
            assert_eq!(unsafe { self.byte(place).read() }, self.fill ^ place as u8);
        }
    }

    fn assert_zero(&self, from: usize) {
        for place in Self::places(from, self.payload) {
            // SAFETY: the byte is within the block.
            assert_eq!(unsafe { self.byte(place).read() }, 0);
        }
    }
}

fn region(len: usize) -> RegionPages {
    RegionPages::new(Box::leak(Box::new_uninit_slice(len)))
}

/// Checks a new block against what was asked for and against all others, and fills it.
fn accept<S: PageSource>(block: MediumBlock, payload: usize, align: usize, fill: u8, others: &[Live]) -> Live {
    let address = block.ptr.addr().get();
    assert!(is_aligned(address, align.max(16)) && block.payload >= payload);
    let apart = |other: &Live| {
        let start = other.ptr.addr().get();
        address + block.payload <= start || start + other.payload <= address
    };
    assert!(others.iter().all(apart));
    let live = Live { ptr: block.ptr, payload: block.payload, fill, direct: align > 16 };
    sanitizer::surrender(live.ptr, live.payload);
    live.assert_zero(block.zero_from.saturating_sub(address).min(live.payload));
    live.write(0);
    // SAFETY: the block was just handed out.
    assert_eq!(unsafe { payload_of(live.ptr, S::SEGMENT_SIZE) }, live.payload);
    // SAFETY: as above.
    assert_eq!(unsafe { is_direct(live.ptr, S::SEGMENT_SIZE) }, live.direct);
    live
}
