//! Which tier and class serve a layout: plain arithmetic, the same for every size between requested and returned.

use core::alloc::Layout;

use crate::os::PageSource;
use crate::primitives::address::align_up;
use crate::segment::Geometry;
use crate::slab::{BLOCK_ALIGN, LINEAR_MAX, SizeClass};

/// Where a layout's blocks come from and go to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Route {
    /// Thread cache and slab root. The class of zero size has no blocks.
    Small(SizeClass),
    /// Thread cache and coalescing root.
    Medium(SizeClass),
    /// A coalescing root at once: the alignment is beyond what every medium block has.
    Direct,
    /// A segment of its own.
    Mapping,
}

/// The route of a layout.
///
/// A size rounded up to its alignment is at most the largest small block exactly where both are, since all of these are
/// powers of two or multiples of them.
#[inline(always)]
pub(crate) fn route<S: PageSource>(layout: Layout) -> Route {
    if layout.align() <= BLOCK_ALIGN {
        // Every class is a multiple of such an alignment: rounding up to it would change nothing.
        const { assert!(LINEAR_MAX <= S::SMALL_MAX) };
        return match layout.size() {
            size if size <= LINEAR_MAX => Route::Small(SizeClass::in_steps(size)),
            size if size <= S::SMALL_MAX => Route::Small(SizeClass::by_table(size)),
            size if size <= S::MEDIUM_MAX => Route::Medium(SizeClass::by_table(size)),
            _ => Route::Mapping,
        };
    }
    // A layout's size rounded up to its alignment is at most `isize::MAX`.
    match align_up(layout.size(), layout.align()) {
        rounded if rounded <= S::SMALL_MAX => Route::Small(SizeClass::of(rounded)),
        rounded if rounded <= S::MEDIUM_MAX => Route::Direct,
        _ => Route::Mapping,
    }
}

/// Bytes that may be used of a block with an alignment of its own: a longer one would be of another route.
#[inline]
pub(crate) fn direct_usable<S: PageSource>(payload: usize) -> usize {
    payload.min(S::MEDIUM_MAX)
}

/// The number of a medium class among the medium ones.
#[inline(always)]
pub(crate) fn medium_index<S: PageSource>(class: SizeClass) -> usize {
    class.index() - SizeClass::of(S::SMALL_MAX).index() - 1
}
