//! Where the tables of a slab segment lie, in plain arithmetic.

use crate::primitives::address::align_up;
use crate::segment::{HEADER_BYTES, UNIT};
use crate::slab::bitmap::Bitmap;
use crate::slab::nursery::{NEAR_BYTES, NEAR_TAGS, Nursery};
use crate::slab::segment::Tables;
use crate::slab::slab::Slab;
use crate::slab::tag::GRANULE;

/// Bytes charged for a slab beside its portions: its descriptor and bitmaps.
pub(super) const SLAB_OVERHEAD: usize = size_of::<Slab>() + BITMAPS * size_of::<Bitmap>();

/// Bitmaps a slab has: of free blocks and, where frees are checked at once, of allocated ones.
pub(super) const BITMAPS: usize = 1 + cfg!(any(debug_assertions, feature = "hardened")) as usize;

/// What the heap has in the header of its first segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reserved {
    /// Bytes of the core; none where the segment is no heap's first.
    pub(crate) core: usize,
    /// Whether there is a nursery.
    pub(crate) nursery: bool,
}

impl Reserved {
    pub(crate) const NOTHING: Self = Self { core: 0, nursery: false };
}

/// Where the tables of a segment lie, in bytes from its base.
pub(super) struct TableOffsets {
    pub(super) words: usize,
    pub(super) free: usize,
    pub(super) dirty: usize,
    pub(super) map: usize,
    pub(super) nursery: usize,
    /// What the nursery cuts first.
    pub(super) near: usize,
    /// The heap's core.
    pub(super) reserved: usize,
    pub(super) descriptors: usize,
    pub(super) bitmaps: usize,
    /// What the nursery cuts then, behind all tables.
    pub(super) far: usize,
    pub(super) end: usize,
}

impl TableOffsets {
    pub(super) const fn of(units: usize, heap: Reserved) -> Self {
        let words = units.div_ceil(64);
        let free = align_up(HEADER_BYTES + size_of::<Tables>(), align_of::<u64>());
        let dirty = free + words * 8;
        let map = dirty + words * 8;
        let nursery = align_up(map + units, 64);
        let (head, near_bytes, len) =
            if heap.nursery { (size_of::<Nursery>() + NEAR_TAGS, NEAR_BYTES, units * UNIT) } else { (0, 0, 0) };
        let near = align_up(nursery + head, 16);
        let reserved = align_up(near + near_bytes, 64);
        let descriptors = align_up(reserved + heap.core, 16);
        let bitmaps = align_up(descriptors + units * size_of::<Slab>(), 64);
        let tables = bitmaps + units * BITMAPS * size_of::<Bitmap>();
        let far = align_up(tables + Nursery::tag_bytes_in(len), 16);
        let end = far + Nursery::bytes_in(len);
        Self { words, free, dirty, map, nursery, near, reserved, descriptors, bitmaps, far, end }
    }

    /// Bytes that are charged at once, beside the common header: all but what the nursery cuts, and what slabs are charged for.
    pub(super) const fn overhead(&self) -> usize {
        let tags = (self.end - self.far) / GRANULE;
        let near_bytes = if tags > 0 { NEAR_BYTES } else { 0 };
        self.descriptors - near_bytes + tags - HEADER_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each table starts right behind the one before it, but for its alignment.
    #[test]
    fn tables_lie_one_behind_the_other() {
        for units in [1, 4, 16, 63, 64, 65, 256] {
            for (core, nursery) in [(0, false), (1, false), (1000, true), (5000, true)] {
                let TableOffsets {
                    words,
                    free,
                    dirty,
                    map,
                    nursery: young_head,
                    near,
                    reserved,
                    descriptors,
                    bitmaps,
                    far,
                    end,
                } = TableOffsets::of(units, Reserved { core, nursery });
                assert!((bitmaps - descriptors).abs_diff(units * size_of::<Slab>()) < 64, "{units}");
                let bytes = if nursery { Nursery::bytes_in(units * UNIT) } else { 0 };
                let (head, near_bytes) = if nursery { (size_of::<Nursery>() + NEAR_TAGS, NEAR_BYTES) } else { (0, 0) };
                assert_eq!(words, units.div_ceil(64));
                let tables = [
                    (HEADER_BYTES, size_of::<Tables>(), align_of::<u64>(), free),
                    (free, words * 8, align_of::<u64>(), dirty),
                    (dirty, words * 8, 1, map),
                    (map, units, 64, young_head),
                    (young_head, head, 16, near),
                    (near, near_bytes, 64, reserved),
                    (reserved, core, 16, descriptors),
                    (descriptors, units * size_of::<Slab>(), 64, bitmaps),
                    (bitmaps, units * BITMAPS * size_of::<Bitmap>() + bytes / 16, 16, far),
                    (far, bytes, 1, end),
                ];
                for (start, len, align, next) in tables {
                    assert!(
                        next == (start + len).next_multiple_of(align),
                        "{units} {core} {start} {len} {align} {next}"
                    );
                }
            }
        }
    }
}
