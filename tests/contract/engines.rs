//! The engines on their own keep the same contract, as far as they serve a layout.

use std::thread;

use mallocstate::allocator_api2::alloc::Allocator;
use mallocstate::allocator_api2::vec::Vec as VecIn;
use mallocstate::os::testing::{Call, TestPages};
use mallocstate::{CoalescingAllocator, SegmentKind, SlabAllocator};

use crate::held::{Held, layout};
use crate::support::classes::class_size;
use crate::support::returned::returned;
use crate::support::thin;
use crate::{geometry, region};

#[test]
fn slabs_serve_every_class() {
    for size in thin(geometry().classes().filter(|&size| size <= geometry().small_max)) {
        let pages = TestPages::new().dirty().demanding_commits();
        let slabs = SlabAllocator::new_in(layout(size, 1), &pages).expect("a small block");
        assert_eq!(slabs.block_size(), size);
        let mut held: Vec<_> = (0..200_000 / size + 3).map(|_| Held::expect(&slabs, layout(size - 1, 8))).collect();
        assert!(held.iter().all(|held| held.usable() == returned(size - 1, size)));
        assert_eq!((slabs.live_blocks(), slabs.validate()), (held.len(), Ok(())));
        let mut starts: Vec<_> = held.iter().map(|held| held.start().addr().get()).collect();
        starts.sort_unstable();
        assert!(starts.windows(2).all(|pair| pair[0] + size <= pair[1]));
        held.retain(|held| held.start().addr().get() / size % 2 == 0);
        held.extend((0..50).map(|_| Held::zeroed(&slabs, layout(size, 1))));
        drop(held);
        assert_eq!((slabs.live_blocks(), slabs.validate()), (0, Ok(())));
        let mapped: usize = slabs.segments().map(|segment| segment.mapped()).sum();
        assert_eq!((mapped, mapped), (slabs.mapped(), pages.outstanding_bytes()));
        slabs.reclaim();
        assert_eq!(slabs.reclaim(), 0);
        assert_eq!((slabs.destroy(), pages.outstanding_bytes()), (0, 0));
    }
}

#[test]
fn slabs_align_what_their_block_size_aligns() {
    for shift in 0..=geometry().small_max.ilog2() {
        let align = 1 << shift;
        for size in [1, align, 3 * align].into_iter().filter(|&size| size <= geometry().small_max) {
            let slabs = SlabAllocator::new(layout(size, align)).expect("a small block");
            assert_eq!(slabs.block_size(), class_size(size.next_multiple_of(align)));
            let held: Vec<_> = (0..40).map(|_| Held::expect(&slabs, layout(size, align))).collect();
            assert_eq!(slabs.live_blocks(), held.len());
        }
    }
}

#[test]
fn slabs_refuse_what_no_block_holds() {
    let slabs = SlabAllocator::new(layout(100, 4)).expect("a small block");
    assert_eq!(slabs.block_size(), 112);
    assert!(slabs.allocate(layout(113, 1)).is_err());
    assert!(slabs.allocate(layout(8, 32)).is_err());
    assert!(slabs.allocate(layout(isize::MAX as usize, 1)).is_err());
    let held = Held::expect(&slabs, layout(10, 1));
    let start = held.start();
    let held = held.resize(layout(112, 16)).expect("room within the block");
    let held = held.resize(layout(113, 1)).expect_err("more than a block");
    let held = held.resize(layout(0, 1)).expect("less than before");
    let held = held.grow_zeroed(layout(111, 1)).expect("room within a block");
    assert_eq!((held.usable(), slabs.live_blocks()), (returned(111, 112), 1));
    assert_ne!(start.addr().get(), 0);
    drop(held);
    let error = SlabAllocator::new(layout(geometry().small_max + 1, 1)).expect_err("a medium block");
    assert_eq!(error.value(), geometry().small_max + 1);
}

#[test]
fn slabs_give_back_a_segment_that_the_source_refused_to_commit_and_to_unmap() {
    let pages = TestPages::new().demanding_commits();
    let slabs = SlabAllocator::new_in(layout(100, 4), &pages).expect("a small block");
    pages.refuse_call_after(Call::Commit, 0);
    pages.refuse_call_after(Call::Unmap, 0);
    assert!(slabs.allocate(layout(100, 4)).is_err());
    assert_eq!((slabs.mapped(), pages.outstanding_ranges()), (pages.outstanding_bytes(), 1));
    assert_eq!(slabs.reclaim(), 0);
    pages.refuse_nothing();
    assert_eq!(slabs.reclaim(), geometry().segment);
    assert_eq!((slabs.mapped(), pages.outstanding_bytes()), (0, 0));
}

