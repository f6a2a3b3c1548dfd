//! A constant number of blocks, of which a random one at a time is replaced by one of another size.

use std::time::Duration;

use fastrand::Rng;

use super::SEED;
use crate::crew::nanoseconds_of_crew;
use crate::peers::{Peer, Size, Slots, Table};
use crate::sizes::Sizes;
use crate::timing::nanoseconds_per_unit;

/// Replacements that are made up beforehand and then repeated.
const STEPS: usize = 1 << 18;

/// How often all of them are done before the clock starts.
const WARM_UP: usize = 4;

pub(super) struct Step {
    pub(super) slot: u32,
    pub(super) size: Size,
}

pub(super) fn script(rng: &mut Rng, steps: usize, sizes: Sizes, live: u32) -> Vec<Step> {
    (0..steps).map(|_| Step { slot: rng.u32(0..live), size: sizes.draw(rng) }).collect()
}

#[inline(always)]
pub(super) fn replay<'a, P: Peer>(table: &mut Table<'_, '_, P>, steps: impl Iterator<Item = &'a Step>) {
    steps.for_each(|step| table.replace(step.slot as usize, step.size));
}

/// Time of one replacement: a free and an allocation.
pub(super) fn measure<P: Peer>(budget: Duration, sizes: Sizes, live: u32) -> f64 {
    let mut rng = Rng::with_seed(SEED);
    let steps = script(&mut rng, STEPS, sizes, live);
    let heap = P::create();
    let mut slots = Slots::default();
    let mut table = Table::new(&heap, &mut slots);
    (0..live).for_each(|_| table.push(sizes.draw(&mut rng)));
    (0..WARM_UP).for_each(|_| replay(&mut table, steps.iter()));
    let mut steps = steps.iter().cycle();
    nanoseconds_per_unit(budget, |count| replay(&mut table, steps.by_ref().take(count as usize)))
}

/// Time of one replacement, drawn only when it is done: so many blocks that a script would not come to all of them.
pub(super) fn measure_drawn<P: Peer>(budget: Duration, sizes: Sizes, live: u32) -> f64 {
    let mut rng = Rng::with_seed(SEED);
    let heap = P::create();
    let mut slots = Slots::default();
    let mut table = Table::new(&heap, &mut slots);
    (0..live).for_each(|_| table.push(sizes.draw(&mut rng)));
    let mut replace = |count| {
        for _ in 0..count {
            let slot = rng.u32(0..live);
            table.replace(slot as usize, sizes.draw(&mut rng));
        }
    };
    replace(u64::from(live));
    nanoseconds_per_unit(budget, replace)
}

/// Time of one replacement by each of some threads in one heap, each with blocks of its own.
pub(super) fn measure_threads<P: Peer + Sync>(budget: Duration, sizes: Sizes, live: u32, threads: usize) -> f64 {
    let heap = P::create();
    nanoseconds_of_crew(budget, threads, 10_000, |index, amounts| {
        let mut rng = Rng::with_seed(SEED + index as u64);
        let steps = script(&mut rng, STEPS / threads, sizes, live);
        let mut slots = Slots::default();
        let mut table = Table::new(&heap, &mut slots);
        (0..live).for_each(|_| table.push(sizes.draw(&mut rng)));
        replay(&mut table, steps.iter());
        let mut steps = steps.iter().cycle();
        amounts.for_each(|count| replay(&mut table, steps.by_ref().take(count as usize)));
    })
}
