//! Heaps as values.
//!
//! A [`MallocState`] is a heap that you can hold: make one, hand `&heap` to collections, look at what it holds, and give
//! everything back at once. Many of them live side by side, each with memory of its own.
//!
//! **In a heap with a limit, use the fallible calls.** `push` and `insert` of ordinary collections abort the program when
//! the heap refuses; `try_reserve`, [`try_alloc`](MallocState::try_alloc) and their kin return an error, after which the heap
//! goes on working.
//!
//! ```
//! use mallocstate::MallocState;
//! use mallocstate::collections::{HashMap, Vec};
//!
//! let heap = MallocState::new();
//! let mut words: Vec<&str> = Vec::new_in(&heap);
//! words.extend("a rose is a rose".split(' ').map(|word| &*heap.alloc_str(word)));
//! let mut counts: HashMap<&str, u32> = HashMap::new_in(&heap);
//! words.iter().for_each(|word| *counts.entry(word).or_default() += 1);
//! assert_eq!(counts["rose"], 2);
//! println!("{}", heap.stats());
//! ```
//!
//! # Which mode when
//!
//! | | for | threads |
//! | --- | --- | --- |
//! | [`MallocState::new`] | heaps that threads share, or that move between them while in use: a request of a server | any number at once |
//! | [`MallocState::local`] | heaps of one thread at a time, and `no_std`: no thread-locals, no locks | one at a time |
//! | `MallocState::global` | the program's `#[global_allocator]` | any number at once |
//!
//! Whatever must be `'static` holds a [`SharedMallocState`], a counted handle. Where nothing is ever freed before the end,
//! the arena's calls ([`alloc`](MallocState::alloc), [`alloc_str`](MallocState::alloc_str) …) give plain references; a bump
//! arena such as bumpalo is then the simpler choice.
//!
//! # What to look at
//!
//! [`stats`](MallocState::stats) for sums and a table by size class, [`segments`](MallocState::segments) to see where memory
//! went, [`reclaim`](MallocState::reclaim) to give back what is unused, [`destroy`](MallocState::destroy) for the end and an
//! account of it. [`SlabAllocator`] and [`CoalescingAllocator`] are the engines on their own. [`os`] has the page sources,
//! and what it takes to write one. [`design`] tells how all of it works.
//!
//! # Features
//!
//! | feature | default | brings |
//! | --- | --- | --- |
//! | `std` | yes | threads, the system's pages, the modes `Threaded` and `Global` |
//! | `alloc` | with `std` | the owning handles, `collections::{Vec, Box}` |
//! | `hashbrown` | yes | `collections::{HashMap, HashSet}` |
//! | `hardened` | no | an allocated-bit for each small block, checked at once, as in debug builds |
//!
//! Without `std` there is [`MallocState::local_in`] over [`RegionPages`].

#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

mod api;
mod cache;
mod coalesce;
pub mod design;
mod heap;
mod mapping;
pub mod os;
mod primitives;
mod segment;
mod slab;

#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../README.md")]
struct Readme;

pub use allocator_api2;
#[cfg(feature = "hashbrown")]
pub use hashbrown;

pub use api::{CoalescingAllocator, EngineSegments, SlabAllocator, collections};
#[cfg(feature = "alloc")]
pub use api::{LocalSharedMallocState, SharedMallocState};
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
pub use heap::global::{Global, GlobalMallocState};
pub use heap::{
    Builder, ClassStats, ConfigError, Failures, Local, LocalMallocState, MAX_NAME, MIN_LIMIT, MallocState, Mode,
    Segments, Stats, Teardown, Threaded,
};
pub use os::{PageSource, RegionPages, SystemPages};
pub use primitives::corruption::Corruption;
pub use segment::{HugePages, ReleasePolicy, Segment, SegmentKind};
