//! Iterates over the segments of a heap while the loop uses the heap itself.

use std::alloc::Layout;
use std::ops::Range;

use mallocstate::Mode;
use mallocstate::allocator_api2::alloc::Allocator;

use crate::observed::Observed;
use crate::run::Run;

/// Segments during which blocks are made: new segments lead to further rounds.
const MOST_ROUNDS: usize = 4;

/// Allocates, frees and reclaims within the loop: the segment of each block that is there throughout is seen just once.
pub(crate) fn walk<M: Mode, S: Observed + Copy>(run: &Run<M, S>, size: usize, reclaim: bool) {
    let heap = &*run.heap;
    let layout = Layout::from_size_align(size.clamp(1, 1 << 20), 8).expect("a possible layout");
    let mut seen: Vec<Range<usize>> = Vec::new();
    let mut held = Vec::new();
    for segment in heap.segments() {
        seen.push(segment.range());
        if seen.len() <= MOST_ROUNDS {
            held.extend((0..4).filter_map(|_| heap.allocate(layout).ok()));
        }
        if seen.len() % 2 == 0 {
            if let Some(block) = held.pop() {
                // SAFETY: the block was made above with this layout, and left the list.
                unsafe { heap.deallocate(block.cast(), layout) };
            }
        }
        if reclaim {
            heap.reclaim();
        }
    }
    for block in &held {
        assert!(heap.contains(block.as_ptr()));
        // SAFETY: the block was made above with this layout, and its list goes.
        unsafe { heap.deallocate(block.cast(), layout) };
    }
    for block in run.shadow.blocks.iter().filter(|block| block.usable > 0) {
        let homes = seen.iter().filter(|range| range.contains(&block.start.addr().get()));
        assert_eq!(homes.count(), 1, "{block:?}");
    }
}
