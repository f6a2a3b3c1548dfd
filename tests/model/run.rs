//! Applies operations to a heap and to its shadow, and compares the two after each.

use std::alloc::Layout;
use std::ptr::NonNull;

use mallocstate::allocator_api2::alloc::Allocator;
use mallocstate::{MallocState, Mode, Segment};

use crate::observed::Observed;
use crate::operation::{ArenaCall, Operation};
use crate::shadow::{Block, Maker, Shadow};
use crate::support::classes::{Geometry, Tier};
use crate::support::pattern::{LONGEST, is_zero};
use crate::support::returned::{EXACT, assert_counted, returned};

/// Most bytes with users: what is beyond is left out, to keep the test quick.
const MOST_BYTES: usize = 8 << 20;

/// A heap, its shadow, and what may go wrong.
pub(crate) struct Run<M: Mode, S: Observed + Copy> {
    pub(crate) heap: Box<MallocState<M, S>>,
    pub(crate) source: S,
    pub(crate) shadow: Shadow,
    pub(crate) geometry: Geometry,
    /// Whether no other running thread has a cache in the heap.
    pub(crate) alone: bool,
    peak: usize,
}

impl<M: Mode, S: Observed + Copy> Run<M, S> {
    pub(crate) fn new(heap: MallocState<M, S>) -> Self {
        let geometry = Geometry::of::<S>();
        let source = *heap.source();
        Self { heap: Box::new(heap), source, shadow: Shadow::new(geometry), geometry, alone: true, peak: 0 }
    }

    /// Applies the operations one by one, compares after each, and destroys the heap.
    pub(crate) fn run(self, operations: &[Operation]) {
        let trace = std::env::var_os("MALLOCSTATE_TEST_TRACE").is_some();
        let apply = |run: Self, operation: &Operation| {
            if trace {
                // Not through the harness, which keeps what it captured when the process aborts.
                let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{operation:?}\n").as_bytes());
            }
            let mut run = run.apply(operation);
            run.compare();
            run
        };
        operations.iter().fold(self, apply).finish();
    }

    /// Applies an operation, and looks whether the heap kept to its limit.
    pub(crate) fn apply(mut self, operation: &Operation) -> Self {
        let (committed, limit) = (self.heap.committed(), self.heap.limit());
        if matches!(operation, Operation::Move) {
            self = self.moved();
        }
        let moves = self.step(operation);
        let most = limit.map_or(usize::MAX, |limit| limit.max(committed));
        // A shrink that must move may pass the limit.
        assert!(moves || self.heap.committed() <= most, "{} committed, limit {most}", self.heap.committed());
        self
    }

    /// Destroys the heap: all of it goes back, and its account of what was live is right.
    pub(crate) fn finish(self) {
        self.source.refuse(None);
        let teardown = self.heap.destroy();
        assert_counted((teardown.live_blocks(), teardown.live()), self.shadow.sums().totals());
        assert_eq!(teardown.refused(), 0);
        assert_eq!(self.source.outstanding().unwrap_or(0), 0, "bytes not given back");
    }

    /// The same heap in another place.
    fn moved(self) -> Self {
        Self { heap: Box::new(*self.heap), ..self }
    }

