//! Out of memory, exhaustively: a scripted workload over a source that fails at its 1st, 2nd, 3rd … call, until it no
//! longer fails; and under every limit.

#![expect(unsafe_code, reason = "shrinks and frees raw blocks")]

mod blocks;
mod support;

use std::alloc::Layout;

use blocks::probe::Probe;
use blocks::{Block, Random, check_all, free_all, sizes_of_all_tiers, usable};
use mallocstate::allocator_api2::alloc::Allocator;
use mallocstate::os::testing::{Call, TestPages};
use mallocstate::{Builder, HugePages, MallocState, Mode, PageSource, ReleasePolicy};
use support::least_limit;
use support::returned::assert_counted;

/// Segments of this length make a run short: its tiers begin at a sixteenth of the usual sizes.
const SHORT: usize = 256 << 10;

/// The source of all runs.
type Source = TestPages<Probe<SHORT>>;

/// What a run is made of beside the failing call.
#[derive(Clone, Copy, Debug)]
struct Setting {
    demands_commits: bool,
    zero_on_release: bool,
    seed: u64,
}

impl Setting {
    const PLAIN: Self = Self { demands_commits: false, zero_on_release: false, seed: 1 };
    const DEMANDING: Self = Self { demands_commits: true, zero_on_release: false, seed: 2 };
    const ZEROING: Self = Self { demands_commits: true, zero_on_release: true, seed: 3 };

    fn source(self) -> Source {
        let source = TestPages::over(Probe::new());
        match self {
            Self { demands_commits: false, .. } => source,
            Self { zero_on_release: true, .. } => source.demanding_commits(),
            Self { zero_on_release: false, .. } => source.demanding_commits().dirty(),
        }
    }

    fn build<'a, M: Mode>(self, builder: Builder<'_, M, &'a Source>) -> MallocState<M, &'a Source> {
        let policy = ReleasePolicy { interval: 2, batch: 2 };
        let builder = builder.release_policy(policy).huge_pages(HugePages::Always);
        builder.zero_on_release(self.zero_on_release).build().unwrap()
    }
}

/// A heap and what it should hold.
struct Tenant<'a, M: Mode> {
    heap: MallocState<M, &'a Source>,
    blocks: Vec<Block>,
    /// What the arena's calls took, until the next reset.
    arena: (usize, usize),
    refused: usize,
}

impl<'a, M: Mode> Tenant<'a, M> {
    fn new(heap: MallocState<M, &'a Source>) -> Self {
        Self { heap, blocks: Vec::new(), arena: (0, 0), refused: 0 }
    }

    fn keep(&mut self, block: Option<Block>) {
        match block {
            Some(block) => self.blocks.push(block),
            None => self.refused += 1,
        }
    }

    /// One step of the script.
    fn step(&mut self, random: &mut Random) {
        let sizes = sizes_of_all_tiers::<Source>();
        let size = sizes[random.below(sizes.len())] - random.below(8).min(1);
        let align = 8 << (random.below(16).saturating_sub(8));
        let (byte, place) = (random.byte(), random.below(self.blocks.len().max(1)));
        match random.below(20) {
            0..=6 => self.keep(Block::new(&self.heap, size, align, byte)),
            7 => self.keep(Block::zeroed(&self.heap, size, align, byte)),
            8 => self.keep(Block::new(&self.heap, size, SHORT << random.below(2), byte)),
            9..=12 if !self.blocks.is_empty() => self.blocks.swap_remove(place).free(&self.heap),
            13..=15 if !self.blocks.is_empty() => {
                let resized = self.blocks[place].resize(&self.heap, size, align, byte);
                self.refused += usize::from(!resized);
            }
            16 => match self.heap.try_alloc_slice_copy(&[byte; 100]) {
                Ok(copy) => {
                    assert_eq!(copy, [byte; 100]);
                    self.arena = (self.arena.0 + 112, self.arena.1 + 1);
                }
                Err(_) => self.refused += 1,
            },
            // Whole magazines' worth of one class.
            17 => {
                let many: Vec<Block> = (0..40).filter_map(|_| Block::new(&self.heap, 300, 8, byte)).collect();
                self.refused += 40 - many.len();
                free_all(&self.heap, many);
            }
            18 => _ = self.heap.reclaim(),
            _ => assert_eq!(self.heap.validate(), Ok(())),
        }
    }

