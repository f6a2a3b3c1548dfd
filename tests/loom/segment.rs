//! Segments and their records, without the tiers.

#[path = "../../src/segment/account.rs"]
mod account;
#[path = "../../src/segment/header.rs"]
mod header;
#[cfg(any(debug_assertions, feature = "hardened"))]
mod known;
#[path = "../../src/segment/policy.rs"]
mod policy;
#[path = "../../src/segment/records.rs"]
mod records;
#[path = "../../src/segment/supply.rs"]
mod supply;

pub(crate) use account::Account;
pub(crate) use header::{HEADER_BYTES, OwnerId, SegmentKind, SegmentRef};
pub(crate) use records::{Cursor, Records, Usage};
pub(crate) use supply::{SegmentRequest, Supply, SupplyOptions};
