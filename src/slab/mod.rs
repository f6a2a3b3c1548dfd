//! Small blocks: size classes, slabs with bitmaps, the roots that own them, and the segments they are cut from.

mod bitmap;
mod depot;
pub(crate) mod link;
mod locate;
mod pool;
mod range;
mod root;
mod segment;
mod size_class;
#[expect(clippy::module_inception, reason = "a slab is what the slab tier is made of")]
mod slab;
mod units;

pub(crate) use depot::{Block, Magazine};
pub(crate) use locate::{class_of, class_of_slab, locate};
pub(crate) use pool::SlabPool;
pub(crate) use root::{Refill, SlabContext, SlabRoot, validate_segment};
pub(crate) use segment::{SlabSegment, usage};
pub(crate) use size_class::{BLOCK_ALIGN, CLASSES, SMALL_CLASSES, SizeClass, TABLE_MAX};
#[cfg(any(debug_assertions, feature = "hardened"))]
pub(crate) use slab::Slab;