    /// A large block that grows, whether it stays or moves.
    fn grow_large(&mut self) {
        let sizes = [3, 5, 9].map(|quarters| quarters * SHORT / 4);
        let Some(mut block) = Block::new(&self.heap, sizes[0], 64, 1) else {
            self.refused += 1;
            return;
        };
        for size in &sizes[1..] {
            self.refused += usize::from(!block.resize(&self.heap, *size, 64, 2));
        }
        self.blocks.push(block);
    }

    /// More small blocks than fit into one segment.
    fn fill_segments(&mut self) {
        let size = Source::SEGMENT_SIZE / 128;
        let many: Vec<Block> = (0..130).filter_map(|_| Block::new(&self.heap, size, 8, 5)).collect();
        self.refused += 130 - many.len();
        free_all(&self.heap, many);
    }

    fn check(&mut self) {
        self.blocks.iter().for_each(Block::check);
        check_all(&mut self.heap);
        let ((bytes, count), stats) = (usable(&self.blocks), self.heap.stats());
        assert_counted((stats.live_blocks, stats.live), (count + self.arena.1, bytes + self.arena.0));
        let failures = stats.failures;
        assert_eq!(failures.limit + failures.source + failures.size, self.refused);
    }

    fn reset(&mut self) {
        self.blocks.clear();
        self.heap.reset();
        self.arena = (0, 0);
        self.check();
    }

    /// Every tier works.
    fn works(&mut self) {
        for size in sizes_of_all_tiers::<Source>() {
            let block = Block::zeroed(&self.heap, size, 16, 7).expect("the source refuses nothing any more");
            block.free(&self.heap);
        }
    }
}

