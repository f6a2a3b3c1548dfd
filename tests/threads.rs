//! Heaps that threads share, and threads that come and go.

mod blocks;
mod support;

#[path = "threads/segments.rs"]
mod segments;

#[cfg(target_os = "linux")]
#[path = "threads/fork.rs"]
mod fork;

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};

use blocks::{Block, Random, check_all, free_all, sizes_of_all_tiers};
use mallocstate::os::testing::TestPages;
use mallocstate::{MallocState, Mode, PageSource, SystemPages};
use support::{scale, where_global};

/// Thread slots are the process's: where a test says that nothing is stranded in the caches of ended threads, no thread
/// of another test may hold their slots.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work` in that many threads and waits until they have ended, destructors of thread-locals included.
fn in_threads(count: usize, work: impl Fn(usize) + Sync) {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|number| scope.spawn(move || work(number))).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// Nothing is live in the heap, and after a reclaim nothing is cached.
fn check_nothing_stranded<M: Mode, S: PageSource>(heap: &mut MallocState<M, S>) {
    heap.reclaim();
    let stats = heap.stats();
    assert_eq!((stats.live, stats.live_blocks, stats.cached), (0, 0, 0), "{stats}");
    assert_eq!(heap.reclaim(), 0);
    check_all(heap);
}

/// Blocks of all tiers come and go at random; what is left stays.
fn churn<M: Mode, S: PageSource>(heap: &MallocState<M, S>, random: &mut Random, steps: usize) -> Vec<Block>
where
    MallocState<M, S>: Sync,
{
    let mut blocks: Vec<Block> = Vec::new();
    for _ in 0..steps {
        let sizes = sizes_of_all_tiers::<S>();
        // Large blocks take long to fill.
        let kinds = if random.below(40) == 0 { sizes.len() } else { 6 };
        let size = sizes[random.below(kinds)];
        let place = random.below(blocks.len().max(1));
        match random.below(5) {
            0..=1 => blocks.push(Block::new(heap, size, 8, random.byte()).unwrap()),
            2..=3 if !blocks.is_empty() => blocks.swap_remove(place).free(heap),
            4 if !blocks.is_empty() => assert!(blocks[place].resize(heap, size, 16, random.byte())),
            _ => {}
        }
    }
    blocks
}

/// Each thread makes blocks for the next one, which looks at them and frees them.
fn pass_blocks_around<M: Mode, S: PageSource>(mut heap: MallocState<M, S>, threads: usize)
where
    MallocState<M, S>: Sync,
{
    let (senders, receivers): (Vec<Sender<Block>>, Vec<Receiver<Block>>) = (0..threads).map(|_| channel()).unzip();
    let ends: Vec<_> = senders.into_iter().cycle().skip(1).take(threads).zip(receivers).collect();
    let ends: Vec<_> = ends.into_iter().map(|ends| Mutex::new(Some(ends))).collect();
    in_threads(threads, |number| {
        let (sender, receiver) = ends[number].lock().unwrap().take().unwrap();
        let mut random = Random::new(number as u64 + 1);
        for _ in 0..scale(50) {
            for block in churn(&heap, &mut random, 20) {
                // The next thread may have ended already, having had enough.
                sender.send(block).unwrap_or_else(|unsent| unsent.0.free(&heap));
            }
            receiver.try_iter().for_each(|block| block.free(&heap));
        }
        drop(sender);
        receiver.iter().for_each(|block| block.free(&heap));
    });
    check_nothing_stranded(&mut heap);
}

#[test]
fn blocks_go_round_in_a_ring_of_threads() {
    let _alone = alone();
    pass_blocks_around(MallocState::new(), 4);
    where_global! { pass_blocks_around(MallocState::global(), 4); }
    let source = TestPages::new().demanding_commits();
    pass_blocks_around(MallocState::new_in(&source), 3);
    assert_eq!(source.outstanding_bytes(), 0);
}

#[test]
fn one_thread_makes_what_another_frees() {
    fn run<M: Mode, S: PageSource>(mut heap: MallocState<M, S>)
    where
        MallocState<M, S>: Sync,
    {
        let (sender, receiver) = channel();
        let ends = Mutex::new((Some(sender), Some(receiver)));
        in_threads(2, |number| {
            if number == 0 {
                let sender: Sender<Block> = ends.lock().unwrap().0.take().unwrap();
                let mut random = Random::new(3);
                for _ in 0..scale(20_000) {
                    let size = sizes_of_all_tiers::<S>()[random.below(3)];
                    sender.send(Block::new(&heap, size, 8, random.byte()).unwrap()).unwrap();
                }
                for size in sizes_of_all_tiers::<S>().repeat(8) {
                    sender.send(Block::new(&heap, size, 64, random.byte()).unwrap()).unwrap();
                }
            } else {
                let receiver: Receiver<Block> = ends.lock().unwrap().1.take().unwrap();
                receiver.iter().for_each(|block| block.free(&heap));
            }
        });
        check_nothing_stranded(&mut heap);
    }
    let _alone = alone();
    run(MallocState::new());
    where_global! { run(MallocState::global()); }
}

