//! Misuse of blocks that a young heap's nursery has cut.

use mallocstate::MallocState;

use super::child::When::AtOnceIfChecked;
use super::child::caught;
use super::{NO_START, TWICE, give, give_back, give_misused, inside, of, take};

/// How far the nursery has come depends on where it starts: what lies between its parts, or behind what it has cut, is in none.
const NO_START_OR_FREE: [&str; 4] = [NO_START[0], NO_START[1], TWICE[0], "in no slab"];

misuse! {
    inside_a_young_block: AtOnceIfChecked, NO_START, [16, 512, 1000, 2048] => |offset| {
        let heap = MallocState::new();
        let _neighbours = [16, 48, 512].map(|size| take(&heap, of(size)));
        give_misused(&heap, inside(take(&heap, of(4000)), offset), of(4000));
        give_back(&heap);
    }
    between_young_blocks: AtOnceIfChecked, NO_START_OR_FREE, [16, 64, 1024] => |offset| {
        let heap = MallocState::new();
        let _first = take(&heap, of(16));
        let aligned = take(&heap, of(2048));
        assert_eq!(aligned.addr().get() % 2048, 0);
        let _behind = take(&heap, of(1024));
        // SAFETY: this stays within the block's segment.
        let before = unsafe { aligned.sub(offset) };
        give_misused(&heap, before, of(16));
        give_back(&heap);
    }
    /// Behind what the nursery has cut; and of a slab, where what is left of the bump range goes back as well.
    a_block_that_was_never_handed_out: AtOnceIfChecked, NO_START_OR_FREE, [64, 8192] => |size| {
        let heap = MallocState::new();
        let first = take(&heap, of(size));
        // SAFETY: there is room behind it in the same segment.
        let next = unsafe { first.add(size) };
        give_misused(&heap, next, of(size));
        give_back(&heap);
    }
    a_young_block_twice: AtOnceIfChecked, TWICE, [16, 64, 300, 4096] => |size| {
        let heap = MallocState::local();
        let [first, second, _neighbour] = [size, 32, 80].map(|size| take(&heap, of(size)));
        give(&heap, first, of(size));
        heap.reclaim();
        give(&heap, second, of(32));
        give_misused(&heap, first, of(size));
        give_back(&heap);
    }
    a_young_block_of_a_heap_that_was_reset: AtOnceIfChecked, ["not the start", "in no slab", "another size class"], [16, 64, 300, 4096] => |size| {
        let mut heap = MallocState::local();
        let _first = take(&heap, of(48));
        let block = take(&heap, of(size));
        heap.reset();
        give_misused(&heap, block, of(size));
        give_back(&heap);
    }
}