    /// Applies one operation; whether it was a shrink.
    fn step(&mut self, operation: &Operation) -> bool {
        let refusals = self.source.refusals();
        match *operation {
            Operation::Allocate { size, align, zeroed } => self.allocate(size, align, zeroed, refusals),
            Operation::Burst { size, count, zeroed } => {
                (0..count).for_each(|_| self.allocate(size, 1, zeroed, refusals));
            }
            Operation::Malloc { size } => {
                if self.has_room(size) {
                    let block = self.heap.malloc(size);
                    self.made_by_c(block, size, 16, refusals);
                }
            }
            Operation::Calloc { count, size } => {
                if self.has_room(count * size) {
                    let block = self.heap.calloc(count, size);
                    // SAFETY: the block is in use, and of this heap.
                    let usable = |block| returned(count * size, unsafe { self.heap.usable_size(block) });
                    block.inspect(|&block| assert_zero(NonNull::slice_from_raw_parts(block, usable(block)), 0));
                    self.made_by_c(block, count * size, 16, refusals);
                }
            }
            Operation::AlignedAlloc { align, size } => {
                if self.has_room(size) {
                    let block = self.heap.aligned_alloc(align, size);
                    self.made_by_c(block, size, align.max(16), refusals);
                }
            }
            Operation::Arena { call, len } => self.arena(call, len, refusals),
            Operation::Free { block, fit } => {
                if !self.shadow.blocks.is_empty() {
                    self.free(block.index(self.shadow.blocks.len()), fit);
                }
            }
            Operation::FreeMany { block, count, fit } => {
                if !self.shadow.blocks.is_empty() {
                    self.shadow.blocks.sort_by_key(|block| block.start);
                    let first = block.index(self.shadow.blocks.len());
                    let end = (first + count).min(self.shadow.blocks.len());
                    (first..end).rev().for_each(|index| self.free(index, fit));
                }
            }
            Operation::Resize { block, fit, size, align, zeroed } => {
                if !self.shadow.blocks.is_empty() {
                    let index = block.index(self.shadow.blocks.len());
                    return self.resize(index, fit, size, align, zeroed, refusals);
                }
            }
            Operation::ResizeInPlace { block, fit, size } => {
                if !self.shadow.blocks.is_empty() {
                    self.resize_in_place(block.index(self.shadow.blocks.len()), fit, size);
                }
            }
            Operation::Reset => {
                self.shadow.clear();
                self.heap.reset();
            }
            Operation::Reclaim => {
                self.heap.reclaim();
                if self.source.refusals() == refusals {
                    assert_eq!(self.heap.reclaim(), 0, "a second reclaim found more");
                    assert!(!self.alone || self.heap.stats().cached == 0, "{}", self.heap.stats());
                }
            }
            Operation::SetLimit(limit) => self.heap.set_limit(limit),
            Operation::Move => {}
            Operation::Refuse(after) => self.source.refuse(Some(after)),
        }
        false
    }

    fn has_room(&self, size: usize) -> bool {
        size <= LONGEST / 2 && self.shadow.bytes() + size <= MOST_BYTES
    }

    /// A refusal must have a cause that the model knows of.
    fn assert_may_fail(&self, refusals: usize, what: impl std::fmt::Debug) {
        let caused = S::EXHAUSTS || self.heap.limit().is_some() || self.source.refusals() > refusals;
        assert!(caused, "{what:?} was refused without a cause");
    }

    fn allocate(&mut self, size: usize, align: usize, zeroed: bool, refusals: usize) {
        let layout = Layout::from_size_align(size, align).expect("a possible layout");
        if !self.has_room(size) {
            return;
        }
        let failures = self.failures();
        let block = if zeroed { self.heap.allocate_zeroed(layout) } else { self.heap.allocate(layout) };
        assert_eq!(self.failures() - failures, usize::from(block.is_err()), "failures are counted");
        let Ok(block) = block else { return self.assert_may_fail(refusals, layout) };
        if zeroed {
            assert_zero(block, 0);
        }
        self.shadow.add(block, layout, Maker::Trait, None);
    }

    fn made_by_c(&mut self, block: Option<NonNull<u8>>, size: usize, align: usize, refusals: usize) {
        let layout = Layout::from_size_align(size.max(1), align).expect("a possible layout");
        let Some(block) = block else { return self.assert_may_fail(refusals, layout) };
        // SAFETY: the block is in use, and of this heap.
        let usable = unsafe { self.heap.usable_size(block) };
        self.shadow.add(NonNull::slice_from_raw_parts(block, usable), layout, Maker::C, None);
    }

