//! What workloads hold of a heap: blocks that were touched and are freed once, on their own heap, by their own size.

#![expect(unsafe_code, reason = "writes to blocks and gives them back")]

use std::alloc::{Layout, handle_alloc_error};
use std::hint::black_box;
use std::num::NonZeroU32;
use std::ptr::NonNull;

use super::Peer;

/// Alignment of every block of every workload, in bytes.
const ALIGN: usize = 8;

/// The size of a block in bytes; never zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size(NonZeroU32);

impl Size {
    /// A size of so many bytes.
    ///
    /// # Panics
    ///
    /// Where there are none.
    pub const fn of(bytes: u32) -> Self {
        Self(NonZeroU32::new(bytes).expect("a block has a byte to touch"))
    }

    #[inline(always)]
    fn layout(self) -> Layout {
        Layout::from_size_align(self.0.get() as usize, ALIGN).expect("32 bits are below the largest layout")
    }
}

/// A block of this size, its first and its last byte written, which no compiler may leave out.
#[inline(always)]
fn allocate<P: Peer>(heap: &P, size: Size) -> NonNull<u8> {
    let layout = size.layout();
    let Some(block) = heap.allocate(layout) else { handle_alloc_error(layout) };
    // SAFETY: the block is new and not empty.
    unsafe { block.write(1) };
    // SAFETY: the block is at least as long as the layout, which is not empty.
    let last = unsafe { block.add(layout.size() - 1) };
    // SAFETY: it is the block's last byte.
    unsafe { last.write(2) };
    black_box(block);
    block
}

/// One block in use.
#[must_use = "it is freed by a call, not when dropped"]
pub struct Block<'heap, P> {
    heap: &'heap P,
    ptr: NonNull<u8>,
    size: Size,
}

impl<'heap, P: Peer> Block<'heap, P> {
    /// Allocates and touches a block.
    #[inline(always)]
    pub fn allocate(heap: &'heap P, size: Size) -> Self {
        Self { heap, ptr: allocate(heap, size), size }
    }

    /// Makes the compiler forget the block's size.
    #[inline(always)]
    pub fn of_unknown_size(self) -> Self {
        Self { size: black_box(self.size), ..self }
    }

    /// Gives the block back.
    #[inline(always)]
    pub fn free(self) {
        // SAFETY: the block is from this heap and of this size, and this was the one handle to it.
        unsafe { self.heap.free(self.ptr, self.size.layout()) }
    }
}

#[derive(Clone, Copy)]
struct Held {
    ptr: NonNull<u8>,
    size: Size,
}

/// Room for the blocks of one table after another.
#[derive(Default)]
pub struct Slots(Vec<Option<Held>>);

/// Blocks in use on one heap, in numbered slots.
pub struct Table<'heap, 'slots, P> {
    heap: &'heap P,
    slots: &'slots mut Vec<Option<Held>>,
}

impl<'heap, 'slots, P: Peer> Table<'heap, 'slots, P> {
    /// An empty table; blocks that an earlier one left in the slots stay with their heap.
    #[inline(always)]
    pub fn new(heap: &'heap P, slots: &'slots mut Slots) -> Self {
        slots.0.clear();
        Self { heap, slots: &mut slots.0 }
    }

    /// Allocates a block in a new slot, the next in number.
    #[inline(always)]
    pub fn push(&mut self, size: Size) {
        self.slots.push(Some(Held { ptr: allocate(self.heap, size), size }));
    }

    /// Frees the block in a slot.
    ///
    /// # Panics
    ///
    /// Where the slot holds none.
    #[inline(always)]
    pub fn free(&mut self, slot: usize) {
        let held = self.slots[slot].take().expect("the slot holds a block");
        // SAFETY: the table's blocks are from its heap and of the size beside them; this one has left the table.
        unsafe { self.heap.free(held.ptr, held.size.layout()) }
    }

    /// Frees the block in a slot and allocates another there.
    ///
    /// # Panics
    ///
    /// Where the slot holds none.
    #[inline(always)]
    pub fn replace(&mut self, slot: usize, size: Size) {
        self.free(slot);
        self.slots[slot] = Some(Held { ptr: allocate(self.heap, size), size });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::bumpalo::BumpArena;
    use crate::peers::mallocstate::{LocalHeap, ThreadedHeap};
    use crate::peers::mimalloc::MimallocHeap;

    fn exercise<P: Peer>() {
        let heap = P::create();
        Block::allocate(&heap, Size::of(1)).of_unknown_size().free();
        let mut slots = Slots::default();
        for _ in 0..2 {
            let mut table = Table::new(&heap, &mut slots);
            (1..=1000).for_each(|bytes| table.push(Size::of(bytes)));
            (0..1000).for_each(|slot| table.replace(slot, Size::of(300)));
            (0..1000).step_by(2).for_each(|slot| table.free(slot));
        }
    }

    #[test]
    fn every_peer_takes_the_same_work() {
        exercise::<ThreadedHeap>();
        exercise::<LocalHeap>();
        exercise::<MimallocHeap>();
        exercise::<BumpArena>();
    }

    #[test]
    #[should_panic(expected = "the slot holds a block")]
    fn no_block_is_freed_twice() {
        let heap = LocalHeap::create();
        let mut slots = Slots::default();
        let mut table = Table::new(&heap, &mut slots);
        table.push(Size::of(8));
        table.free(0);
        table.free(0);
    }
}
