//! What debug builds and the feature `hardened` notice beyond what others do: pointers that lead nowhere, layouts that are
//! longer than their block or aligned otherwise, resizes of what is not in use.

use std::alloc::Layout;
use std::ptr::{self, NonNull};

use mallocstate::MallocState;
use mallocstate::allocator_api2::alloc::Allocator;

use super::child::When::AtOnce;
use super::child::caught;
use super::{
    CLASS, DAMAGED, FOREIGN, MEDIUM_MAX, NO_START, TWICE, give, give_misused, inside, layout, misusing, of, overwrite,
    take,
};

const FREE: [&str; 2] = ["freed twice", "free already"];
const LAYOUT: [&str; 2] = ["shorter than its layout", "not aligned as its layout"];

/// An address that no heap knows of: of a static, of the stack, of the program's own allocator, near both ends of all
/// addresses.
fn stray(which: usize) -> NonNull<u8> {
    static WORD: u128 = 7;
    let local = [7_u128; 4];
    let addresses = [
        ptr::from_ref(&WORD).addr(),
        ptr::from_ref(&local).addr(),
        Box::leak(Box::new([0_u128; 64])).as_ptr().addr(),
        16,
        usize::MAX - 15,
    ];
    NonNull::new(ptr::without_provenance_mut(addresses[which])).expect("no null")
}

/// Ways to resize a block of 100 bytes more than a layout says.
fn resize(heap: &MallocState, block: NonNull<u8>, asked: Layout, way: usize) {
    let (more, less) = (layout(asked.size() + 100, asked.align()), layout(asked.size() / 2, asked.align()));
    let block = misusing(block);
    match way {
        // SAFETY: none: the layout or the block is not right.
        0 => _ = unsafe { heap.grow(block, asked, more) },
        // SAFETY: as above.
        1 => _ = unsafe { heap.grow_zeroed(block, asked, more) },
        // SAFETY: as above.
        2 => _ = unsafe { heap.shrink(block, asked, less) },
        // SAFETY: as above.
        _ => _ = unsafe { heap.grow_in_place(block, asked, more.size()) },
    }
}

