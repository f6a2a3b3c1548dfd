//! The target `coalescing`: the coalescing engine on its own, and the slab engine, against the model.

use std::alloc::Layout;
use std::ptr::NonNull;

use arbitrary::{Arbitrary, Result, Unstructured};
use mallocstate::{CoalescingAllocator, PageSource, SlabAllocator, SystemPages};

use crate::engine::Engine;
use crate::observed::Observed;
use crate::operation::Pick;
use crate::run::assert_zero;
use crate::scripted::{Habits, Script, Scripted};
use crate::shadow::{Maker, Shadow};
use crate::sizes::{Align, Size};
use crate::steps::until_the_end;
use crate::support::classes::Geometry;

/// Most bytes in use.
const MOST_BYTES: usize = 8 << 20;

/// Which engine, over what, and what is done to it.
#[derive(Debug)]
pub struct Input {
    engine: Choice,
    /// Small segments over a source with habits, or those of the system.
    small: Option<Habits>,
    /// How many steps there are between two comparisons.
    patience: u8,
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Choice {
    Coalescing,
    Slab(Size, Align),
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Allocate {
        size: Size,
        align: Align,
        zeroed: bool,
    },
    Burst {
        size: Size,
        count: u8,
    },
    Free {
        block: Pick,
        fit: u8,
    },
    /// Frees each `nth` block, in the order of their addresses.
    Comb {
        nth: u8,
    },
    Resize {
        block: Pick,
        fit: u8,
        size: Size,
        align: Align,
        zeroed: bool,
    },
    Reclaim,
    Script(Script),
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let bits = u8::arbitrary(input)?;
        let engine =
            if bits % 4 == 0 { Choice::Slab(input.arbitrary()?, input.arbitrary()?) } else { Choice::Coalescing };
        let small = if bits & 16 == 0 { Some(input.arbitrary()?) } else { None };
        Ok(Self { engine, small, patience: bits >> 5, steps: until_the_end(input)? })
    }
}

impl<'a> Arbitrary<'a> for Step {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let bits = u8::arbitrary(input)?;
        let zeroed = bits & 32 != 0;
        Ok(match bits % 32 {
            0..=9 => Self::Allocate { size: input.arbitrary()?, align: input.arbitrary()?, zeroed },
            10..=11 => Self::Burst { size: input.arbitrary()?, count: input.arbitrary()? },
            12..=18 => Self::Free { block: input.arbitrary()?, fit: input.arbitrary()? },
            19..=20 => Self::Comb { nth: input.arbitrary()? },
            21..=28 => {
                let (block, fit, size) = (input.arbitrary()?, input.arbitrary()?, input.arbitrary()?);
                let align = if bits & 64 == 0 { Align(1) } else { input.arbitrary()? };
                Self::Resize { block, fit, size, align, zeroed }
            }
            29 => Self::Reclaim,
            _ => Self::Script(input.arbitrary()?),
        })
    }
}

/// Takes the engine through the steps.
pub fn run(input: &Input) {
    SystemPages::trim();
    match input.small {
        None => run_over(SystemPages::new(), input),
        Some(habits) => run_over(&Scripted::new(habits), input),
    }
}

fn run_over<S: Observed + Copy + ScriptedOrNot>(source: S, input: &Input) {
    let geometry = Geometry::of::<S>();
    match input.engine {
        Choice::Coalescing => Exercise::new(CoalescingAllocator::local_in(source), source).run(input),
        Choice::Slab(size, Align(align)) => {
            let size = size.in_bytes(geometry).clamp(1, geometry.small_max);
            let block = Layout::from_size_align(size, align.min(geometry.small_max)).expect("a possible layout");
            let block = if block.pad_to_align().size() > geometry.small_max { Layout::new::<u128>() } else { block };
            Exercise::new(SlabAllocator::local_in(block, source), source).run(input);
        }
    }
}

/// A source that may have a script.
trait ScriptedOrNot: PageSource {
    fn set_script(&self, _script: Script) {}
}

impl ScriptedOrNot for SystemPages {}

impl ScriptedOrNot for &Scripted {
    fn set_script(&self, script: Script) {
        Scripted::set_script(self, script);
    }
}

/// An engine and its shadow.
struct Exercise<E: Engine, S: Observed + ScriptedOrNot> {
    engine: E,
    source: S,
    shadow: Shadow,
    geometry: Geometry,
}

impl<E: Engine, S: Observed + ScriptedOrNot> Exercise<E, S> {
    fn new(engine: std::result::Result<E, mallocstate::ConfigError>, source: S) -> Self {
        // No block of an engine is of a class that the model knows of: each counts as one of its own.
        let shadow = Shadow::new(Geometry { segment: S::SEGMENT_SIZE, small_max: 0, medium_max: 0 });
        Self { engine: engine.expect("a possible engine"), source, shadow, geometry: Geometry::of::<S>() }
    }

    fn run(mut self, input: &Input) {
        for (number, step) in input.steps.iter().enumerate() {
            self.apply(*step);
            if number % (usize::from(input.patience) + 1) == 0 {
                self.compare();
            }
        }
        self.compare();
        self.source.refuse(None);
        while !self.shadow.blocks.is_empty() {
            self.free(0, 0);
        }
        self.compare();
        self.engine.reclaim();
        assert_eq!(self.engine.mapped(), 0, "an engine without blocks keeps segments");
        drop(self.engine);
        assert_eq!(self.source.outstanding().unwrap_or(0), 0, "bytes not given back");
    }

