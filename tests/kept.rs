//! What the process keeps of heaps that are gone, for those that come: segments, and longer ranges.
//!
//! One test, since what is kept is the whole process's.

#![expect(unsafe_code, reason = "reads a raw block")]

use std::alloc::Layout;

use mallocstate::MallocState;
use mallocstate::allocator_api2::alloc::Allocator;
use mallocstate::collections::Vec;
use mallocstate::os::SystemPages;

const ELEMENTS: u64 = 1 << 20;

/// Long ranges are kept where addresses are plenty and no guard ends them.
const LONG: bool = usize::BITS >= 64 && cfg!(not(feature = "hardened"));

/// Pages that the system has brought this process so far, where it says so.
fn page_faults() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the name, which ends in the last parenthesis, the eighth word.
    stat.rsplit_once(')')?.1.split_whitespace().nth(7)?.parse().ok()
}

/// A vector of 8 MiB, grown by doubling in a heap of its own; the answer is the page faults that it took.
fn grow() -> Option<u64> {
    let before = page_faults();
    let heap = MallocState::new();
    let mut vector = Vec::new_in(&heap);
    (0..ELEMENTS).for_each(|element| vector.push(element));
    assert!(vector.iter().copied().eq(0..ELEMENTS));
    heap.segments().for_each(|segment| assert!(segment.mapped() >= segment.committed()));
    Some(page_faults()? - before?)
}

#[test]
fn memory_of_heaps_that_are_gone_serves_those_that_come() {
    SystemPages::trim();
    assert_eq!(SystemPages::cached_bytes(), 0);
    let faults = [(); 4].map(|()| grow());
    let kept = SystemPages::cached_bytes();
    assert!(!LONG || kept > ELEMENTS as usize * 8, "{kept}");
    if let [Some(first), .., Some(last)] = faults {
        // A memory tool, or an emulator, has faults of its own.
        assert!(!LONG || last <= first, "{faults:?}");
        println!("page faults: {faults:?}");
    }
    // What was kept is dirty, and a heap knows it.
    for len in [5 << 20, 9 << 20, 10 << 20] {
        let heap = MallocState::local();
        let block = heap.allocate_zeroed(Layout::from_size_align(len, 16).unwrap()).unwrap();
        // SAFETY: the block is so long, and all zero by contract.
        assert!(unsafe { block.as_ref() }.iter().all(|&byte| byte == 0));
        assert!(heap.mapped() >= len && heap.mapped() <= 3 * len + (8 << 20));
    }
    // More than eight of them: the oldest go.
    let heaps = [(); 12].map(|()| MallocState::local());
    for heap in &heaps {
        heap.alloc_slice_fill_with(5 << 20, |_| 1_u8);
    }
    drop(heaps);
    assert!(SystemPages::cached_bytes() <= 256 << 20);
    let before = SystemPages::cached_bytes();
    assert_eq!(SystemPages::trim(), before);
    // And none at all where the bounds say so.
    SystemPages::set_cache_bounds(1 << 20, 5 << 20);
    grow();
    assert!(SystemPages::cached_bytes() <= 5 << 20);
    SystemPages::set_cache_bounds(0, 0);
    assert_eq!(SystemPages::cached_bytes(), 0);
    grow();
    assert_eq!(SystemPages::cached_bytes(), 0);
}
