//! Amounts of work that are the same every time, for whoever counts instructions.

use std::marker::PhantomData;

use fastrand::Rng;

use super::churn::{self, replay};
use super::{SEED, lifecycle, pair, request};
use crate::peers::{Peer, Slots, Table};
use crate::sizes::Sizes;

const SIZES: Sizes = Sizes::even(8, 256);
const LIVE: u32 = 1000;

/// Steps of the churn that come before those that count.
const WARM_UP: usize = 10_000;

/// Pairs on one heap.
pub struct Pairs<P>(P);

impl<P: Peer> Pairs<P> {
    /// A heap that has had such blocks before.
    pub fn ready() -> Self {
        let pairs = Self(P::create());
        pairs.known(100);
        pairs
    }

    /// So many pairs of 32 bytes, the layout known when compiling.
    pub fn known(&self, count: u64) {
        pair::known::<P, 32>(&self.0, count);
    }

    /// So many pairs of 32 bytes, the layout opaque.
    pub fn opaque(&self, count: u64) {
        pair::opaque(&self.0, 32, count);
    }
}

/// A churn of 1000 blocks of 8 to 256 bytes.
pub struct Churn<P: Peer + 'static> {
    table: Table<'static, 'static, P>,
    steps: Vec<churn::Step>,
}

impl<P: Peer> Churn<P> {
    /// A heap and blocks that have been replaced some times. Both are leaked.
    pub fn ready(steps: usize) -> Self {
        let mut rng = Rng::with_seed(SEED);
        let (heap, slots) = (Box::leak(Box::new(P::create())), Box::leak(Box::new(Slots::default())));
        let mut table = Table::new(heap, slots);
        (0..LIVE).for_each(|_| table.push(SIZES.draw(&mut rng)));
        replay(&mut table, churn::script(&mut rng, WARM_UP, SIZES, LIVE).iter());
        Self { table, steps: churn::script(&mut rng, steps, SIZES, LIVE) }
    }

    /// Does each step.
    pub fn replay(&mut self) {
        replay(&mut self.table, self.steps.iter());
    }
}

/// Requests of 50 allocations, each with a heap of its own.
pub struct Requests<P> {
    scripts: Vec<Vec<request::Step>>,
    slots: Slots,
    peer: PhantomData<P>,
}

impl<P: Peer> Requests<P> {
    /// Different ones, of which some have been served.
    pub fn ready() -> Self {
        let mut requests = Self { scripts: request::scripts(50), slots: Slots::default(), peer: PhantomData };
        requests.serve(100);
        requests
    }

    /// Serves so many.
    pub fn serve(&mut self, count: u64) {
        for script in self.scripts.iter().cycle().take(count as usize) {
            let heap = P::create();
            request::serve(&heap, script, &mut self.slots);
        }
    }
}

/// Lives of heaps in which there is one block.
pub struct Lives<P> {
    slots: Slots,
    peer: PhantomData<P>,
}

impl<P: Peer> Lives<P> {
    /// After a heap has lived.
    pub fn ready() -> Self {
        let mut lives = Self { slots: Slots::default(), peer: PhantomData };
        lives.live(1);
        lives
    }

    /// So many heaps, one after the other.
    pub fn live(&mut self, count: u64) {
        lifecycle::live::<P>(&mut self.slots, 1, count);
    }
}
