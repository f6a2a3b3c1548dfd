//! Zeroed memory is zero, whatever was there before.

use mallocstate::allocator_api2::alloc::Allocator;
use mallocstate::os::testing::TestPages;
use mallocstate::{HugePages, MallocState, Mode, PageSource, RegionPages, ReleasePolicy};

use crate::held::{Held, layout};
use crate::support::classes::Geometry;
use crate::support::{thin, where_global};
use crate::{geometry, in_every_mode, region};

/// Layouts of every tier of a source.
fn every_tier(geometry: Geometry) -> Vec<std::alloc::Layout> {
    let Geometry { small_max, medium_max, .. } = geometry;
    let small = [1, 16, 100, 500, small_max / 2, small_max];
    let larger = [small_max + 1, medium_max / 3, medium_max, medium_max + 1, medium_max + 100_000];
    let sizes = small.into_iter().chain(larger);
    thin(sizes.flat_map(|size| [1, 64, 4096, medium_max].map(|align| layout(size, align)))).collect()
}

/// Fills a heap with bytes other than zero, and leaves everything in it.
fn soil<A: Allocator>(heap: &A, geometry: Geometry) {
    for layout in every_tier(geometry) {
        (0..3).map_while(|_| Held::new(heap, layout)).for_each(Held::forget);
    }
}

fn check_zeroed<A: Allocator>(heap: &A, geometry: Geometry) {
    for layout in every_tier(geometry) {
        let mut held: Vec<_> = (0..3).map(|_| Held::zeroed(heap, layout)).collect();
        held.iter_mut().for_each(|held| held.bytes_mut().fill(0xFF));
    }
}

/// Soils one heap after the other, and looks at what the next one makes of it.
fn check_recycled<M: Mode, S: PageSource>(heap: impl Fn() -> MallocState<M, S>) {
    for _ in 0..3 {
        let dirty = heap();
        soil(&dirty, Geometry::of::<S>());
        assert!(dirty.destroy().live_blocks() > 0);
        check_zeroed(&heap(), Geometry::of::<S>());
    }
}

#[test]
fn blocks_out_of_another_heaps_segments_are_zero() {
    check_recycled(MallocState::new);
    check_recycled(MallocState::local);
    where_global! { check_recycled(MallocState::global); }
    check_recycled(|| {
        let builder = MallocState::builder().huge_pages(HugePages::Always);
        builder.zero_on_release(true).build().expect("possible options")
    });
}

#[test]
fn blocks_out_of_dirty_pages_are_zero() {
    let (dirty, uncommitted) = (TestPages::new().dirty(), TestPages::new().dirty().demanding_commits());
    check_recycled(|| MallocState::new_in(&dirty));
    check_recycled(|| MallocState::local_in(&uncommitted));
    assert_eq!(dirty.outstanding_bytes() + uncommitted.outstanding_bytes(), 0);
}

#[test]
fn blocks_out_of_a_dirty_region_are_zero() {
    let pages = region(12 << 20);
    check_recycled(|| MallocState::local_in(&pages));
    let dirty = TestPages::over(region(12 << 20)).dirty();
    check_recycled(|| MallocState::new_in(&dirty));
    let geometry = Geometry::of::<RegionPages>();
    assert!(geometry.small_max < crate::geometry().small_max);
}

#[test]
fn blocks_after_a_reset_are_zero() {
    let mut heap = MallocState::new();
    for _ in 0..3 {
        soil(&heap, geometry());
        heap.reset();
        check_zeroed(&heap, geometry());
        heap.reset();
    }
}

/// What was touched ends in the middle of what is handed out next.
#[test]
fn a_block_that_reaches_beyond_one_of_before_a_reset_is_zero() {
    let sizes = [16, 100, 500, 1000, 2000, 4096, 8192, 16_384, 32_768];
    for (before, after) in thin(sizes.into_iter().flat_map(|before| sizes.map(|after| (before, after)))) {
        let mut heap = MallocState::local();
        Held::expect(&heap, layout(before, 8)).forget();
        heap.reset();
        drop((0..10).map(|_| Held::zeroed(&heap, layout(after, 8))).collect::<Vec<_>>());
    }
}

#[test]
fn blocks_after_a_reclaim_are_zero() {
    let eager = ReleasePolicy { interval: 1, batch: 1 };
    for pages in [TestPages::new(), TestPages::new().dirty(), TestPages::new().demanding_commits()] {
        let heap = MallocState::builder().source(&pages).release_policy(eager).build().expect("possible options");
        let anchor = Held::expect(&heap, layout(40_000, 8));
        for _ in 0..3 {
            let held: Vec<_> = every_tier(geometry()).into_iter().map(|layout| Held::expect(&heap, layout)).collect();
            drop(held);
            heap.reclaim();
            check_zeroed(&heap, geometry());
        }
        drop(anchor);
    }
}

#[test]
fn blocks_that_were_freed_are_zero_again() {
    in_every_mode(|heap| {
        for layout in every_tier(geometry()) {
            for count in [1, 2, 5, 70] {
                let count = if layout.size() > 40_000 { count.min(5) } else { count };
                let held: Vec<_> = (0..count).map(|_| Held::expect(heap, layout)).collect();
                drop(held);
                let mut held: Vec<_> = (0..count + 1).map(|_| Held::zeroed(heap, layout)).collect();
                held.iter_mut().for_each(|held| held.bytes_mut().fill(0xFF));
            }
        }
    });
}

#[test]
fn growth_is_zero_from_the_old_layouts_size_on() {
    in_every_mode(|heap| {
        let old = [1, 17, 65, 1000, 5001, 32_768, 33_000, 100_001, 1_048_577, 2_000_001];
        for (old, align) in thin(old.into_iter().flat_map(|old| [1, 64, 4096].map(|align| (old, align)))) {
            for new in [old, old + 1, old + 7, 2 * old, 33_001.max(old), 2_100_000.max(old), 3_000_000] {
                let returned = Held::expect(heap, layout(old, align)).usable();
                for fitting in [old, old + (returned - old) / 2, returned] {
                    let held = Held::expect(heap, layout(old, align)).refit(fitting);
                    held.grow_zeroed(layout(new.max(fitting), align)).expect("memory");
                }
            }
        }
    });
}

/// What a shrink leaves behind must not come back with the next growth.
#[test]
fn growth_after_a_shrink_is_zero() {
    in_every_mode(|heap| {
        for (large, small) in [(3_000_000, 1_100_000), (900_000, 40_000), (120, 113), (30_000, 20), (3_000_000, 10_000)]
        {
            for align in [1, 32, 4096] {
                let held = Held::expect(heap, layout(large, align));
                let held = held.resize(layout(small, align)).expect("less than before");
                let held = held.grow_zeroed(layout(small + 1, align)).expect("memory");
                held.grow_zeroed(layout(large, align)).expect("memory");
            }
        }
    });
}
