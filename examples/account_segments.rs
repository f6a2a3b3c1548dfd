//! Where a heap's memory is: its segments, one by one, as it fills and empties.
//!
//! `cargo run --example account_segments`

use comfy_table::{CellAlignment, Table};
use mallocstate::collections::Vec;
use mallocstate::{MallocState, SegmentKind};

/// Prints all segments, and checks them against the heap's own sums.
fn account(heap: &MallocState, when: &str) {
    let mut table = Table::new();
    table.set_header(["segment", "kind", "address", "mapped", "committed", "in use"]);
    let (mut mapped, mut committed, mut in_use) = (0, 0, 0);
    for (number, segment) in heap.segments().enumerate() {
        (mapped, committed, in_use) =
            (mapped + segment.mapped(), committed + segment.committed(), in_use + segment.in_use());
        table.add_row([
            number.to_string(),
            format!("{:?}", segment.kind()),
            format!("{:#x}", segment.address()),
            segment.mapped().to_string(),
            segment.committed().to_string(),
            segment.in_use().to_string(),
        ]);
    }
    table.add_row(["", "all", "", &mapped.to_string(), &committed.to_string(), &in_use.to_string()]);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{when}\n{table}\n");
    assert_eq!((mapped, committed), (heap.mapped(), heap.committed()));
    assert!(in_use <= committed && committed <= mapped);
}

fn count(heap: &MallocState, kind: SegmentKind) -> usize {
    heap.segments().filter(|segment| segment.kind() == kind).count()
}

fn main() {
    let heap = MallocState::new();
    account(&heap, "A new heap has no memory:");
    assert_eq!(heap.segments().count(), 0);

    let vector = |bytes: usize| {
        let mut bytes_of = Vec::with_capacity_in(bytes, &heap);
        bytes_of.resize(bytes, 0_u8);
        bytes_of
    };
    let small: std::vec::Vec<_> = (0..100_000).map(|index| vector(16 + index % 100)).collect();
    let medium: std::vec::Vec<_> = (0..100).map(|index| vector(40_000 + 1000 * index)).collect();
    let large: std::vec::Vec<_> = (2..=4).map(|megabytes| vector(megabytes << 20)).collect();
    account(&heap, "Small blocks, cut from slabs; medium ones, out of bins; large ones, each a mapping:");
    assert!(count(&heap, SegmentKind::Slab) > 1 && count(&heap, SegmentKind::Coalescing) > 1);
    assert_eq!(count(&heap, SegmentKind::Mapping), large.len());

    // The loop may free and reclaim in the heap that it looks at.
    let (mut seen, mut large) = (0, large);
    for segment in heap.segments() {
        seen += usize::from(segment.kind() != SegmentKind::Mapping);
        large.pop();
        heap.reclaim();
    }
    assert_eq!(seen, count(&heap, SegmentKind::Slab) + count(&heap, SegmentKind::Coalescing));
    account(&heap, "The large blocks went while the segments were looked at:");
    assert_eq!(count(&heap, SegmentKind::Mapping), 0);

    let mapped = heap.mapped();
    drop((small, medium));
    heap.reclaim();
    account(&heap, "All blocks freed, and reclaimed: what stays holds the heap's own tables.");
    assert!(heap.mapped() < mapped);
    assert_eq!(heap.stats().live_blocks, 0);
}
