//! Large blocks: each has a segment of its own.

mod list;
mod resize;
mod segment;
#[cfg(all(test, feature = "std"))]
mod tests;

pub(crate) use list::MappingList;
pub(crate) use segment::{len_of, usage};
