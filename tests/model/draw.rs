//! How the operations of the model test are drawn: sizes steered towards the bounds of classes, tiers, segments.

use proptest::prelude::*;

use crate::operation::{ArenaCall, Operation, Pick};
use crate::support::classes::Geometry;

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
    let (block, fit) = (|| any::<u16>().prop_map(Pick), any::<u8>);
    let arena = prop::sample::select(vec![ArenaCall::Value, ArenaCall::Text, ArenaCall::Copy, ArenaCall::Fill]);
    let limit = prop_oneof![
        1 => Just(None),
        1 => (64 << 10..1_usize << 20).prop_map(Some),
        1 => (1 << 20..16_usize << 20).prop_map(Some),
    ];
    let small = prop_oneof![1..=64_usize, 1..=geometry.small_max];
    prop_oneof![
        24 => (size(), align(), any::<bool>()).prop_map(|(size, align, zeroed)| Allocate { size, align, zeroed }),
        3 => (small, 1..=150_usize, any::<bool>()).prop_map(|(size, count, zeroed)| Burst { size, count, zeroed }),
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
