//! Medium blocks: segments of boundary-tagged blocks, with the free ones in bins.
//!
//! A root is plain data under a lock that the heap supplies. It serves from the free memory it has, and says so where it
//! has none, so that the heap can ask its other roots before it lets one map another segment.

mod bin_index;
mod bins;
mod block;
mod boundary_tag;
mod reclaim;
mod resize;
mod root;
mod segment;
#[cfg(all(test, feature = "std"))]
mod tests;
mod validate;

#[cfg(any(debug_assertions, feature = "hardened"))]
pub(crate) use root::set_cached;
pub(crate) use root::{CoalescingRoot, MediumBlock, MediumRequest, is_direct, payload_of};
pub(crate) use segment::usage;
