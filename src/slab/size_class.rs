//! Size classes: which block size serves a request, in plain arithmetic.
//!
//! ```text
//! class   0    1   2 …  32    33   34 …  40    41 …   80     …    120
//! bytes   0   16  32 … 512   576  640 … 1024  1152 … 32 KiB  … 1 MiB
//!         │    steps of 16     eight classes a doubling
//!         └ zero size: no block at all
//! ```
//!
//! Waste within a block is at most 15 bytes to 512 and an eighth above. A class that serves an alignment is a multiple
//! of it: a request is first rounded up to its alignment, and a class is either such a multiple exactly or lies where
//! the steps between classes are multiples already.

/// A rounded block size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct SizeClass(u8);

/// Number of classes, the one of zero size included.
pub(crate) const CLASSES: usize = 121;

/// Classes to 32 KiB, the largest small block of any source.
pub(crate) const SMALL_CLASSES: usize = 81;

/// Alignment that every block has.
pub(crate) const BLOCK_ALIGN: usize = 16;

const STEP: usize = 16;
/// Largest size whose class is the number of its steps.
pub(crate) const LINEAR_MAX: usize = 512;
const LINEAR_CLASSES: usize = LINEAR_MAX / STEP;

#[inline(always)]
const fn class_by_arithmetic(size: usize) -> usize {
    if size <= LINEAR_MAX {
        return size.div_ceil(STEP);
    }
    let last = size - 1;
    let doubling = last.ilog2() as usize;
    // `eighth` is 8..=15: which eighth of the doubling from 2^doubling on.
    let eighth = last >> (doubling - 3);
    LINEAR_CLASSES + 1 + (doubling - LINEAR_MAX.ilog2() as usize) * 8 + (eighth - 8)
}

const fn size_by_arithmetic(class: usize) -> usize {
    if class <= LINEAR_CLASSES {
        return class * STEP;
    }
    let beyond = class - LINEAR_CLASSES - 1;
    (9 + beyond % 8) << (beyond / 8 + LINEAR_MAX.ilog2() as usize - 3)
}

/// `const`, not `static`: a size folds to a constant where the class is one.
const SIZES: [u32; CLASSES] = {
    let mut sizes = [0; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        sizes[class] = size_by_arithmetic(class) as u32;
        class += 1;
    }
    sizes
};

/// The classes of sizes that differ by so many bytes at least, by the number of such grains.
const fn by_grains<const GRAINS: usize>(grain: usize) -> [u8; GRAINS] {
    let mut classes = [0; GRAINS];
    let mut index = 0;
    while index < GRAINS {
        classes[index] = class_by_arithmetic((index + 1) * grain) as u8;
        index += 1;
    }
    classes
}

/// Bytes between the classes from [`LINEAR_MAX`] on.
const SMALL_GRAIN: usize = 64;

/// Bytes between the classes above 32 KiB.
const MEDIUM_GRAIN: usize = 4096;

static BY_SMALL_GRAINS: [u8; (32 << 10) / SMALL_GRAIN] = by_grains(SMALL_GRAIN);

static BY_MEDIUM_GRAINS: [u8; (1 << 20) / MEDIUM_GRAIN] = by_grains(MEDIUM_GRAIN);

/// `ceil(2^40 / size)`: with it, a division of less than 256 KiB by a block size is a multiplication and a shift.
static RECIPROCALS: [u64; CLASSES] = {
    let mut reciprocals = [0; CLASSES];
    let mut class = 1;
    while class < CLASSES {
        reciprocals[class] = (1_u64 << 40).div_ceil(size_by_arithmetic(class) as u64);
        class += 1;
    }
    reciprocals
};

/// Blocks in a magazine, at most.
pub(crate) const LARGEST_MAGAZINE: usize = 128;

/// Blocks in a full magazine: 16 KiB of them, 2 at least and 64 at most, but of the smallest 128.
static MAGAZINE_CAPACITIES: [u8; CLASSES] = {
    const MAGAZINE_BYTES: usize = 16 << 10;
    let mut capacities = [0; CLASSES];
    let mut class = 1;
    while class < CLASSES {
        capacities[class] = match MAGAZINE_BYTES / size_by_arithmetic(class) {
            ..2 => 2,
            blocks @ 2..64 => blocks as u8,
            64..256 => 64,
            _ => LARGEST_MAGAZINE as u8,
        };
        class += 1;
    }
    capacities
};

