//! One block allocated, touched and freed, again and again.

use std::hint::black_box;
use std::time::Duration;

use fastrand::Rng;

use super::SEED;
use crate::peers::{Block, Peer, Size, Slots, Table};
use crate::sizes::Sizes;
use crate::timing::nanoseconds_per_unit;

/// The sizes in bytes that there are pairs of.
pub(super) const SIZES: [u32; 5] = [32, 1 << 10, 16 << 10, 256 << 10, 4 << 20];

/// Time of a pair whose layout is a constant where the compiler inlines the heap's calls.
pub(super) fn measure_known<P: Peer>(budget: Duration, bytes: u32) -> f64 {
    match SIZES.iter().position(|&size| size == bytes) {
        Some(0) => time_known::<P, { SIZES[0] }>(budget),
        Some(1) => time_known::<P, { SIZES[1] }>(budget),
        Some(2) => time_known::<P, { SIZES[2] }>(budget),
        Some(3) => time_known::<P, { SIZES[3] }>(budget),
        Some(4) => time_known::<P, { SIZES[4] }>(budget),
        _ => panic!("pairs of {bytes} bytes are not compiled"),
    }
}

fn time_known<P: Peer, const BYTES: u32>(budget: Duration) -> f64 {
    let heap = P::create();
    nanoseconds_per_unit(budget, |pairs| known::<P, BYTES>(&heap, pairs))
}

#[inline(always)]
pub(super) fn known<P: Peer, const BYTES: u32>(heap: &P, pairs: u64) {
    for _ in 0..pairs {
        Block::allocate(heap, const { Size::of(BYTES) }).free();
    }
}

/// Time of a pair of whose layout the compiler knows nothing, neither at the allocation nor at the free, nor that they
/// are the same.
pub(super) fn measure_opaque<P: Peer>(budget: Duration, bytes: u32) -> f64 {
    let heap = P::create();
    nanoseconds_per_unit(budget, |pairs| opaque(&heap, bytes, pairs))
}

#[inline(always)]
pub(super) fn opaque<P: Peer>(heap: &P, bytes: u32, pairs: u64) {
    let size = Size::of(bytes);
    for _ in 0..pairs {
        Block::allocate(heap, black_box(size)).of_unknown_size().free();
    }
}

/// Time of a pair of a random size where so many free blocks, no two of them neighbours, are there to take it from.
pub(super) fn measure_among_free<P: Peer>(budget: Duration, sizes: Sizes, free: u32) -> f64 {
    let mut rng = Rng::with_seed(SEED);
    let heap = P::create();
    let mut slots = Slots::default();
    let mut table = Table::new(&heap, &mut slots);
    (0..2 * free + 1).for_each(|_| table.push(sizes.draw(&mut rng)));
    (0..free as usize).for_each(|block| table.free(2 * block + 1));
    nanoseconds_per_unit(budget, |pairs| {
        for _ in 0..pairs {
            Block::allocate(&heap, sizes.draw(&mut rng)).free();
        }
    })
}
