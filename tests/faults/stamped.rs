//! Blocks that can be told apart: each bears its number, and where in the block that stands, from end to end.

#![expect(unsafe_code, reason = "takes blocks by hand")]

use std::alloc::Layout;
use std::ptr::NonNull;

use mallocstate::allocator_api2::alloc::Allocator;
use mallocstate::{MallocState, Mode, PageSource};

/// Bytes from one stamp to the next.
const STRIDE: usize = 2048;

/// A block with stamps.
#[derive(Debug)]
pub(crate) struct Stamped {
    block: NonNull<[u8]>,
    layout: Layout,
    number: u64,
}

// SAFETY: a block is its owner's, on whichever thread that is.
unsafe impl Send for Stamped {}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

impl Stamped {
    /// A block of a heap; `None` where that refuses.
    pub(crate) fn new(heap: &impl Allocator, size: usize, align: usize, number: u64) -> Option<Self> {
        let layout = layout(size, align);
        Some(Self { block: heap.allocate(layout).ok()?, layout, number }.stamped())
    }

    /// As [`new`](Self::new), after a look at the zeros of a zeroed block.
    pub(crate) fn zeroed(heap: &impl Allocator, size: usize, align: usize, number: u64) -> Option<Self> {
        let layout = layout(size, align);
        let this = Self { block: heap.allocate_zeroed(layout).ok()?, layout, number };
        this.check_zero(0);
        Some(this.stamped())
    }

    /// Usable bytes.
    pub(crate) fn len(&self) -> usize {
        self.block.len()
    }

    fn check_zero(&self, from: usize) {
        // SAFETY: a zeroed block is initialised from end to end, and this value's own.
        let bytes = &unsafe { self.block.as_ref() }[from..];
        assert!(bytes.is_empty() || bytes[0] == 0 && bytes[1..] == bytes[..bytes.len() - 1], "{self:?} is not zero");
    }

    /// Where the last stamp stands: at the very end. Memory tools have blocks that are shorter than a stamp.
    fn last(&self) -> usize {
        self.block.len().saturating_sub(8)
    }

    /// Where the other stamps stand.
    fn places(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.last()).step_by(STRIDE)
    }

    fn stamp(&self, offset: usize) -> [u8; 8] {
        (self.number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ offset as u64).to_le_bytes()
    }

    /// The bytes of a stamp, of which `len` matter.
    fn stamp_place(&self, offset: usize, len: usize) -> NonNull<[u8]> {
        // SAFETY: stamps stand within the block.
        let start = unsafe { self.block.cast::<u8>().add(offset) };
        NonNull::slice_from_raw_parts(start, len.min(8).min(self.block.len() - offset))
    }

    fn stamped(self) -> Self {
        assert!(self.block.len() >= self.layout.size());
        assert_eq!(self.block.cast::<u8>().addr().get() % self.layout.align(), 0, "{self:?}");
        for offset in self.places().chain([self.last()]) {
            let (stamp, mut place) = (self.stamp(offset), self.stamp_place(offset, 8));
            // SAFETY: the stamp lies within the block, which is this value's own; any byte is a value of this type.
            let place = unsafe { place.as_mut() };
            place.copy_from_slice(&stamp[..place.len()]);
        }
        self
    }

    fn check_at(&self, offset: usize, len: usize) {
        let found = self.stamp_place(offset, len);
        // SAFETY: the stamp lies within the block, and was written when the block was made or resized.
        let found = unsafe { found.as_ref() };
        assert_eq!(*found, self.stamp(offset)[..found.len()], "{self:?} was written to at {offset:#x}");
    }

    /// Panics where the contents are not as they were left.
    pub(crate) fn check(&self) {
        self.check_up_to(self.last(), self);
        self.check_at(self.last(), 8);
    }

    /// Checks all stamps but the last of `before`, which this block was, as far as they reach in front of `end`.
    fn check_up_to(&self, end: usize, before: &Self) {
        let end = end.min(before.last());
        self.places().take_while(|&offset| offset < end).for_each(|offset| self.check_at(offset, end - offset));
    }

    /// Grows or shrinks the block; whether the heap could. `zeroed` asks for zeros behind the old size.
    pub(crate) fn resize(&mut self, heap: &impl Allocator, size: usize, align: usize, zeroed: bool) -> bool {
        let (old, new, start) = (self.layout, layout(size, align), self.block.cast());
        let grows = size >= old.size();
        let resized = if grows && zeroed {
            // SAFETY: the block is of this heap, with this layout, and the new one is no smaller.
            unsafe { heap.grow_zeroed(start, old, new) }
        } else if grows {
            // SAFETY: as above.
            unsafe { heap.grow(start, old, new) }
        } else {
            // SAFETY: the block is of this heap, with this layout, and the new one is smaller.
            unsafe { heap.shrink(start, old, new) }
        };
        let Ok(block) = resized else {
            self.check();
            return false;
        };
        let (resized, kept) = (Self { block, layout: new, number: self.number }, size.min(old.size()));
        resized.check_up_to(kept, self);
        if grows && zeroed {
            resized.check_zero(old.size());
        }
        *self = resized.stamped();
        true
    }

    /// Makes the block longer where it is; whether the heap could.
    pub(crate) fn grow_in_place<M: Mode, S: PageSource>(&mut self, heap: &MallocState<M, S>, size: usize) -> bool {
        let start = self.block.cast();
        // SAFETY: the block is of this heap, with this layout.
        let Some(len) = (unsafe { heap.grow_in_place(start, self.layout, size) }) else {
            self.check();
            return false;
        };
        let block = NonNull::slice_from_raw_parts(start, len);
        *self = Self { block, layout: layout(size, self.layout.align()), number: self.number }.stamped();
        true
    }

    /// Gives the block back, after a look at its contents.
    pub(crate) fn free(self, heap: &impl Allocator) {
        self.check();
        // SAFETY: the block is of this heap, with this layout, and is not used again.
        unsafe { heap.deallocate(self.block.cast(), self.layout) };
    }
}

/// Frees all blocks.
pub(crate) fn free_all(heap: &impl Allocator, blocks: Vec<Stamped>) {
    blocks.into_iter().for_each(|block| block.free(heap));
}

/// Bytes of all blocks, and how many there are.
pub(crate) fn usable<'a>(blocks: impl IntoIterator<Item = &'a Stamped>) -> (usize, usize) {
    blocks.into_iter().fold((0, 0), |(bytes, count), block| (bytes + block.len(), count + 1))
}