#[test]
fn thousands_of_short_threads_leave_nothing_behind() {
    fn run<M: Mode, S: PageSource>(mut heap: MallocState<M, S>)
    where
        MallocState<M, S>: Sync,
    {
        let mut overhead = 0;
        for round in 0..scale(1000) {
            in_threads(3, |number| {
                let mut random = Random::new((round * 3 + number) as u64);
                free_all(&heap, churn(&heap, &mut random, 12));
            });
            if round == 50 {
                overhead = heap.stats().overhead;
            }
        }
        // Slots are recycled and caches inherited: they take no more for more threads. Slabs have descriptors.
        let grown = heap.stats().overhead.saturating_sub(overhead);
        assert!(scale(1000) < 50 || grown <= 64 << 10, "{grown} B more");
        check_nothing_stranded(&mut heap);
    }
    let _alone = alone();
    run(MallocState::new());
    where_global! { run(MallocState::global()); }
}

#[test]
fn two_hundred_threads_are_alive_at_once() {
    fn run<M: Mode, S: PageSource>(mut heap: MallocState<M, S>)
    where
        MallocState<M, S>: Sync,
    {
        const THREADS: usize = 200;
        let (barrier, swap) = (Barrier::new(THREADS), Mutex::new(Vec::new()));
        in_threads(THREADS, |number| {
            let mut random = Random::new(number as u64);
            let blocks = churn(&heap, &mut random, 30);
            barrier.wait();
            swap.lock().unwrap().extend(blocks);
            barrier.wait();
            // Whatever came from whom.
            while let Some(block) = { swap.lock().unwrap().pop() } {
                block.free(&heap);
            }
            free_all(&heap, churn(&heap, &mut random, 30));
            let zeroed = (0..20).map(|_| Block::zeroed(&heap, 500, 8, 1).unwrap()).collect();
            free_all(&heap, zeroed);
            barrier.wait();
        });
        check_nothing_stranded(&mut heap);
    }
    let _alone = alone();
    run(MallocState::new());
    where_global! { run(MallocState::global()); }
    run(MallocState::new_in(TestPages::new()));
}

#[test]
fn destructors_of_thread_locals_allocate_and_free() {
    static HEAP: MallocState = MallocState::new();
    static LATE_ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

    struct Late(Vec<Block>);

    impl Drop for Late {
        fn drop(&mut self) {
            free_all(&HEAP, std::mem::take(&mut self.0));
            for size in sizes_of_all_tiers::<SystemPages>() {
                let mut block = Block::new(&HEAP, size, 8, 1).unwrap();
                assert!(block.resize(&HEAP, size * 2, 8, 2));
                block.free(&HEAP);
                LATE_ALLOCATIONS.fetch_add(1, Relaxed);
            }
            HEAP.reclaim();
            assert_eq!(HEAP.validate(), Ok(()));
        }
    }

    std::thread_local! {
        static FIRST: RefCell<Late> = const { RefCell::new(Late(Vec::new())) };
        static SECOND: RefCell<Late> = const { RefCell::new(Late(Vec::new())) };
    }

    let _alone = alone();
    let rounds = scale(60);
    for round in 0..rounds {
        in_threads(2, |_| {
            // The order of destructors is the system's: one of these is set before the heap is used, one after.
            FIRST.with_borrow(|_| {});
            let blocks = (0..10 + round).map(|_| Block::new(&HEAP, 100, 8, 7).unwrap()).collect();
            FIRST.with_borrow_mut(|late| late.0 = blocks);
            SECOND.with_borrow_mut(|late| late.0.push(Block::new(&HEAP, 100_000, 8, 8).unwrap()));
        });
    }
    assert_eq!(LATE_ALLOCATIONS.load(Relaxed), rounds * 4 * 9);
    HEAP.reclaim();
    let stats = HEAP.stats();
    assert_eq!((stats.live, stats.cached), (0, 0), "{stats}");
    assert_eq!(HEAP.validate(), Ok(()));
}

#[test]
fn reclaim_runs_while_others_allocate_and_free() {
    fn run<M: Mode, S: PageSource>(mut heap: MallocState<M, S>)
    where
        MallocState<M, S>: Sync,
    {
        let working = AtomicUsize::new(3);
        in_threads(5, |number| {
            if number < 3 {
                let mut random = Random::new(number as u64);
                for _ in 0..scale(30) {
                    free_all(&heap, churn(&heap, &mut random, 100));
                }
                working.fetch_sub(1, Relaxed);
            }
            while working.load(Relaxed) > 0 {
                heap.reclaim();
                assert_eq!(heap.validate(), Ok(()));
                let stats = heap.stats();
                let most = isize::MAX as usize;
                assert!(stats.live <= most && stats.cached <= most && stats.free <= most, "{stats}");
                std::thread::yield_now();
            }
        });
        check_nothing_stranded(&mut heap);
    }
    let _alone = alone();
    run(MallocState::new());
    where_global! { run(MallocState::global()); }
    let source = TestPages::new().demanding_commits();
    run(MallocState::new_in(&source));
    assert_eq!(source.outstanding_bytes(), 0);
}

