//! Size classes, bitmaps and runs of units, against arithmetic written down a second time and against plain sets.

#[path = "../../../../src/slab/bitmap.rs"]
mod bitmap;
#[path = "../../../../src/slab/size_class.rs"]
mod size_class;
#[path = "../../../../src/slab/units.rs"]
mod units;

use std::mem::MaybeUninit;

use arbitrary::Arbitrary;

use crate::support::classes::class_size;
use bitmap::Bitmap;
pub(crate) use size_class::{BLOCK_ALIGN, LINEAR_MAX, SizeClass};
use size_class::{CLASSES, SMALL_CLASSES};
use units::{Run, find_run, is_set, longest_run, set_from, set_run};

/// Largest size that has a class.
const LARGEST: usize = 1 << 20;

/// Compares the class of a size, and the one within it.
pub(super) fn check_class(size: usize) {
    let within = SizeClass::within(size.max(16));
    assert!(within.size() <= size.max(16));
    assert!(within.size() == LARGEST || SizeClass::from_index(within.index() + 1).size() > size.max(16), "{size}");
    if size > LARGEST {
        return;
    }
    let class = SizeClass::of(size);
    assert_eq!(class.size(), class_size(size), "{size}");
    assert_eq!(SizeClass::of(class.size()), class);
    assert!(class.index() < CLASSES && (class.index() < SMALL_CLASSES) == (class.size() <= 32 << 10));
    assert_eq!(class == SizeClass::ZERO, size == 0);
    if size <= LINEAR_MAX {
        assert_eq!(SizeClass::in_steps(size), class);
    }
}

/// Compares what a small class says of its slabs and magazines.
pub(super) fn check_slab(class: u8, largest: u8, offset: u32) {
    let class = SizeClass::from_index(1 + usize::from(class) % (SMALL_CLASSES - 1));
    let largest = [16 << 10, 64 << 10, 256 << 10][usize::from(largest % 3)];
    if class.size() > largest / 8 {
        return;
    }
    let (len, size, offset) = (class.slab_len(largest), class.size(), offset as usize % (256 << 10));
    assert!((8..=Bitmap::BITS).contains(&(len / size)), "{len} {size}");
    assert_eq!((class.blocks_in(offset), class.blocks_in(len)), (offset / size, len / size));
    assert_eq!(class.block_index(offset), (offset % size == 0).then_some(offset / size));
    assert_eq!(class.block_index(offset / size * size), Some(offset / size));
    let capacity = if size <= 64 { 128 } else { ((16 << 10) / size).clamp(2, 64) };
    assert_eq!(class.magazine_capacity(usize::MAX), capacity);
    assert!(class.magazine_capacity(offset) * size <= offset / 256);
    assert!(class.magazine_capacity(offset) <= capacity);
    let depot = class.depot_capacity();
    assert!((1..=16).contains(&depot) && (depot == 1 || depot * capacity * size <= 64 << 10), "{depot} of {size}");
    assert_eq!(Run::of_len(len).units() << 14, len);
}

/// A bitmap and the set that it must be.
pub(super) struct Bits {
    bitmap: Bitmap,
    set: [bool; Bitmap::BITS],
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum BitStep {
    Insert { first: u16, count: u8 },
    Take(u16),
    Run(u16),
    Clear,
}

impl Bits {
    pub(super) fn new() -> Self {
        // SAFETY: as in a segment's fresh descriptors, zeros are an empty set.
        let bitmap = unsafe { MaybeUninit::zeroed().assume_init() };
        Self { bitmap, set: [false; Bitmap::BITS] }
    }

    pub(super) fn apply(&mut self, step: BitStep) {
        match step {
            BitStep::Insert { first, count } => {
                let first = usize::from(first) % Bitmap::BITS;
                let end = (first + 1 + usize::from(count)).min(Bitmap::BITS);
                let twice = (first..end).find(|&bit| self.set[bit]);
                assert_eq!(self.bitmap.insert_run(first, end), twice.map_or(Ok(()), Err));
                // It goes word by word, and stops before the one that has the number already.
                let stop = twice.map_or(end, |bit| first.max(bit / 64 * 64));
                self.set[first..stop].fill(true);
            }
            BitStep::Take(most) => {
                let most = usize::from(most) % (Bitmap::BITS + 9);
                let mut taken = Vec::new();
                assert_eq!(self.bitmap.take(most, |bit| taken.push(bit)), taken.len());
                let expected: Vec<_> = (0..Bitmap::BITS).filter(|&bit| self.set[bit]).take(most).collect();
                assert_eq!(taken, expected);
                taken.iter().for_each(|&bit| self.set[bit] = false);
            }
            BitStep::Run(from) => {
                let from = usize::from(from) % (Bitmap::BITS + 1);
                let start = (from..Bitmap::BITS).find(|&bit| self.set[bit]);
                let end = |start| (start..Bitmap::BITS).find(|&bit| !self.set[bit]).unwrap_or(Bitmap::BITS);
                assert_eq!(self.bitmap.next_run(from), start.map(|start| (start, end(start))));
            }
            BitStep::Clear => {
                self.bitmap.clear();
                self.set.fill(false);
            }
        }
        assert_eq!(self.bitmap.len(), self.set.iter().filter(|&&set| set).count());
        assert!((0..Bitmap::BITS).all(|bit| self.bitmap.contains(bit) == self.set[bit]));
    }
}

/// The free units of a segment, and the set that they must be.
pub(super) struct Units {
    words: [u64; 4],
    set: [bool; 256],
    taken: Vec<(usize, Run)>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum UnitStep {
    /// All units of this range are free, and no others.
    New {
        first: u8,
        end: u16,
    },
    Take(u8),
    GiveBack(u8),
}

impl Units {
    pub(super) fn new() -> Self {
        Self { words: [0; 4], set: [false; 256], taken: Vec::new() }
    }

    pub(super) fn apply(&mut self, step: UnitStep) {
        match step {
            UnitStep::New { first, end } => {
                let range = usize::from(first)..usize::from(end % 257);
                set_from(&mut self.words, range.start, range.end);
                self.set = std::array::from_fn(|unit| range.contains(&unit));
                self.taken.clear();
            }
            UnitStep::Take(run) => {
                let run = Run::ALL[usize::from(run) % 3];
                if let Some(first) = find_run(&self.words, run) {
                    self.mark(first, run, false);
                    self.taken.push((first, run));
                }
            }
            UnitStep::GiveBack(which) => {
                if !self.taken.is_empty() {
                    let (first, run) = self.taken.swap_remove(usize::from(which) % self.taken.len());
                    self.mark(first, run, true);
                }
            }
        }
        assert!((0..256).all(|unit| is_set(&self.words, unit) == self.set[unit]));
        let slow = |run: Run| self.set.chunks(run.units()).position(|units| units.iter().all(|&free| free));
        for run in Run::ALL {
            assert_eq!(find_run(&self.words, run), slow(run).map(|index| index * run.units()));
        }
        assert_eq!(longest_run(&self.words), Run::ALL.into_iter().rfind(|&run| slow(run).is_some()));
    }

    fn mark(&mut self, first: usize, run: Run, free: bool) {
        set_run(&mut self.words, first, run, free);
        for unit in &mut self.set[first..first + run.units()] {
            assert_ne!(*unit, free, "a run of units twice");
            *unit = free;
        }
    }
}
