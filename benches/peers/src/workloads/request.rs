//! A heap for a request: made, filled with blocks of mixed sizes, three in five of which are freed again, and destroyed.

use std::time::Duration;

use fastrand::Rng;

use super::SEED;
use crate::peers::{Arena, Peer, Size, Slots, Table};
use crate::timing::nanoseconds_per_unit;

/// Allocations, over all the different requests that are made up beforehand and then repeated.
const ALLOCATIONS: usize = 1 << 14;

/// One allocation, into the next slot, and what is freed after it.
pub(super) struct Step {
    size: Size,
    then_free: Option<u32>,
}

/// In a hundred blocks 60 of 8 to 64 bytes, 30 to 512, nine to 4096, and one to 16 384: 420 bytes on average.
fn random_size(rng: &mut Rng) -> Size {
    Size::of(match rng.u32(0..100) {
        0..60 => rng.u32(8..=64),
        60..90 => rng.u32(65..=512),
        90..99 => rng.u32(513..=4096),
        _ => rng.u32(4097..=16_384),
    })
}

/// So many allocations, after three in five of which a random block in use is freed.
fn script(rng: &mut Rng, allocations: usize) -> Vec<Step> {
    let mut live = Vec::with_capacity(allocations);
    let mut frees = allocations * 3 / 5;
    (0..allocations)
        .map(|slot| {
            live.push(slot as u32);
            let frees_now = rng.usize(0..allocations - slot) < frees;
            frees -= usize::from(frees_now);
            let then_free = frees_now.then(|| live.swap_remove(rng.usize(0..live.len())));
            Step { size: random_size(rng), then_free }
        })
        .collect()
}

pub(super) fn serve<P: Peer>(heap: &P, script: &[Step], slots: &mut Slots) {
    let mut table = Table::new(heap, slots);
    for step in script {
        table.push(step.size);
        if let Some(slot) = step.then_free {
            table.free(slot as usize);
        }
    }
}

pub(super) fn scripts(allocations: usize) -> Vec<Vec<Step>> {
    let mut rng = Rng::with_seed(SEED);
    (0..ALLOCATIONS / allocations).map(|_| script(&mut rng, allocations)).collect()
}

/// Time of one request, with a heap of its own.
pub(super) fn measure<P: Peer>(budget: Duration, allocations: usize) -> f64 {
    let (scripts, mut slots) = (scripts(allocations), Slots::default());
    let mut scripts = scripts.iter().cycle();
    nanoseconds_per_unit(budget, |requests| {
        for script in scripts.by_ref().take(requests as usize) {
            let heap = P::create();
            serve(&heap, script, &mut slots);
        }
    })
}

/// Time of one request in a heap that is reset after it.
pub(super) fn measure_reset<P: Arena>(budget: Duration, allocations: usize) -> f64 {
    let (scripts, mut slots) = (scripts(allocations), Slots::default());
    let mut scripts = scripts.iter().cycle();
    let mut heap = P::create();
    nanoseconds_per_unit(budget, |requests| {
        for script in scripts.by_ref().take(requests as usize) {
            serve(&heap, script, &mut slots);
            heap.reset();
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_frees_three_in_five() {
        let script = script(&mut Rng::with_seed(SEED), 5000);
        let mut freed: Vec<_> = script.iter().filter_map(|step| step.then_free).collect();
        freed.sort_unstable();
        freed.dedup();
        assert_eq!((script.len(), freed.len()), (5000, 3000));
    }
}
