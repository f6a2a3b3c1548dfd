//! A block goes back, grows and shrinks with any size between the one requested and the one returned.

use mallocstate::MallocState;
use mallocstate::allocator_api2::alloc::Allocator;

use crate::held::{Held, layout};
use crate::support::thin;
use crate::{geometry, in_every_mode, region};

/// Layouts of every tier, off the bounds and on them.
fn sample() -> impl Iterator<Item = (usize, usize)> {
    let sizes = [1, 15, 16, 17, 65, 241, 257, 500, 513, 1000, 1025, 5000, 28_673, 32_767, 32_768, 32_769, 40_001];
    let large = [100_001, 917_505, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_001, (4 << 20) - 4096, 4 << 20];
    let sizes = sizes.into_iter().chain(large);
    thin(sizes.flat_map(|size| [1, 16, 32, 256, 4096, 1 << 16, 1 << 20, 1 << 22].map(|align| (size, align))))
}

/// Every size between the two where they are few, else those near both, and some between.
fn between(requested: usize, returned: usize) -> Vec<usize> {
    let slack = returned - requested;
    let step = (slack / 20).max(1);
    let near_ends = (requested..=returned).take(20).chain((requested..=returned).rev().take(20));
    near_ends.chain((requested..=returned).step_by(step)).collect()
}

fn usable(heap: &dyn Allocator, (size, align): (usize, usize)) -> usize {
    Held::expect(heap, layout(size, align)).usable()
}

#[test]
fn every_fitting_size_deallocates() {
    in_every_mode(|heap| {
        for (size, align) in sample() {
            for fitting in between(size, usable(heap, (size, align))) {
                drop(Held::expect(heap, layout(size, align)).refit(fitting));
            }
        }
    });
}

#[test]
fn every_size_between_requested_and_returned_deallocates_small_blocks() {
    in_every_mode(|heap| {
        for size in thin((1..=1100).chain(5000..5020)) {
            for fitting in size..=usable(heap, (size, 1)) {
                drop(Held::expect(heap, layout(size, 1)).refit(fitting));
            }
        }
    });
}

#[test]
fn every_fitting_size_grows() {
    in_every_mode(|heap| {
        for (size, align) in sample().filter(|&(size, _)| size < 2 << 20) {
            let returned = usable(heap, (size, align));
            for fitting in [size, size + (returned - size) / 2, returned] {
                for new in [fitting, returned, returned + 1, 2 * returned] {
                    let held = Held::expect(heap, layout(size, align)).refit(fitting);
                    held.resize(layout(new.max(fitting), align)).expect("memory");
                }
            }
        }
    });
}

#[test]
fn every_fitting_size_shrinks() {
    in_every_mode(|heap| {
        for (size, align) in sample().filter(|&(size, _)| size < 2 << 20) {
            let returned = usable(heap, (size, align));
            for fitting in [size, size + (returned - size) / 2, returned] {
                for new in [fitting, size - 1, size / 2] {
                    let held = Held::expect(heap, layout(size, align)).refit(fitting);
                    held.resize(layout(new, align)).expect("memory");
                }
            }
        }
    });
}

/// What is left of a hole is too short for a block of its own, and goes with the block that fills it.
#[test]
fn a_hole_with_a_rest_gives_no_more_than_its_tier_has() {
    let heap = MallocState::new();
    let half = geometry().medium_max / 2;
    let left = Held::expect(&heap, layout(half + 16, 32));
    let right = Held::expect(&heap, layout(half - 16, 32));
    let beyond = Held::expect(&heap, layout(50_000, 32));
    drop((left, right));
    let held = Held::expect(&heap, layout(2 * half, 32));
    assert_eq!(heap.stats().live, held.usable() + beyond.usable());
    let returned = held.usable();
    drop(held.refit(returned));
    drop(beyond);
    assert_eq!((heap.stats().live_blocks, heap.validate()), (0, Ok(())));
}

#[test]
fn small_segments_take_every_fitting_size() {
    let heap = MallocState::local_in(region(3 << 20));
    for size in thin((1..=2500).step_by(37)).chain([60_000, 65_535, 65_536, 65_537, 258_048, 262_144, 300_000]) {
        for align in [1, 32, 4096] {
            let Some(held) = Held::new(&heap, layout(size, align)) else { panic!("{size} bytes aligned to {align}") };
            let returned = held.usable();
            drop(held);
            for fitting in between(size, returned) {
                drop(Held::expect(&heap, layout(size, align)).refit(fitting));
            }
        }
    }
    assert_eq!((heap.stats().live_blocks, heap.validate()), (0, Ok(())));
}