impl SizeClass {
    /// The class of requests of no bytes, which get no block.
    pub(crate) const ZERO: Self = Self(0);

    /// The smallest class of at least `size` bytes, at most 1 MiB.
    #[inline(always)]
    pub(crate) const fn of(size: usize) -> Self {
        debug_assert!(size <= size_by_arithmetic(CLASSES - 1));
        Self(class_by_arithmetic(size) as u8)
    }

    /// The smallest class of at least `size` bytes, at most [`LINEAR_MAX`]: two instructions, and no load that the way to the
    /// class's blocks would wait for.
    #[inline(always)]
    pub(crate) const fn in_steps(size: usize) -> Self {
        debug_assert!(size <= LINEAR_MAX);
        Self(((size + (STEP - 1)) >> STEP.trailing_zeros()) as u8)
    }

    /// The smallest class of at least `size` bytes, more than [`LINEAR_MAX`] and at most 1 MiB: a look into a table is less than
    /// half as long as the arithmetic.
    #[inline(always)]
    pub(crate) fn by_table(size: usize) -> Self {
        debug_assert!(size > LINEAR_MAX);
        let last = size - 1;
        let small = BY_SMALL_GRAINS.get(last / SMALL_GRAIN);
        Self(*small.unwrap_or_else(|| &BY_MEDIUM_GRAINS[last / MEDIUM_GRAIN]))
    }

    /// The largest class of at most `size` bytes, at least 16.
    pub(crate) fn within(size: usize) -> Self {
        let class = Self::of(size.min(size_by_arithmetic(CLASSES - 1)));
        if class.size() > size { Self(class.0 - 1) } else { class }
    }

    /// The class with this number.
    pub(crate) const fn from_index(index: usize) -> Self {
        debug_assert!(index < CLASSES);
        Self(index as u8)
    }

    /// The class's number.
    #[inline(always)]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    /// Bytes of a block.
    #[inline(always)]
    pub(crate) const fn size(self) -> usize {
        SIZES[self.index()] as usize
    }

    /// Length of a slab of this class, in bytes, where slabs are at most `largest`.
    #[inline]
    pub(crate) fn slab_len(self, largest: usize) -> usize {
        const TO_512_BYTES: usize = class_by_arithmetic(512);
        const TO_4_KIB: usize = class_by_arithmetic(4 << 10);
        let len: usize = if self.index() <= TO_512_BYTES {
            16 << 10
        } else if self.index() <= TO_4_KIB {
            64 << 10
        } else {
            256 << 10
        };
        len.min(largest)
    }

    /// Whole blocks in `len` bytes of a slab.
    #[inline]
    pub(crate) fn blocks_in(self, len: usize) -> usize {
        ((len as u64 * RECIPROCALS[self.index()]) >> 40) as usize
    }

    /// The number of the block that starts `offset` bytes into a slab, if one does.
    #[inline]
    pub(crate) fn block_index(self, offset: usize) -> Option<usize> {
        let index = self.blocks_in(offset);
        (index * self.size() == offset).then_some(index)
    }

    /// Blocks in a full magazine, in a heap that may commit `limit` bytes.
    #[inline]
    pub(crate) fn magazine_capacity(self, limit: usize) -> usize {
        const LIMIT_SHARE: usize = 256;
        let ordinary = usize::from(MAGAZINE_CAPACITIES[self.index()]);
        if limit == usize::MAX { ordinary } else { ordinary.min(limit / LIMIT_SHARE / self.size()) }
    }

