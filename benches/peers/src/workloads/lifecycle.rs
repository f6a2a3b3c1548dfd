//! A heap made and destroyed, with nothing in it or next to nothing.

use std::hint::black_box;
use std::time::Duration;

use crate::peers::{Peer, Size, Slots, Table};
use crate::timing::nanoseconds_per_unit;

const SIZE: Size = Size::of(64);

/// Time of one heap's life, in which it gets so many blocks.
pub(super) fn measure<P: Peer>(budget: Duration, blocks: u32) -> f64 {
    let mut slots = Slots::default();
    nanoseconds_per_unit(budget, |lives| live::<P>(&mut slots, blocks, lives))
}

#[inline(always)]
pub(super) fn live<P: Peer>(slots: &mut Slots, blocks: u32, lives: u64) {
    for _ in 0..lives {
        let heap = P::create();
        let mut table = Table::new(black_box(&heap), slots);
        (0..blocks).for_each(|_| table.push(SIZE));
    }
}
