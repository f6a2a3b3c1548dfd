//! What the model test does to a heap, and how it is drawn: sizes steered towards the bounds of classes, tiers, segments.

use proptest::prelude::*;
use proptest::sample::Index;

use crate::support::classes::Geometry;

/// One step. Whatever it cannot apply to is left alone, so that every shorter sequence is a valid one.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// The trait's `allocate` or `allocate_zeroed`.
    Allocate { size: usize, align: usize, zeroed: bool },
    /// Many blocks of one small size: enough to fill magazines and depots.
    Burst { size: usize, count: usize },
    /// `malloc`.
    Malloc { size: usize },
    /// `calloc`.
    Calloc { count: usize, size: usize },
    /// `aligned_alloc`.
    AlignedAlloc { align: usize, size: usize },
    /// An arena's call.
    Arena { call: ArenaCall, len: usize },
    /// Frees a block in the way that it was made, with one of its fitting layouts.
    Free { block: Index, fit: u8 },
    /// Frees many blocks from one on, in the order of their addresses.
    FreeMany { block: Index, count: usize, fit: u8 },
    /// `grow`, `grow_zeroed` or `shrink`, whichever the size asks for; `realloc` where the block is a C-style one.
    Resize { block: Index, fit: u8, size: usize, align: usize, zeroed: bool },
    /// `grow_in_place`, or `realloc_in_place`.
    ResizeInPlace { block: Index, fit: u8, size: usize },
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

fn size(geometry: Geometry) -> BoxedStrategy<usize> {
    let Geometry { segment, small_max, medium_max } = geometry;
    let classes: Vec<usize> = geometry.classes().collect();
    let small = geometry.classes().filter(|&size| size <= small_max).count();
    let (small, medium) = (classes[..small].to_vec(), classes[small..].to_vec());
    let around = |centre: usize, margin: usize| centre - margin..=centre + margin;
    prop_oneof![
        1 => Just(0_usize),
        8 => 1..=96_usize,
        10 => (prop::sample::select(small), 0..=2_usize).prop_map(|(size, above)| size + above - 1),
        4 => around(small_max, 40),
        6 => (prop::sample::select(medium), 0..=2_usize).prop_map(|(size, above)| size + above - 1),
        2 => around(medium_max, 40),
        1 => medium_max..=segment,
        1 => around(segment, 8200),
    ]
    .boxed()
}

fn align(geometry: Geometry) -> BoxedStrategy<usize> {
    let most = geometry.segment.ilog2() + 1;
    prop_oneof![
        12 => (0..=4_u32).prop_map(|shift| 1 << shift),
        5 => (5..=8_u32).prop_map(|shift| 1 << shift),
        3 => (9..=most).prop_map(|shift| 1 << shift),
    ]
    .boxed()
}

/// Any operation, the frequent ones more often.
pub(crate) fn operation(geometry: Geometry) -> impl Strategy<Value = Operation> {
    use Operation::*;
    let (size, align) = (|| size(geometry), || align(geometry));
    let (block, fit) = (any::<Index>, any::<u8>);
    let arena = prop::sample::select(vec![ArenaCall::Value, ArenaCall::Text, ArenaCall::Copy, ArenaCall::Fill]);
    let limit = prop_oneof![
        1 => Just(None),
        1 => (64 << 10..1_usize << 20).prop_map(Some),
        1 => (1 << 20..16_usize << 20).prop_map(Some),
    ];
    let small = prop_oneof![1..=64_usize, 1..=geometry.small_max];
    prop_oneof![
        24 => (size(), align(), any::<bool>()).prop_map(|(size, align, zeroed)| Allocate { size, align, zeroed }),
        3 => (small, 1..=150_usize).prop_map(|(size, count)| Burst { size, count }),
        4 => size().prop_map(|size| Malloc { size }),
        3 => (1..=4_usize, size()).prop_map(|(count, size)| Calloc { count, size: size / count }),
        4 => (align(), size()).prop_map(|(align, size)| AlignedAlloc { align, size }),
        4 => (arena, 0..=3000_usize).prop_map(|(call, len)| Arena { call, len }),
        16 => (block(), fit()).prop_map(|(block, fit)| Free { block, fit }),
        3 => (block(), 1..=200_usize, fit()).prop_map(|(block, count, fit)| FreeMany { block, count, fit }),
        20 => (block(), fit(), size(), align(), any::<bool>())
            .prop_map(|(block, fit, size, align, zeroed)| Resize { block, fit, size, align, zeroed }),
        5 => (block(), fit(), size()).prop_map(|(block, fit, size)| ResizeInPlace { block, fit, size }),
        1 => Just(Reset),
        3 => Just(Reclaim),
        2 => limit.prop_map(SetLimit),
        2 => Just(Move),
        3 => (0..6_usize).prop_map(Refuse),
    ]
}
