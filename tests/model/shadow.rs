//! The shadow: what must be true of every block that a heap has handed out.

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::ptr::NonNull;

use crate::support::classes::{Geometry, Tier};
use crate::support::pattern::pattern;
use crate::support::returned::returned;

/// Who made a block, and so how it goes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Maker {
    Trait,
    C,
    Arena,
}

/// A block with a user.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) start: NonNull<u8>,
    /// Bytes that the heap said are the user's: by returning them, or by name.
    pub(crate) usable: usize,
    /// Bytes that hold the pattern.
    pub(crate) len: usize,
    pub(crate) layout: Layout,
    pub(crate) maker: Maker,
    salt: usize,
}

impl Block {
    /// A layout that fits: of any size between requested and returned.
    pub(crate) fn fitting(&self, fit: u8) -> Layout {
        let slack = self.usable - self.layout.size();
        let size = self.layout.size() + slack * usize::from(fit) / usize::from(u8::MAX);
        Layout::from_size_align(size, self.layout.align()).expect("a fitting size is a possible one")
    }

    /// What the user sees.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the block is the model's, and initialised for this length.
        unsafe { NonNull::slice_from_raw_parts(self.start, self.len).as_ref() }
    }

    /// Writes the pattern from `from` on.
    pub(crate) fn fill(&self, from: usize) {
        let pattern = pattern(self.salt, self.len);
        // SAFETY: `from` is within the block.
        let rest = unsafe { self.start.add(from) };
        // SAFETY: the rest of the block is the model's.
        unsafe { rest.copy_from_nonoverlapping(NonNull::from(&pattern[from..]).cast(), self.len - from) };
    }

    /// The first `len` bytes hold the pattern.
    pub(crate) fn check(&self, len: usize) {
        assert!(self.bytes()[..len] == *pattern(self.salt, len), "{self:?} lost its contents");
    }
}

/// All blocks with users.
pub(crate) struct Shadow {
    pub(crate) blocks: Vec<Block>,
    geometry: Geometry,
    /// From first byte to the length, for blocks that have bytes.
    ranges: BTreeMap<usize, usize>,
    made: usize,
}

impl Shadow {
    pub(crate) fn new(geometry: Geometry) -> Self {
        Self { blocks: Vec::new(), geometry, ranges: BTreeMap::new(), made: 0 }
    }

    /// Bytes with users.
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.iter().map(|block| block.usable).sum()
    }

    /// Takes a new block in, of which the first `kept` bytes are those of `old`, and writes the pattern to the rest.
    pub(crate) fn add(&mut self, block: NonNull<[u8]>, layout: Layout, maker: Maker, old: Option<(Block, usize)>) {
        let (start, usable) = (block.cast::<u8>(), block.len());
        assert!(usable >= layout.size(), "{layout:?} got {usable} bytes");
        assert_eq!(start.addr().get() % layout.align(), 0, "{layout:?} at {start:?}");
        match self.geometry.tier(layout) {
            Tier::Nothing => assert_eq!(usable, 0, "{layout:?}"),
            Tier::Class(size) if maker == Maker::Trait => {
                assert_eq!(usable, returned(layout.size(), size), "{layout:?}")
            }
            Tier::Class(size) => assert_eq!(usable, size, "{layout:?}"),
            Tier::Direct | Tier::Mapping => {}
        }
        for size in [layout.size(), usable] {
            let fitting = Layout::from_size_align(size, layout.align()).expect("a fitting size is a possible one");
            assert_eq!(self.geometry.tier(fitting), self.geometry.tier(layout), "{layout:?} got {usable} bytes");
        }
        self.made += 1;
        let salt = old.map_or(self.made * 61, |(old, _)| old.salt);
        // What the arena hands out is no longer than what was asked for.
        let len = if maker == Maker::Arena { layout.size() } else { usable };
        let block = Block { start, usable, len, layout, maker, salt };
        if usable > 0 {
            let (from, to) = (start.addr().get(), start.addr().get() + usable);
            let before = self.ranges.range(..to).next_back().filter(|&(&other, &len)| other + len > from);
            assert!(before.is_none(), "{block:?} overlaps {before:x?}");
            self.ranges.insert(from, usable);
        }
        let kept = old.map_or(0, |(_, kept)| kept);
        if kept > 0 {
            block.check(kept);
        }
        block.fill(kept);
        self.blocks.push(block);
    }

    /// Takes a block out, after a look at its contents.
    pub(crate) fn remove(&mut self, index: usize) -> Block {
        let block = self.blocks.swap_remove(index);
        block.check(block.len);
        if block.usable > 0 {
            self.ranges.remove(&block.start.addr().get());
        }
        block
    }

    /// Puts a block back that an operation left as it was.
    pub(crate) fn put_back(&mut self, block: Block) {
        block.check(block.len);
        if block.usable > 0 {
            self.ranges.insert(block.start.addr().get(), block.usable);
        }
        self.blocks.push(block);
    }

    pub(crate) fn clear(&mut self) {
        self.check();
        self.blocks.clear();
        self.ranges.clear();
    }

    /// Every block holds what was written to it.
    pub(crate) fn check(&self) {
        self.blocks.iter().for_each(|block| block.check(block.len));
    }

    /// Blocks and bytes of all tiers: how many of each class, of direct blocks, of mappings.
    pub(crate) fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for block in &self.blocks {
            let (count, bytes) = match self.geometry.tier(block.layout) {
                Tier::Nothing => continue,
                Tier::Class(size) => {
                    *sums.classes.entry(size).or_default() += 1;
                    continue;
                }
                Tier::Direct => &mut sums.direct,
                Tier::Mapping => &mut sums.mappings,
            };
            *count += 1;
            *bytes += block.usable;
        }
        sums
    }
}

/// What a heap must say that it holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) classes: BTreeMap<usize, usize>,
    pub(crate) direct: (usize, usize),
    pub(crate) mappings: (usize, usize),
}

impl Sums {
    /// Blocks and bytes in all.
    pub(crate) fn totals(&self) -> (usize, usize) {
        let classed =
            self.classes.iter().fold((0, 0), |(blocks, bytes), (size, count)| (blocks + count, bytes + size * count));
        (classed.0 + self.direct.0 + self.mappings.0, classed.1 + self.direct.1 + self.mappings.1)
    }
}
