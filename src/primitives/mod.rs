//! What knows nothing of heaps: address arithmetic, intrusive lists, the way to abort, what memory tools are told.

pub(crate) mod abort;
pub(crate) mod address;
pub(crate) mod corruption;
#[cfg(feature = "hardened")]
pub(crate) mod fill;
pub(crate) mod list;
pub(crate) mod published;
pub(crate) mod sanitizer;

#[cfg(test)]
#[path = "../../tests/blocks/random.rs"]
pub(crate) mod random;
#[cfg(all(test, feature = "std"))]
#[path = "../../tests/support/runner.rs"]
pub(crate) mod runner;
#[cfg(test)]
#[path = "../../tests/support/scale.rs"]
pub(crate) mod scale;
#[cfg(feature = "hardened")]
pub(crate) mod secret;
pub(crate) mod sync;
