//! Memory is aligned as the layout says, to 1 GiB.

use mallocstate::MallocState;

use crate::held::{Held, layout};
use crate::support::returned::returned;
use crate::support::{scale, thin};
use crate::{geometry, in_every_mode, region};

/// What any system of today serves.
const CERTAIN: usize = 8 << 20;

#[test]
fn every_alignment_to_a_gib_is_honoured_or_refused() {
    in_every_mode(|heap| {
        let sizes = [0, 1, 17, 4096, 33_000, 1_500_000];
        for layout in thin((0..=30).flat_map(|shift| sizes.map(|size| layout(size, 1 << shift)))) {
            let held = Held::new(heap, layout);
            assert!(held.is_some() || layout.align() > CERTAIN, "{layout:?} was refused");
        }
    });
}

#[test]
fn blocks_of_one_alignment_live_side_by_side() {
    in_every_mode(|heap| {
        for shift in 0..=22 {
            let sizes = [1, 16, 100, 5000, 40_000];
            let held: Vec<_> = sizes.map(|size| Held::expect(heap, layout(size, 1 << shift))).into();
            for pair in held.windows(2) {
                let (low, high) = if pair[0].start() < pair[1].start() { (0, 1) } else { (1, 0) };
                let end = pair[low].start().addr().get() + pair[low].usable();
                assert!(end <= pair[high].start().addr().get(), "{pair:?} overlap");
            }
        }
    });
}

#[test]
fn a_resize_honours_the_new_alignment() {
    in_every_mode(|heap| {
        for (from, to) in
            [(1, 64), (64, 1), (8, 4096), (4096, 8), (16, 1 << 16), (1 << 16, 16), (32, 4 << 20), (8 << 20, 2)]
        {
            for (old, new) in thin([
                (0, 0),
                (0, 50),
                (50, 0),
                (40, 48),
                (48, 40),
                (100, 40_000),
                (40_000, 100),
                (60_000, 70_000),
                (70_000, 60_000),
                (50_000, 2_000_000),
                (2_000_000, 50_000),
                (2_000_000, 3_000_000),
                (3_000_000, 2_000_000),
            ]) {
                let held = Held::expect(heap, layout(old, from));
                assert!(held.resize(layout(new, to)).is_ok(), "{old} aligned to {from} to {new} aligned to {to}");
            }
        }
    });
}

#[test]
fn the_same_size_at_another_alignment_is_both_growth_and_shrink() {
    in_every_mode(|heap| {
        for size in [0, 24, 4096, 36_000, 100_000, 1_200_000] {
            let mut held = Held::expect(heap, layout(size, 1));
            for align in [64, 1, 4096, 8, 1 << 17, 32, 2 << 20, 4 << 20, 1] {
                held = held.resize(layout(size, align)).expect("memory for another alignment");
            }
        }
    });
}

/// A source may make the range longer where it is, and where it is need not suit the new alignment.
#[test]
fn growth_of_a_large_block_honours_an_alignment_beyond_its_own() {
    in_every_mode(|heap| {
        let segment = geometry().segment;
        let held: Vec<_> =
            (0..scale(6).max(2)).map(|count| Held::expect(heap, layout(1 + count * 300_000, segment))).collect();
        for held in held {
            let held = held.resize(layout(2_000_000, 2 * segment)).expect("memory");
            held.resize(layout(5_000_000, 4 * segment)).expect("memory");
        }
    });
    let heap = MallocState::local_in(region(8 << 20));
    let held: Vec<_> = (0..3).map(|_| Held::expect(&heap, layout(1, 256 << 10))).collect();
    for held in held {
        let _ = held.resize(layout(4607, 512 << 10)).map(|held| held.resize(layout(70_000, 1 << 20)));
    }
}

#[test]
fn small_segments_serve_alignments_beyond_their_length() {
    let heap = MallocState::local_in(region(4 << 20));
    for shift in 0..=20 {
        for size in [1, 2000, 2049, 60_000, 70_000] {
            let held = Held::new(&heap, layout(size, 1 << shift));
            assert!(held.is_some() || shift > 18, "{size} bytes aligned to 2^{shift}");
        }
    }
    assert_eq!(heap.stats().live_blocks, 0);
}

#[test]
fn an_alignment_costs_no_more_than_a_class() {
    let heap = MallocState::new();
    for shift in 4..=geometry().small_max.ilog2() {
        let held = Held::expect(&heap, layout(1, 1 << shift));
        assert_eq!(held.usable(), returned(1, 1 << shift));
    }
}
