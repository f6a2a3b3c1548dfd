//! Rests: nothing is live, every heap is checked whole, and memory is measured.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use mallocstate::{MallocState, SystemPages};

use crate::blocks::{Random, check_all, free_all};
use crate::{GLOBAL, SharedHeap, World};

/// Bytes by which the last third of the rests may lie above the first: caches of running threads, stacks.
const SLACK_RESIDENT: usize = 4 << 20;
const SLACK_ADDRESSES: usize = 96 << 20;

/// What the process takes, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Footprint {
    resident: usize,
    addresses: usize,
}

/// What was measured so far.
pub(crate) struct Rests {
    begun: Instant,
    last: Instant,
    operations: u64,
    random: Random,
    footprints: Vec<Footprint>,
}

/// Memory grew from rest to rest.
pub(crate) struct Creep {
    what: &'static str,
    before: usize,
    after: usize,
}

impl fmt::Display for Creep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, before, after } = self;
        write!(f, "{what} creeps: {} KiB at rest in the first third, {} KiB in the last", before >> 10, after >> 10)
    }
}

impl Rests {
    pub(crate) fn new(seed: u64) -> Self {
        println!("    time   operations/s   resident   at rest   addresses   mapped at rest    tenants   refusals");
        let now = Instant::now();
        // Room from the start: what is measured must not move what is measured.
        let footprints = Vec::with_capacity(1 << 16);
        Self { begun: now, last: now, operations: 0, random: Random::new(!seed), footprints }
    }

    /// Checks all heaps, prints a line, and remembers what the process takes.
    ///
    /// # Panics
    ///
    /// When an invariant is broken.
    pub(crate) fn check(&mut self, world: &World, busy: Footprint) {
        let elapsed = self.last.elapsed();
        let operations = world.operations.load(Relaxed);
        world.heaps.iter().for_each(|shared| self.check_heap(shared));
        assert_eq!(GLOBAL.validate(), Ok(()));
        GLOBAL.reclaim();
        SystemPages::trim();
        assert_eq!(SystemPages::cached_bytes(), 0);
        let rest = footprint();
        let mapped: usize = world.heaps.iter().map(|shared| shared.heap.read().unwrap().mapped()).sum();
        println!(
            "{:>6} s {:>14.0} {:>6} MiB {:>5} MiB {:>7} MiB {:>12} MiB {:>10} {:>10}",
            self.begun.elapsed().as_secs(),
            (operations - self.operations) as f64 / elapsed.as_secs_f64(),
            busy.resident >> 20,
            rest.resident >> 20,
            rest.addresses >> 20,
            mapped >> 20,
            world.tenants.load(Relaxed),
            world.refusals.load(Relaxed),
        );
        (self.operations, self.last) = (operations, Instant::now());
        self.footprints.push(rest);
    }

    fn check_heap(&mut self, SharedHeap { heap, passed }: &SharedHeap) {
        let mut heap = heap.write().unwrap();
        free_all(&*heap, std::mem::take(&mut *passed.lock().unwrap()));
        check_all(&mut heap);
        assert_eq!((heap.stats().live, heap.stats().live_blocks), (0, 0), "blocks that nobody has");
        match self.random.below(4) {
            0 => {
                let old = std::mem::replace(&mut *heap, MallocState::new());
                assert_eq!(old.destroy().live_blocks(), 0);
            }
            1 => {
                heap.reset();
                check_all(&mut heap);
            }
            _ => (),
        }
        heap.reclaim();
        check_all(&mut heap);
    }

    /// What grew from the first third of the rests to the last one, the very first left out.
    pub(crate) fn creep(&self) -> Option<Creep> {
        let settled = &self.footprints[1..];
        let third = settled.len().div_ceil(3);
        let (first, last) = (&settled[..third], &settled[settled.len() - third..]);
        let creeps = |what, of: fn(&Footprint) -> usize, slack| {
            let (before, after) = (median(first, of), median(last, of));
            (after > before + slack).then_some(Creep { what, before, after })
        };
        creeps("resident memory", |at| at.resident, SLACK_RESIDENT)
            .or_else(|| creeps("address space", |at| at.addresses, SLACK_ADDRESSES))
    }
}

fn median(footprints: &[Footprint], of: fn(&Footprint) -> usize) -> usize {
    let mut values: Vec<usize> = footprints.iter().map(of).collect();
    values.sort_unstable();
    values[values.len() / 2]
}

/// What the process takes now.
pub(crate) fn footprint() -> Footprint {
    let stats = memory_stats::memory_stats().expect("the system tells what a process takes");
    Footprint { resident: stats.physical_mem, addresses: stats.virtual_mem }
}
