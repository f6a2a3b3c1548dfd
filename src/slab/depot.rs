//! Free blocks on their way between thread caches and slabs: blocks, magazines, and a root's depot of full ones.
//!
//! ```text
//! a magazine          block ─► block ─► block ─► null
//!                       │
//! the depot's list      └────► next full magazine
//! ```

#![expect(unsafe_code, reason = "threads lists through free blocks")]

use core::ptr::{self, NonNull};

#[cfg(feature = "hardened")]
use {crate::primitives::secret, crate::slab::size_class::LARGEST_MAGAZINE};

use crate::slab::link;

/// A free block that nobody else knows of: whoever has it must put it somewhere.
#[derive(Debug)]
pub(crate) struct Block(NonNull<u8>);

impl Block {
    /// # Safety
    ///
    /// `start` is the start of a small block that is free, in no list, and covered by the pointer's provenance.
    #[inline(always)]
    pub(crate) unsafe fn new(start: NonNull<u8>) -> Self {
        Self(start)
    }

    /// The block's memory, for a user.
    #[inline(always)]
    pub(crate) fn into_raw(self) -> NonNull<u8> {
        self.0
    }

    #[inline(always)]
    pub(crate) fn addr(&self) -> usize {
        self.0.addr().get()
    }
}

/// A list of free blocks of one class, as a value.
#[derive(Debug)]
pub(crate) struct Magazine {
    head: *mut u8,
    len: usize,
}

impl Magazine {
    pub(crate) const fn empty() -> Self {
        Self { head: ptr::null_mut(), len: 0 }
    }

    /// # Safety
    ///
    /// `head` starts a list of `len` free blocks that came from [`into_raw`](Self::into_raw) or [`push`](Self::push).
    pub(crate) unsafe fn from_raw(head: *mut u8, len: usize) -> Self {
        Self { head, len }
    }

    /// The first block's address, or null; the list goes on through the blocks' first words.
    pub(crate) fn into_raw(self) -> *mut u8 {
        self.head
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Takes the next block out where `accept` has an answer to its address, and passes that on.
    #[inline(always)]
    pub(crate) fn pop_if<T>(&mut self, accept: impl FnOnce(usize) -> Option<T>) -> Option<T> {
        let accepted = accept(NonNull::new(self.head)?.addr().get())?;
        self.pop().map(|_| accepted)
    }

    /// Takes the next blocks out as long as each lies `step` bytes behind the one before, the first behind `addr`, and `most`
    /// of them at most; the answer is how many. A step back is one that wraps around.
    #[inline(always)]
    pub(crate) fn pop_run(&mut self, addr: usize, step: usize, most: usize) -> usize {
        // Where a block was freed twice, the list runs in a circle.
        let most = most.min(self.len);
        let (mut next, mut taken) = (addr.wrapping_add(step), 0);
        while taken < most && self.head.addr() == next && self.pop().is_some() {
            next = next.wrapping_add(step);
            taken += 1;
        }
        taken
    }

    /// The same blocks, at most a full magazine, in an order that cannot be foreseen.
    #[cfg(feature = "hardened")]
    pub(crate) fn shuffled(mut self) -> Self {
        let mut blocks: [Option<Block>; LARGEST_MAGAZINE] = core::array::from_fn(|_| self.pop());
        secret::shuffle(&mut blocks);
        blocks.into_iter().flatten().for_each(|block| self.push(block));
        self
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, block: Block) {
        // SAFETY: the block is free and ours.
        unsafe { link::set_next(block.0, self.head) };
        self.head = block.0.as_ptr();
        self.len += 1;
    }

    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<Block> {
        let head = NonNull::new(self.head)?;
        // SAFETY: a block in a magazine is free, and was linked when it came.
        self.head = unsafe { link::next(head) };
        self.len -= 1;
        Some(Block(head))
    }
}

/// The full magazines of a slab root.
///
/// # Invariants
///
/// All magazines have `magazine_len` blocks.
pub(crate) struct Depot {
    head: *mut u8,
    magazines: u8,
    magazine_len: u8,
}

// SAFETY: free blocks belong to whoever holds the depot's lock.
unsafe impl Send for Depot {}

impl Depot {
    pub(super) const fn new() -> Self {
        Self { head: ptr::null_mut(), magazines: 0, magazine_len: 0 }
    }

    /// Blocks in all magazines.
    pub(super) fn blocks(&self) -> usize {
        usize::from(self.magazines) * usize::from(self.magazine_len)
    }

