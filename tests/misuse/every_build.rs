//! More of what every build notices: blocks with an alignment of their own, calls without layouts, links of free blocks.

use mallocstate::{CoalescingAllocator, MallocState};

use super::child::When::AtOnce;
use super::child::caught;
use super::{DAMAGED, FOREIGN, TAG, give, give_misused, inside, layout, misusing, of, overwrite, take};

const LINK: [&str; 1] = ["free list link was overwritten"];

misuse! {
    aligned_twice: AtOnce, DAMAGED, [64, 4096, 1 << 19] => |align| {
        let heap = MallocState::new();
        let asked = layout(100_000, align);
        let [block, _neighbour] = [(); 2].map(|()| take(&heap, asked));
        give(&heap, block, asked);
        give_misused(&heap, block, asked);
    }
    inside_an_aligned_block: AtOnce, DAMAGED, [16, 64, 4096] => |offset| {
        let heap = MallocState::new();
        let [block, _neighbour] = [(); 2].map(|()| take(&heap, layout(100_000, 64)));
        overwrite(block, 0, 100_000, 0);
        give_misused(&heap, inside(block, offset), layout(90_000, 64));
    }
    aligned_in_another_heap: AtOnce, FOREIGN, [64, 1 << 23] => |align| {
        let (owner, heap) = (MallocState::new(), MallocState::new());
        let (block, _own) = (take(&owner, layout(100_000, align)), take(&heap, layout(100_000, align)));
        give_misused(&heap, block, layout(100_000, align));
    }
    behind_an_aligned_block: AtOnce, TAG, [1, 8] => |bytes| {
        let heap = MallocState::new();
        let [block, _neighbour] = [(); 2].map(|()| take(&heap, layout(65_536 - 16, 64)));
        overwrite(block, 65_536 - 16, bytes, 0xAA);
        give_misused(&heap, block, layout(65_536 - 16, 64));
    }
    resized_without_a_layout_in_another_heap: AtOnce, FOREIGN, [100, 50_000, 2_000_000] => |size| {
        let (owner, heap) = (MallocState::new(), MallocState::new());
        let (block, _own) = (owner.malloc(size).expect("memory"), heap.malloc(size));
        // SAFETY: none: the block is of another heap.
        let _ = unsafe { heap.realloc(misusing(block), size * 2) };
    }
    resized_without_a_layout_in_the_middle: AtOnce, DAMAGED, [50_000, 2_000_000] => |size| {
        let heap = MallocState::new();
        let block = heap.calloc(size, 1).expect("memory");
        // SAFETY: none: this is no block's start.
        let _ = unsafe { heap.realloc(misusing(inside(block, 4096)), size * 2) };
    }
    grown_after_it_was_freed: AtOnce, DAMAGED, [2_000_000, 100_000] => |size| {
        let heap = MallocState::new();
        let asked = layout(size, 64);
        let [block, _neighbour] = [(); 2].map(|()| take(&heap, asked));
        give(&heap, block, asked);
        // SAFETY: none: the block is free.
        let _ = unsafe { heap.grow_in_place(misusing(block), asked, size + 10_000) };
    }
    /// The middle one of three free blocks is written to as if it were the only one in its bin: it is no head.
    links_of_a_free_block_cut: AtOnce, LINK, [0] => |byte| {
        let engine = CoalescingAllocator::new();
        let blocks = [(); 6].map(|()| take(&engine, of(200)));
        [0, 2, 4].iter().for_each(|&free| give(&engine, blocks[free], of(200)));
        overwrite(misusing(blocks[2]), 0, 16, byte);
        // This merges with the block behind it, which leaves its bin.
        give(&engine, blocks[1], of(200));
    }
}
