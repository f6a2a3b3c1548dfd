//! Heaps without an operating system: `MallocState::local_in` over memory that the program supplies.

#![expect(unsafe_code, reason = "takes blocks by layout")]

use std::alloc::Layout;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use mallocstate::allocator_api2::alloc::{AllocError, Allocator};
use mallocstate::collections::{Box as HeapBox, Vec as HeapVec};
use mallocstate::{CoalescingAllocator, LocalMallocState, MallocState, RegionPages, SegmentKind, SlabAllocator};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The segment size that a region has where none is chosen.
const DEFAULT: usize = 256 * KIB;

/// A region of `len` bytes that starts at a multiple of `SEGMENT`.
fn region<const SEGMENT: usize>(len: usize) -> RegionPages<SEGMENT> {
    let memory = Box::leak(Box::<[u8]>::new_uninit_slice(len + SEGMENT));
    let before = memory.as_ptr().addr().next_multiple_of(SEGMENT) - memory.as_ptr().addr();
    RegionPages::with_segment_size(&mut memory[before..before + len])
}

fn of(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("a layout")
}

/// A block filled with `byte`.
fn take<const SEGMENT: usize>(
    heap: &LocalMallocState<RegionPages<SEGMENT>>,
    size: usize,
    byte: u8,
) -> Result<NonNull<u8>, AllocError> {
    let block = heap.allocate(of(size))?.cast::<u8>();
    // SAFETY: the block has `size` bytes.
    unsafe { block.write_bytes(byte, size) };
    Ok(block)
}

fn give<const SEGMENT: usize>(heap: &LocalMallocState<RegionPages<SEGMENT>>, block: NonNull<u8>, size: usize) {
    // SAFETY: the tests give each block back once, with the size that they took it with.
    unsafe { heap.deallocate(block, of(size)) };
}

/// Whether each of the block's bytes is `byte`.
fn holds(block: NonNull<u8>, size: usize, byte: u8) -> bool {
    // SAFETY: the block has `size` bytes, all written.
    let bytes = unsafe { NonNull::slice_from_raw_parts(block, size).as_ref() };
    bytes[0] == byte && bytes[1..] == bytes[..size - 1]
}

/// Checks everything that a heap knows of itself against its region.
fn check<const SEGMENT: usize>(heap: &mut LocalMallocState<RegionPages<SEGMENT>>, region_len: usize) {
    heap.validate_all().expect("a sound heap");
    let stats = heap.stats();
    assert_eq!(stats.committed, stats.live + stats.cached + stats.free + stats.overhead);
    assert_eq!(heap.segments().map(|segment| segment.mapped()).sum::<usize>(), stats.mapped);
    assert_eq!(heap.source().free_bytes() + stats.mapped, region_len);
}

/// The sizes around the tiers' boundaries, with the kind of segment that each lies in.
fn boundaries(small_max: usize) -> [(usize, SegmentKind); 6] {
    use SegmentKind::{Coalescing, Mapping, Slab};
    let medium_max = 32 * small_max;
    [
        (1, Slab),
        (small_max, Slab),
        (small_max + 1, Coalescing),
        (medium_max, Coalescing),
        (medium_max + 1, Mapping),
        (3 * medium_max, Mapping),
    ]
}

/// Takes blocks of every tier, checks where they lie and what they hold, fills the region, and empties it again.
fn all_tiers<const SEGMENT: usize>(small_max: usize, segments: usize) {
    let len = segments * SEGMENT;
    let mut heap = MallocState::local_in(region::<SEGMENT>(len));
    for (size, kind) in boundaries(small_max) {
        let block = take(&heap, size, size as u8).expect("an empty region has room");
        let home = heap.segments().find(|segment| {
            let start = segment.address();
            (start..start + segment.mapped()).contains(&block.addr().get())
        });
        assert_eq!(home.expect("the block lies in a segment").kind(), kind, "{size} bytes");
        assert!(heap.contains(block.as_ptr()) && holds(block, size, size as u8));
        give(&heap, block, size);
        check(&mut heap, len);
    }
    heap.reclaim();

    // Blocks of one tier take every segment. Three of the largest medium blocks fit in one, and the heap's own tables
    // are in another.
    for size in [small_max, 32 * small_max] {
        let blocks: Vec<_> = std::iter::from_fn(|| take(&heap, size, 7).ok()).collect();
        assert_eq!(heap.source().free_bytes(), 0, "{} blocks of {size} bytes", blocks.len());
        assert!(blocks.len() * size >= len / 10 * 6, "{} blocks of {size} bytes", blocks.len());
        check(&mut heap, len);
        blocks.iter().for_each(|&block| give(&heap, block, size));
        heap.reclaim();
    }

    // Exhaustion: a round of every tier until none has room for more.
    for round in 0..3 {
        let mut blocks = Vec::new();
        for (size, _) in boundaries(small_max).into_iter().rev() {
            while let Ok(block) = take(&heap, size.max(512), blocks.len() as u8) {
                blocks.push((block, size.max(512)));
            }
            check(&mut heap, len);
        }
        assert!(heap.stats().failures.source > 0);
        for (size, _) in boundaries(small_max) {
            assert!(take(&heap, size.max(512), 0).is_err(), "round {round}: {size} bytes were still there");
        }
        for (index, &(block, size)) in blocks.iter().enumerate() {
            assert!(holds(block, size, index as u8), "block {index} of {size} bytes was overwritten");
        }
        // Give half back, take as much again.
        let half: Vec<_> = blocks.iter().skip(1).step_by(2).copied().collect();
        half.iter().for_each(|&(block, size)| give(&heap, block, size));
        for (_, size) in half {
            let again = take(&heap, size, 1).expect("room that was just given back");
            give(&heap, again, size);
        }
        blocks.iter().step_by(2).for_each(|&(block, size)| give(&heap, block, size));
        check(&mut heap, len);
        assert_eq!((heap.stats().live, heap.stats().live_blocks), (0, 0));
        heap.reclaim();
        check(&mut heap, len);
        assert_eq!(heap.reclaim(), 0);
        assert!(heap.source().free_bytes() >= len - SEGMENT, "only the heap's own segment stays");
    }
}

