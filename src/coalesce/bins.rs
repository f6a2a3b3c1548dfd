//! A root's free blocks, in bins by payload length. Everything is O(1).
//!
//! # Invariants
//!
//! - Every free block of the root's ordinary segments is in the bin of its payload length, and nothing else is.
//! - `map` says which heads are there.
//! - `a.next == b` exactly when `b.prev == a`; a head has no `prev`.

use super::bin_index::{BINS, BinIndex, BinMap};
use super::block::{BLOCK_HEADER, Block};
use crate::primitives::abort::corruption;

/// The bins.
pub(super) struct Bins {
    map: BinMap,
    heads: [Option<Block>; BINS],
}

/// The bin of a free block.
fn bin_of(block: Block) -> BinIndex {
    match BinIndex::of(block.tag().len().wrapping_sub(BLOCK_HEADER)) {
        Some(bin) => bin,
        None => corruption("the boundary tag of a free block was overwritten", block.payload().as_ptr()),
    }
}

impl Bins {
    pub(super) const fn new() -> Self {
        Self { map: BinMap::new(), heads: [None; BINS] }
    }

    /// Puts a free block in its bin; it goes first, being the warmest.
    pub(super) fn insert(&mut self, block: Block) {
        let bin = bin_of(block);
        let head = self.heads[bin.get()].replace(block);
        block.set_prev(None);
        block.set_next(head);
        match head {
            Some(head) => head.set_prev(Some(block)),
            None => self.map.set(bin),
        }
    }

    /// Takes a free block out of its bin. Aborts where its neighbours there know nothing of it: somebody wrote over a link.
    pub(super) fn remove(&mut self, block: Block) {
        let (bin, next, prev) = (bin_of(block), block.next(), block.prev());
        let before = prev.map_or(self.heads[bin.get()], Block::next);
        if before != Some(block) || next.is_some_and(|next| next.prev() != Some(block)) {
            block.overwritten();
        }
        if let Some(next) = next {
            next.set_prev(prev);
        }
        if let Some(prev) = prev {
            return prev.set_next(next);
        }
        self.heads[bin.get()] = next;
        if next.is_none() {
            self.map.clear(bin);
        }
    }

    /// The first block in the bin of this very payload length: it may be shorter or longer.
    pub(super) fn near(&self, payload: usize) -> Option<Block> {
        self.heads[BinIndex::of(payload)?.get()]
    }

    /// A block with at least this payload length, from the lowest bin that has only such.
    pub(super) fn at_least(&self, payload: usize) -> Option<Block> {
        let bin = self.map.first_from(BinIndex::serving(payload)?)?;
        self.heads[bin.get()]
    }

    /// The blocks of a bin.
    pub(super) fn members(&self, bin: BinIndex) -> impl Iterator<Item = Block> {
        let mut last: Option<Block> = None;
        core::iter::from_fn(move || {
            last = last.map_or(self.heads[bin.get()], Block::next);
            last
        })
        .fuse()
    }

    /// Every free block.
    pub(super) fn iter(&self) -> impl Iterator<Item = Block> {
        BinIndex::all().filter(|&bin| self.map.contains(bin)).flat_map(|bin| self.members(bin))
    }

    /// Whether map and heads agree.
    pub(super) fn is_consistent(&self) -> bool {
        self.map.is_consistent() && BinIndex::all().all(|bin| self.map.contains(bin) == self.heads[bin.get()].is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_that_disagrees_with_the_heads_is_told() {
        let mut bins = Bins::new();
        assert!(bins.is_consistent());
        let bin = BinIndex::of(4096).expect("a bin");
        bins.map.set(bin);
        assert!(!bins.is_consistent());
        bins.map.clear(bin);
        assert!(bins.is_consistent());
    }
}