#[test]
fn a_local_heap_goes_from_thread_to_thread() {
    let mut state = (MallocState::local(), Vec::new());
    for round in 0..scale(50) {
        state = std::thread::spawn(move || {
            let (mut heap, blocks): (_, Vec<Block>) = state;
            free_all(&heap, blocks);
            let sizes = sizes_of_all_tiers::<SystemPages>();
            let blocks = sizes.map(|size| Block::new(&heap, size + round, 8, 5).unwrap()).into();
            check_all(&mut heap);
            (heap, blocks)
        })
        .join()
        .unwrap();
    }
    let (heap, blocks) = state;
    free_all(&heap, blocks);
    assert_eq!(heap.destroy().live_blocks(), 0);
}

#[test]
fn threads_use_a_new_heap_for_the_first_time_at_once() {
    const THREADS: usize = 4;
    fn run<M: Mode, S: PageSource>(mut heap: MallocState<M, S>)
    where
        MallocState<M, S>: Sync,
    {
        let barrier = Barrier::new(THREADS);
        in_threads(THREADS, |number| {
            barrier.wait();
            let size = [24, 5000, SystemPages::SEGMENT_SIZE / 20, 24][number];
            let block = Block::new(&heap, size, 8, 1).expect("a heap without a limit");
            block.free(&heap);
        });
        check_nothing_stranded(&mut heap);
        assert!(heap.segments().count() <= 1, "a segment of a loser stays");
    }
    let _alone = alone();
    let source = TestPages::new();
    for _ in 0..scale(300) {
        run(MallocState::new_in(&source));
        assert_eq!(source.outstanding_bytes(), 0);
        where_global! { run(MallocState::global()); }
    }
}

/// A block in each of the 24 classes to 512 bytes, and one of 20 KiB.
fn useful_sizes() -> Vec<usize> {
    let sizes: Vec<usize> = (1..=16).map(|step| step * 16).chain((1..=8).map(|step| 256 + step * 32)).collect();
    assert_eq!(sizes.len(), 24);
    [sizes, vec![20 << 10]].concat()
}

#[test]
fn a_limit_of_256_kib_is_useful() {
    fn run<M: Mode, S: PageSource>(mut heap: MallocState<M, S>, threads: usize)
    where
        MallocState<M, S>: Sync,
    {
        let limit = heap.limit().unwrap();
        let (made, barrier) = (Mutex::new(Vec::new()), Barrier::new(threads));
        in_threads(threads, |number| {
            barrier.wait();
            for size in useful_sizes().into_iter().skip(number).step_by(threads) {
                let block = Block::new(&heap, size, 8, 3);
                made.lock().unwrap().push(block.unwrap_or_else(|| panic!("{size} B: {}", heap.stats())));
                assert!(heap.committed() <= limit);
            }
            barrier.wait();
        });
        let made = made.into_inner().unwrap();
        assert_eq!(made.len(), 25);
        assert!(heap.peak() <= limit);
        free_all(&heap, made);
        check_nothing_stranded(&mut heap);
    }
    let _alone = alone();
    // Pages of 64 KiB need more.
    let limit = (256 << 10).max(16 * SystemPages::new().page_size());
    for _ in 0..scale(50) {
        for threads in [1, 4] {
            run(MallocState::builder().limit(limit).build().unwrap(), threads);
            where_global! {
                let global = MallocState::global();
                global.set_limit(Some(limit));
                run(global, threads);
            }
        }
    }
    let local = MallocState::builder().limit(limit).local().build().unwrap();
    let made: Vec<Block> = useful_sizes().into_iter().map(|size| Block::new(&local, size, 8, 3).unwrap()).collect();
    assert!(local.peak() <= limit);
    free_all(&local, made);
}

#[test]
fn no_thread_passes_the_limit() {
    const LIMIT: usize = 3 << 20;
    let _alone = alone();
    let mut heap = MallocState::builder().limit(LIMIT).build().unwrap();
    let refused = AtomicBool::new(false);
    in_threads(4, |number| {
        let (mut random, mut blocks) = (Random::new(number as u64), Vec::new());
        for _ in 0..scale(4000) {
            let size = sizes_of_all_tiers::<SystemPages>()[random.below(6)];
            match Block::new(&heap, size, 8, random.byte()) {
                Some(block) => blocks.push(block),
                None => {
                    refused.store(true, Relaxed);
                    blocks.drain(blocks.len() / 2..).for_each(|block| block.free(&heap));
                }
            }
            assert!(heap.committed() <= LIMIT);
        }
        free_all(&heap, blocks);
    });
    assert!(heap.peak() <= LIMIT);
    assert!(refused.into_inner() || scale(4000) < 1000);
    check_nothing_stranded(&mut heap);
}
