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
//! # What is promised, and what is not
//!
//! **Safe code.** No safe use of a heap is undefined behaviour: threads, collections that are leaked or outlive what
//! they should, a heap that is moved, forgotten or dropped while unwinding, threads that end while they use it. No call
//! unwinds but those that run a user's code, and documented panics.
//!
//! **Bad input.** Options out of range are a [`ConfigError`] that names the field, the value and the bound. Sizes and
//! alignments that nothing can serve are an `AllocError`, counted in [`Failures`]; arithmetic on them does not
//! overflow. An alignment that is no power of two, and a product that overflows, give `None` from the C-style calls.
//! `deallocate` takes any layout that fits the block by the rules of the trait.
//!
//! **Too little memory.** A refusal, by the limit, by the page source or by the system, leaves the heap and every block
//! as they were; the heap first gives up what it caches, then answers with an error, and goes on working. What the
//! system refuses to take back stays accounted for and is offered again. `committed() <= limit` holds at every instant,
//! but for a shrink that must move. Nothing panics and nothing is lost, down to a process that has no memory maps left.
//!
//! **Misuse of `unsafe` calls** is undefined behaviour: free of what is not a live block of this heap, use after free,
//! writes beyond a block. What is detected of it aborts with one line on standard error that names the pointer; nothing
//! that was detected is passed over. The [design](design#5-misuse) lists what is detected when. In every build: a free
//! of the block that was freed last in its class, and, when blocks go back to their slab or root, their heap, class,
//! exact start, and whether they are free already. Debug builds and the feature `hardened` check each free at once;
//! `hardened` adds the checks of its own that the [features](#features) name. These find mistakes, and make attacks
//! costlier: they are no proof against someone who can write anywhere.
//!
//! **Neighbours in the process.** Heaps do not mix: no block of one is handed out by another, and destroying one
//! touches no other. They do share address space, so that a stray write reaches any of them, and, over [`SystemPages`],
//! a cache of released segments, and ranges of up to 32 MiB, whose pages keep what their last heap wrote:
//! [`zero_on_release`](Builder::zero_on_release) is for heaps with secrets. A heap without a limit takes what the
//! system gives, and a tenant's limit bounds that tenant's heap and nothing else of it. Time is shared too: locks of a
//! shared heap make its users wait for each other, though never while a user's code runs.
//!
//! **Hostile input to a program** can choose sizes and the order of calls, hence the layout of the heap. Every
//! operation takes time that does not grow with the number of blocks, but for those that say so:
//! [`destroy`](MallocState::destroy), [`reset`](MallocState::reset), [`reclaim`](MallocState::reclaim),
//! [`stats`](MallocState::stats), [`validate`](MallocState::validate) and iteration. Addresses are not secret, and not
//! random without `hardened`.
//!
//! **Page sources** are trusted: [`PageSource`] is an unsafe trait. One that refuses, at any call, costs nothing but
//! the refusal; one that panics aborts the process; one that breaks its contract breaks the heap.
//!
//! **Not promised**: use from signal handlers; a `Threaded` heap in the child of a fork that happened while another
//! thread was using it; that memory freed is given back to the system before [`reclaim`](MallocState::reclaim); the
//! addresses, the order and the padding of blocks; detection of reads after free (the sanitizers' hooks are for that).
//!
//! # Features
//!
//! | feature | default | brings |
//! | --- | --- | --- |
//! | `std` | yes | threads, the system's pages, the modes `Threaded` and `Global` |
//! | `alloc` | with `std` | the owning handles, `collections::{Vec, Box}` |
//! | `hashbrown` | yes | `collections::{HashMap, HashSet}` |
//! | `hardened` | no | misuse is caught at once, as in debug builds; links that cannot be overwritten unnoticed, freed memory filled with the byte `0xDF`, blocks in no order, guard pages: see [`design`](design#5-misuse) |
//! | `valgrind` | no | valgrind's memcheck sees each block: [how](design#7-memory-tools) |
//!
//! For AddressSanitizer there is `--cfg mallocstate_asan`, [beside](design#7-memory-tools) valgrind.
//!
//! Without `std` there is [`MallocState::local_in`] over [`RegionPages`].

#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(mallocstate_asan, feature(sanitize))]

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
