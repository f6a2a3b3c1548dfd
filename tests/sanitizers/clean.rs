//! A program that a tool has nothing to say of: every call of a heap, in every mode, with blocks still live at the end.

use std::alloc::Layout;
use std::ptr::NonNull;

use mallocstate::allocator_api2::alloc::Allocator;
use mallocstate::os::testing::TestPages;
use mallocstate::{CoalescingAllocator, MallocState, Mode, PageSource, RegionPages, SlabAllocator};

/// Sizes of all tiers, on the bounds of classes and off them.
const SIZES: [usize; 14] =
    [0, 1, 16, 33, 48, 1000, 1024, 20_001, 32_768, 40_001, 100_000, 1 << 20, 3_000_001, 10_000_000];

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a layout")
}

/// Panics where a byte is another one: by chunks, which a tool looks at as wholes.
fn is_all(bytes: &[u8], byte: u8) {
    let expected = [byte; 4096];
    assert!(bytes.chunks(4096).all(|chunk| *chunk == expected[..chunk.len()]));
}

/// Writes a block to its end, and reads it again.
fn use_whole(block: NonNull<[u8]>, byte: u8) {
    // SAFETY: the block is as long as its slice, and the caller's.
    unsafe { block.cast::<u8>().write_bytes(byte, block.len()) };
    // SAFETY: as above, and it was just written.
    is_all(unsafe { block.as_ref() }, byte);
}

/// The first `len` bytes of a block must be what they were.
fn keeps(block: NonNull<[u8]>, len: usize, byte: u8) {
    // SAFETY: the block is as long as its slice, and the caller's.
    is_all(&unsafe { block.as_ref() }[..len], byte);
}

/// The trait's calls; every third block stays.
fn allocator(heap: &dyn Allocator, sizes: &[usize]) {
    for (index, (&size, align)) in
        sizes.iter().flat_map(|size| [1, 16, 64, 4096].map(|align| (size, align))).enumerate()
    {
        let Ok(block) = heap.allocate(layout(size, align)) else { continue };
        use_whole(block, 1);
        let zeroed = heap.allocate_zeroed(layout(size, align)).expect("memory");
        keeps(zeroed, size, 0);
        let larger = layout(size + size / 3 + 9, align);
        // SAFETY: the block is the heap's, and has the layout.
        let Ok(grown) = (unsafe { heap.grow(block.cast(), layout(size, align), larger) }) else { continue };
        keeps(grown, size, 1);
        use_whole(grown, 2);
        // SAFETY: as above.
        let shrunk = unsafe { heap.shrink(grown.cast(), larger, layout(size / 2, align)) }.expect("less than before");
        keeps(shrunk, size / 2, 2);
        // SAFETY: as above.
        let zeros = unsafe { heap.grow_zeroed(zeroed.cast(), layout(size, align), larger) }.expect("memory");
        keeps(zeros, larger.size(), 0);
        // SAFETY: as above.
        unsafe { heap.deallocate(zeros.cast(), larger) };
        if index % 3 != 0 {
            // SAFETY: as above.
            unsafe { heap.deallocate(shrunk.cast(), layout(size / 2, align)) };
        }
    }
}

/// The C-style calls, with use of all that a block has to give.
fn calls<M: Mode, S: PageSource>(heap: &MallocState<M, S>) {
    for size in SIZES {
        let Some(block) = heap.malloc(size) else { continue };
        use_whole(NonNull::slice_from_raw_parts(block, if size == 0 { 16 } else { size }), 3);
        // SAFETY: the block is this heap's, and in use.
        let usable = unsafe { heap.usable_size(block) };
        let whole = NonNull::slice_from_raw_parts(block, usable);
        keeps(whole, size, 3);
        use_whole(whole, 4);
        // SAFETY: as above.
        let Some(grown) = (unsafe { heap.realloc(block, 2 * usable) }) else { continue };
        keeps(NonNull::slice_from_raw_parts(grown, 2 * usable), usable, 4);
        // SAFETY: as above.
        if unsafe { heap.realloc_in_place(grown, 2 * usable + 100) } {
            use_whole(NonNull::slice_from_raw_parts(grown, 2 * usable + 100), 5);
        }
        // SAFETY: as above.
        unsafe { heap.free(grown) };
        let zeroed = heap.calloc(size, 1).expect("memory");
        keeps(NonNull::slice_from_raw_parts(zeroed, size), size, 0);
    }
}

/// The rest of a heap's calls, to its end.
fn whole_life<M: Mode, S: PageSource>(mut heap: MallocState<M, S>) {
    for _ in 0..2 {
        allocator(&heap, &SIZES);
        calls(&heap);
        assert_eq!(heap.alloc_str("a rose"), "a rose");
        assert_eq!(heap.alloc_slice_fill_with(1000, |index| index)[999], 999);
        assert_eq!(heap.validate_all(), Ok(()));
        heap.reclaim();
        assert!(heap.segments().count() > 0 && heap.stats().live_blocks > 0);
        allocator(&heap, &SIZES[..8]);
        heap.reset();
        assert_eq!((heap.stats().live_blocks, heap.validate_all()), (0, Ok(())));
    }
    allocator(&heap, &SIZES);
    assert!(heap.destroy().live_blocks() > 0);
}

/// Blocks that one thread makes and another frees.
fn threads() {
    let heap = MallocState::new();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..300 {
                let mut bytes = mallocstate::collections::Vec::new_in(&heap);
                bytes.resize(SIZES[round % 10] + round, 7_u8);
                sender.send(bytes).expect("a receiver");
            }
            drop(sender);
        });
        scope.spawn(|| receiver.into_iter().for_each(|bytes| is_all(&bytes, 7)));
    });
    assert_eq!(heap.stats().live_blocks, 0);
}

pub(crate) fn program() {
    whole_life(MallocState::new());
    whole_life(MallocState::local());
    whole_life(MallocState::global());
    whole_life(MallocState::builder().zero_on_release(true).build().expect("possible options"));
    whole_life(MallocState::builder().limit(64 << 20).build().expect("possible options"));
    whole_life(MallocState::local_in(RegionPages::new(Box::leak(Box::new_uninit_slice(48 << 20)))));
    let refusing = TestPages::new().dirty();
    let heap = MallocState::new_in(&refusing);
    refusing.refuse_call_after(mallocstate::os::testing::Call::Unmap, 0);
    allocator(&heap, &SIZES);
    heap.reclaim();
    allocator(&heap, &SIZES);
    refusing.refuse_nothing();
    drop(heap);
    allocator(&SlabAllocator::new(layout(1000, 8)).expect("a small block"), &SIZES[..6]);
    allocator(&CoalescingAllocator::new(), &SIZES);
    threads();
}