    fn arena(&mut self, call: ArenaCall, len: usize, refusals: usize) {
        let (made, layout) = match call {
            ArenaCall::Value => {
                let value = self.heap.try_alloc([len as u64; 5]);
                let made = value.map(|value| {
                    assert_eq!(*value, [len as u64; 5]);
                    NonNull::from(value).cast::<u8>()
                });
                (made, Layout::new::<[u64; 5]>())
            }
            ArenaCall::Text => {
                let text = "x".repeat(len);
                let copy = self.heap.try_alloc_str(&text).inspect(|copy| assert_eq!(**copy, *text));
                (copy.map(|copy| NonNull::from(copy).cast()), Layout::for_value(&*text))
            }
            ArenaCall::Copy => {
                let words: Vec<u32> = (0..len as u32).collect();
                let copy = self.heap.try_alloc_slice_copy(&words).inspect(|copy| assert_eq!(**copy, *words));
                (copy.map(|copy| NonNull::from(copy).cast()), Layout::for_value(&*words))
            }
            ArenaCall::Fill => {
                let filled = self.heap.try_alloc_slice_fill_with(len, |index| index as u128);
                let right = |slice: &&mut [u128]| assert!(slice.iter().zip(0..).all(|(&value, index)| value == index));
                let layout = Layout::array::<u128>(len).expect("a possible layout");
                (filled.inspect(right).map(|slice| NonNull::from(slice).cast()), layout)
            }
        };
        let Ok(start) = made else { return self.assert_may_fail(refusals, layout) };
        let usable = match self.geometry.tier(layout) {
            Tier::Nothing => 0,
            // SAFETY: the block is in use, and of this heap.
            _ => unsafe { self.heap.usable_size(start) },
        };
        self.shadow.add(NonNull::slice_from_raw_parts(start, usable), layout, Maker::Arena, None);
    }

    fn free(&mut self, index: usize, fit: u8) {
        match self.shadow.blocks[index].maker {
            Maker::Arena => {}
            Maker::C => {
                let block = self.shadow.remove(index);
                // SAFETY: the block was made by a C-style call, and leaves the model.
                unsafe { self.heap.free(block.start) };
            }
            Maker::Trait => {
                let block = self.shadow.remove(index);
                // SAFETY: the block is of this heap, the layout fits it, and it leaves the model.
                unsafe { self.heap.deallocate(block.start, block.fitting(fit)) };
            }
        }
    }

    fn resize(&mut self, index: usize, fit: u8, size: usize, align: usize, zeroed: bool, refusals: usize) -> bool {
        let block = self.shadow.blocks[index];
        if block.maker == Maker::Arena || !self.has_room(size) {
            return false;
        }
        let block = self.shadow.remove(index);
        if block.maker == Maker::C {
            // SAFETY: the block was made by a C-style call.
            let resized = unsafe { self.heap.realloc(block.start, size) };
            return self.reallocated(block, resized, size, refusals);
        }
        let (old, new) = (block.fitting(fit), Layout::from_size_align(size, align).expect("a possible layout"));
        let (failures, shrinks) = (self.failures(), new.size() < old.size());
        let resized = if shrinks {
            // SAFETY: the block is of this heap, the layout fits it, and the new one is smaller.
            unsafe { self.heap.shrink(block.start, old, new) }
        } else if zeroed {
            // SAFETY: the block is of this heap, the layout fits it, and the new one is no smaller.
            unsafe { self.heap.grow_zeroed(block.start, old, new) }
        } else {
            // SAFETY: as above.
            unsafe { self.heap.grow(block.start, old, new) }
        };
        assert_eq!(self.failures() - failures, usize::from(resized.is_err()), "failures are counted");
        match resized {
            Ok(resized) => {
                if zeroed && !shrinks {
                    assert_zero(resized, old.size());
                }
                let kept = old.size().min(new.size());
                self.shadow.add(resized, new, Maker::Trait, Some((block, kept)));
            }
            Err(_) => {
                // The limit is lifted for a shrink, unless a larger alignment makes it need a larger block.
                let lifted = shrinks && new.pad_to_align().size() <= old.size();
                assert!(!lifted || S::EXHAUSTS || self.source.refusals() > refusals, "{new:?}: a shrink was refused");
                self.assert_may_fail(refusals, (old, new));
                self.shadow.put_back(block);
            }
        }
        shrinks
    }

    fn reallocated(&mut self, block: Block, resized: Option<NonNull<u8>>, size: usize, refusals: usize) -> bool {
        let Some(start) = resized else {
            self.assert_may_fail(refusals, size);
            self.shadow.put_back(block);
            return false;
        };
        let layout = Layout::from_size_align(size.max(1), 16).expect("a possible layout");
        // SAFETY: the block is in use, and of this heap.
        let usable = unsafe { self.heap.usable_size(start) };
        let kept = Some((block, block.usable.min(size)));
        self.shadow.add(NonNull::slice_from_raw_parts(start, usable), layout, Maker::C, kept);
        size < block.usable
    }

