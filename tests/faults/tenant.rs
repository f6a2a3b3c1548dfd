//! A heap, what it should hold, and a long mixed workload for it.

use mallocstate::os::testing::TestPages;
use mallocstate::{MallocState, Mode};

use crate::blocks::{Random, check_all, sizes_of_all_tiers};
use crate::pool::{Pool, SEGMENT};
use crate::stamped::{Stamped, free_all, usable};
use crate::support::returned::assert_counted;

/// The source of all runs.
pub(crate) type Source<'m> = TestPages<&'m Pool<'m>>;

/// Bytes with users from which on more is freed than made.
const MANY_BYTES: usize = 2 << 20;

/// A heap and what it should hold.
pub(crate) struct Tenant<'a, 'm, M: Mode> {
    pub(crate) heap: MallocState<M, &'a Source<'m>>,
    pool: &'m Pool<'m>,
    blocks: Vec<Stamped>,
    bytes: usize,
    /// What the arena's calls took, until the next reset: bytes and blocks.
    arena: (usize, usize),
    refused: usize,
    numbers: u64,
}

/// A size of any tier, the smaller ones more often.
pub(crate) fn size(random: &mut Random) -> usize {
    match random.below(32) {
        0..=17 => 1 + random.below(256),
        18..=24 => 1 + random.below(SEGMENT / 128),
        25..=29 => SEGMENT / 128 + random.below(SEGMENT / 16),
        30 => SEGMENT / 128 + random.below(SEGMENT / 4),
        _ => SEGMENT / 4 + random.below(SEGMENT),
    }
}

