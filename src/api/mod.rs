//! The faces of a heap: the allocator trait, the arena's calls, the C-style calls, owning handles, collections.

mod allocator;
mod arena;
mod coalescing_allocator;
pub mod collections;
mod engine;
#[cfg(all(
    feature = "std",
    any(
        target_os = "linux",
        target_vendor = "apple",
        target_os = "freebsd",
        target_os = "netbsd",
        all(windows, target_env = "msvc")
    )
))]
mod global;
mod malloc;
#[cfg(feature = "alloc")]
mod shared;
mod slab_allocator;

pub use coalescing_allocator::CoalescingAllocator;
pub use engine::EngineSegments;
#[cfg(feature = "alloc")]
pub use shared::{LocalSharedMallocState, SharedMallocState};
pub use slab_allocator::SlabAllocator;