    /// Blocks in each of the magazines, if there are any.
    pub(super) fn magazine_len(&self) -> usize {
        usize::from(self.magazine_len)
    }

    /// Takes a magazine in, unless there are `most` already or it is of another length than they are.
    pub(super) fn push(&mut self, magazine: Magazine, most: usize) -> Result<(), Magazine> {
        if self.magazines == 0 {
            self.magazine_len = magazine.len as u8;
        }
        let fits = usize::from(self.magazines) < most && usize::from(self.magazine_len) == magazine.len;
        let Some(head) = NonNull::new(magazine.head).filter(|_| fits) else { return Err(magazine) };
        // SAFETY: the magazine's first block is free and ours.
        unsafe { link::set_next_magazine(head, self.head) };
        self.head = magazine.head;
        self.magazines += 1;
        Ok(())
    }

    /// Hands a magazine out.
    pub(super) fn pop(&mut self) -> Option<Magazine> {
        let head = NonNull::new(self.head)?;
        // SAFETY: the first block of a magazine in the depot was linked to the next magazine.
        self.head = unsafe { link::next_magazine(head) };
        self.magazines -= 1;
        Some(Magazine { head: head.as_ptr(), len: usize::from(self.magazine_len) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    #[repr(align(16))]
    struct Room {
        _words: [usize; 2],
    }

    fn blocks<const N: usize>(memory: &mut [Room; N]) -> impl Iterator<Item = Block> {
        // SAFETY: each element is room for a free block of its own.
        memory.iter_mut().map(|room| unsafe { Block::new(NonNull::from(room).cast()) })
    }

    #[test]
    fn a_magazine_is_last_in_first_out() {
        let mut memory = [Room { _words: [0; 2] }; 3];
        let addresses: std::vec::Vec<usize> = memory.iter().map(|room| ptr::from_ref(room).addr()).collect();
        let mut magazine = Magazine::empty();
        blocks(&mut memory).for_each(|block| magazine.push(block));
        assert_eq!(magazine.len(), 3);
        for &address in addresses.iter().rev() {
            assert_eq!(magazine.pop().map(|block| block.addr()), Some(address));
        }
        assert!(magazine.pop().is_none());
    }

    #[test]
    fn a_run_of_neighbours_leaves_a_magazine_at_once() {
        let mut memory = [Room { _words: [0; 2] }; 8];
        let start = memory.as_ptr().addr();
        let step = size_of::<Room>();
        let mut all: std::vec::Vec<Option<Block>> = blocks(&mut memory).map(Some).collect();
        let mut magazine = Magazine::empty();
        // The last one pushed comes first: 2, 3, 4, 6, 5, and 0.
        for index in [0, 5, 6, 4, 3, 2] {
            magazine.push(all[index].take().unwrap());
        }
        let at = |index: usize| start + index * step;
        assert_eq!(magazine.pop_run(at(2), step, 9), 0, "the first block is not a neighbour of itself");
        assert_eq!(magazine.pop_run(at(3), step.wrapping_neg(), 0), 0, "no more than asked");
        assert_eq!(magazine.pop_run(at(1), step, 2), 2);
        assert_eq!((magazine.pop_run(at(3), step, 9), magazine.len()), (1, 3));
        assert_eq!((magazine.pop_run(at(7), step.wrapping_neg(), 9), magazine.len()), (2, 1));
        assert_eq!((magazine.pop_run(at(1), step.wrapping_neg(), 9), magazine.len()), (1, 0));
        assert_eq!(magazine.pop_run(at(0), step, 9), 0, "there is none");
    }

    #[test]
    fn the_depot_keeps_full_magazines_of_one_length() {
        let mut memory = [Room { _words: [0; 2] }; 7];
        let mut all = blocks(&mut memory);
        let mut of = |len: usize| {
            let mut magazine = Magazine::empty();
            all.by_ref().take(len).for_each(|block| magazine.push(block));
            magazine
        };
        let mut depot = Depot::new();
        assert!(depot.push(of(2), 2).is_ok());
        assert_eq!(depot.push(of(1), 2).map_err(|magazine| magazine.len()), Err(1));
        assert!(depot.push(of(2), 2).is_ok());
        assert!(depot.push(of(2), 2).is_err(), "the depot is full");
        assert_eq!(depot.blocks(), 4);
        assert_eq!(depot.pop().map(|magazine| magazine.len()), Some(2));
        assert_eq!(depot.pop().map(|magazine| magazine.len()), Some(2));
        assert!(depot.pop().is_none());
        assert!(depot.push(Magazine::empty(), 2).is_err());
    }
}