impl<'a, 'm, M: Mode> Tenant<'a, 'm, M>
where
    MallocState<M, &'a Source<'m>>: Send,
{
    pub(crate) fn new(heap: MallocState<M, &'a Source<'m>>, pool: &'m Pool<'m>) -> Self {
        Self { heap, pool, blocks: Vec::new(), bytes: 0, arena: (0, 0), refused: 0, numbers: 0 }
    }

    /// The same heap, which others have worked with: it holds these blocks, and has refused so many.
    pub(crate) fn holding(self, blocks: Vec<Stamped>, refused: usize) -> Self {
        let bytes = usable(&blocks).0;
        Self { blocks, bytes, refused, ..self }
    }

    fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn keep(&mut self, block: Option<Stamped>) {
        match block {
            Some(block) => {
                self.bytes += block.len();
                self.blocks.push(block);
            }
            None => self.refused += 1,
        }
    }

    fn free_one(&mut self, random: &mut Random) {
        if !self.blocks.is_empty() {
            let block = self.blocks.swap_remove(random.below(self.blocks.len()));
            self.bytes -= block.len();
            block.free(&self.heap);
        }
    }

    /// The whole workload, on a heap that is as it was made; ends where `after_step` says so.
    pub(crate) fn work(&mut self, steps: usize, mut after_step: impl FnMut(&mut Self) -> bool) {
        let mut random = Random::new(1);
        for step in 0..steps {
            match step {
                _ if step % (steps / 4) == 0 => self.grow_large(),
                _ if step % (steps / 3) == 100 => self.fill_segments(),
                _ if step % (steps / 3) == 200 => self.reset(),
                _ if step % (steps / 6) == 20 => self.work_elsewhere(&mut random),
                _ if step % (steps / 4) == 40 => self.heap.set_limit(self.heap.limit().map(|limit| limit - 4096)),
                _ => self.step(&mut random),
            }
            while self.bytes > MANY_BYTES {
                self.free_one(&mut random);
            }
            if !after_step(self) {
                return;
            }
        }
    }

    /// Steps without another thread, without a reset at the end.
    pub(crate) fn work_alone(&mut self, steps: usize) {
        let mut random = Random::new(2);
        self.fill_segments();
        (0..steps).for_each(|_| self.step(&mut random));
        (0..self.blocks.len() / 2).for_each(|_| self.free_one(&mut random));
    }

    /// One step.
    pub(crate) fn step(&mut self, random: &mut Random) {
        let (size, number) = (size(random), self.next_number());
        let align = 8 << random.below(16).saturating_sub(8);
        match random.below(32) {
            0..=10 => self.keep(Stamped::new(&self.heap, size, align, number)),
            11 | 12 => self.keep(Stamped::zeroed(&self.heap, size, align, number)),
            // Medium blocks of more alignment than those of classes have; now and then, of a segment's and more.
            13 => self.keep(Stamped::new(&self.heap, SEGMENT / 100 + size, 32 << random.below(9), number)),
            14 if random.below(4) == 0 => {
                self.keep(Stamped::new(&self.heap, size, SEGMENT << random.below(2), number));
            }
            15..=22 => self.free_one(random),
            23..=25 if !self.blocks.is_empty() => self.resize(random, size, align),
            26 if !self.blocks.is_empty() => {
                let place = random.below(self.blocks.len());
                let (block, longer) = (&mut self.blocks[place], size + 100);
                self.bytes -= block.len();
                block.grow_in_place(&self.heap, longer);
                self.bytes += block.len();
            }
            27 => match self.heap.try_alloc_slice_copy(&[7_u8; 100]) {
                Ok(copy) => {
                    assert_eq!(copy, [7_u8; 100]);
                    self.arena = (self.arena.0 + 112, self.arena.1 + 1);
                }
                Err(_) => self.refused += 1,
            },
            // Whole magazines' worth of one class.
            28 => {
                let size = 1 + size % 400;
                let many: Vec<Stamped> = (0..40).filter_map(|_| Stamped::new(&self.heap, size, 8, number)).collect();
                self.refused += 40 - many.len();
                free_all(&self.heap, many);
            }
            29 if random.below(4) == 0 => self.reclaim(),
            30 if random.below(4) == 0 => self.walk(number),
            _ => {}
        }
    }

    fn resize(&mut self, random: &mut Random, size: usize, align: usize) {
        let place = random.below(self.blocks.len());
        let block = &mut self.blocks[place];
        self.bytes -= block.len();
        let resized = block.resize(&self.heap, size, align, random.below(4) == 0);
        self.bytes += block.len();
        self.refused += usize::from(!resized);
    }

    /// A large block that grows, whether it stays or moves, and shrinks again.
    fn grow_large(&mut self) {
        let (sizes, number) = ([3, 5, 9, 17, 2].map(|quarters| quarters * SEGMENT / 4), self.next_number());
        let Some(mut block) = Stamped::new(&self.heap, sizes[0], 64, number) else {
            self.refused += 1;
            return;
        };
        for size in &sizes[1..] {
            self.refused += usize::from(!block.resize(&self.heap, *size, 64, false));
        }
        self.keep(Some(block));
    }

    /// More small blocks than fit into one segment; they all go again.
    fn fill_segments(&mut self) {
        let (size, number) = (SEGMENT / 128, self.next_number());
        let many: Vec<Stamped> = (0..130).filter_map(|_| Stamped::new(&self.heap, size, 8, number)).collect();
        self.refused += 130 - many.len();
        free_all(&self.heap, many);
    }

    /// Another thread frees and makes blocks; it ends.
    fn work_elsewhere(&mut self, random: &mut Random) {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                (0..40).for_each(|_| self.free_one(random));
                for _ in 0..40 {
                    let (size, number) = (size(random), self.next_number());
                    self.keep(Stamped::new(&self.heap, size, 8, number));
                }
                (0..20).for_each(|_| self.free_one(random));
            });
            // A scope ends before the destructors of thread-locals, and so before the thread's slot is free.
            thread.join().unwrap();
        });
    }

    /// Walks the segments, and changes what they hold meanwhile.
    fn walk(&mut self, number: u64) {
        let mut made = Vec::new();
        for (index, segment) in self.heap.segments().enumerate() {
            assert!(segment.committed() <= segment.mapped() && segment.in_use() <= segment.committed(), "{segment:?}");
            match Stamped::new(&self.heap, 3000 * (index % 30) + 1, 8, number) {
                Some(block) => made.push(block),
                None => self.refused += 1,
            }
        }
        free_all(&self.heap, made);
    }

    /// What goes back is what the heap says.
    fn reclaim(&mut self) {
        let before = self.pool.given_back();
        let reclaimed = self.heap.reclaim();
        assert_eq!(reclaimed, self.pool.given_back() - before);
    }

    fn reset(&mut self) {
        self.check();
        self.blocks.clear();
        self.heap.reset();
        (self.arena, self.bytes) = ((0, 0), 0);
        self.check();
    }

    /// Panics where the heap does not hold what it should, or its accounts do not add up.
    pub(crate) fn check(&mut self) {
        self.blocks.iter().for_each(Stamped::check);
        check_all(&mut self.heap);
        let ((bytes, count), stats) = (usable(&self.blocks), self.heap.stats());
        assert_eq!(bytes, self.bytes);
        assert_counted((stats.live_blocks, stats.live), (count + self.arena.1, bytes + self.arena.0));
        let failures = stats.failures;
        assert_eq!(failures.limit + failures.source + failures.size, self.refused, "{failures:?}");
        let source = self.heap.source();
        assert_eq!(self.heap.mapped(), source.outstanding_bytes());
        assert_eq!(self.heap.segments().count(), source.outstanding_ranges());
    }

    /// How many requests the heap has refused.
    pub(crate) fn refused(&self) -> usize {
        self.refused
    }

    /// Nothing is refused any more: all that was made can be freed, each tier works, and what is unused goes back, but
    /// for a few blocks, which the end of the heap must tell of.
    pub(crate) fn end(mut self, kept: usize) {
        self.heap.set_limit(None);
        for size in sizes_of_all_tiers::<Source<'_>>() {
            let block = Stamped::zeroed(&self.heap, size, 16, 1).expect("nothing is refused any more");
            block.free(&self.heap);
        }
        self.check();
        let kept = self.blocks.split_off(self.blocks.len().saturating_sub(kept));
        free_all(&self.heap, std::mem::replace(&mut self.blocks, kept));
        if self.blocks.is_empty() {
            self.heap.reset();
            self.arena = (0, 0);
        }
        self.bytes = usable(&self.blocks).0;
        self.reclaim();
        assert_eq!(self.heap.reclaim(), 0);
        self.check();
        let stats = self.heap.stats();
        assert_eq!(stats.cached, 0, "{stats}");
        let (source, live) = (*self.heap.source(), (stats.live_blocks, stats.live));
        // Of an empty heap there stays what its own tables are in.
        let most = SEGMENT * (2 + stats.overhead / (SEGMENT / 32));
        assert!(live != (0, 0) || stats.mapped <= most, "{stats}");
        let teardown = self.heap.destroy();
        assert_eq!((teardown.live_blocks(), teardown.live(), teardown.refused()), (live.0, live.1, 0));
        assert_eq!((teardown.mapped(), teardown.peak()), (stats.mapped, stats.peak));
        assert_eq!((source.outstanding_bytes(), source.outstanding_ranges()), (0, 0));
    }
}
