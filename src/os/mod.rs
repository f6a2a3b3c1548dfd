//! What the system gives: pages, locks, the end of a thread.
//!
//! A heap gets its address space from a [`PageSource`]. [`SystemPages`] asks the operating system and keeps a few
//! released segments and longer ranges for the next heap; [`RegionPages`] cuts up memory that the caller supplies; [`testing::TestPages`]
//! wraps either and checks what is done with it.

pub(crate) mod lock;
pub(crate) mod raw_locks;
mod region;
mod source;
mod system;

#[cfg(feature = "std")]
pub(crate) mod leftovers;
#[cfg(feature = "std")]
mod long_ranges;
#[cfg(feature = "std")]
pub(crate) mod segment_cache;
#[cfg(feature = "std")]
pub mod testing;
#[cfg(feature = "std")]
pub(crate) mod thread_exit;

#[cfg(all(feature = "std", unix))]
#[path = "unix.rs"]
pub(crate) mod native;

#[cfg(all(feature = "std", target_os = "linux"))]
mod linux;

#[cfg(all(feature = "std", windows))]
#[path = "windows.rs"]
pub(crate) mod native;

#[cfg(all(feature = "std", not(any(unix, windows))))]
#[path = "elsewhere.rs"]
pub(crate) mod native;

#[cfg(all(feature = "std", feature = "hardened"))]
mod guard;
/// Ranges of the system's pages as [`SystemPages`] and its cache know them.
#[cfg(all(feature = "std", feature = "hardened"))]
use guard as ranges;
#[cfg(all(feature = "std", not(feature = "hardened")))]
use native as ranges;

pub use region::RegionPages;
pub use source::{
    DEFAULT_SEGMENT_SIZE, Discarded, Growth, HugeAdvice, MAX_SEGMENT_SIZE, MIN_SEGMENT_SIZE, MapRequest, PageError,
    PageSource, Pages, Release,
};
pub use system::SystemPages;
