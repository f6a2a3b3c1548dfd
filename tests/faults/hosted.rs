//! What a heap keeps for itself is refused: tables of size classes and of threads, the medium tier, thread caches.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use mallocstate::{Builder, MallocState, Mode, PageSource, Threaded};

use crate::alone;
use crate::exhaust::{Counts, Fault, Setting, thinned};
use crate::pool::{Memory, Pool, SEGMENT};
use crate::stamped::Stamped;
use crate::tenant::{Source, Tenant};

/// Threads that are too many for a heap's own table.
const MANY_THREADS: usize = 70;

/// Needs every table: one size of the classes that each heap has roots for, one of the others, one of each other tier.
const SIZES: [(usize, usize); 6] =
    [(100, 8), (SEGMENT / 200, 8), (SEGMENT / 50, 8), (SEGMENT / 60, 256), (SEGMENT / 50, 16), (SEGMENT, 8)];

/// Takes and frees a block of each kind, twice; the answer is what was refused, and the last blocks.
fn use_every_table<M: Mode, S: PageSource>(heap: &MallocState<M, S>, refused: &AtomicUsize) -> Vec<Stamped> {
    let take = || {
        let blocks = SIZES.map(|(size, align)| Stamped::new(heap, size, align, size as u64));
        refused.fetch_add(blocks.iter().filter(|block| block.is_none()).count(), Relaxed);
        blocks.into_iter().flatten()
    };
    take().for_each(|block| block.free(heap));
    take().collect()
}

/// Runs `work` in a thread while so many others have slots.
fn behind<R: Send>(others: usize, work: impl FnOnce() -> R + Send) -> R {
    let barrier = Barrier::new(others + 1);
    std::thread::scope(|scope| {
        for _ in 0..others {
            scope.spawn(|| {
                assert!(MallocState::new().malloc(1).is_some());
                barrier.wait();
                barrier.wait();
            });
        }
        barrier.wait();
        let result = scope.spawn(work).join();
        barrier.wait();
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A heap from its beginning to its end, used by one thread or by many at once.
fn run<M: Mode>(
    setting: Setting,
    memory: &mut Memory,
    fault: Option<Fault>,
    threads: usize,
    mode: impl for<'a, 'm> Fn(Builder<'a, Threaded, &'a Source<'m>>) -> Builder<'a, M, &'a Source<'m>>,
) -> (Counts, usize)
where
    for<'a, 'm> MallocState<M, &'a Source<'m>>: Send + Sync,
{
    let pool = Pool::new(memory, setting.habits);
    let source = setting.source(&pool);
    let heap = setting.build(mode(MallocState::builder().source(&source)));
    if let Some(fault) = fault {
        fault.arm(&source);
    }
    let (refused, mut blocks) = (AtomicUsize::new(0), Vec::new());
    if threads == 1 {
        blocks = use_every_table(&heap, &refused);
    } else {
        let barrier = Barrier::new(threads);
        std::thread::scope(|scope| {
            let work = || {
                barrier.wait();
                let blocks = use_every_table(&heap, &refused);
                // Nobody ends before all have slots.
                barrier.wait();
                blocks
            };
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            threads.into_iter().for_each(|thread| blocks.extend(thread.join().unwrap()));
        });
    }
    let mut tenant = Tenant::new(heap, &pool).holding(blocks, refused.into_inner());
    tenant.check();
    let (counts, refusals) = (Counts::of(&source), source.refusals());
    source.refuse_nothing();
    tenant.end(0);
    (counts, refusals)
}

/// Refuses each call of a heap's first use in turn.
fn each_in_turn<M: Mode>(
    threads: usize,
    thinned: usize,
    mode: impl for<'a, 'm> Fn(Builder<'a, Threaded, &'a Source<'m>>) -> Builder<'a, M, &'a Source<'m>> + Copy,
) where
    for<'a, 'm> MallocState<M, &'a Source<'m>>: Send + Sync,
{
    for setting in [Setting::DEMANDING, Setting::RECYCLED, Setting::SHORT] {
        let mut memory = Memory::new();
        let (counts, _) = run(setting, &mut memory, None, threads, mode);
        for fault in counts.faults(thinned) {
            let (_, refusals) = run(setting, &mut memory, Some(fault), threads, mode);
            assert!(refusals > 0 || threads > 1, "{fault:?} did not come about");
        }
    }
}

#[test]
fn each_table_may_be_refused() {
    let _alone = alone();
    each_in_turn(1, thinned(5), |builder| builder);
    #[cfg(target_os = "linux")]
    each_in_turn(1, thinned(5), |builder| builder.global());
}

#[test]
fn each_table_may_be_refused_to_a_thread_beyond_the_inline_ones() {
    let _alone = alone();
    behind(MANY_THREADS, || each_in_turn(1, thinned(5), |builder| builder));
    #[cfg(target_os = "linux")]
    behind(MANY_THREADS, || each_in_turn(1, thinned(5), |builder| builder.global()));
}

#[test]
fn many_threads_are_refused_their_tables() {
    let _alone = alone();
    each_in_turn(MANY_THREADS, thinned(400), |builder| builder);
    #[cfg(target_os = "linux")]
    each_in_turn(MANY_THREADS, thinned(400), |builder| builder.global());
}