misuse! {
    a_stray_small_pointer: AtOnce, FOREIGN, [0, 1, 2, 3, 4] => |which| {
        let heap = MallocState::new();
        let _own = take(&heap, of(32));
        give_misused(&heap, stray(which), of(32));
    }
    a_stray_medium_pointer: AtOnce, FOREIGN, [0, 1, 2, 3, 4] => |which| {
        let heap = MallocState::local();
        let _own = take(&heap, of(100_000));
        give_misused(&heap, stray(which), of(100_000));
    }
    a_stray_aligned_pointer: AtOnce, FOREIGN, [0, 1, 2, 3, 4] => |which| {
        let heap = MallocState::new();
        let _own = take(&heap, layout(100_000, 64));
        give_misused(&heap, stray(which), layout(100_000, 64));
    }
    a_stray_large_pointer: AtOnce, FOREIGN, [0, 1, 2, 3, 4] => |which| {
        let heap = MallocState::new();
        let _own = take(&heap, of(3_000_000));
        give_misused(&heap, stray(which), of(3_000_000));
    }
    a_stray_pointer_without_a_layout: AtOnce, FOREIGN, [0, 1, 2, 3, 4] => |which| {
        let heap = MallocState::new();
        let _own = heap.malloc(100);
        // SAFETY: none: this is no block.
        unsafe { heap.free(misusing(stray(which))) };
    }
    a_stray_pointer_resized_without_a_layout: AtOnce, FOREIGN, [0, 1, 2, 3, 4] => |which| {
        let heap = MallocState::new();
        let _own = heap.malloc(100);
        // SAFETY: none: this is no block.
        let _ = unsafe { heap.realloc(misusing(stray(which)), 200) };
    }
    /// Its segment is not mapped any more: a heap with a limit keeps no mappings, and none keeps one beyond 64 MiB.
    a_large_block_twice_that_was_unmapped: AtOnce, FOREIGN, [2_000_000, 80 << 20] => |size| {
        let heap = MallocState::new();
        heap.set_limit((size < 10_000_000).then_some(64 << 20));
        let block = take(&heap, of(size));
        give(&heap, block, of(size));
        give_misused(&heap, block, of(size));
    }
    a_large_block_twice_after_reclaim: AtOnce, FOREIGN, [2_000_000, 20 << 20] => |size| {
        let heap = MallocState::local();
        let block = take(&heap, of(size));
        give(&heap, block, of(size));
        heap.reclaim();
        give_misused(&heap, block, of(size));
    }
    /// Every block of the segment is gone, and the segment with them.
    a_medium_block_twice_that_was_unmapped: AtOnce, FOREIGN, [40_000, 500_000] => |size| {
        let heap = MallocState::new();
        let block = take(&heap, of(size));
        give(&heap, block, of(size));
        heap.reclaim();
        give_misused(&heap, block, of(size));
    }
    a_block_of_a_heap_that_is_gone: AtOnce, FOREIGN, [32, 40_000, 2_000_000] => |size| {
        let (owner, heap) = (MallocState::new(), MallocState::new());
        let (block, _own) = (take(&owner, of(size)), take(&heap, of(size)));
        drop(owner);
        give_misused(&heap, block, of(size));
    }
    a_medium_block_by_two_threads: AtOnce, TWICE, [40_000, MEDIUM_MAX / 2] => |size| {
        let heap = MallocState::new();
        let [block, _neighbour] = [(); 2].map(|()| take(&heap, of(size)));
        let address = block.as_ptr().expose_provenance();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let block = NonNull::new(ptr::with_exposed_provenance_mut(address)).expect("a block");
                give(&heap, block, of(size));
            });
        });
        give_misused(&heap, block, of(size));
    }
    from_before_a_reset: AtOnce, ["freed twice", "free already", "not the start", "in no slab"], [32, 40_000, 90_000, 2_000_000] => |size| {
        let mut heap = MallocState::new();
        let [_first, blocks @ .., _last] = [(); 4].map(|()| take(&heap, of(size)));
        heap.reset();
        let one_of_the_next_round = take(&heap, of(size));
        let stale = blocks.into_iter().rev().find(|&block| block != one_of_the_next_round);
        give_misused(&heap, stale.expect("two different blocks"), of(size));
    }
    a_layout_that_is_longer_than_its_block: AtOnce, LAYOUT, [0, 1, 2, 3] => |which| {
        let [asked, freed] = [
            [layout(50_000, 64), layout(60_000, 64)],
            [layout(MEDIUM_MAX / 5, 4096), layout(MEDIUM_MAX / 2, 4096)],
            [of(2_000_000), of(2_100_000)],
            [layout(5 << 20, 4096), layout(6 << 20, 4096)],
        ][which];
        let heap = MallocState::new();
        let [block, _neighbour] = [(); 2].map(|()| take(&heap, asked));
        give_misused(&heap, block, freed);
    }
    a_layout_that_is_aligned_otherwise: AtOnce, LAYOUT, [0, 1, 2] => |which| {
        let [asked, freed] = [
            [layout(50_000, 32), layout(50_000, 32 << 10)],
            [of(2_000_000), layout(2_000_000, 256 << 10)],
            [layout(2_000_000, 64 << 10), layout(2_000_000, 128 << 10)],
        ][which];
        let heap = MallocState::new();
        let blocks = [(); 4].map(|()| take(&heap, asked));
        let misaligned = blocks.iter().find(|block| block.addr().get() % freed.align() != 0);
        give_misused(&heap, *misaligned.expect("a block of its own alignment only"), freed);
    }
    a_free_small_block_resized: AtOnce, FREE, [0, 1, 2, 3] => |way| {
        let heap = MallocState::new();
        let [block, last] = [(); 2].map(|()| take(&heap, of(100)));
        give(&heap, block, of(100));
        give(&heap, last, of(100));
        resize(&heap, block, of(100), way);
    }
    a_free_medium_block_resized: AtOnce, FREE, [0, 1, 2, 3] => |way| {
        let heap = MallocState::new();
        let [block, last] = [(); 2].map(|()| take(&heap, of(40_000)));
        give(&heap, block, of(40_000));
        give(&heap, last, of(40_000));
        resize(&heap, block, of(40_000), way);
    }
    a_free_large_block_resized: AtOnce, FREE, [0, 1, 2, 3] => |way| {
        let heap = MallocState::new();
        let block = take(&heap, of(2_000_000));
        give(&heap, block, of(2_000_000));
        resize(&heap, block, of(2_000_000), way);
    }
    resized_as_another_class: AtOnce, CLASS, [0, 1, 2, 3] => |way| {
        let heap = MallocState::new();
        let _own = take(&heap, of(200));
        resize(&heap, take(&heap, of(100)), of(200), way);
    }
    resized_as_another_medium_class: AtOnce, CLASS, [0, 1, 2, 3] => |way| {
        let heap = MallocState::new();
        resize(&heap, take(&heap, of(50_000)), of(90_000), way);
    }
    resized_with_a_longer_layout: AtOnce, LAYOUT, [0, 1, 2, 3] => |way| {
        let heap = MallocState::new();
        resize(&heap, take(&heap, of(2_000_000)), of(3_000_000), way);
    }
    resized_in_the_middle: AtOnce, NO_START, [0, 1, 2, 3] => |way| {
        let heap = MallocState::new();
        resize(&heap, inside(take(&heap, of(100)), 16), of(100), way);
    }
    resized_in_another_heap: AtOnce, FOREIGN, [0, 1, 2, 3] => |way| {
        let (owner, heap) = (MallocState::new(), MallocState::new());
        let (block, _own) = (take(&owner, of(100)), take(&heap, of(100)));
        resize(&heap, block, of(100), way);
    }
    looked_at_after_it_was_freed: AtOnce, DAMAGED, [100, 6000, 50_000, 2_000_000] => |size| {
        let heap = MallocState::new();
        let [block, last] = [(); 2].map(|()| heap.malloc(size).expect("memory"));
        // SAFETY: the blocks are of this heap.
        [block, last].into_iter().for_each(|block| unsafe { heap.free(block) });
        // SAFETY: none: the block is free.
        let _ = unsafe { heap.usable_size(misusing(block)) };
    }
    resized_without_a_layout_after_it_was_freed: AtOnce, DAMAGED, [100, 6000, 50_000, 2_000_000] => |size| {
        let heap = MallocState::new();
        let [block, last] = [(); 2].map(|()| heap.malloc(size).expect("memory"));
        // SAFETY: the blocks are of this heap.
        [block, last].into_iter().for_each(|block| unsafe { heap.free(block) });
        // SAFETY: none: the block is free.
        let _ = unsafe { heap.realloc(misusing(block), 2 * size) };
    }
    /// Its tag is a whole number of granules, and so looks like one of a shorter block.
    a_medium_block_whose_tag_was_overwritten: AtOnce, DAMAGED, [0, 0x10, 0x7F, 0x80, 0xFF] => |byte| {
        let heap = MallocState::new();
        let [block, _neighbour] = [(); 2].map(|()| take(&heap, of(40_000)));
        overwrite(block, -8, 8, byte);
        give_misused(&heap, block, of(40_000));
    }
    /// The cache gives it out again.
    a_cached_medium_block_whose_tag_was_overwritten: AtOnce, ["boundary tag"], [0, 0x10, 0x7F] => |byte| {
        let heap = MallocState::new();
        let [block, _neighbour] = [(); 2].map(|()| take(&heap, of(40_000)));
        give(&heap, block, of(40_000));
        overwrite(misusing(block), -8, 8, byte);
        let _ = heap.allocate(of(40_000));
    }
    /// A free block leads to one that is in use: with the feature `hardened`, the link itself tells.
    #[cfg(not(feature = "hardened"))]
    a_link_to_a_block_in_use: AtOnce, ["free list has a block that is in use"], [16, 32, 1000] => |size| {
        let heap = MallocState::new();
        let [in_use, block] = [(); 2].map(|()| take(&heap, of(size)));
        give(&heap, block, of(size));
        // SAFETY: none: the block is free.
        unsafe { block.cast::<*mut u8>().write(misusing(in_use).as_ptr()) };
        (0..2).for_each(|_| _ = take(&heap, of(size)));
    }
}