fn check_identity<M: Mode>(source: &Source, tenants: &[Tenant<'_, M>]) {
    let mapped: usize = tenants.iter().map(|tenant| tenant.heap.mapped()).sum();
    assert_eq!(mapped, source.outstanding_bytes());
}

const STEPS: usize = 50;

/// Runs the script on two heaps over one source; the answer is how many calls the source refused.
fn run<M: Mode>(source: &Source, heaps: [MallocState<M, &Source>; 2], seed: u64) -> usize {
    let before = source.refusals();
    let mut random = Random::new(seed);
    let mut tenants = heaps.map(Tenant::new);
    tenants.iter_mut().for_each(Tenant::grow_large);
    for step in 0..STEPS {
        tenants[step % 2].step(&mut random);
        match step {
            15 => tenants[0].fill_segments(),
            25 => tenants[0].reset(),
            35 => tenants[1].fill_segments(),
            _ => {}
        }
    }
    tenants.iter_mut().for_each(Tenant::check);
    check_identity(source, &tenants);
    let refusals = source.refusals() - before;
    source.refuse_nothing();
    for tenant in &mut tenants {
        tenant.works();
        tenant.check();
        free_all(&tenant.heap, std::mem::take(&mut tenant.blocks));
        if tenant.arena.1 > 0 {
            tenant.reset();
        }
        tenant.heap.reclaim();
        assert_eq!(tenant.heap.reclaim(), 0);
        tenant.check();
        assert!(tenant.heap.mapped() <= SHORT, "{} B stay mapped", tenant.heap.mapped());
    }
    check_identity(source, &tenants);
    let [first, second] = tenants;
    let teardown = first.heap.destroy();
    assert_eq!((teardown.live_blocks(), teardown.refused()), (0, 0));
    drop(second);
    assert_eq!((source.outstanding_bytes(), source.outstanding_ranges()), (0, 0));
    refusals
}

const CALLS: [Option<Call>; 7] = [
    None,
    Some(Call::Map),
    Some(Call::Commit),
    Some(Call::Discard),
    Some(Call::Unmap),
    Some(Call::Grow),
    Some(Call::Advise),
];

fn refuse(source: &Source, call: Option<Call>, once: bool, passing: usize) {
    match (call, once) {
        (None, true) => source.refuse_once_after(passing),
        (None, false) => source.refuse_after(passing),
        (Some(call), true) => source.refuse_call_once_after(call, passing),
        (Some(call), false) => source.refuse_call_after(call, passing),
    }
}

/// Fails each call of the script in turn, by itself and together with all later ones.
fn exhaust<M: Mode>(setting: Setting, pair: impl for<'a> Fn(&'a Source) -> [MallocState<M, &'a Source>; 2]) {
    // A single refusal of one kind is a single refusal of any: it was tried.
    let ways = CALLS.map(|call| (call, false));
    for (call, once) in [(None, true)].into_iter().chain(ways) {
        let mut runs = 0;
        loop {
            let source = setting.source();
            refuse(&source, call, once, runs);
            if run(&source, pair(&source), setting.seed) == 0 {
                break;
            }
            runs += support::stride();
        }
        // Windows itself demands commits.
        let is_made = call != Some(Call::Commit) || setting.demands_commits || cfg!(windows);
        assert_eq!(runs > 0, is_made, "{call:?}");
    }
}

fn exhaust_threaded(setting: Setting) {
    exhaust(setting, |source| [(), ()].map(|()| setting.build(MallocState::builder().source(source))));
}

fn exhaust_local(setting: Setting) {
    exhaust(setting, |source| [(), ()].map(|()| setting.build(MallocState::builder().local().source(source))));
}

#[test]
fn a_threaded_heap_survives_each_refusal() {
    exhaust_threaded(Setting::PLAIN);
}

#[test]
fn a_threaded_heap_survives_each_refusal_of_a_source_that_demands_commits() {
    exhaust_threaded(Setting::DEMANDING);
}

#[test]
fn a_local_heap_survives_each_refusal() {
    exhaust_local(Setting::PLAIN);
}

#[test]
fn a_local_heap_survives_each_refusal_of_a_source_that_demands_commits() {
    exhaust_local(Setting::DEMANDING);
}

#[test]
fn a_local_heap_that_zeroes_survives_each_refusal() {
    exhaust_local(Setting::ZEROING);
}

/// Runs the script under each limit from the smallest on, until none is reached.
fn under_limits<M: Mode>(setting: Setting, build: impl for<'a> Fn(&'a Source, usize) -> MallocState<M, &'a Source>) {
    let step = 1 + (60 << 10) / support::scale(1);
    for limit in (least_limit()..).step_by(step) {
        let source = setting.source();
        let mut random = Random::new(setting.seed);
        let mut tenant = Tenant::new(build(&source, limit));
        tenant.grow_large();
        for step in 0..STEPS {
            tenant.step(&mut random);
            match step {
                15 => tenant.fill_segments(),
                25 => tenant.reset(),
                _ => {}
            }
        }
        tenant.check();
        assert_eq!(tenant.heap.limit(), Some(limit));
        let failures = tenant.heap.stats().failures;
        assert_eq!((failures.source, failures.size), (0, 0));
        tenant.heap.set_limit(None);
        tenant.works();
        tenant.check();
        drop(tenant);
        assert_eq!(source.outstanding_bytes(), 0);
        if failures.limit == 0 {
            return;
        }
    }
}

#[test]
fn a_threaded_heap_survives_every_limit() {
    under_limits(Setting::PLAIN, |source, limit| {
        Setting::PLAIN.build(MallocState::builder().source(source).limit(limit))
    });
}

#[test]
fn a_local_heap_survives_every_limit() {
    under_limits(Setting::DEMANDING, |source, limit| {
        Setting::DEMANDING.build(MallocState::builder().local().source(source).limit(limit))
    });
}

