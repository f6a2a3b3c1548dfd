//! One block allocated, touched and freed, again and again.

use std::hint::black_box;
use std::time::Duration;

use crate::peers::{Block, Peer, Size};
use crate::timing::nanoseconds_per_unit;

const SIZE: Size = Size::of(32);

/// The layout is a constant where the compiler inlines the heap's calls.
pub(super) fn measure_constant<P: Peer>(budget: Duration) -> f64 {
    let heap = P::create();
    nanoseconds_per_unit(budget, |pairs| {
        for _ in 0..pairs {
            Block::allocate(&heap, SIZE).free();
        }
    })
}

/// The compiler knows the layout neither of the allocation nor of the free, nor that they are the same.
pub(super) fn measure_opaque<P: Peer>(budget: Duration) -> f64 {
    let heap = P::create();
    nanoseconds_per_unit(budget, |pairs| {
        for _ in 0..pairs {
            Block::allocate(&heap, black_box(SIZE)).of_unknown_size().free();
        }
    })
}
