//! Misuse that a heap catches: each in a process of its own, which must end by one line on standard error and an abort.
//!
//! A test runs itself again with its name in an environment variable; the child breaks a contract. It prints the address
//! that it misuses, which the line must name, and a mark before it makes blocks return to where they come from: what is
//! checked at once must have ended the child before that.

#![expect(unsafe_code, reason = "breaks the contracts of unsafe calls")]

#[path = "misuse/child.rs"]
mod child;
#[path = "misuse/panics.rs"]
mod panics;
#[path = "support/runner.rs"]
mod runner;

use std::alloc::Layout;
use std::ptr::NonNull;

use mallocstate::allocator_api2::alloc::Allocator;
use mallocstate::os::{HugeAdvice, MapRequest, PageSource, Release};
use mallocstate::{CoalescingAllocator, MallocState, Mode, RegionPages, SlabAllocator, SystemPages};

use child::When::{AtOnce, AtOnceIfChecked};
use child::{CASE, RETURNING, caught, run_child};
use panics::Panics;

/// The largest small and medium blocks.
const SMALL_MAX: usize = SystemPages::SEGMENT_SIZE / 128;
const MEDIUM_MAX: usize = SystemPages::SEGMENT_SIZE / 4;

/// Declares tests, each with the misuse that is to be caught.
macro_rules! misuse {
    ($($(#[$docs:meta])* $name:ident: $when:expr, $texts:expr, $values:expr => |$value:pat_param| $body:block)*) => {$(
        $(#[$docs])*
        #[test]
        fn $name() {
            caught(concat!(module_path!(), "::", stringify!($name)), $when, &$texts, &$values, |$value| $body);
        }
    )*};
}

#[cfg(any(debug_assertions, feature = "hardened"))]
#[path = "misuse/at_once.rs"]
mod at_once;
#[path = "misuse/every_build.rs"]
mod every_build;
#[cfg(feature = "hardened")]
#[path = "misuse/hardened.rs"]
mod hardened;
#[cfg(not(feature = "hardened"))]
#[path = "misuse/young.rs"]
mod young;

fn misusing(block: NonNull<u8>) -> NonNull<u8> {
    println!("misused {block:p}");
    block
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a layout")
}

fn of(size: usize) -> Layout {
    layout(size, 8)
}

fn take(heap: &impl Allocator, layout: Layout) -> NonNull<u8> {
    heap.allocate(layout).expect("memory").cast()
}

fn give(heap: &impl Allocator, block: NonNull<u8>, layout: Layout) {
    // SAFETY: right use keeps the contract; misuse is what the child is there for, and ends it.
    unsafe { heap.deallocate(block, layout) }
}

fn give_misused(heap: &impl Allocator, block: NonNull<u8>, layout: Layout) {
    give(heap, misusing(block), layout);
}

/// Overwrites the `len` bytes that start `offset` bytes from `block`.
fn overwrite(block: NonNull<u8>, offset: isize, len: usize, byte: u8) {
    // SAFETY: the tests stay within the block's segment.
    let start = unsafe { block.offset(offset) };
    // SAFETY: as above; nobody else uses the heap.
    unsafe { start.write_bytes(byte, len) };
}

/// An address within the block's segment that is not the block's.
fn inside(block: NonNull<u8>, offset: usize) -> NonNull<u8> {
    // SAFETY: the tests stay within the block's segment.
    unsafe { block.add(offset) }
}

/// Makes all cached blocks return.
fn give_back<M: Mode, S: PageSource>(heap: &MallocState<M, S>) {
    println!("{RETURNING}");
    heap.reclaim();
}

/// Frees `before` blocks and the last of these once more.
fn free_the_head<M: Mode, S: PageSource>(heap: &MallocState<M, S>, before: usize, layout: Layout) {
    let blocks: Vec<_> = (0..before).map(|_| take(heap, layout)).collect();
    blocks.iter().for_each(|&block| give(heap, block, layout));
    give_misused(heap, blocks[before - 1], layout);
}

const TWICE: [&str; 1] = ["freed twice"];
const FOREIGN: [&str; 1] = ["of this heap"];
const NO_START: [&str; 2] = ["not the start", "of another size class"];
const CLASS: [&str; 1] = ["another size class"];
const TAG: [&str; 1] = ["boundary tag"];
const DAMAGED: [&str; 5] = ["boundary tag", "free already", "freed twice", "another size class", "not the start"];

misuse! {
    /// Also where the magazine is empty but for it, full, or has just been exchanged.
    the_head_of_a_magazine_threaded: AtOnce, TWICE, [1, 2, 63, 64, 65, 127, 128, 129, 2000] => |before| {
        free_the_head(&MallocState::new(), before, of(32));
    }
    the_head_of_a_magazine_local: AtOnce, TWICE, [1, 64, 128] => |before| {
        free_the_head(&MallocState::local(), before, of(32));
    }
    /// Linux stands for all targets with this mode.
    #[cfg(target_os = "linux")]
    the_head_of_a_magazine_global: AtOnce, TWICE, [1, 64, 128] => |before| {
        free_the_head(&MallocState::global(), before, of(32));
    }
    /// Where magazines are switched off, the block is in its slab already.
    the_head_with_a_limit: AtOnce, TWICE, [16, 32, 512, 4096] => |size| {
        let heap = MallocState::builder().limit(256 << 10).build().expect("a limit within bounds");
        let _neighbour = take(&heap, of(size));
        free_the_head(&heap, 1, of(size));
    }
    the_head_of_a_medium_magazine: AtOnce, TWICE, [1, 2, 3, 4, 5, 8] => |before| {
        free_the_head(&MallocState::new(), before, of(40_000));
    }
    a_small_block_twice: AtOnceIfChecked, TWICE, [16, 32, 1000, 8192, SMALL_MAX] => |size| {
        let heap = MallocState::new();
        let (first, second) = (take(&heap, of(size)), take(&heap, of(size)));
        give(&heap, first, of(size));
        give(&heap, second, of(size));
        give_misused(&heap, first, of(size));
        give_back(&heap);
    }
    a_small_block_again_after_its_return: AtOnceIfChecked, TWICE, [16, 32, 1000, 8192] => |size| {
        let heap = MallocState::new();
        let [first, _neighbour] = [(); 2].map(|()| take(&heap, of(size)));
        // Where the first one was young, this one keeps the nursery.
        let _young = take(&heap, of(48));
        give(&heap, first, of(size));
        heap.reclaim();
        give_misused(&heap, first, of(size));
        give_back(&heap);
    }
    a_small_block_of_a_slab_that_is_gone: AtOnceIfChecked, ["in no slab"], [32, 8192] => |size| {
        let heap = MallocState::new();
        let block = take(&heap, of(size));
        give(&heap, block, of(size));
        heap.reclaim();
        give_misused(&heap, block, of(size));
        give_back(&heap);
    }
    a_small_block_by_two_threads: AtOnceIfChecked, TWICE, [32, 1024] => |size| {
        let heap = MallocState::new();
        let (block, _neighbour) = (take(&heap, of(size)), take(&heap, of(size)));
        let address = block.as_ptr().expose_provenance();
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let block = NonNull::new(std::ptr::with_exposed_provenance_mut(address)).expect("a block");
                give(&heap, block, of(size));
            });
            // The scope alone would not wait until the thread has given its slot back.
            other.join().expect("a thread that frees");
        });
        give_misused(&heap, block, of(size));
        give_back(&heap);
    }
    /// A full depot sends the magazine back to the slabs.
    a_small_block_twice_and_then_many: AtOnceIfChecked, TWICE, [32] => |size| {
        let heap = MallocState::new();
        let blocks: Vec<_> = (0..64 * 50).map(|_| take(&heap, of(size))).collect();
        let (many, rest) = blocks.split_at(64 * 40);
        many.iter().for_each(|&block| give(&heap, block, of(size)));
        for block in [rest[0], rest[1]] {
            give(&heap, block, of(size));
        }
        give_misused(&heap, rest[0], of(size));
        println!("{RETURNING}");
        rest[2..].iter().for_each(|&block| give(&heap, block, of(size)));
    }
    a_block_of_another_heap: AtOnceIfChecked, FOREIGN, [32, 8192, 40_000, 500_000, 3_000_000] => |size| {
        let (owner, heap) = (MallocState::new(), MallocState::new());
        let (block, _own) = (take(&owner, of(size)), take(&heap, of(size)));
        give_misused(&heap, block, of(size));
        give_back(&heap);
    }
    a_block_of_another_heap_among_many: AtOnceIfChecked, FOREIGN, [32] => |size| {
        let (owner, heap) = (MallocState::local(), MallocState::local());
        let blocks: Vec<_> = (0..64 * 50).map(|_| take(&heap, of(size))).collect();
        let (many, rest) = blocks.split_at(64 * 40);
        many.iter().for_each(|&block| give(&heap, block, of(size)));
        give_misused(&heap, take(&owner, of(size)), of(size));
        println!("{RETURNING}");
        rest.iter().for_each(|&block| give(&heap, block, of(size)));
    }
    a_block_to_a_heap_that_has_none: AtOnce, ["of no heap"], [32, 40_000, 3_000_000] => |size| {
        let (owner, heap) = (MallocState::new(), MallocState::new());
        give_misused(&heap, take(&owner, of(size)), of(size));
    }
    another_small_class: AtOnceIfChecked, CLASS, [16, 48, 1024, 8192] => |size| {
        let heap = MallocState::new();
        let (block, _own) = (take(&heap, of(32)), take(&heap, of(size)));
        give_misused(&heap, block, of(size));
        give_back(&heap);
    }
    another_medium_class: AtOnceIfChecked, CLASS, [40_000, 80_000, MEDIUM_MAX] => |size| {
        let heap = MallocState::new();
        let (block, _own) = (take(&heap, of(60_000)), take(&heap, of(size)));
        give_misused(&heap, block, of(size));
        give_back(&heap);
    }
    another_alignment: AtOnceIfChecked, CLASS, [8, 64] => |align| {
        let heap = MallocState::new();
        let (asked, freed) = (layout(40_960, align), layout(40_960, 72 - align));
        let _own = take(&heap, freed);
        give_misused(&heap, take(&heap, asked), freed);
        give_back(&heap);
    }
    another_tier: AtOnceIfChecked, FOREIGN, [0, 1, 2, 3, 4, 5] => |which| {
        let sizes = [(100, 50_000), (100, 2_000_000), (50_000, 100), (50_000, 2_000_000), (2_000_000, 100), (2_000_000, 50_000)];
        let (asked, freed) = sizes[which];
        let heap = MallocState::new();
        let _own = take(&heap, of(freed));
        give_misused(&heap, take(&heap, of(asked)), of(freed));
        give_back(&heap);
    }
    inside_a_small_block: AtOnceIfChecked, NO_START, [8, 16, 48] => |offset| {
        let heap = MallocState::new();
        give_misused(&heap, inside(take(&heap, of(64)), offset), of(64));
        give_back(&heap);
    }
    /// A heap with a limit has no nursery.
    inside_a_block_of_a_slab: AtOnceIfChecked, NO_START, [8, 16, 48] => |offset| {
        let heap = MallocState::builder().limit(8 << 20).build().expect("a limit within bounds");
        give_misused(&heap, inside(take(&heap, of(64)), offset), of(64));
        give_back(&heap);
    }
    a_small_block_that_was_never_handed_out: AtOnceIfChecked, ["not the start", "in no slab"], [64 * 200] => |offset| {
        let heap = MallocState::new();
        give_misused(&heap, inside(take(&heap, of(64)), offset), of(64));
        give_back(&heap);
    }
    inside_a_medium_block: AtOnceIfChecked, DAMAGED, [0, 1, 0x50, 0xAA, 0xFF] => |byte| {
        let heap = MallocState::new();
        let block = take(&heap, of(60_000));
        overwrite(block, 0, 60_000, byte);
        give_misused(&heap, inside(block, 4096), of(60_000));
        give_back(&heap);
    }
    a_medium_block_twice: AtOnceIfChecked, DAMAGED, [40_000, 500_000] => |size| {
        let heap = MallocState::new();
        let [first, second, _neighbour] = [(); 3].map(|()| take(&heap, of(size)));
        give(&heap, first, of(size));
        give(&heap, second, of(size));
        give_misused(&heap, first, of(size));
        give_back(&heap);
    }
    /// The last two of three blocks merge into what is in front of them, the first does not. On Windows the pages that
    /// they started in are gone after a reclaim: there the system ends the program.
    a_medium_block_again_after_its_return: AtOnceIfChecked, DAMAGED, if cfg!(windows) { vec![0] } else { vec![0, 1, 2] } => |which| {
        let heap = MallocState::new();
        let blocks = [(); 3].map(|()| take(&heap, of(40_000)));
        let _neighbour = take(&heap, of(40_000));
        blocks.iter().for_each(|&block| give(&heap, block, of(40_000)));
        heap.reclaim();
        give_misused(&heap, blocks[which], of(40_000));
        give_back(&heap);
    }
    behind_a_medium_block: AtOnceIfChecked, TAG, [1, 4, 8] => |bytes| {
        let heap = MallocState::new();
        let [block, neighbour] = [(); 2].map(|()| take(&heap, of(40_960)));
        assert_eq!(neighbour.addr().get() - block.addr().get(), 40_960 + 16);
        overwrite(block, 40_960, bytes, 0xAA);
        give_misused(&heap, block, of(40_960));
        give_back(&heap);
    }
    in_front_of_a_medium_block: AtOnceIfChecked, DAMAGED, [0, 1, 0x10, 0x80, 0xFF] => |byte| {
        let heap = MallocState::new();
        let [block, neighbour, _] = [(); 3].map(|()| take(&heap, of(40_960)));
        assert_eq!(neighbour.addr().get() - block.addr().get(), 40_960 + 16);
        overwrite(neighbour, -8, 8, byte);
        give_misused(&heap, neighbour, of(40_960));
        give_back(&heap);
    }
    a_large_block_twice: AtOnce, ["free already"], [2_000_000, 60 << 20] => |size| {
        let heap = MallocState::new();
        let block = take(&heap, of(size));
        give(&heap, block, of(size));
        give_misused(&heap, block, of(size));
    }
    inside_a_large_block: AtOnce, ["not the start", "of this heap"], [4096, 1 << 20, 5 << 20] => |offset| {
        let heap = MallocState::new();
        give_misused(&heap, inside(take(&heap, of(8 << 20)), offset), of(8 << 20));
    }
    without_a_layout: AtOnce, ["of this heap"], [100, 50_000, 2_000_000] => |size| {
        let (owner, heap) = (MallocState::new(), MallocState::new());
        let (block, _own) = (owner.malloc(size).expect("memory"), heap.malloc(size));
        // SAFETY: none: the block is of another heap.
        unsafe { heap.free(misusing(block)) };
    }
    twice_without_a_layout: AtOnce, ["freed twice", "free already"], [100, 50_000, 2_000_000] => |size| {
        let heap = MallocState::new();
        let block = heap.malloc(size).expect("memory");
        // SAFETY: the block is of this heap.
        unsafe { heap.free(block) };
        // SAFETY: none: the block is free.
        unsafe { heap.free(misusing(block)) };
    }
    inside_without_a_layout: AtOnceIfChecked, DAMAGED, [100, 50_000, 2_000_000] => |size| {
        let heap = MallocState::new();
        let block = heap.calloc(size, 1).expect("memory");
        // SAFETY: none: this is no block's start.
        unsafe { heap.free(misusing(inside(block, 16))) };
        give_back(&heap);
    }
    the_slab_engine: AtOnce, ["freed twice", "not the start", "of this heap"], [0, 1, 2] => |which| {
        let [owner, engine] = [(); 2].map(|()| SlabAllocator::new(of(64)).expect("a small block"));
        let [block, _neighbour] = [(); 2].map(|()| take(&engine, of(64)));
        let bad = [block, inside(block, 16), take(&owner, of(64))][which];
        if which == 0 {
            give(&engine, block, of(64));
        }
        give_misused(&engine, bad, of(64));
    }
    the_coalescing_engine: AtOnce, ["free already", "not the start", "of this heap", "boundary tag"], [0, 1, 2, 3] => |which| {
        let (owner, engine) = (CoalescingAllocator::new(), CoalescingAllocator::new());
        let [block, _neighbour] = [(); 2].map(|()| take(&engine, of(160)));
        let bad = [block, inside(block, 16), take(&owner, of(160)), block][which];
        match which {
            0 => give(&engine, block, of(160)),
            // One byte too many, which is another one of the neighbour's mirror in each byte order.
            3 => overwrite(block, 0, 161, 0xFF),
            _ => overwrite(block, 0, 160, 0),
        }
        give_misused(&engine, bad, of(160));
    }
    pages_of_a_region: AtOnce, ["given back twice"], [4096, 1 << 18] => |len| {
        let region = RegionPages::new(Box::leak(Box::new_uninit_slice(1 << 20)));
        let request = MapRequest { len, least: len, align: 4096, offset: 0, huge: HugeAdvice::Against };
        let (pages, _others) = (region.map(request).expect("pages"), region.map(request).expect("pages"));
        let release = Release { zero_from: len, huge: pages.huge, keep: true };
        // SAFETY: the pages were just handed out.
        unsafe { region.unmap(pages.ptr, len, release) }.expect("a region takes its pages back");
        // SAFETY: none: they were given back.
        let _ = unsafe { region.unmap(misusing(pages.ptr), len, release) };
    }
}

#[test]
fn a_source_that_panics() {
    let calls = ["page_size", "map", "commit", "discard", "unmap", "grow", "advise_huge"];
    // On Windows there is no such advice.
    for call in &calls[..if cfg!(windows) { 6 } else { 7 }] {
        if std::env::var(CASE).is_ok_and(|case| case == format!("misuse::a_source_that_panics {call}")) {
            let heap = MallocState::new_in(Panics(call));
            let large = take(&heap, of(8 << 20));
            // SAFETY: the block has this layout; it is not used after this.
            let _ = unsafe { heap.grow(large, of(8 << 20), of(16 << 20)) };
            let blocks: Vec<_> = (0..200).map(|_| take(&heap, of(40_000))).collect();
            blocks[1..].iter().for_each(|&block| give(&heap, block, of(40_000)));
            heap.reclaim();
            drop(heap);
            std::process::exit(0);
        }
        if std::env::var_os(CASE).is_none() {
            let (lines, _) = run_child("misuse::a_source_that_panics", call);
            assert!(lines.iter().any(|line| line.contains(&format!("no {call} today"))), "{call}: {lines:#?}");
            assert_eq!(lines.last().map(String::as_str), Some("mallocstate: a page source panicked"), "{call}");
        }
    }
}
