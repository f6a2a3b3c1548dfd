//! The sizes that follow from a page source's segment size.

use crate::os::PageSource;

/// Grain in which a slab segment is handed out, in bytes.
pub(crate) const UNIT: usize = 16 << 10;

/// Sizes, in bytes, that follow from the segment size. Segments above 4 MiB hold more blocks, not larger ones.
pub(crate) trait Geometry {
    /// Largest slab: a sixteenth of a segment.
    const LARGEST_SLAB: usize;
    /// Largest small block: an eighth of the largest slab.
    const SMALL_MAX: usize;
    /// Largest medium block; whatever is larger is a mapping.
    const MEDIUM_MAX: usize;
}

const fn span(segment_size: usize) -> usize {
    let four_mib = 4 << 20;
    if segment_size < four_mib { segment_size } else { four_mib }
}

impl<S: PageSource> Geometry for S {
    const LARGEST_SLAB: usize = span(S::SEGMENT_SIZE) / 16;
    const SMALL_MAX: usize = Self::LARGEST_SLAB / 8;
    const MEDIUM_MAX: usize = Self::SMALL_MAX * 32;
}
