//! What the feature `hardened` adds: links that cannot be overwritten unnoticed, freed memory that is filled, blocks in no
//! order, and guards around what the system maps.

use std::ptr::NonNull;

use mallocstate::allocator_api2::alloc::Allocator;
use mallocstate::{CoalescingAllocator, MallocState, Mode, SegmentKind};

use super::child::When::AtOnce;
use super::child::{CASE, caught, output_of_child};
use super::{give, layout, misusing, of, overwrite, take};

const LINK: [&str; 1] = ["free list link was overwritten"];

/// What freed memory is filled with.
const FREED: u8 = 0xDF;

/// Ways to write over a word: each of its bytes changed, and then some that somebody might write.
const WAYS: [usize; 14] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];

/// Writes over the word at `place`, of which `other` is another one of the same kind.
fn write_over(place: NonNull<u8>, other: NonNull<u8>, way: usize) {
    let place = place.cast::<[u8; 8]>();
    // SAFETY: the tests stay within the blocks' segments, and nobody else uses the heap.
    let before = unsafe { place.read_volatile() };
    // SAFETY: as above.
    let there = unsafe { other.cast::<[u8; 8]>().read_volatile() };
    let mut after = before;
    match way {
        0..8 => after[way] ^= 1,
        8 => after = [0; 8],
        9 => after = [0xFF; 8],
        10 => after = [b'A'; 8],
        11 => after = [FREED; 8],
        12 => after = there,
        _ => after = (other.addr().get() as u64).to_ne_bytes(),
    }
    // SAFETY: as above.
    unsafe { place.write_volatile(after) };
}

fn behind(block: NonNull<u8>, offset: usize) -> NonNull<u8> {
    // SAFETY: the tests stay within the block.
    unsafe { block.add(offset) }
}

misuse! {
    the_link_of_a_cached_block: AtOnce, LINK, WAYS => |way| {
        let heap = MallocState::new();
        let [first, second, last] = [(); 3].map(|()| take(&heap, of(32)));
        [first, second, last].into_iter().for_each(|block| give(&heap, block, of(32)));
        write_over(misusing(last), second, way);
        take(&heap, of(32));
    }
    the_link_of_the_last_cached_block: AtOnce, LINK, WAYS => |way| {
        let heap = MallocState::local();
        let blocks: Vec<_> = (0..64).map(|_| take(&heap, of(16))).collect();
        blocks.iter().for_each(|&block| give(&heap, block, of(16)));
        write_over(misusing(blocks[0]), blocks[1], way);
        (0..64).for_each(|_| _ = take(&heap, of(16)));
    }
    the_link_of_a_block_that_returns: AtOnce, LINK, WAYS => |way| {
        let heap = MallocState::new();
        let [first, second, last] = [(); 3].map(|()| take(&heap, of(1000)));
        [first, second, last].into_iter().for_each(|block| give(&heap, block, of(1000)));
        write_over(misusing(last), second, way);
        heap.reclaim();
    }
    /// Whichever blocks head the magazines of the depot.
    the_second_word_of_blocks_in_a_depot: AtOnce, LINK, [0, 5, 8, 10] => |way| {
        let heap = MallocState::new();
        let blocks: Vec<_> = (0..64 * 10).map(|_| take(&heap, of(32))).collect();
        blocks.iter().for_each(|&block| give(&heap, block, of(32)));
        blocks.iter().for_each(|&block| write_over(behind(misusing(block), 8), block, way));
        // What is left of the bump range comes first.
        (0..64 * 40).for_each(|_| _ = take(&heap, of(32)));
    }
    the_links_of_a_free_medium_block: AtOnce, LINK, WAYS => |way| {
        let heap = MallocState::new();
        let [first, _a, last, _b] = [(); 4].map(|()| take(&heap, of(40_000)));
        [first, last].into_iter().for_each(|block| give(&heap, block, of(40_000)));
        heap.reclaim();
        write_over(misusing(last), behind(last, 8), way);
        (0..3).for_each(|_| _ = take(&heap, of(40_000)));
    }
    the_second_link_of_a_free_block: AtOnce, LINK, WAYS => |way| {
        let engine = CoalescingAllocator::new();
        let blocks = [(); 6].map(|()| take(&engine, of(200)));
        [0, 2, 4].iter().for_each(|&free| give(&engine, blocks[free], of(200)));
        let misused = misusing(blocks[2]);
        write_over(behind(misused, 8), misused, way);
        // This merges with the block behind it, which leaves its bin.
        give(&engine, blocks[1], of(200));
    }
}

