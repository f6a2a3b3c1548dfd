//! Requests that nobody can fulfil: they are refused, without overflow, and everything stays as it was.

use std::alloc::Layout;

use mallocstate::Mode;
use mallocstate::allocator_api2::alloc::Allocator;

use crate::observed::Observed;
use crate::operation::Pick;
use crate::run::Run;
use crate::shadow::Maker;

/// Less than this is somewhere in the address space.
const BEYOND: usize = 1 << 48;

/// Asks for a size near one of the largest, in every way that the heap has.
pub(crate) fn ask<M: Mode, S: Observed + Copy>(run: &mut Run<M, S>, block: Pick, beside: u16, align: u8) {
    let heap = &*run.heap;
    let (beside, shift) = (usize::from(beside), u32::from(align) % 64);
    let most = isize::MAX as usize;
    for size in [most - beside, most + 1 + beside, usize::MAX - beside, (BEYOND << (shift % 15)) + beside] {
        assert_eq!(heap.malloc(size), None);
        assert_eq!(heap.calloc(1, size), None);
        assert_eq!(heap.calloc(size, 1 + usize::from(align)), None);
        assert_eq!(heap.aligned_alloc(1 << shift, size), None);
        assert_eq!(heap.posix_memalign(1 << shift, size), None);
        assert!(heap.try_alloc_slice_fill_with(size, |_| 0_u8).is_err());
        assert!(heap.try_alloc_slice_fill_with(size, |_| [0_u64; 3]).is_err());
        if let Ok(layout) = Layout::from_size_align(size, 1 << shift) {
            let failures = run.failures();
            assert!(heap.allocate(layout).is_err());
            assert!(heap.allocate_zeroed(layout).is_err());
            assert_eq!(run.failures(), failures + 2);
        }
        resize(run, block, size, 1 << shift);
    }
    let heap = &*run.heap;
    assert_eq!(heap.aligned_alloc(beside | 1 | 2 << (shift % 60), beside), None, "no power of two");
    if let Ok(layout) = Layout::from_size_align(beside, BEYOND << (shift % 15)) {
        assert!(beside == 0 || heap.allocate(layout).is_err());
    }
}

/// A block cannot become that long; it stays as it is.
fn resize<M: Mode, S: Observed + Copy>(run: &Run<M, S>, block: Pick, size: usize, align: usize) {
    let (heap, blocks) = (&*run.heap, &run.shadow.blocks);
    if blocks.is_empty() {
        return;
    }
    let block = &blocks[block.index(blocks.len())];
    match block.maker {
        Maker::Arena => {}
        Maker::C => {
            // SAFETY: the block was made by a C-style call, and stays in use.
            assert_eq!(unsafe { heap.realloc(block.start, size) }, None);
            // SAFETY: as above.
            assert!(!unsafe { heap.realloc_in_place(block.start, size) });
        }
        Maker::Trait => {
            // SAFETY: the block is of this heap, and the layout fits it.
            assert_eq!(unsafe { heap.grow_in_place(block.start, block.layout, size) }, None);
            let Ok(new) = Layout::from_size_align(size, align) else { return };
            // SAFETY: as above, and the new layout is larger.
            assert!(unsafe { heap.grow(block.start, block.layout, new) }.is_err());
            // SAFETY: as above.
            assert!(unsafe { heap.grow_zeroed(block.start, block.layout, new) }.is_err());
        }
    }
}