#[test]
fn all_tiers_in_segments_of_256_kib() {
    all_tiers::<DEFAULT>(2 * KIB, 12);
}

#[test]
fn all_tiers_in_segments_of_1_mib() {
    all_tiers::<MIB>(8 * KIB, 8);
}

#[test]
fn all_tiers_in_segments_of_4_mib() {
    all_tiers::<{ 4 * MIB }>(32 * KIB, 5);
}

/// Larger segments have no larger blocks, only more of them.
#[test]
fn all_tiers_in_segments_of_16_mib() {
    all_tiers::<{ 16 * MIB }>(32 * KIB, 3);
}

#[test]
fn a_static_buffer_is_a_region() {
    // A program for Windows cannot align what is static to more than 8 KiB: part of the buffer is left over there.
    #[cfg_attr(windows, repr(C))]
    #[cfg_attr(not(windows), repr(C, align(262144)))]
    struct Buffer([MaybeUninit<u8>; MIB]);
    static mut BUFFER: Buffer = Buffer([MaybeUninit::uninit(); MIB]);

    let place = &raw mut BUFFER;
    // SAFETY: no other reference to the static is ever made.
    let buffer = unsafe { &mut *place };
    let range = buffer.0.as_ptr_range();
    let pages = RegionPages::new(&mut buffer.0);
    let bytes = pages.free_bytes();
    let usable = if cfg!(windows) { MIB / 2..=MIB } else { MIB..=MIB };
    assert!(usable.contains(&bytes), "{bytes} of {usable:?}");
    let heap = MallocState::local_in(pages);
    let mut squares: HeapVec<u64, &LocalMallocState<RegionPages>> = HeapVec::new_in(&heap);
    squares.extend((0..1000).map(|n| n * n));
    let boxed = HeapBox::new_in([7_u8; 20_000], &heap);
    let word = heap.alloc_str("quick");
    assert_eq!((squares[999], boxed[19_999], &*word), (998_001, 7, "quick"));
    for address in [squares.as_ptr().cast::<u8>(), boxed.as_ptr(), word.as_ptr()] {
        assert!(range.contains(&address.cast()) && heap.contains(address));
    }
    drop((squares, boxed));
    assert_eq!(heap.mapped() + heap.source().free_bytes(), bytes);
    assert_eq!(heap.destroy().live_blocks(), 1);
}

#[test]
fn the_region_outlives_the_heap_and_is_whole_again() {
    let region = region::<DEFAULT>(2 * MIB);
    for round in 0..50 {
        let heap = MallocState::local_in(&region);
        let kept: Vec<_> = (0..100).map(|size| heap.allocate(of(size * 300 + round)).expect("room")).collect();
        assert!(region.free_bytes() < 2 * MIB);
        // A dropped heap takes along what is still in use.
        assert_eq!(kept.len(), 100);
        drop(heap);
        assert_eq!(region.free_bytes(), 2 * MIB);
    }
    let heaps = [(); 4].map(|()| MallocState::local_in(&region));
    let words: Vec<&mut str> = heaps.iter().map(|heap| heap.alloc_str("one of four")).collect();
    assert!(words.iter().all(|word| &**word == "one of four"));
    assert_eq!(heaps.iter().map(|heap| heap.mapped()).sum::<usize>() + region.free_bytes(), 2 * MIB);
}

