//! Several threads share a heap whose source fails under them, and end meanwhile.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use mallocstate::{Builder, MallocState, Mode, Threaded};

use crate::alone;
use crate::blocks::Random;
use crate::exhaust::{Counts, Fault, Setting, thinned};
use crate::pool::{Memory, Pool, SEGMENT};
use crate::stamped::{Stamped, free_all};
use crate::tenant::{Source, Tenant, size};

/// Threads at a time.
const THREADS: u64 = 3;

/// Steps of a thread.
const STEPS: usize = 120;

/// What the threads of a heap share.
struct Shared<'s, M: Mode, S: mallocstate::PageSource> {
    heap: &'s MallocState<M, S>,
    /// Blocks for whichever thread wants them.
    shelf: &'s Mutex<Vec<Stamped>>,
    refused: &'s AtomicUsize,
}

impl<M: Mode, S: mallocstate::PageSource> Shared<'_, M, S> {
    fn kept(&self, block: Option<Stamped>) -> Option<Stamped> {
        self.refused.fetch_add(usize::from(block.is_none()), Relaxed);
        block
    }

    /// What a thread does from its start to its end; what it leaves is on the shelf.
    fn work(&self, seed: u64) {
        let mut random = Random::new(seed);
        let mut blocks: Vec<Stamped> = Vec::new();
        for step in 0..STEPS {
            let (size, number) = (size(&mut random), seed << 32 | step as u64);
            let place = random.below(blocks.len().max(1));
            match random.below(16) {
                0..=4 => blocks.extend(self.kept(Stamped::new(self.heap, size, 8, number))),
                5 => blocks.extend(self.kept(Stamped::zeroed(self.heap, size, 16, number))),
                6 => blocks.extend(self.kept(Stamped::new(self.heap, SEGMENT / 100 + size, 256, number))),
                7 | 8 if !blocks.is_empty() => blocks.swap_remove(place).free(self.heap),
                9 | 10 if !blocks.is_empty() => {
                    let resized = blocks[place].resize(self.heap, size, 8, false);
                    self.refused.fetch_add(usize::from(!resized), Relaxed);
                }
                11 if !blocks.is_empty() => self.shelf.lock().unwrap().push(blocks.swap_remove(place)),
                12 | 13 => {
                    let other = self.shelf.lock().unwrap().pop();
                    other.into_iter().for_each(|block| block.free(self.heap));
                }
                14 => {
                    let many = (0..40).filter_map(|_| self.kept(Stamped::new(self.heap, 1 + size % 300, 8, number)));
                    free_all(self.heap, many.collect());
                }
                15 if random.below(4) == 0 => _ = self.heap.reclaim(),
                15 => assert!(self.heap.segments().all(|segment| segment.committed() <= segment.mapped())),
                _ => {}
            }
        }
        self.shelf.lock().unwrap().append(&mut blocks);
    }
}

/// A heap from its beginning to its end, with threads of two generations; the answer is what the source was asked for.
fn run<M: Mode>(
    setting: Setting,
    memory: &mut Memory,
    fault: Option<Fault>,
    mode: impl for<'a, 'm> Fn(Builder<'a, Threaded, &'a Source<'m>>) -> Builder<'a, M, &'a Source<'m>>,
) -> Counts
where
    for<'a, 'm> MallocState<M, &'a Source<'m>>: Send + Sync,
{
    let pool = Pool::new(memory, setting.habits);
    let source = setting.source(&pool);
    let heap = setting.build(mode(MallocState::builder().source(&source)));
    if let Some(fault) = fault {
        fault.arm(&source);
    }
    let (shelf, refused) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    for generation in 0..2 {
        let shared = &Shared { heap: &heap, shelf: &shelf, refused: &refused };
        std::thread::scope(|scope| {
            let spawn = |number| scope.spawn(move || shared.work(1 + number + generation * THREADS));
            let threads: Vec<_> = (0..THREADS).map(spawn).collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }
    let mut tenant = Tenant::new(heap, &pool).holding(shelf.into_inner().unwrap(), refused.into_inner());
    tenant.check();
    let counts = Counts::of(&source);
    source.refuse_nothing();
    pool.be_generous();
    tenant.end(fault.map_or(0, |fault| fault.passing % 2 * 5));
    counts
}

fn exhaust<M: Mode>(
    setting: Setting,
    mode: impl for<'a, 'm> Fn(Builder<'a, Threaded, &'a Source<'m>>) -> Builder<'a, M, &'a Source<'m>> + Copy,
) where
    for<'a, 'm> MallocState<M, &'a Source<'m>>: Send + Sync,
{
    let _alone = alone();
    let mut memory = Memory::new();
    // No two runs are the same: the highest numbers seen are those that count.
    let counts = (0..5).map(|_| run(setting, &mut memory, None, mode)).reduce(Counts::max).unwrap();
    for fault in counts.faults(thinned(160)) {
        run(setting, &mut memory, Some(fault), mode);
    }
}

/// Declares a test in each mode for each setting.
macro_rules! every_refusal {
    ($($setting:ident: $threaded:ident, $global:ident;)*) => {$(
        #[test]
        fn $threaded() {
            exhaust(Setting::$setting, |builder| builder);
        }

        #[test]
        #[cfg(target_os = "linux")]
        fn $global() {
            exhaust(Setting::$setting, |builder| builder.global());
        }
    )*};
}

every_refusal! {
    PLAIN: threaded_on_plain_pages, global_on_plain_pages;
    DEMANDING: threaded_on_pages_that_demand_commits, global_on_pages_that_demand_commits;
    RECYCLED: threaded_on_recycled_pages, global_on_recycled_pages;
    LIMITED: threaded_within_a_limit, global_within_a_limit;
    SHORT: threaded_on_short_segments, global_on_short_segments;
}
