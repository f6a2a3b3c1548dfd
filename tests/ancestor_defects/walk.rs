//! The ancestor's fourth defect: a walk over free blocks.

use mallocstate::CoalescingAllocator;

use super::blocks::{Block, free_all};

/// Defect 4: a free block was found through a walk over all of them.
///
/// All pages that hold nothing but short free blocks are taken away, in a process of its own, before a longer block is
/// asked for. A walk would touch them; what the bins say of them is elsewhere.
#[cfg(unix)]
#[test]
fn d04_a_free_block_is_found_without_a_walk() {
    use mallocstate::allocator_api2::alloc::Allocator;
    use mallocstate::{PageSource, SystemPages};

    use super::{MEDIUM_MAX, SEGMENT, layout};

    const SHORT: usize = 240;
    let engine = CoalescingAllocator::local_in(SystemPages::new()).unwrap();
    let mut blocks: Vec<Block> =
        (0..SEGMENT / (2 * SHORT)).map(|_| Block::new(&engine, SHORT, 16, 1).unwrap()).collect();
    let (first, last) = (blocks[0].addr(), blocks[blocks.len() - 1].addr());
    assert!(last - first < SEGMENT, "all in one segment");
    let mut odd = false;
    let (freed, kept): (Vec<Block>, Vec<Block>) = blocks.drain(..).partition(|_| {
        odd = !odd;
        odd
    });
    free_all(&engine, freed);
    let page = SystemPages::new().page_size();
    // The last ones freed head their bin, and are near the end.
    let (from, to) = (first.next_multiple_of(page), (last - (64 << 10)) / page * page);
    assert!(to - from > SEGMENT / 4);
    // SAFETY: the child calls nothing but the engine, which has no locks, and ends without destructors.
    let process = unsafe { libc::fork() };
    if process == 0 {
        let middle = std::ptr::with_exposed_provenance_mut(from);
        // SAFETY: in this process nothing but the engine uses these pages, and it must not.
        let refused = unsafe { libc::mprotect(middle, to - from, libc::PROT_NONE) };
        let mut found = refused == 0;
        for size in [SHORT, SHORT, SHORT + 16, 1000, 5000, 100_000, MEDIUM_MAX, 1000, 300] {
            found &= engine.allocate(layout(size, 16)).is_ok();
        }
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(i32::from(!found)) };
    }
    assert!(process > 0, "no more processes");
    let mut status = -1;
    // SAFETY: the status is written to a local.
    assert_eq!(unsafe { libc::waitpid(process, &raw mut status, 0) }, process);
    assert_eq!(status, 0, "the search went through the free blocks");
    free_all(&engine, kept);
}

/// Defect 4, where pages cannot be taken away: many times as many free blocks must not make it many times as slow.
#[cfg(not(unix))]
#[test]
fn d04_a_free_block_is_found_without_a_walk() {
    let quickest = |count: usize| {
        let engine = CoalescingAllocator::new();
        let blocks: Vec<Block> = (0..2 * count).map(|_| Block::new(&engine, 240, 16, 1).unwrap()).collect();
        let mut kept = Vec::new();
        for (index, block) in blocks.into_iter().enumerate() {
            if index % 2 == 0 { block.free(&engine) } else { kept.push(block) }
        }
        let times = (0..50).map(|_| {
            let start = std::time::Instant::now();
            free_all(&engine, (0..20).map(|_| Block::new(&engine, 1000, 16, 2).unwrap()).collect());
            start.elapsed()
        });
        let quickest = times.min().unwrap();
        free_all(&engine, kept);
        quickest
    };
    let (few, many) = (quickest(50), quickest(50_000));
    assert!(many < few * 100, "{few:?} with 50, {many:?} with 50000 free blocks");
}
