//! What AddressSanitizer and valgrind say of programs that misuse a heap's blocks, in each tier: use after free, overflow by
//! one byte, a read of what was never written, a double free. And that they say nothing of a program that does not.
//!
//! A test runs itself again, under the tool, with a case in an environment variable. The tools are those of the chapter on
//! memory tools in the crate's design; without one of them there is nothing to be tested here.

#![cfg(any(
    mallocstate_asan,
    all(feature = "valgrind", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))
))]
#![expect(unsafe_code, reason = "breaks the contracts of unsafe calls")]

mod support;

#[path = "sanitizers/clean.rs"]
mod clean;
#[path = "sanitizers/tool.rs"]
mod tool;

use std::alloc::Layout;
use std::hint::black_box;
use std::ptr::NonNull;

use mallocstate::allocator_api2::alloc::{AllocError, Allocator};
use mallocstate::{CoalescingAllocator, LocalMallocState, MallocState, SlabAllocator};

use support::scale;
use tool::{Report, Tool, case, run};

/// A size of each tier: small, medium, large. None of them fills its block.
const SIZES: [usize; 3] = [40, 100_000, 10_000_000];

/// Whose blocks are misused.
const WAYS: [&str; 3] = ["allocator", "malloc", "engine"];

/// A heap through its C-style calls.
struct Calls(LocalMallocState);

// SAFETY: blocks are the heap's, which stays as long as this.
unsafe impl Allocator for Calls {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let block = self.0.aligned_alloc(layout.align(), layout.size()).ok_or(AllocError)?;
        Ok(NonNull::slice_from_raw_parts(block, layout.size()))
    }

    unsafe fn deallocate(&self, block: NonNull<u8>, _: Layout) {
        // SAFETY: the caller keeps the trait's contract.
        unsafe { self.0.free(block) }
    }

    unsafe fn grow(&self, block: NonNull<u8>, _: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: the caller keeps the trait's contract.
        let block = unsafe { self.0.realloc(block, new.size()) }.ok_or(AllocError)?;
        Ok(NonNull::slice_from_raw_parts(block, new.size()))
    }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("a layout")
}

fn take(heap: &dyn Allocator, size: usize) -> NonNull<u8> {
    heap.allocate(layout(size)).expect("memory").cast()
}

fn give(heap: &dyn Allocator, block: NonNull<u8>, size: usize) {
    // SAFETY: right use keeps the contract; misuse is what the child is there for.
    unsafe { heap.deallocate(block, layout(size)) }
}

fn at(block: NonNull<u8>, offset: isize) -> NonNull<u8> {
    // SAFETY: the programs stay within the block's segment.
    unsafe { block.offset(offset) }
}

fn read(byte: NonNull<u8>) -> u8 {
    // SAFETY: the byte is mapped; whether it may be read, the tool says.
    unsafe { byte.read_volatile() }
}

fn write(byte: NonNull<u8>) {
    // SAFETY: the byte is mapped; whether it may be written, the tool says.
    unsafe { byte.write_volatile(1) }
}

/// Prints the address that the tool must name.
fn misusing(byte: NonNull<u8>) -> NonNull<u8> {
    println!("misused {byte:p}");
    byte
}

/// In the child misuses a block of the case's size, in the case's way; else runs a child for each case, and looks at what the
/// tool said of it.
fn reported(name: &str, expected: Report, misuse: fn(&dyn Allocator, usize)) {
    if let Some(case) = case(name) {
        let (way, size) = case.split_once(' ').expect("a way and a size");
        let size = size.parse().expect("a size");
        match way {
            "allocator" => misuse(&MallocState::new(), size),
            "malloc" => misuse(&Calls(MallocState::local()), size),
            _ if size < 1000 => misuse(&SlabAllocator::new(layout(size)).expect("a small block"), size),
            _ => misuse(&CoalescingAllocator::new(), size),
        }
        return;
    }
    for (index, way) in WAYS.into_iter().enumerate() {
        // An engine has no cache of mappings: what is as large goes to the system when it is freed.
        let sizes = if way == "engine" { &SIZES[..2] } else { &SIZES };
        // Where long loops are short, each tier and each way once.
        let short = &sizes[2 * (index + 1) % 3..][..1];
        for size in if scale(10) < 10 { short } else { sizes } {
            let case = format!("{way} {size}");
            run(name, &case).check(&format!("{name}, {case}"), expected);
        }
    }
}

