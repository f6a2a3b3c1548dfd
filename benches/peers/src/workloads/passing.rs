//! Blocks that one thread allocates and another frees, in batches that change hands through channels.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use fastrand::Rng;

use super::SEED;
use crate::crew::nanoseconds_of_crew;
use crate::peers::{Block, Peer, Size};
use crate::sizes::Sizes;

const SIZES: Sizes = Sizes::even(8, 256);

/// Blocks that change hands at once.
const BATCH: usize = 256;

/// Batches that are under way between two threads, at most.
const UNDER_WAY: usize = 8;

/// Sizes that are made up beforehand and then repeated.
const SCRIPT: usize = 1 << 14;

type Batch<'heap, P> = Vec<Block<'heap, P>>;

/// One thread's ends of two channels.
type Ends<'heap, P> = (Receiver<Batch<'heap, P>>, Sender<Batch<'heap, P>>);

/// One thread's sizes, batch by batch, again and again.
struct Draws {
    sizes: Vec<Size>,
    next: usize,
}

impl Draws {
    fn new(index: usize) -> Self {
        let mut rng = Rng::with_seed(SEED + index as u64);
        Self { sizes: (0..SCRIPT).map(|_| SIZES.draw(&mut rng)).collect(), next: 0 }
    }

    fn batch(&mut self) -> &[Size] {
        let start = self.next;
        self.next = (start + BATCH) % SCRIPT;
        &self.sizes[start..start + BATCH]
    }
}

/// A ring of channels with empty batches under way in each, as the ends that each thread takes.
fn ring<'heap, P>(threads: usize) -> Vec<Mutex<Option<Ends<'heap, P>>>> {
    let (mut senders, receivers): (Vec<_>, Vec<_>) = (0..threads).map(|_| channel()).unzip();
    for sender in &senders {
        for _ in 0..UNDER_WAY {
            sender.send(Vec::with_capacity(BATCH)).expect("the receiver is here");
        }
    }
    senders.rotate_left(1);
    receivers.into_iter().zip(senders).map(|ends| Mutex::new(Some(ends))).collect()
}

/// Time of one batch, with which each thread of the ring does its part.
fn measure<P: Peer + Sync>(
    budget: Duration,
    threads: usize,
    part: impl for<'heap> Fn(usize, &'heap P, &mut Batch<'heap, P>, &mut Draws) + Sync,
) -> f64 {
    let heap = P::create();
    let ring = ring::<P>(threads);
    nanoseconds_of_crew(budget, threads, 100, |index, amounts| {
        let ends = ring[index].lock().ok().and_then(|mut ends| ends.take());
        let (receiver, sender) = ends.expect("each thread takes its own ends");
        let mut draws = Draws::new(index);
        for batches in amounts {
            for _ in 0..batches {
                let mut batch = receiver.recv().expect("the ring is closed");
                part(index, &heap, &mut batch, &mut draws);
                sender.send(batch).expect("the ring is closed");
            }
        }
    })
}

fn free_all<P: Peer>(batch: &mut Batch<'_, P>) {
    batch.drain(..).for_each(Block::free);
}

fn allocate_all<'heap, P: Peer>(heap: &'heap P, batch: &mut Batch<'heap, P>, draws: &mut Draws) {
    batch.extend(draws.batch().iter().map(|&size| Block::allocate(heap, size)));
}

/// Time of one block that one thread allocates and another frees.
pub(super) fn measure_hand_over<P: Peer + Sync>(budget: Duration) -> f64 {
    let batch = measure::<P>(budget, 2, |index, heap, batch, draws| match index {
        0 => allocate_all(heap, batch, draws),
        _ => free_all(batch),
    });
    batch / BATCH as f64
}

/// Time of one block that goes from a thread to the next, which frees it and passes on another.
pub(super) fn measure_ring<P: Peer + Sync>(budget: Duration, threads: usize) -> f64 {
    let batch = measure::<P>(budget, threads, |_, heap, batch, draws| {
        free_all(batch);
        allocate_all(heap, batch, draws);
    });
    batch / BATCH as f64
}
