//! Sizes around every bound of a class, a tier, and of what can be.

use std::alloc::Layout;

use mallocstate::MallocState;
use mallocstate::allocator_api2::alloc::Allocator;

use crate::held::{Held, layout};
use crate::support::classes::{Tier, class_size};
use crate::support::returned::{assert_counted, returned};
use crate::support::{is_impossible, stride, thin};
use crate::{geometry, in_every_mode, region};

/// Each bound of a class, and its neighbours.
fn class_bounds() -> impl Iterator<Item = usize> {
    thin(geometry().classes().flat_map(|size| [size - 1, size, size + 1]))
}

#[test]
fn a_block_is_as_long_as_its_class() {
    in_every_mode(|heap| {
        for size in class_bounds().filter(|&size| size <= geometry().medium_max) {
            for align in [1, 8, 16] {
                let held = Held::expect(heap, layout(size, align));
                assert_eq!(held.usable(), returned(size, class_size(size)), "{size} bytes");
            }
        }
    });
}

#[test]
fn blocks_of_all_sizes_live_side_by_side() {
    in_every_mode(|heap| {
        let held: Vec<_> = class_bounds().map(|size| Held::expect(heap, layout(size, 1))).collect();
        let mut ranges: Vec<_> = held.iter().map(|held| (held.start().addr().get(), held.usable())).collect();
        ranges.sort_unstable();
        assert!(ranges.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
        for (held, size) in held.iter().zip(class_bounds()) {
            assert!(
                held.bytes() == crate::support::pattern::pattern(1, held.usable()),
                "{size} bytes lost their contents"
            );
        }
    });
}

#[test]
fn tier_bounds_are_crossed_both_ways() {
    let (small, medium) = (geometry().small_max, geometry().medium_max);
    in_every_mode(|heap| {
        for bound in [small, medium, geometry().segment] {
            for align in [1, 16, 32, 4096].into_iter().step_by(stride().min(3)) {
                let mut held = Held::expect(heap, layout(bound - 1, align));
                for size in
                    [bound, bound + 1, bound, bound - 1, bound - 40, bound + 40, bound - 5000, bound + 5000, bound]
                {
                    held = held.resize(layout(size, align)).expect("memory");
                }
            }
        }
    });
}

#[test]
fn each_size_is_counted_in_its_tier() {
    let (small, medium) = (geometry().small_max, geometry().medium_max);
    for size in [1, small - 1, small, small + 1, medium - 1, medium, medium + 1, geometry().segment] {
        for align in [1, 16, 32, 4096, 1 << 16, 1 << 21] {
            let heap = MallocState::new();
            let held = Held::expect(&heap, layout(size, align));
            let stats = heap.stats();
            assert_counted((stats.live_blocks, stats.live), (1, held.usable()));
            let classes: Vec<_> = stats.classes().filter(|class| class.live_blocks > 0).collect();
            let mappings = match geometry().tier(layout(size, align)) {
                Tier::Class(size) => {
                    assert_eq!(classes.iter().map(|class| class.block_size).collect::<Vec<_>>(), [size]);
                    (0, 0)
                }
                Tier::Mapping => (1, stats.live),
                Tier::Direct | Tier::Nothing => (0, 0),
            };
            assert_eq!(stats.mappings(), mappings, "{size} bytes aligned to {align}");
        }
    }
}

#[test]
fn short_segments_keep_every_bound() {
    // The fourth segment is a quarter of one.
    let heap = MallocState::local_in(region((1 << 20) + (64 << 10)));
    let geometry = crate::support::classes::Geometry::of::<mallocstate::RegionPages>();
    let bounds = geometry.classes().flat_map(|size| [size - 1, size, size + 1]);
    for size in thin(bounds).chain([(256 << 10) - 4096, (256 << 10) - 4095, 256 << 10, 300_000]) {
        let held: Vec<_> = std::iter::from_fn(|| Held::new(&heap, layout(size, 1))).collect();
        assert!(size > 260_000 || !held.is_empty(), "{size} bytes");
        assert!(held.iter().all(|held| held.bytes() == crate::support::pattern::pattern(1, held.usable())));
    }
    assert_eq!(heap.validate(), Ok(()));
}

/// Layouts as long as can be, and somewhat shorter.
fn impossible() -> impl Iterator<Item = Layout> {
    let most = isize::MAX as usize;
    (0..=30).flat_map(move |shift| {
        let align = 1_usize << shift;
        let longest = most + 1 - align;
        [longest, longest - 1, longest - 4096, most / 2 + 1]
            .into_iter()
            .filter(|&size| is_impossible(size))
            .filter_map(move |size| Layout::from_size_align(size, align).ok())
    })
}

#[test]
fn sizes_near_the_maximum_are_refused() {
    in_every_mode(|heap| {
        for layout in impossible() {
            assert!(heap.allocate(layout).is_err(), "{layout:?}");
            assert!(heap.allocate_zeroed(layout).is_err(), "{layout:?}");
        }
    });
}

#[test]
fn growth_to_the_maximum_is_refused_and_keeps_the_block() {
    in_every_mode(|heap| {
        for size in [0, 10, 40_000, 2_000_000] {
            let mut held = Held::expect(heap, layout(size, 8));
            for new in impossible().step_by(stride().max(7)) {
                held = held.resize(new).expect_err("more than there is");
                held = held.grow_zeroed(new).expect_err("more than there is");
            }
        }
    });
}

#[test]
fn refused_sizes_are_counted() {
    let heap = MallocState::new();
    assert!(heap.allocate(layout(isize::MAX as usize, 1)).is_err());
    let failures = heap.stats().failures;
    assert_eq!((failures.limit, failures.source + failures.size), (0, 1));
}