#[test]
fn what_the_region_refuses_is_an_error_and_no_more() {
    let mut heap = MallocState::local_in(region::<DEFAULT>(MIB));
    let word = heap.try_alloc([1_u64; 4]).map(|word| word.as_ptr()).expect("room");
    for size in [MIB, 4 * MIB, isize::MAX as usize / 2] {
        assert_eq!(heap.allocate(of(size)), Err(AllocError));
    }
    // No region has an address of such an alignment.
    let aligned = Layout::from_size_align(64, 1 << (usize::BITS - 2)).expect("a layout");
    assert_eq!(heap.allocate(aligned), Err(AllocError));
    let mut bytes: HeapVec<u8, &LocalMallocState<RegionPages>> = HeapVec::new_in(&heap);
    assert!(bytes.try_reserve(2 * MIB).is_err());
    bytes.extend_from_slice(&[5; 100_000]);
    assert!(bytes.iter().all(|&byte| byte == 5) && heap.contains(word));
    drop(bytes);
    assert_eq!(heap.stats().live, 32);
    check(&mut heap, MIB);
}

/// The rest of a region, at least a quarter of a segment, is a short segment: for slabs and for medium blocks alike.
#[test]
fn the_last_segment_may_be_short() {
    for rest in [64 * KIB, 100 * KIB / 4096 * 4096, 128 * KIB, 252 * KIB] {
        for size in [64, 2000, 3000, 40_000] {
            let len = DEFAULT + rest;
            let mut heap = MallocState::local_in(region::<DEFAULT>(len));
            let mut blocks = Vec::new();
            while let Ok(block) = take(&heap, size, blocks.len() as u8) {
                blocks.push(block);
            }
            let lengths: Vec<usize> = heap.segments().map(|segment| segment.mapped()).collect();
            assert_eq!(lengths, [DEFAULT, rest], "{size} bytes, {rest} in the last segment");
            for (index, &block) in blocks.iter().enumerate() {
                assert!(holds(block, size, index as u8));
            }
            check(&mut heap, len);
            blocks.iter().for_each(|&block| give(&heap, block, size));
            heap.reclaim();
            check(&mut heap, len);
            assert_eq!(heap.stats().live, 0);
        }
    }
}

#[test]
fn a_region_too_small_for_a_segment_serves_nothing() {
    for len in [0, 4096, 60 * KIB] {
        let heap = MallocState::local_in(region::<DEFAULT>(len));
        assert!(heap.try_alloc(1_u8).is_err());
        assert_eq!((heap.mapped(), heap.source().free_bytes()), (0, len));
    }
    let heap = MallocState::local_in(region::<DEFAULT>(64 * KIB));
    assert_eq!(*heap.alloc(1_u8), 1, "a short segment is enough for a small heap");
}

/// A buffer that is not aligned loses what lies before the first multiple of a segment, and no more.
#[test]
fn a_region_may_start_anywhere() {
    let memory = Box::leak(Box::<[u8]>::new_uninit_slice(2 * MIB));
    let region = RegionPages::new(&mut memory[13..]);
    let usable = region.free_bytes();
    assert!(usable >= 2 * MIB - 3 * 4096 && usable % 4096 == 0);
    let heap = MallocState::local_in(&region);
    let blocks = (0..).map_while(|_| heap.allocate(of(60_000)).ok()).count();
    assert!(blocks * 60_000 >= MIB, "{blocks} blocks");
    drop(heap);
    assert_eq!(region.free_bytes(), usable);
}

#[test]
fn the_engines_live_on_regions_too() {
    let region = region::<DEFAULT>(MIB);
    let slabs = SlabAllocator::local_in(of(48), &region).expect("a small block");
    let first = (0..).map_while(|_| slabs.allocate_block().ok()).last().expect("a block");
    // SAFETY: the block is in use, and given back once.
    unsafe { slabs.free_block(first) };
    assert_eq!(slabs.allocate_block(), Ok(first));
    assert!(slabs.live_blocks() * 48 > MIB * 3 / 4, "{} blocks", slabs.live_blocks());
    slabs.validate().expect("a sound engine");
    drop(slabs);
    assert_eq!(region.free_bytes(), MIB);

    let blocks = CoalescingAllocator::local_in(&region).expect("a segment size within bounds");
    let taken: Vec<_> = (0..).map_while(|_| blocks.allocate(of(10_000)).ok()).collect();
    assert!(taken.len() * 10_000 > MIB * 3 / 4, "{} blocks", taken.len());
    // SAFETY: each block is given back once.
    taken.iter().for_each(|block| unsafe { blocks.deallocate(block.cast(), of(10_000)) });
    blocks.validate().expect("a sound engine");
    assert_eq!(blocks.live(), (0, 0));
    assert!(blocks.allocate(of(200_000)).is_ok(), "free blocks have merged");
    assert_eq!(blocks.destroy().0, 1);
    assert_eq!(region.free_bytes(), MIB);
}
