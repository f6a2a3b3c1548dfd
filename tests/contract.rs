//! The contract of allocator-api2's `Allocator`, clause by clause, for heaps of every mode, their handles, and the engines.

#![expect(unsafe_code, reason = "calls the unsafe methods of the trait")]

#[path = "contract/alignment.rs"]
mod alignment;
#[path = "contract/collections.rs"]
mod collections;
#[path = "contract/engines.rs"]
mod engines;
#[path = "contract/fitting.rs"]
mod fitting;
#[path = "contract/handles.rs"]
mod handles;
#[path = "contract/held.rs"]
mod held;
#[path = "blocks/random.rs"]
mod random;
#[path = "contract/resize.rs"]
mod resize;
#[path = "contract/sizes.rs"]
mod sizes;
mod support;
#[path = "contract/young.rs"]
mod young;
#[path = "contract/zero_size.rs"]
mod zero_size;
#[path = "contract/zeroed.rs"]
mod zeroed;

use mallocstate::allocator_api2::alloc::Allocator;
use mallocstate::os::testing::TestPages;
use mallocstate::{LocalSharedMallocState, MallocState, Mode, PageSource, RegionPages, SharedMallocState, SystemPages};

use crate::support::classes::Geometry;
use crate::support::where_global;

/// Runs a check on a new heap of every mode and on both handles, over the system's pages.
fn in_every_mode(check: impl Fn(&dyn Allocator)) {
    fn settle<M: Mode, S: PageSource>(mut heap: MallocState<M, S>, check: impl Fn(&dyn Allocator)) {
        check(&heap);
        assert_eq!(heap.validate_all(), Ok(()));
        let stats = heap.stats();
        assert_eq!((stats.live_blocks, stats.live), (0, 0), "{stats}");
    }
    settle(MallocState::new(), &check);
    settle(MallocState::local(), &check);
    where_global! { settle(MallocState::global(), &check); }
    settle(MallocState::new_in(TestPages::new().dirty().demanding_commits()), &check);
    check(&SharedMallocState::new(MallocState::new()));
    check(&LocalSharedMallocState::new(MallocState::local()));
}

/// The sizes of the system's pages.
fn geometry() -> Geometry {
    Geometry::of::<SystemPages>()
}

/// A region with segments of 256 KiB, which stays for good.
fn region(len: usize) -> RegionPages {
    RegionPages::new(Box::leak(Box::new_uninit_slice(len)))
}
