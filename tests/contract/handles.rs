//! Borrows, clones and moves of an allocator lead to the same heap.

use std::thread;

use mallocstate::allocator_api2::alloc::Allocator;
use mallocstate::allocator_api2::vec::Vec as VecIn;
use mallocstate::{LocalSharedMallocState, MallocState, SharedMallocState};

use crate::held::layout;
use crate::support::where_global;

const SIZES: [usize; 5] = [1, 100, 20_000, 100_000, 3_000_000];

/// A block made through one allocator grows through the second, shrinks through the first, and is freed by the second.
fn check_equivalent(first: impl Allocator, second: impl Allocator) {
    for size in SIZES {
        let (old, new) = (layout(size, 8), layout(2 * size, 8));
        let block = first.allocate(old).expect("memory").cast::<u8>();
        // SAFETY: the block has this length.
        unsafe { block.write_bytes(0x5A, size) };
        // SAFETY: the block is in use, and the layout is its own.
        let block = unsafe { second.grow(block, old, new) }.expect("memory").cast::<u8>();
        // SAFETY: as above.
        let block = unsafe { first.shrink(block, new, old) }.expect("memory").cast::<u8>();
        // SAFETY: the block has this length, and its contents were kept.
        assert!(unsafe { std::slice::from_raw_parts(block.as_ptr(), size) }.iter().all(|&byte| byte == 0x5A));
        // SAFETY: the block is in use, and nobody uses it any more.
        unsafe { second.deallocate(block, old) };
    }
}

#[test]
fn borrows_lead_to_the_heap() {
    let heap = MallocState::new();
    check_equivalent(&heap, heap.by_ref());
    check_equivalent(heap.by_ref().by_ref(), &heap);
    let local = MallocState::local();
    check_equivalent(&local, local.by_ref());
    assert_eq!(heap.stats().live_blocks + local.stats().live_blocks, 0);
    where_global! {
        let global = MallocState::global();
        check_equivalent(&global, global.by_ref());
        assert_eq!(global.stats().live_blocks, 0);
    }
}

#[test]
fn clones_lead_to_the_heap() {
    let heap = SharedMallocState::new(MallocState::new());
    check_equivalent(heap.clone(), heap.clone());
    check_equivalent(&heap, heap.clone());
    let local = LocalSharedMallocState::new(MallocState::local());
    check_equivalent(local.clone(), &local);
    assert_eq!(heap.try_destroy().expect("the last handle").live_blocks(), 0);
    assert_eq!(local.try_destroy().expect("the last handle").live_blocks(), 0);
}

#[test]
fn clones_lead_to_the_heap_from_other_threads() {
    let heap = SharedMallocState::new(MallocState::new());
    thread::scope(|scope| {
        for _ in 0..4 {
            let (first, second) = (heap.clone(), &heap);
            scope.spawn(move || check_equivalent(first, second));
        }
    });
    assert_eq!(heap.stats().live_blocks, 0);
}

#[test]
fn the_last_clone_keeps_the_blocks() {
    let heap = SharedMallocState::new(MallocState::new());
    let mut numbers = VecIn::new_in(heap.clone());
    numbers.extend(0..10_000_u32);
    let mut text = VecIn::new_in(heap.clone());
    text.extend_from_slice(b"still here");
    let text = text.into_boxed_slice();
    drop(heap);
    let sum: u32 = thread::spawn(move || numbers.iter().sum()).join().expect("no panic");
    assert_eq!((sum, &*text), (49_995_000, &b"still here"[..]));
}

#[test]
fn a_collection_that_owns_its_heap_moves_with_it() {
    let mut numbers = VecIn::new_in(MallocState::new());
    numbers.extend(0..1000_u64);
    let mut boxed = Box::new(numbers);
    boxed.extend(1000..200_000);
    let mut back = thread::spawn(move || {
        boxed.truncate(100_000);
        boxed.shrink_to_fit();
        *boxed
    })
    .join()
    .expect("no panic");
    back.push(7);
    assert!(back[..100_000].iter().zip(0..).all(|(&number, index)| number == index));
    assert_eq!(back.allocator().stats().live_blocks, 1);
}

/// Blocks made before a move are freed, grown and read after it.
fn check_moves<M: mallocstate::Mode>(heap: MallocState<M>, other: MallocState<M>)
where
    MallocState<M>: Send,
{
    let blocks: Vec<_> = SIZES.iter().map(|&size| heap.allocate_zeroed(layout(size, 8)).expect("memory")).collect();
    let mut places = [heap, other];
    places.swap(0, 1);
    let [_other, heap] = places;
    let boxed = Box::new(heap);
    let addresses: Vec<usize> = blocks.iter().map(|block| block.addr().get()).collect();
    let heap = thread::spawn(move || {
        for (&address, size) in addresses.iter().zip(SIZES) {
            assert!(boxed.contains(std::ptr::without_provenance::<u8>(address)));
            let block = boxed.allocate(layout(size, 8)).expect("memory");
            // SAFETY: the block was just made, and is nobody else's.
            unsafe { boxed.deallocate(block.cast(), layout(size, 8)) };
        }
        *boxed
    })
    .join()
    .expect("no panic");
    assert_eq!(heap.stats().live_blocks, SIZES.len());
    for (block, size) in blocks.into_iter().zip(SIZES) {
        // SAFETY: the block is in use, and the layout is its own.
        let grown = unsafe { heap.grow_zeroed(block.cast(), layout(size, 8), layout(size + 9, 8)) }.expect("memory");
        // SAFETY: the block is in use, and zero in all its length.
        assert!(crate::support::pattern::is_zero(unsafe { grown.as_ref() }));
        // SAFETY: the block is in use, and nobody uses it any more.
        unsafe { heap.deallocate(grown.cast(), layout(size + 9, 8)) };
    }
    assert_eq!(heap.destroy().live_blocks(), 0);
}

#[test]
fn a_moved_heap_keeps_its_blocks() {
    check_moves(MallocState::new(), MallocState::new());
    check_moves(MallocState::local(), MallocState::local());
    where_global! { check_moves(MallocState::global(), MallocState::global()); }
}