#[test]
fn what_the_source_refuses_at_the_end_is_told_and_stays_with_it() {
    for call in [None, Some(Call::Unmap)] {
        let source = Setting::PLAIN.source();
        let heap = MallocState::local_in(&source);
        let blocks: Vec<Block> =
            sizes_of_all_tiers::<Source>().into_iter().filter_map(|size| Block::new(&heap, size, 8, 1)).collect();
        let ((bytes, count), mapped) = (usable(&blocks), heap.mapped());
        refuse(&source, call, false, 1);
        let teardown = heap.destroy();
        assert_counted((teardown.live_blocks(), teardown.live()), (count, bytes));
        assert_eq!(teardown.mapped(), mapped);
        assert!(teardown.refused() > 0);
        assert_eq!(teardown.refused(), source.outstanding_bytes());
    }
}

#[test]
fn threads_survive_a_source_that_fails_under_them() {
    for passing in (0..support::scale(60)).map(|round| round * 2) {
        let source = Setting::PLAIN.source();
        let mut heap = MallocState::new_in(&source);
        source.refuse_after(passing);
        std::thread::scope(|scope| {
            for seed in 0..4 {
                let heap = &heap;
                scope.spawn(move || {
                    let mut random = Random::new(seed + 9);
                    let mut blocks = Vec::new();
                    for _ in 0..STEPS {
                        let sizes = sizes_of_all_tiers::<Source>();
                        match random.below(3) {
                            0 if !blocks.is_empty() => {
                                let place = random.below(blocks.len());
                                let block: Block = blocks.swap_remove(place);
                                block.free(heap);
                            }
                            1 if random.below(20) == 0 => _ = heap.reclaim(),
                            _ => blocks.extend(Block::new(heap, sizes[random.below(sizes.len())], 8, random.byte())),
                        }
                    }
                    free_all(heap, blocks);
                });
            }
        });
        check_all(&mut heap);
        assert_eq!((heap.mapped(), heap.stats().live), (source.outstanding_bytes(), 0));
        source.refuse_nothing();
        for size in sizes_of_all_tiers::<Source>() {
            Block::new(&heap, size, 8, 3).unwrap().free(&heap);
        }
        drop(heap);
        assert_eq!(source.outstanding_bytes(), 0);
    }
}

/// A shrink that must move may pass the limit for its own duration: collections abort where it fails.
#[test]
fn a_shrink_moves_even_at_the_limit() {
    let heap = MallocState::builder().limit(least_limit()).build().unwrap();
    let of = |size| Layout::from_size_align(size, 8).unwrap();
    let mut blocks: Vec<_> = std::iter::from_fn(|| heap.allocate(of(200)).ok()).collect();
    assert!(blocks.len() > 100 && heap.allocate(of(2000)).is_err());
    // The last block goes to a class that has no slab yet.
    let shrunk = blocks.pop().unwrap().cast();
    // SAFETY: the block was allocated with this layout, and its first bytes are initialised here.
    unsafe { shrunk.write_bytes(7, 200) };
    // SAFETY: as above; the old pointer is not used again.
    let shrunk = unsafe { heap.shrink(shrunk, of(200), of(20)) }.unwrap().cast::<u8>();
    // SAFETY: the block has at least 20 initialised bytes.
    assert!(unsafe { std::slice::from_raw_parts(shrunk.as_ptr(), 20) }.iter().all(|&byte| byte == 7));
    let portion = (4 << 10).max(heap.source().page_size());
    assert!(heap.committed() <= least_limit() + 2 * portion, "at most a portion and a descriptor stay above it");
    // SAFETY: each block is freed once, with the layout that it has.
    unsafe { heap.deallocate(shrunk, of(20)) };
    // SAFETY: as above.
    blocks.into_iter().for_each(|block| unsafe { heap.deallocate(block.cast(), of(200)) });
    assert!(heap.allocate(of(2000)).is_ok(), "the heap goes on working");
}
