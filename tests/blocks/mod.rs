//! Blocks with known contents, and the sums that must hold of a heap: what several test programs share.

#![expect(unsafe_code, reason = "takes blocks by hand")]
#![allow(dead_code, reason = "each test program includes this file whole and uses a part of it")]

pub(crate) mod probe;
mod random;

use std::alloc::Layout;
use std::ptr::NonNull;

use mallocstate::allocator_api2::alloc::Allocator;
use mallocstate::{MallocState, Mode, PageSource, Segment};

pub(crate) use random::Random;

/// A block full of one byte, to its very end.
#[derive(Debug)]
pub(crate) struct Block {
    block: NonNull<[u8]>,
    layout: Layout,
    byte: u8,
}

// SAFETY: a block is its owner's, on whichever thread that is.
unsafe impl Send for Block {}

impl Block {
    /// A block of a heap or an engine; `None` where that refuses.
    pub(crate) fn new(heap: &impl Allocator, size: usize, align: usize, byte: u8) -> Option<Self> {
        let layout = Layout::from_size_align(size, align).unwrap();
        let this = Self { block: heap.allocate(layout).ok()?, layout, byte };
        this.fill();
        Some(this)
    }

    /// As [`new`](Self::new), after a look at the zeros of a zeroed block.
    pub(crate) fn zeroed(heap: &impl Allocator, size: usize, align: usize, byte: u8) -> Option<Self> {
        let layout = Layout::from_size_align(size, align).unwrap();
        let zeroed = Self { block: heap.allocate_zeroed(layout).ok()?, layout, byte: 0 };
        zeroed.check();
        let this = Self { byte, ..zeroed };
        this.fill();
        Some(this)
    }

    fn fill(&self) {
        let start = self.block.cast::<u8>();
        assert!(self.block.len() >= self.layout.size());
        assert_eq!(start.addr().get() % self.layout.align(), 0, "{self:?}");
        // SAFETY: the block is as long as its slice, and this value's own.
        unsafe { start.write_bytes(self.byte, self.block.len()) };
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the block is as long as its slice, was filled whole, and is this value's own.
        unsafe { self.block.as_ref() }
    }

    /// Panics where the first `len` bytes are not as they were left.
    fn check_first(&self, len: usize) {
        let bytes = &self.bytes()[..len];
        let intact = bytes.is_empty() || bytes[0] == self.byte && bytes[..len - 1] == bytes[1..];
        assert!(intact, "{self:?} was written to");
    }

    /// Panics where the contents are not as they were left.
    pub(crate) fn check(&self) {
        self.check_first(self.bytes().len());
    }

    /// Grows or shrinks the block; whether the heap could. The contents go along, and are then `byte`.
    pub(crate) fn resize(&mut self, heap: &impl Allocator, size: usize, align: usize, byte: u8) -> bool {
        let new = Layout::from_size_align(size, align).unwrap();
        let start = self.block.cast();
        let resized = if size >= self.layout.size() {
            // SAFETY: the block is of this heap, with this layout, and the new one is no smaller.
            unsafe { heap.grow(start, self.layout, new) }
        } else {
            // SAFETY: the block is of this heap, with this layout, and the new one is smaller.
            unsafe { heap.shrink(start, self.layout, new) }
        };
        let Ok(block) = resized else {
            self.check();
            return false;
        };
        let kept = size.min(self.layout.size());
        *self = Self { block, layout: new, byte: self.byte };
        self.check_first(kept);
        self.byte = byte;
        self.fill();
        true
    }

    /// Gives the block back, after a look at its contents.
    pub(crate) fn free(self, heap: &impl Allocator) {
        self.check();
        // SAFETY: the block is of this heap, with this layout, and is not used again.
        unsafe { heap.deallocate(self.block.cast(), self.layout) };
    }

    /// Usable bytes.
    pub(crate) fn len(&self) -> usize {
        self.block.len()
    }

    /// Address of the first byte.
    pub(crate) fn addr(&self) -> usize {
        self.block.cast::<u8>().addr().get()
    }
}

/// Frees all blocks.
pub(crate) fn free_all(heap: &impl Allocator, blocks: Vec<Block>) {
    blocks.into_iter().for_each(|block| block.free(heap));
}

/// Bytes of all blocks that are not empty, and how many those are.
pub(crate) fn usable<'a>(blocks: impl IntoIterator<Item = &'a Block>) -> (usize, usize) {
    let lengths = blocks.into_iter().map(Block::len).filter(|&len| len > 0);
    lengths.fold((0, 0), |(bytes, count), len| (bytes + len, count + 1))
}

/// Sizes that reach each tier of a heap on a source: the smallest, the largest small, medium and large ones.
pub(crate) fn sizes_of_all_tiers<S: PageSource>() -> [usize; 9] {
    let segment = S::SEGMENT_SIZE.min(4 << 20);
    let (small, medium) = (segment / 128, segment / 4);
    [1, 40, 700, small, small + 1, medium / 3, medium, medium + 1, medium * 3]
}

/// Panics where the quantities of a heap that is at rest do not add up.
pub(crate) fn check_sums<M: Mode, S: PageSource>(heap: &MallocState<M, S>) {
    let stats = heap.stats();
    let segments: Vec<Segment> = heap.segments().collect();
    let sum = |of: fn(&Segment) -> usize| segments.iter().map(of).sum::<usize>();
    assert_eq!(sum(Segment::mapped), stats.mapped, "{stats}");
    assert_eq!(sum(Segment::committed), stats.committed, "{stats}");
    assert_eq!((heap.mapped(), heap.committed(), heap.peak()), (stats.mapped, stats.committed, stats.peak));
    assert_eq!(stats.live + stats.cached + stats.free + stats.overhead, stats.committed, "{stats}");
    assert!(stats.committed <= stats.peak && stats.committed <= stats.mapped, "{stats}");
    assert!(stats.live + stats.cached <= sum(Segment::in_use), "{stats}");
    assert!(sum(Segment::in_use) <= stats.committed, "{stats}");
    assert_eq!(stats.classes().map(|class| class.cached()).sum::<usize>(), stats.cached);
    let classed: usize = stats.classes().map(|class| class.live()).sum();
    assert!(classed + stats.mappings().1 <= stats.live, "{stats}");
}

/// As [`check_sums`], and the heap's own checks of everything.
pub(crate) fn check_all<M: Mode, S: PageSource>(heap: &mut MallocState<M, S>) {
    assert_eq!(heap.validate_all(), Ok(()));
    check_sums(heap);
}