    /// Full magazines that a slab root keeps at most.
    pub(crate) fn depot_capacity(self) -> usize {
        const DEPOT_BYTES: usize = 64 << 10;
        (DEPOT_BYTES / (self.magazine_capacity(usize::MAX) * self.size())).clamp(1, 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::scale::stride;

    const SMALL_MAX: usize = 32 << 10;

    #[test]
    fn every_size_has_the_smallest_class_that_holds_it() {
        for size in (0..=1 << 20).step_by(stride()) {
            let class = SizeClass::of(size);
            assert!(class.size() >= size);
            assert!(class.index() == 0 || SizeClass::from_index(class.index() - 1).size() < size, "{size}");
        }
        assert_eq!(SizeClass::of(1 << 20).index(), CLASSES - 1);
        assert_eq!(SizeClass::of(SMALL_MAX).index(), SMALL_CLASSES - 1);
    }

    #[test]
    fn the_tables_agree_with_the_arithmetic() {
        for size in LINEAR_MAX + 1..=1 << 20 {
            assert_eq!(SizeClass::by_table(size), SizeClass::of(size), "{size}");
        }
    }

    #[test]
    fn small_sizes_are_classes_in_steps() {
        for size in 0..=LINEAR_MAX {
            assert_eq!(SizeClass::in_steps(size), SizeClass::of(size), "{size}");
        }
    }

    #[test]
    fn slabs_are_as_long_as_their_blocks_want_and_their_source_has() {
        for (size, len) in [(16, 16), (512, 16), (513, 64), (4 << 10, 64), (5 << 10, 256), (SMALL_MAX, 256)] {
            assert_eq!(SizeClass::of(size).slab_len(usize::MAX), len << 10, "{size}");
            assert_eq!(SizeClass::of(size).slab_len(32 << 10), (len << 10).min(32 << 10));
        }
    }

    #[test]
    fn a_magazine_has_sixteen_kilobytes_or_as_many_blocks_as_it_may() {
        let capacities =
            [(16, 128), (64, 128), (80, 64), (256, 64), (272, 60), (1024, 16), (8 << 10, 2), (SMALL_MAX, 2)];
        for (size, blocks) in capacities {
            assert_eq!(SizeClass::of(size).magazine_capacity(usize::MAX), blocks, "{size}");
        }
    }

    #[test]
    fn the_class_within_a_size_is_the_largest_not_above_it() {
        for size in (16..=1 << 18).step_by(stride()) {
            let class = SizeClass::within(size);
            assert!(class.size() <= size);
            assert!(SizeClass::from_index(class.index() + 1).size() > size);
        }
        assert_eq!(SizeClass::within(usize::MAX).index(), CLASSES - 1);
    }

    /// For every small size and alignment, the class serves every size between what was asked and what is returned.
    #[test]
    fn rounding_to_the_alignment_finds_a_class_that_has_it() {
        for shift in 0..=15 {
            let align = 1 << shift;
            for size in (0..=SMALL_MAX).step_by(stride()) {
                let class = SizeClass::of(size.next_multiple_of(align));
                assert_eq!(class.size() % align.max(BLOCK_ALIGN), 0, "{size} {align}");
                let largest = class.size().next_multiple_of(align);
                assert_eq!(SizeClass::of(largest), class, "{size} {align}");
            }
        }
    }

    #[test]
    fn reciprocals_divide_exactly() {
        for index in 1..SMALL_CLASSES {
            let class = SizeClass::from_index(index);
            for offset in (0..=256 << 10).step_by(stride()) {
                let expected = (offset % class.size() == 0).then_some(offset / class.size());
                assert_eq!(class.block_index(offset), expected);
                assert_eq!(class.blocks_in(offset), offset / class.size());
            }
        }
    }

    #[test]
    fn a_slab_holds_8_to_1024_blocks() {
        for largest in [16 << 10, 64 << 10, 256 << 10] {
            for index in 1..=SizeClass::of(largest / 8).index() {
                let class = SizeClass::from_index(index);
                let blocks = class.slab_len(largest) / class.size();
                assert!((8..=1024).contains(&blocks), "{} {blocks}", class.size());
            }
        }
    }

    #[test]
    fn magazines_keep_to_their_bounds() {
        for index in 1..SMALL_CLASSES {
            let class = SizeClass::from_index(index);
            let capacity = class.magazine_capacity(usize::MAX);
            assert!((2..=LARGEST_MAGAZINE).contains(&capacity));
            assert!(class.depot_capacity() == 1 || class.depot_capacity() * capacity * class.size() <= 64 << 10);
            assert!(class.magazine_capacity(256 << 10) * class.size() <= 1 << 10);
        }
    }
}
