//! Size classes and tiers, written down a second time: what the tests expect of every layout.

use std::alloc::Layout;

use mallocstate::PageSource;

/// Sizes, in bytes, that follow from a source's segment size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    /// Length of an ordinary segment.
    pub(crate) segment: usize,
    /// Largest small block.
    pub(crate) small_max: usize,
    /// Largest medium block.
    pub(crate) medium_max: usize,
}

/// Where a layout's blocks come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tier {
    /// Zero size: no block at all.
    Nothing,
    /// A size class, small or medium, with blocks of this many bytes.
    Class(usize),
    /// The coalescing roots at once.
    Direct,
    /// A segment of its own.
    Mapping,
}

impl Geometry {
    /// The sizes that a source leads to.
    pub(crate) fn of<S: PageSource>() -> Self {
        let span = S::SEGMENT_SIZE.min(4 << 20);
        Self { segment: S::SEGMENT_SIZE, small_max: span / 128, medium_max: span / 4 }
    }

    /// Where blocks of this layout come from.
    pub(crate) fn tier(&self, layout: Layout) -> Tier {
        match layout.size().next_multiple_of(layout.align()) {
            0 => Tier::Nothing,
            rounded if rounded <= self.small_max => Tier::Class(class_size(rounded)),
            rounded if rounded > self.medium_max => Tier::Mapping,
            rounded if layout.align() <= 16 => Tier::Class(class_size(rounded)),
            _ => Tier::Direct,
        }
    }

    /// The block sizes of all classes, small and medium.
    pub(crate) fn classes(self) -> impl Iterator<Item = usize> {
        let last = self.medium_max;
        std::iter::successors(Some(16), |&size| Some(class_size(size + 1))).take_while(move |&size| size <= last)
    }
}

/// The block size that serves `size` bytes: steps of 16 to 512, then eight classes a doubling.
pub(crate) fn class_size(size: usize) -> usize {
    let step = if size <= 512 { 16 } else { (1 << (size - 1).ilog2()) / 8 };
    size.next_multiple_of(step)
}