#[test]
fn validation_finds_a_link_that_was_overwritten() {
    for word in [0, 8] {
        let mut heap = MallocState::new();
        let [small, medium] = [32, 40_000].map(|size| [(); 4].map(|()| take(&heap, of(size))));
        small.into_iter().for_each(|block| give(&heap, block, of(32)));
        [0, 2].into_iter().for_each(|free| give(&heap, medium[free], of(40_000)));
        heap.reclaim();
        heap.validate_all().expect("nothing is wrong yet");
        write_over(behind(medium[0], word), medium[2], 3);
        heap.validate_all().expect_err("a link was overwritten");
    }
    let mut heap = MallocState::new();
    let blocks = [(); 4].map(|()| take(&heap, of(32)));
    blocks.into_iter().for_each(|block| give(&heap, block, of(32)));
    write_over(blocks[1], blocks[0], 3);
    assert_eq!(heap.validate_all().expect_err("a link was overwritten").what(), "a magazine's list is broken");
}

/// Whether `len` bytes hold what `expected` says.
fn holds(start: NonNull<u8>, len: usize, expected: u8) -> bool {
    (0..len).all(|offset| {
        // SAFETY: the tests look at memory that is mapped.
        let byte = unsafe { start.add(offset) };
        // SAFETY: as above, and it was written.
        unsafe { byte.read_volatile() == expected }
    })
}

fn filled_in<M: Mode>(heap: &MallocState<M>) {
    let small = [16, 32, 100, 1000, 4096, 20_000, 32 << 10].map(of);
    let medium = [40_000, 100_000, 1 << 20].map(of);
    let aligned = [layout(50_000, 64), layout(200_000, 4096)];
    let large = [of(2_000_000), layout(5 << 20, 1 << 20)];
    for (layouts, words) in [(&small[..], 8), (&medium, 0), (&aligned, 16), (&large, 0)] {
        for &layout in layouts {
            let _neighbours = [(); 2].map(|()| take(heap, layout));
            let block = heap.allocate(layout).expect("memory");
            let (start, len) = (block.cast::<u8>(), block.len());
            let _neighbour = take(heap, layout);
            overwrite(start, 0, len, 0x55);
            give(heap, start, layout);
            assert!(holds(behind(start, words), len - words, FREED), "{layout:?}");
            // The same memory, or other memory that was used.
            let zeroed = heap.allocate_zeroed(layout).expect("memory");
            assert!(holds(zeroed.cast(), zeroed.len(), 0), "{layout:?}");
        }
    }
}

#[test]
fn freed_memory_is_filled_and_zeroed_memory_is_zero() {
    filled_in(&MallocState::new());
    filled_in(&MallocState::local());
}

#[test]
fn what_a_block_gives_up_in_place_is_filled() {
    for align in [8, 64] {
        let heap = MallocState::new();
        let [block, _neighbour] = [(); 2].map(|()| take(&heap, layout(200_000, align)));
        overwrite(block, 0, 200_000, 0x55);
        // SAFETY: the block has this layout.
        let shrunk = unsafe { heap.shrink(block, layout(200_000, align), layout(100_000, align)) }.expect("less");
        assert_eq!(shrunk.cast(), block, "it is shrunk in place");
        assert!(holds(block, 100_000, 0x55));
        // What is free starts with a header and links.
        let free = shrunk.len().next_multiple_of(16) + 32;
        assert!(holds(behind(block, free), 200_000 - free, FREED));
    }
}

#[test]
fn blocks_come_in_no_order() {
    let offsets = |heap: &MallocState, size: usize, count: usize| {
        let blocks: Vec<_> = (0..count).map(|_| take(heap, of(size))).collect();
        let lowest = blocks.iter().map(|block| block.addr().get()).min().expect("a block");
        blocks.iter().map(|block| block.addr().get() - lowest).collect::<Vec<_>>()
    };
    for (size, count) in [(16, 64), (100, 64), (1000, 64), (16 << 10, 64)] {
        let heaps = [(); 2].map(|()| MallocState::new());
        let [first, second] = [&heaps[0], &heaps[1]].map(|heap| offsets(heap, size, count));
        assert!(!first.is_sorted() && !second.is_sorted(), "fresh blocks of {size} B are in order: {first:?}");
        assert_ne!(first, second, "fresh blocks of {size} B come in one order");
    }
    // From the bitmaps of slabs that have free blocks.
    let heap = MallocState::new();
    let blocks: Vec<_> = (0..200).map(|_| take(&heap, of(64))).collect();
    blocks[1..].iter().for_each(|&block| give(&heap, block, of(64)));
    heap.reclaim();
    let again = offsets(&heap, 64, 64);
    assert!(!again.is_sorted() && !again.iter().rev().is_sorted(), "blocks of a slab are in order: {again:?}");
}

