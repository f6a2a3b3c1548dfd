//! What a thread owns of a heap: its slot, and the cache of free blocks that the slot stands for.

mod chunks;
mod flush;
mod magazine;
mod medium;
#[cfg(feature = "std")]
pub(crate) mod slot;
#[cfg(feature = "std")]
mod slot_list;
mod thread_cache;

pub(crate) use chunks::{Chunks, Place};
pub(crate) use flush::FlushRequests;
pub(crate) use magazine::{return_one, take_one};
pub(crate) use medium::{MEDIUM_CLASSES, MediumCache};
pub(crate) use thread_cache::{CachePtr, PlacedCache, ThreadCache};

#[cfg(all(test, feature = "std"))]
mod tests;
