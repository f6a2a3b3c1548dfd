//! Blocks of no bytes: aligned, dangling, free of cost.

use mallocstate::MallocState;
use mallocstate::collections::{Box, Vec};

use crate::held::{Held, layout};
use crate::in_every_mode;

#[test]
fn no_bytes_take_no_memory() {
    let heap = MallocState::new();
    for shift in 0..=30 {
        let held = Held::expect(&heap, layout(0, 1 << shift));
        assert_eq!(held.usable(), 0);
        assert_eq!(Held::zeroed(&heap, layout(0, 1 << shift)).usable(), 0);
    }
    assert_eq!((heap.mapped(), heap.committed(), heap.stats().live_blocks), (0, 0, 0));
}

#[test]
fn no_bytes_are_not_counted() {
    let heap = MallocState::new();
    let one = Held::expect(&heap, layout(1, 1));
    let none: std::vec::Vec<_> = (0..100).map(|_| Held::expect(&heap, layout(0, 8))).collect();
    assert_eq!(heap.stats().live_blocks, 1);
    drop(none);
    assert_eq!(heap.stats().live_blocks, 1);
    drop(one);
    assert_eq!(heap.destroy().live_blocks(), 0);
}

#[test]
fn no_bytes_grow_to_any_size() {
    in_every_mode(|heap| {
        for size in [0, 1, 100, 33_000, 1_500_000] {
            for align in [1, 16, 4096, 1 << 21] {
                Held::expect(heap, layout(0, 8)).resize(layout(size, align)).expect("memory");
                Held::expect(heap, layout(0, 8)).grow_zeroed(layout(size, align)).expect("memory");
            }
        }
    });
}

#[test]
fn any_size_shrinks_to_no_bytes() {
    let heap = MallocState::new();
    for size in [0, 1, 100, 33_000, 1_500_000] {
        for (from, to) in [(1, 1), (16, 4096), (4096, 16), (64, 1 << 30)] {
            let held = Held::expect(&heap, layout(size, from)).resize(layout(0, to)).expect("nothing to refuse");
            assert_eq!((held.usable(), heap.stats().live_blocks), (0, 0));
        }
    }
}

#[test]
fn a_full_heap_still_has_no_bytes() {
    let heap = MallocState::builder().limit(256 << 10).build().expect("a low limit");
    let held: std::vec::Vec<_> = std::iter::from_fn(|| Held::new(&heap, layout(1000, 1))).collect();
    assert!(!held.is_empty());
    let none = Held::expect(&heap, layout(0, 64));
    let shrunk = held.into_iter().map(|held| held.resize(layout(0, 2)).expect("a shrink may pass the limit"));
    shrunk.for_each(drop);
    drop(none);
    assert_eq!(heap.stats().live_blocks, 0);
}

#[test]
fn values_without_bytes_live_in_collections() {
    let heap = MallocState::new();
    let mut units: Vec<()> = Vec::new_in(&heap);
    units.resize(1000, ());
    units.shrink_to_fit();
    let boxed: Box<[u64; 0]> = Box::new_in([], &heap);
    assert_eq!((units.len(), boxed.len(), heap.mapped()), (1000, 0, 0));
}
