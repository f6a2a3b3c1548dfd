//! A constant number of blocks, of which a random one at a time is replaced by one of another size.

use std::time::Duration;

use fastrand::Rng;

use super::SEED;
use crate::peers::{Peer, Size, Slots, Table};
use crate::timing::nanoseconds_per_unit;

/// Replacements that are made up beforehand and then repeated.
const STEPS: usize = 1 << 18;

struct Step {
    slot: u32,
    size: Size,
}

fn random_size(rng: &mut Rng) -> Size {
    Size::of(rng.u32(8..=256))
}

/// Time of one replacement: a free and an allocation.
pub(super) fn measure<P: Peer>(budget: Duration, live: u32) -> f64 {
    let mut rng = Rng::with_seed(SEED);
    let steps: Vec<_> = (0..STEPS).map(|_| Step { slot: rng.u32(0..live), size: random_size(&mut rng) }).collect();
    let heap = P::create();
    let mut slots = Slots::default();
    let mut table = Table::new(&heap, &mut slots);
    (0..live).for_each(|_| table.push(random_size(&mut rng)));
    for _ in 0..4 {
        steps.iter().for_each(|step| table.replace(step.slot as usize, step.size));
    }
    let mut steps = steps.iter().cycle();
    nanoseconds_per_unit(budget, |replacements| {
        for step in steps.by_ref().take(replacements as usize) {
            table.replace(step.slot as usize, step.size);
        }
    })
}
