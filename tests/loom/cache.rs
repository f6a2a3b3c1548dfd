//! What a thread owns, without the blocks.

#[path = "../../src/cache/chunks.rs"]
pub(crate) mod chunks;
#[path = "../../src/cache/flush.rs"]
pub(crate) mod flush;
#[path = "../../src/cache/slot_list.rs"]
pub(crate) mod slot_list;