#[test]
fn slabs_take_every_fitting_size() {
    let slabs = SlabAllocator::new(layout(300, 4)).expect("a small block");
    for size in 0..=320 {
        for fitting in size..=slabs.block_size() {
            drop(Held::expect(&slabs, layout(size, 1)).refit(fitting));
        }
    }
    assert_eq!(slabs.live_blocks(), 0);
}

#[test]
fn coalescing_serves_every_layout() {
    let pages = TestPages::new().dirty();
    let blocks = CoalescingAllocator::new_in(&pages).expect("a possible source");
    for shift in thin(0..=23) {
        for size in [0, 1, 16, 17, 1000, 33_000, 1_100_000, 4_100_000] {
            let held = Held::expect(&blocks, layout(size, 1 << shift));
            assert_eq!(blocks.live().0, usize::from(size > 0));
            drop(Held::zeroed(&blocks, layout(size, 1 << shift)));
            let held = held.refit(size).resize(layout(2 * size, 1)).expect("memory");
            assert_eq!(blocks.validate(), Ok(()));
            held.resize(layout(size / 2, 1 << shift)).expect("memory");
        }
    }
    blocks.reclaim();
    assert_eq!((blocks.reclaim(), blocks.live(), blocks.mapped()), (0, (0, 0), pages.outstanding_bytes()));
    assert_eq!((blocks.destroy(), pages.outstanding_bytes()), ((0, 0), 0));
}

#[test]
fn coalescing_alignments_to_a_gib_are_honoured_or_refused() {
    let blocks = CoalescingAllocator::new();
    for shift in 0..=30 {
        for size in [0, 1, 100_000, 5_000_000] {
            let held = Held::new(&blocks, layout(size, 1 << shift));
            assert!(held.is_some() || shift > 23, "{size} bytes aligned to 2^{shift}");
        }
    }
}

#[test]
fn coalescing_takes_every_fitting_size_and_zeroes_growth() {
    let blocks = CoalescingAllocator::new();
    for size in (1..400).chain([5000, 100_001]) {
        let returned = Held::expect(&blocks, layout(size, 1)).usable();
        for fitting in size..=returned {
            let held = Held::expect(&blocks, layout(size, 1)).refit(fitting);
            held.grow_zeroed(layout(fitting + 77, 1)).expect("memory");
        }
    }
    assert_eq!((blocks.live(), blocks.validate()), ((0, 0), Ok(())));
}

#[test]
fn coalescing_refuses_what_cannot_be_and_keeps_the_block() {
    let blocks = CoalescingAllocator::new();
    let mut held = Held::expect(&blocks, layout(100, 8));
    for (size, align) in [(isize::MAX as usize, 1), (isize::MAX as usize - 15, 16), (isize::MAX as usize / 2, 8)] {
        assert!(blocks.allocate(layout(size, align)).is_err());
        held = held.resize(layout(size, align)).expect_err("more than there is");
    }
    drop(held);
    assert_eq!(blocks.destroy(), (0, 0));
}

#[test]
fn an_exhausted_region_keeps_the_engines_blocks() {
    let blocks = CoalescingAllocator::local_in(region(2 << 20)).expect("a possible source");
    let slabs = SlabAllocator::local_in(layout(48, 8), region(1 << 20)).expect("a small block");
    for _ in 0..2 {
        let held: Vec<_> = std::iter::from_fn(|| Held::new(&blocks, layout(30_000, 8))).collect();
        let held: Vec<_> =
            held.into_iter().map(|held| held.resize(layout(200_000, 8)).unwrap_or_else(|kept| kept)).collect();
        assert!(blocks.live().0 == held.len() && held.len() > 40);
        let small: Vec<_> = std::iter::from_fn(|| Held::new(&slabs, layout(48, 8))).collect();
        assert!(slabs.live_blocks() == small.len() && small.len() > 10_000);
        assert!(slabs.segments().all(|segment| segment.kind() == SegmentKind::Slab));
    }
    assert_eq!((blocks.validate(), slabs.validate(), blocks.destroy(), slabs.destroy()), (Ok(()), Ok(()), (0, 0), 0));
}

#[test]
fn threads_share_an_engine() {
    let blocks = CoalescingAllocator::new();
    let slabs = SlabAllocator::new(layout(64, 64)).expect("a small block");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut numbers = VecIn::new_in(&blocks);
                numbers.extend(0..20_000_u32);
                let held: Vec<_> = (0..500).map(|_| Held::expect(&slabs, layout(64, 64))).collect();
                assert_eq!((numbers.len(), held.len()), (20_000, 500));
            });
        }
    });
    assert_eq!((blocks.destroy(), slabs.destroy()), ((0, 0), 0));
}