    fn resize_in_place(&mut self, index: usize, fit: u8, size: usize) {
        let block = self.shadow.blocks[index];
        if block.maker == Maker::Arena || !self.has_room(size) {
            return;
        }
        let block = self.shadow.remove(index);
        let old = block.fitting(fit);
        let usable = if block.maker == Maker::C {
            // SAFETY: the block was made by a C-style call.
            let done = unsafe { self.heap.realloc_in_place(block.start, size) };
            assert!(done || size > block.usable, "{block:?} has {size} bytes already");
            // SAFETY: the block is in use, and of this heap.
            (done && size > block.usable).then(|| unsafe { self.heap.usable_size(block.start) })
        } else {
            // SAFETY: the block is of this heap, and the layout fits it.
            unsafe { self.heap.grow_in_place(block.start, old, size) }
        };
        let Some(usable) = usable else { return self.shadow.put_back(block) };
        let kept = if block.maker == Maker::C { block.usable } else { old.size() };
        let new = Layout::from_size_align(size, block.layout.align()).expect("a possible layout");
        self.shadow.add(NonNull::slice_from_raw_parts(block.start, usable), new, block.maker, Some((block, kept)));
    }

    pub(crate) fn failures(&self) -> usize {
        let failures = self.heap.stats().failures;
        failures.limit + failures.source + failures.size
    }

    /// Everything that heap, segments and source say, against the shadow.
    pub(crate) fn compare(&mut self) {
        self.shadow.check();
        if let Err(corruption) = self.heap.validate_all() {
            panic!("{corruption}");
        }
        let (stats, sums) = (self.heap.stats(), self.shadow.sums());
        assert_eq!(stats.committed, stats.live + stats.cached + stats.free + stats.overhead, "{stats}");
        assert_counted((stats.live_blocks, stats.live), sums.totals());
        assert_counted(stats.mappings(), sums.mappings);
        let live = stats.classes().filter(|class| class.live_blocks > 0);
        assert!(live.map(|class| (class.block_size, class.live_blocks)).eq(sums.classes), "{stats}");
        assert!(stats.committed <= stats.mapped, "{stats}");
        assert!(stats.peak >= self.peak.max(stats.committed), "{stats}");
        self.peak = stats.peak;
        self.compare_segments(stats.mapped, stats.committed, stats.live);
        if let Some(outstanding) = self.source.outstanding() {
            assert_eq!(outstanding, stats.mapped, "{stats}");
        }
    }

    fn compare_segments(&self, mapped: usize, committed: usize, live: usize) {
        let mut segments: Vec<Segment> = self.heap.segments().collect();
        let sum = |of: fn(&Segment) -> usize| segments.iter().map(of).sum::<usize>();
        assert_eq!((sum(Segment::mapped), sum(Segment::committed)), (mapped, committed));
        assert!((live..=committed).contains(&sum(Segment::in_use)), "{live} of {} in use", sum(Segment::in_use));
        segments.sort_by_key(|segment| segment.range().start);
        for pair in segments.windows(2) {
            assert!(pair[0].range().end <= pair[1].range().start, "{pair:?} overlap");
        }
        let blocks = || self.shadow.blocks.iter().filter(|block| block.usable > 0);
        blocks().for_each(|block| assert!(self.heap.contains(block.start.as_ptr()), "{block:?}"));
        // To ask a heap that tells a memory tool is to get the rest of the block.
        for block in blocks().filter(|block| !EXACT || block.maker != Maker::Trait) {
            // SAFETY: the block is in use, and of this heap.
            assert_eq!(unsafe { self.heap.usable_size(block.start) }, block.usable, "{block:?}");
        }
        assert!(!self.heap.contains(self));
    }
}

/// What is behind `from` is zero.
pub(crate) fn assert_zero(block: NonNull<[u8]>, from: usize) {
    // SAFETY: the offset is within the block.
    let rest = unsafe { block.cast::<u8>().add(from) };
    // SAFETY: the block is the model's, and was handed out as initialised from there on.
    let rest = unsafe { NonNull::slice_from_raw_parts(rest, block.len() - from).as_ref() };
    assert!(is_zero(rest), "{} bytes from {from} on are not all zero", block.len());
}
