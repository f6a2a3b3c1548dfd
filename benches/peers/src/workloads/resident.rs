//! What heaps take of the machine's memory: resident bytes beside requested ones, each block written whole.

use fastrand::Rng;

use super::SEED;
use super::churn::script;
use crate::memory::{resident, resident_since};
use crate::peers::{Peer, Size, Slots, Table};
use crate::sizes::Sizes;

/// Heaps over which a small heap's memory is averaged: what the first heap takes for the process counts a little.
const SMALL_HEAPS: u32 = 100;

/// What is in a small heap.
const SMALL_BLOCK: Size = Size::of(64);

/// How often each slot is replaced, on average.
const TURNS: usize = 4;

/// Resident bytes for each one that is requested, after a churn.
pub(super) fn measure_live<P: Peer>(sizes: Sizes, live: u32) -> f64 {
    let mut rng = Rng::with_seed(SEED);
    let steps = script(&mut rng, TURNS * live as usize, sizes, live);
    let mut slots = Slots::resident(live as usize);
    let before = resident();
    let heap = P::create();
    let mut table = Table::new(&heap, &mut slots);
    (0..live).for_each(|_| table.push_filled(sizes.draw(&mut rng)));
    steps.iter().for_each(|step| table.replace_filled(step.slot as usize, step.size));
    resident_since(before) / table.requested() as f64
}

/// Resident bytes of a heap with so many blocks of 64 bytes.
pub(super) fn measure_small<P: Peer>(blocks: u32) -> f64 {
    let mut heaps = Vec::with_capacity(SMALL_HEAPS as usize);
    let mut slots: Vec<_> = (0..SMALL_HEAPS).map(|_| Slots::resident(blocks as usize)).collect();
    let before = resident();
    heaps.extend((0..SMALL_HEAPS).map(|_| P::create()));
    let tables: Vec<_> = heaps
        .iter()
        .zip(&mut slots)
        .map(|(heap, slots)| {
            let mut table = Table::new(heap, slots);
            (0..blocks).for_each(|_| table.push_filled(SMALL_BLOCK));
            table
        })
        .collect();
    let more = resident_since(before);
    drop(tables);
    more / f64::from(SMALL_HEAPS)
}

/// How far a fragmentation run goes before memory is measured.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Stage {
    /// Nine blocks in ten are free.
    Freed,
    /// Besides, the heap was told to give back what is unused.
    Reclaimed,
    /// As many bytes as were freed are in use again, in blocks of another size.
    Refilled,
}

/// Blocks of the first filling.
const FIRST: usize = 400_000;

/// Sizes of the first filling, and of the second.
const FIRST_SIZES: Sizes = Sizes::even(8, 256);
const SECOND_SIZE: Size = Size::of(600);

/// Resident bytes for each one that is requested: filled, nine blocks in ten freed at random, filled with another size.
pub(super) fn measure_fragmented<P: Peer>(stage: Stage) -> f64 {
    let mut rng = Rng::with_seed(SEED);
    let mut order: Vec<usize> = (0..FIRST).collect();
    rng.shuffle(&mut order);
    let mut slots = Slots::resident(2 * FIRST);
    let before = resident();
    let heap = P::create();
    let mut table = Table::new(&heap, &mut slots);
    (0..FIRST).for_each(|_| table.push_filled(FIRST_SIZES.draw(&mut rng)));
    let full = table.requested();
    order[..FIRST / 10 * 9].iter().for_each(|&slot| table.free(slot));
    if stage == Stage::Reclaimed {
        heap.reclaim();
    }
    if stage == Stage::Refilled {
        let blocks = (full - table.requested()) / SECOND_SIZE.bytes();
        (0..blocks).for_each(|_| table.push_filled(SECOND_SIZE));
    }
    resident_since(before) / table.requested() as f64
}