/// Declares tests, each with what the tool is to report of a program.
macro_rules! misuse {
    ($($(#[$docs:meta])* $name:ident: $expected:expr => |$heap:ident, $size:ident| $body:block)*) => {$(
        $(#[$docs])*
        #[test]
        fn $name() {
            reported(stringify!($name), $expected, |$heap, $size| $body);
        }
    )*};
}

misuse! {
    a_read_after_the_free: Report::ReadOfFree => |heap, size| {
        let [block, _neighbour] = [(); 2].map(|()| take(heap, size));
        write(block);
        give(heap, block, size);
        read(misusing(block));
    }
    a_write_after_the_free: Report::Write => |heap, size| {
        let [block, _neighbour] = [(); 2].map(|()| take(heap, size));
        give(heap, block, size);
        write(misusing(at(block, size as isize - 1)));
    }
    a_read_behind_the_end: Report::Read => |heap, size| {
        let [block, _neighbour] = [(); 2].map(|()| take(heap, size));
        read(misusing(at(block, size as isize)));
    }
    a_write_behind_the_end: Report::Write => |heap, size| {
        let [block, _neighbour] = [(); 2].map(|()| take(heap, size));
        write(at(block, size as isize - 1));
        write(misusing(at(block, size as isize)));
    }
    a_write_behind_what_a_shrink_has_left: Report::Write => |heap, size| {
        let (large, _neighbour) = (take(heap, size + 5), take(heap, size));
        // SAFETY: the block is the heap's, in use, and has the layout.
        let block = unsafe { heap.shrink(large, layout(size + 5), layout(size)) }.expect("less than before").cast();
        write(at(block, size as isize - 1));
        write(misusing(at(block, size as isize)));
    }
    a_write_behind_what_a_growth_has_added: Report::Write => |heap, size| {
        let block = take(heap, size - 5);
        // SAFETY: the block is the heap's, in use, and has the layout.
        let block = unsafe { heap.grow(block, layout(size - 5), layout(size)) }.expect("memory").cast();
        write(at(block, size as isize - 1));
        write(misusing(at(block, size as isize)));
    }
    a_double_free: Report::Free => |heap, size| {
        let [first, second, _neighbour] = [(); 3].map(|()| take(heap, size));
        give(heap, first, size);
        give(heap, second, size);
        give(heap, misusing(first), size);
    }
    /// AddressSanitizer does not watch what memory holds: it says nothing.
    a_branch_on_what_was_never_written: Report::Uninitialised => |heap, size| {
        let block = take(heap, size);
        if read(misusing(at(block, size as isize / 2))) == 7 {
            black_box(size);
        }
    }
    /// Nor here.
    a_branch_on_what_a_growth_has_added: Report::Uninitialised => |heap, size| {
        let block = heap.allocate_zeroed(layout(size - 5)).expect("memory").cast();
        // SAFETY: the block is the heap's, in use, and has the layout.
        let block = unsafe { heap.grow(block, layout(size - 5), layout(size)) }.expect("memory").cast();
        assert_eq!(read(at(block, size as isize - 6)), 0);
        if read(misusing(at(block, size as isize - 1))) == 7 {
            black_box(size);
        }
    }
}

/// A medium or large block has nothing of its user's in front of it, and a heap's own words are not its user's.
#[test]
fn a_write_in_front_of_a_block() {
    const NAME: &str = "a_write_in_front_of_a_block";
    if let Some(case) = case(NAME) {
        let heap = MallocState::new();
        let [_left, block] = [(); 2].map(|()| take(&heap, case.parse().expect("a size")));
        return write(misusing(at(block, -1)));
    }
    for size in &SIZES[1..] {
        run(NAME, &size.to_string()).check(NAME, Report::Write);
    }
}

#[test]
fn a_growth_of_a_free_block() {
    const NAME: &str = "a_growth_of_a_free_block";
    if let Some(case) = case(NAME) {
        let (heap, size) = (MallocState::new(), case.parse().expect("a size"));
        let block = misusing(take(&heap, size));
        give(&heap, block, size);
        // SAFETY: none: the block is free.
        let _ = unsafe { heap.grow(block, layout(size), layout(size + 1)) };
        return;
    }
    for size in SIZES {
        run(NAME, &size.to_string()).check(NAME, Report::ReadOfFree);
    }
}

#[test]
fn right_use_is_not_reported() {
    const NAME: &str = "right_use_is_not_reported";
    match case(NAME) {
        Some(_) => clean::program(),
        None => run(NAME, "").check(NAME, Report::Nothing),
    }
}

/// There is a tool at all: else nothing above would say anything.
#[test]
fn the_heap_tells_a_tool() {
    let heap = MallocState::new();
    let block = heap.allocate(layout(33)).expect("memory");
    assert_eq!(block.len(), 33, "under {:?} a block ends where the request does", Tool::HERE);
    give(&heap, block.cast(), 33);
}
