//! What the model test does to a heap.

/// One step. Whatever it cannot apply to is left alone, so that every shorter sequence is a valid one.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// The trait's `allocate` or `allocate_zeroed`.
    Allocate { size: usize, align: usize, zeroed: bool },
    /// Many blocks of one small size: enough to fill magazines and depots.
    Burst { size: usize, count: usize, zeroed: bool },
    /// `malloc`.
    Malloc { size: usize },
    /// `calloc`.
    Calloc { count: usize, size: usize },
    /// `aligned_alloc`.
    AlignedAlloc { align: usize, size: usize },
    /// An arena's call.
    Arena { call: ArenaCall, len: usize },
    /// Frees a block in the way that it was made, with one of its fitting layouts.
    Free { block: Pick, fit: u8 },
    /// Frees many blocks from one on, in the order of their addresses.
    FreeMany { block: Pick, count: usize, fit: u8 },
    /// `grow`, `grow_zeroed` or `shrink`, whichever the size asks for; `realloc` where the block is a C-style one.
    Resize { block: Pick, fit: u8, size: usize, align: usize, zeroed: bool },
    /// `grow_in_place`, or `realloc_in_place`.
    ResizeInPlace { block: Pick, fit: u8, size: usize },
    /// Frees everything at once.
    Reset,
    /// Gives unused memory back.
    Reclaim,
    /// Changes the limit, in bytes.
    SetLimit(Option<usize>),
    /// Moves the heap itself.
    Move,
    /// The page source refuses the call after this many, where it is one that can.
    Refuse(usize),
}

/// The arena's calls.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ArenaCall {
    Value,
    Text,
    Copy,
    Fill,
}

/// Which one of the blocks there are at that time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pick(pub(crate) u16);

impl Pick {
    /// Its place among `len` blocks.
    pub(crate) fn index(self, len: usize) -> usize {
        (usize::from(self.0) * len) >> u16::BITS
    }
}