/// Which end of which range is run over.
#[derive(Clone, Copy, Debug)]
enum End {
    Before(SegmentKind),
    Behind(SegmentKind),
}

/// A byte in the guard at this end of the heap's newest segment of the kind.
fn in_guard(heap: &MallocState, end: End) -> NonNull<u8> {
    let (End::Before(kind) | End::Behind(kind)) = end;
    let segment = heap.segments().filter(|segment| segment.kind() == kind).last().expect("a segment of the kind");
    let address = match end {
        End::Before(_) => segment.address() - 1,
        End::Behind(_) => segment.address() + segment.mapped(),
    };
    NonNull::new(std::ptr::with_exposed_provenance_mut(address)).expect("not null")
}

fn of_kind(heap: &MallocState, kind: SegmentKind) -> NonNull<u8> {
    take(
        heap,
        of(match kind {
            SegmentKind::Slab => 20_000,
            SegmentKind::Coalescing => 100_000,
            _ => 2_000_000,
        }),
    )
}

/// Makes the range of which `end` is run over in another way for each number.
fn guarded(way: usize, end: End) -> NonNull<u8> {
    let (End::Before(kind) | End::Behind(kind)) = end;
    let heap = Box::leak(Box::new(MallocState::new()));
    match way {
        0 => _ = of_kind(heap, kind),
        // A range that an earlier heap left in the process's cache.
        1 => {
            let earlier = MallocState::new();
            of_kind(&earlier, kind);
            drop(earlier);
            of_kind(heap, kind);
        }
        // A range that was moved, or the second one.
        _ if kind == SegmentKind::Mapping => {
            let (old, new) = (of(4 << 20), of(40 << 20));
            // SAFETY: the block has this layout, and is not used after this.
            let _ = unsafe { heap.grow(take(heap, old), old, new) };
        }
        _ => (0..8 << 20).step_by(20_000).for_each(|_| _ = of_kind(heap, kind)),
    }
    in_guard(heap, end)
}

#[test]
fn guards_stand_around_every_range() {
    const NAME: &str = "misuse::hardened::guards_stand_around_every_range";
    let kinds = [SegmentKind::Slab, SegmentKind::Coalescing, SegmentKind::Mapping];
    let ends = kinds.into_iter().flat_map(|kind| [End::Before(kind), End::Behind(kind)]);
    for (way, end) in ends.flat_map(|end| (0..3).map(move |way| (way, end))) {
        let case = format!("{way} {end:?}");
        match std::env::var(CASE) {
            Ok(asked) if asked == format!("{NAME} {case}") => {
                let byte = guarded(way, end);
                println!("touching {byte:p}");
                overwrite(byte, 0, 1, 1);
                std::process::exit(0);
            }
            Ok(_) => {}
            Err(_) => {
                let output = output_of_child(NAME, &case);
                let printed = String::from_utf8(output.stdout).expect("UTF-8");
                assert!(printed.contains("touching"), "{case}: {printed}");
                #[cfg(unix)]
                let faulted = {
                    use std::os::unix::process::ExitStatusExt;
                    matches!(output.status.signal(), Some(10 | 11))
                };
                #[cfg(windows)]
                let faulted = output.status.code() == Some(0xC000_0005_u32 as i32);
                assert!(faulted, "{case}: {}", output.status);
            }
        }
    }
}

/// One byte beyond what the heap says of a large block's length, its neighbour in addresses being another one.
#[test]
fn the_byte_behind_a_large_block_is_in_the_guard() {
    let heap = MallocState::new();
    for size in [1_100_000, 2_000_000, 5 << 20] {
        let block = heap.allocate(of(size)).expect("memory");
        let end = block.cast::<u8>().addr().get() + block.len();
        assert!(heap.segments().any(|segment| segment.address() + segment.mapped() == end));
    }
}
