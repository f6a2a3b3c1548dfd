//! Forks while other threads allocate.

#![expect(unsafe_code, reason = "forks")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use mallocstate::{GlobalMallocState, MallocState, SystemPages};

use super::blocks::{Block, Random, free_all, sizes_of_all_tiers};
use super::support::scale;
use super::{alone, churn, in_threads};

/// Seconds after which a child that hangs is ended.
const PATIENCE: u32 = 20;

/// What a child does: everything that takes a lock. It must not panic, since that takes locks of the standard library.
fn child(heap: &GlobalMallocState, inherited: *mut u8) -> bool {
    let mut all_well = heap.contains(inherited);
    for round in 0..3 {
        for size in sizes_of_all_tiers::<SystemPages>() {
            let Some(block) = heap.malloc(size) else { return false };
            // SAFETY: the block has that many bytes.
            unsafe { block.write_bytes(round, size) };
            // SAFETY: the block is this heap's, and is not used again.
            unsafe { heap.free(block) };
        }
        heap.reclaim();
        all_well &= heap.validate().is_ok() && heap.segments().count() > 0 && heap.stats().mapped == heap.mapped();
    }
    let own = MallocState::global();
    all_well &= own.malloc(100).is_some() && own.malloc(100_000).is_some();
    all_well && own.destroy().live_blocks() == 2
}

/// Forks, and waits for the child; its status is zero where all went well.
fn fork_and_wait(heap: &GlobalMallocState) -> i32 {
    let block = heap.malloc(100).unwrap();
    // SAFETY: the child calls nothing but the heap, whose handlers make that safe, and ends without destructors.
    let process = unsafe { libc::fork() };
    if process == 0 {
        // SAFETY: arms a timer that ends this process.
        unsafe { libc::alarm(PATIENCE) };
        let status = i32::from(!child(heap, block.as_ptr()));
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(status) };
    }
    assert!(process > 0, "no more processes");
    let mut status = -1;
    // SAFETY: the status is written to a local.
    assert_eq!(unsafe { libc::waitpid(process, &raw mut status, 0) }, process);
    // SAFETY: the block is this heap's, and is not used again.
    unsafe { heap.free(block) };
    status
}

#[test]
fn forks_while_others_allocate() {
    static HEAP: GlobalMallocState = MallocState::global();
    let _alone = alone();
    let (done, forking) = (AtomicBool::new(false), AtomicUsize::new(2));
    in_threads(6, |number| {
        let mut random = Random::new(number as u64 + 77);
        match number {
            // Two that fork.
            0 | 1 => {
                for _ in 0..scale(100) {
                    assert_eq!(fork_and_wait(&HEAP), 0);
                }
                if forking.fetch_sub(1, Relaxed) == 1 {
                    done.store(true, Relaxed);
                }
            }
            // One that makes and destroys heaps, which the handlers know.
            2 => {
                while !done.load(Relaxed) {
                    let heap = MallocState::global();
                    free_all(&heap, churn(&heap, &mut random, 30));
                    assert_eq!(heap.destroy().live_blocks(), 0);
                }
            }
            _ => {
                while !done.load(Relaxed) {
                    free_all(&HEAP, churn(&HEAP, &mut random, 50));
                    if number == 3 {
                        HEAP.reclaim();
                    }
                }
            }
        }
    });
    HEAP.reclaim();
    let stats = HEAP.stats();
    assert_eq!((stats.live, stats.cached), (0, 0), "{stats}");
}

#[test]
fn a_child_inherits_blocks_and_frees_them() {
    let _alone = alone();
    let heap = MallocState::global();
    let sizes = sizes_of_all_tiers::<SystemPages>();
    let blocks: Vec<Block> = sizes.into_iter().map(|size| Block::new(&heap, size, 8, 6).unwrap()).collect();
    // SAFETY: the only other threads wait for this test, and the child calls nothing but the heap.
    let process = unsafe { libc::fork() };
    if process == 0 {
        // SAFETY: arms a timer that ends this process.
        unsafe { libc::alarm(PATIENCE) };
        for block in blocks {
            block.free(&heap);
        }
        let stats = heap.stats();
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(i32::from(stats.live != 0)) };
    }
    let mut status = -1;
    // SAFETY: the status is written to a local.
    assert_eq!(unsafe { libc::waitpid(process, &raw mut status, 0) }, process);
    assert_eq!(status, 0);
    // What the child did is the child's.
    free_all(&heap, blocks);
    assert_eq!(heap.destroy().live_blocks(), 0);
}
