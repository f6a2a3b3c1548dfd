//! Many heaps alive at once, used in turn by one thread.

use std::time::Duration;

use fastrand::Rng;

use super::SEED;
use super::churn::{Step, script};
use crate::peers::{Block, Peer};
use crate::sizes::Sizes;
use crate::timing::nanoseconds_per_unit;

const SIZES: Sizes = Sizes::even(8, 256);

/// Blocks in use in each heap.
const LIVE: u32 = 10;

/// Replacements that are made up beforehand and then repeated.
const STEPS: usize = 1 << 16;

/// Time of one replacement, a free and an allocation, in the heap whose turn it is.
pub(super) fn measure<P: Peer>(budget: Duration, count: u32) -> f64 {
    let mut rng = Rng::with_seed(SEED);
    let steps = script(&mut rng, STEPS, SIZES, LIVE);
    let heaps: Vec<P> = (0..count).map(|_| P::create()).collect();
    let mut blocks: Vec<Option<Block<'_, P>>> = Vec::with_capacity((count * LIVE) as usize);
    for heap in &heaps {
        blocks.extend((0..LIVE).map(|_| Some(Block::allocate(heap, SIZES.draw(&mut rng)))));
    }
    let mut replace = |turn: usize, step: &Step| {
        let slot = &mut blocks[turn * LIVE as usize + step.slot as usize];
        slot.take().expect("every slot holds a block").free();
        *slot = Some(Block::allocate(&heaps[turn], step.size));
    };
    let mut turns = (0..heaps.len()).cycle();
    let mut steps = steps.iter().cycle();
    let measured = nanoseconds_per_unit(budget, |count| {
        for (turn, step) in turns.by_ref().zip(steps.by_ref()).take(count as usize) {
            replace(turn, step);
        }
    });
    blocks.into_iter().flatten().for_each(Block::free);
    measured
}
