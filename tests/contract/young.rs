//! Young heaps: a few blocks of each of many classes, in memory that all classes share.

use std::alloc::Layout;
use std::ptr::{self, NonNull};
use std::time::{Duration, Instant};

use mallocstate::allocator_api2::alloc::Allocator;
use mallocstate::os::testing::TestPages;
use mallocstate::{MallocState, Mode, PageSource, RegionPages};

use crate::held::{Held, layout};
use crate::random::Random;
use crate::support::pattern::{is_zero, pattern};
use crate::support::where_global;

/// A layout of one of the classes to 5 KiB, some with alignments that the class has only just.
fn small(random: &mut Random) -> Layout {
    let align = 1 << random.below(9);
    let most = 5 << random.below(11);
    layout(1 + random.below(most), align)
}

/// A block, and what it is full of: the pattern of an alignment, or zeros.
struct Young<'a, A: Allocator>(Held<'a, A>, Option<usize>);

impl<'a, A: Allocator> Young<'a, A> {
    fn new(heap: &'a A, random: &mut Random) -> Self {
        let (layout, zeroed) = (small(random), random.below(4) == 0);
        if zeroed {
            Self(Held::zeroed(heap, layout), None)
        } else {
            Self(Held::expect(heap, layout), Some(layout.align()))
        }
    }

    /// Nobody has written to it.
    fn check(&self) {
        let Self(held, salt) = self;
        match salt {
            Some(salt) => assert!(held.bytes() == pattern(*salt, held.usable()), "{held:?}"),
            None => assert!(is_zero(held.bytes()), "{held:?}"),
        }
    }
}

/// Rounds of allocations and frees in random order, with all that a heap can do in between; everything is looked at.
fn grow_up<M: Mode, S: PageSource>(mut heap: MallocState<M, S>) {
    let mut random = Random::new(heap.source().page_size() as u64);
    for round in 0..40 {
        let mut held: Vec<Young<'_, MallocState<M, S>>> = Vec::new();
        for _ in 0..random.below(300) {
            match random.below(8) {
                0..5 => held.push(Young::new(&heap, &mut random)),
                5..7 if !held.is_empty() => held.swap_remove(random.below(held.len())).check(),
                _ if random.below(12) == 0 => _ = heap.reclaim(),
                _ => {}
            }
        }
        let stats = heap.stats();
        assert_eq!(stats.live_blocks, held.len());
        // A memory tool's blocks end where their requests do: the heap knows how much there is.
        // SAFETY: the blocks are in use, and these are their starts.
        let usable = |young: &Young<'_, MallocState<M, S>>| unsafe { heap.usable_size(young.0.start()) };
        assert_eq!(stats.live, held.iter().map(usable).sum::<usize>());
        held.iter().for_each(Young::check);
        assert_eq!(stats.committed, stats.live + stats.cached + stats.free + stats.overhead);
        assert_eq!(heap.segments().map(|segment| segment.committed()).sum::<usize>(), heap.committed());
        if round % 3 == 0 {
            held.into_iter().for_each(|young| young.0.forget());
            heap.reset();
        } else {
            drop(held);
        }
        assert_eq!(heap.validate_all(), Ok(()));
        let stats = heap.stats();
        assert_eq!((stats.live_blocks, stats.live), (0, 0), "{stats}");
    }
    heap.reclaim();
    assert_eq!(heap.reclaim(), 0);
    assert_eq!(heap.validate_all(), Ok(()));
}

#[test]
fn young_heaps_keep_their_books() {
    grow_up(MallocState::new());
    grow_up(MallocState::local());
    where_global! { grow_up(MallocState::global()); }
    grow_up(MallocState::new_in(TestPages::new().dirty().demanding_commits()));
    grow_up(MallocState::local_in(crate::region(4 << 20)));
    grow_up(MallocState::builder().local().limit(4 << 20).build().expect("possible options"));
}

/// Blocks of a nursery that other threads free come back to it, and all of it is given back.
#[test]
fn blocks_come_back_from_other_threads() {
    let mut heap = MallocState::new();
    let before = {
        heap.alloc(1_u8);
        heap.reset();
        heap.reclaim();
        heap.committed()
    };
    for _ in 0..20 {
        let mut random = Random::new(7);
        let heap_ref = &heap;
        let mut blocks: Vec<(usize, Layout)> = Vec::new();
        for _ in 0..100 {
            let layout = small(&mut random);
            let block = Held::expect(heap_ref, layout);
            blocks.push((block.start().as_ptr().expose_provenance(), layout));
            block.forget();
        }
        std::thread::scope(|scope| {
            for part in [0, 1] {
                let blocks = blocks.iter().skip(part).step_by(2);
                scope.spawn(move || {
                    for &(block, layout) in blocks {
                        let block = NonNull::new(ptr::with_exposed_provenance_mut(block)).expect("a block");
                        // SAFETY: the block has this layout, and is freed once.
                        unsafe { heap_ref.deallocate(block, layout) };
                    }
                });
            }
        });
        assert_eq!(heap.stats().live_blocks, 0);
        assert_eq!(heap.validate_all(), Ok(()));
        // The caches of the other two threads stay, and tables. What they hold comes back once they have ended for good.
        heap.reclaim();
        let deadline = Instant::now() + Duration::from_secs(60);
        while heap.committed() > before + (32 << 10) {
            assert!(Instant::now() < deadline, "{} {before}", heap.committed());
            std::thread::yield_now();
            heap.reclaim();
        }
    }
}

#[test]
fn teardown_counts_the_youngest() {
    let sizes = [16, 48, 100, 300, 1000, 3000, 4096];
    let usable = [16, 48, 112, 304, 1024, 3072, 4096];
    let region: RegionPages = crate::region(1 << 20);
    let heap = MallocState::local_in(region);
    for (size, usable) in sizes.into_iter().zip(usable) {
        let held = Held::expect(&heap, layout(size, 1));
        // SAFETY: the block is in use, and this is its start.
        assert_eq!(unsafe { heap.usable_size(held.start()) }, usable);
        assert!(heap.contains(held.start().as_ptr()));
        held.forget();
    }
    let teardown = heap.destroy();
    assert_eq!((teardown.live_blocks(), teardown.live()), (sizes.len(), usable.iter().sum()));
}
