//! Small blocks: size classes, slabs with bitmaps, the roots that own them, the segments they are cut from, and the nursery of
//! a young heap.

mod bitmap;
mod depot;
pub(crate) mod link;
mod locate;
mod nursery;
mod pool;
mod range;
mod returns;
mod root;
mod segment;
mod size_class;
#[expect(clippy::module_inception, reason = "a slab is what the slab tier is made of")]
mod slab;
mod tables;
mod tag;
mod units;

pub(crate) use depot::{Block, Magazine};
#[cfg(any(debug_assertions, feature = "hardened"))]
pub(crate) use locate::Origin;
pub(crate) use locate::{class_of, locate};
pub(crate) use nursery::Nursery;
pub(crate) use pool::SlabPool;
pub(crate) use range::BumpRange;
pub(crate) use returns::return_without_root;
pub(crate) use root::{Refill, RootCounts, SlabContext, SlabRoot, validate_segment};
pub(crate) use segment::{SlabSegment, usage};
pub(crate) use size_class::{BLOCK_ALIGN, CLASSES, LINEAR_MAX, SMALL_CLASSES, SizeClass};
pub(crate) use tables::Reserved;

#[cfg(all(test, feature = "std"))]
mod tests;
