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

    /// The size in bytes.
    #[inline(always)]
    pub const fn bytes(self) -> usize {
        self.0.get() as usize
    }

    #[inline(always)]
    fn layout(self) -> Layout {
        Layout::from_size_align(self.bytes(), ALIGN).expect("32 bits are below the largest layout")
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

    /// Writes to every byte of the block.
    pub fn fill(&self) {
        // SAFETY: the block is so long, and in use.
        unsafe { self.ptr.write_bytes(3, self.size.bytes()) }
        black_box(self.ptr);
    }

    /// Writes to the first byte of the block, so often.
    #[inline(always)]
    pub fn write(&self, times: u32) {
        for time in 0..times {
            // SAFETY: the block is in use and has a first byte.
            unsafe { self.ptr.write_volatile(time as u8) };
        }
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

// SAFETY: a heap that threads share takes back in any of them what another got.
unsafe impl<P: Peer + Sync> Send for Block<'_, P> {}

#[derive(Clone, Copy)]
struct Held {
    ptr: NonNull<u8>,
    size: Size,
}

/// Room for the blocks of one table after another.
#[derive(Default)]
pub struct Slots(Vec<Option<Held>>);

impl Slots {
    /// Room for so many blocks, which is resident at once.
    pub fn resident(count: usize) -> Self {
        let mut slots = vec![Some(Held { ptr: NonNull::dangling(), size: Size::of(1) }); count];
        black_box(&mut slots).clear();
        Self(slots)
    }
}

/// Blocks in use on one heap, in numbered slots.
///
/// What is left when the table goes stays with a heap that is dropped with all its blocks, and is freed otherwise.
pub struct Table<'heap, 'slots, P: Peer> {
    heap: &'heap P,
    slots: &'slots mut Vec<Option<Held>>,
}

impl<'heap, 'slots, P: Peer> Table<'heap, 'slots, P> {
    /// An empty table.
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

    /// Allocates a block in a new slot and writes to every byte of it.
    pub fn push_filled(&mut self, size: Size) {
        self.push(size);
        self.fill(self.slots.len() - 1);
    }

    fn fill(&self, slot: usize) {
        if let Some(Held { ptr, size }) = self.slots[slot] {
            Block { heap: self.heap, ptr, size }.fill();
        }
    }

    /// Frees the block in a slot, allocates another there and writes to every byte of it.
    ///
    /// # Panics
    ///
    /// Where the slot holds none.
    pub fn replace_filled(&mut self, slot: usize, size: Size) {
        self.replace(slot, size);
        self.fill(slot);
    }

    /// The bytes requested for all blocks.
    pub fn requested(&self) -> usize {
        self.slots.iter().flatten().map(|held| held.size.bytes()).sum()
    }
}

impl<P: Peer> Drop for Table<'_, '_, P> {
    #[inline(always)]
    fn drop(&mut self) {
        if P::WHOLESALE {
            return;
        }
        for held in self.slots.drain(..).flatten() {
            // SAFETY: the table's blocks are from its heap and of the size beside them; this one has left the table.
            unsafe { self.heap.free(held.ptr, held.size.layout()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::mallocstate::LocalHeap;

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

    #[test]
    fn what_was_requested_is_what_is_in_use() {
        let heap = LocalHeap::create();
        let mut slots = Slots::resident(3);
        let mut table = Table::new(&heap, &mut slots);
        (1..=3).for_each(|bytes| table.push(Size::of(bytes)));
        table.free(1);
        table.replace_filled(2, Size::of(100));
        assert_eq!(table.requested(), 101);
    }
}
