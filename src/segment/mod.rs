//! Segments: the header that all kinds share, a heap's records of them, and how a heap gets and returns them.

mod account;
mod geometry;
mod header;
#[cfg(any(debug_assertions, feature = "hardened"))]
mod known;
mod link_word;
mod policy;
mod records;
mod supply;

pub use header::SegmentKind;
pub use policy::ReleasePolicy;
pub use records::Segment;
pub use supply::HugePages;

pub(crate) use account::{Account, Refusal};
pub(crate) use geometry::{Geometry, UNIT};
pub(crate) use header::{HEADER_BYTES, OwnerId, SegmentRef, at_address};
pub(crate) use link_word::LinkWord;
pub(crate) use policy::EmptiedCounter;
pub(crate) use records::{Cursor, Records, SegmentBatch, Usage};
pub(crate) use supply::{HUGE_PAGE, SegmentRequest, Supply, SupplyOptions};
