//! The faces of a heap: the allocator trait, the arena's calls, the C-style calls, owning handles, collections.

mod allocator;
mod arena;
mod coalescing_allocator;
pub mod collections;
mod engine;
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