    fn apply(&mut self, step: Step) {
        let count = self.shadow.blocks.len();
        match step {
            Step::Allocate { size, align: Align(align), zeroed } => {
                self.allocate(size.in_bytes(self.geometry), align, zeroed);
            }
            Step::Burst { size, count } => {
                let size = size.in_bytes(self.geometry).min(self.geometry.medium_max / 4);
                (0..count).for_each(|_| self.allocate(size, 1, false));
            }
            Step::Free { block, fit } if count > 0 => self.free(block.index(count), fit),
            Step::Comb { nth } => {
                self.shadow.blocks.sort_by_key(|block| block.start);
                let nth = usize::from(nth % 8) + 1;
                (0..count).rev().filter(|index| index % nth == 0).for_each(|index| self.free(index, 255));
            }
            Step::Resize { block, fit, size, align: Align(align), zeroed } if count > 0 => {
                self.resize(block.index(count), fit, size.in_bytes(self.geometry), align, zeroed);
            }
            Step::Reclaim => {
                let refusals = self.source.refusals();
                self.engine.reclaim();
                if self.source.refusals() == refusals {
                    assert_eq!(self.engine.reclaim(), 0, "a second reclaim found more");
                }
            }
            Step::Script(script) => self.source.set_script(script),
            Step::Free { .. } | Step::Resize { .. } => {}
        }
    }

    fn has_room(&self, layout: Layout) -> bool {
        self.shadow.bytes() + layout.size() <= MOST_BYTES
    }

    fn allocate(&mut self, size: usize, align: usize, zeroed: bool) {
        let layout = Layout::from_size_align(size.max(E::LEAST), align).expect("a possible layout");
        if !self.has_room(layout) {
            return;
        }
        let (refusals, mapped) = (self.source.refusals(), self.engine.mapped());
        let block = if zeroed { self.engine.allocate_zeroed(layout) } else { self.engine.allocate(layout) };
        let Ok(block) = block else {
            let caused = self.source.refusals() > refusals || !self.engine.serves(layout);
            return assert!(caused, "{layout:?} was refused without a cause");
        };
        if self.engine.mapped() > mapped {
            // The model does not have the new block yet: this is what was free before.
            let gap = self.largest_gap();
            assert!(!self.engine.fits(layout, gap), "{layout:?} fits in the {gap} bytes between two blocks");
        }
        if zeroed {
            assert_zero(block, 0);
        }
        self.shadow.add(block, layout, Maker::Trait, None);
    }

    fn free(&mut self, index: usize, fit: u8) {
        let block = self.shadow.remove(index);
        // SAFETY: the block is of this engine, the layout fits it, and it leaves the model.
        unsafe { self.engine.deallocate(block.start, block.fitting(fit)) };
    }

    fn resize(&mut self, index: usize, fit: u8, size: usize, align: usize, zeroed: bool) {
        let new = Layout::from_size_align(size.max(E::LEAST), align).expect("a possible layout");
        if !self.has_room(new) {
            return;
        }
        let refusals = self.source.refusals();
        let block = self.shadow.remove(index);
        let old = block.fitting(fit);
        let grows = new.size() >= old.size();
        let resized = match (grows, zeroed) {
            // SAFETY: the block is of this engine, the layout fits it, and the new one is no smaller.
            (true, true) => unsafe { self.engine.grow_zeroed(block.start, old, new) },
            // SAFETY: as above.
            (true, false) => unsafe { self.engine.grow(block.start, old, new) },
            // SAFETY: as above, and the new one is smaller.
            (false, _) => unsafe { self.engine.shrink(block.start, old, new) },
        };
        let Ok(resized) = resized else {
            let caused = self.source.refusals() > refusals || !self.engine.serves(new);
            assert!(caused, "{old:?} to {new:?} was refused without a cause");
            return self.shadow.put_back(block);
        };
        if zeroed && grows {
            assert_zero(resized, old.size());
        }
        let kept = old.size().min(new.size());
        self.shadow.add(resized, new, Maker::Trait, Some((block, kept)));
    }

    /// The most bytes between two blocks of one segment.
    fn largest_gap(&self) -> usize {
        let mut blocks: Vec<_> = self.shadow.blocks.iter().filter(|block| block.usable > 0).collect();
        blocks.sort_by_key(|block| block.start);
        let segment_of = |start: NonNull<u8>| (start.addr().get() - 1) / S::SEGMENT_SIZE;
        let neighbours = blocks.windows(2).filter(|pair| segment_of(pair[0].start) == segment_of(pair[1].start));
        neighbours
            .map(|pair| pair[1].start.addr().get() - pair[0].start.addr().get() - pair[0].usable)
            .max()
            .unwrap_or(0)
    }

    /// Everything that the engine, its segments and the source say, against the shadow.
    fn compare(&self) {
        self.shadow.check();
        assert_eq!(self.engine.validate(), Ok(()));
        let (blocks, bytes) = self.shadow.sums().totals();
        self.engine.check_live(blocks, bytes, self.source.refusals() == 0);
        let segments = self.engine.segments();
        let sum = |of: fn(&mallocstate::Segment) -> usize| segments.iter().map(of).sum::<usize>();
        let (mapped, committed, in_use) = (sum(|it| it.mapped()), sum(|it| it.committed()), sum(|it| it.in_use()));
        assert_eq!((mapped, committed), (self.engine.mapped(), self.engine.committed()));
        assert_eq!(self.source.outstanding().unwrap_or(mapped), mapped);
        assert!(bytes <= in_use && in_use <= committed && committed <= mapped, "{bytes} {in_use} {committed} {mapped}");
        for block in self.shadow.blocks.iter().filter(|block| block.usable > 0) {
            let start = block.start.addr().get();
            let homes =
                segments.iter().filter(|it| it.range().start <= start && start + block.usable <= it.range().end);
            assert_eq!(homes.count(), 1, "{block:?}");
        }
    }
}
