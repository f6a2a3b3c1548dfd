//! Many blocks allocated one after the other, then freed in the same order.

use std::time::Duration;

use crate::peers::{Peer, Size, Slots, Table};
use crate::timing::nanoseconds_per_unit;

const SIZE: Size = Size::of(48);

/// Time of one block: its allocation and its free.
pub(super) fn measure<P: Peer>(budget: Duration, blocks: u32) -> f64 {
    let heap = P::create();
    let mut slots = Slots::default();
    let batch = nanoseconds_per_unit(budget, |batches| {
        for _ in 0..batches {
            let mut table = Table::new(&heap, &mut slots);
            (0..blocks).for_each(|_| table.push(SIZE));
            (0..blocks).for_each(|slot| table.free(slot as usize));
        }
    });
    batch / f64::from(blocks)
}
