//! Instantiable heaps.

#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

mod api;
mod cache;
mod coalesce;
mod heap;
mod mapping;
pub mod os;
mod primitives;
mod segment;
mod slab;

pub use allocator_api2;
#[cfg(feature = "hashbrown")]
pub use hashbrown;

pub use api::{CoalescingAllocator, EngineSegments, SlabAllocator, collections};
#[cfg(feature = "alloc")]
pub use api::{LocalSharedMallocState, SharedMallocState};
pub use heap::{
    Builder, ClassStats, ConfigError, Failures, Local, LocalMallocState, MAX_NAME, MIN_LIMIT, MallocState, Mode,
    Segments, Stats, Teardown, Threaded,
};
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
pub use heap::{Global, GlobalMallocState};
pub use os::{PageSource, RegionPages, SystemPages};
pub use primitives::corruption::Corruption;
pub use segment::{HugePages, ReleasePolicy, Segment, SegmentKind};
