//! What the system gives: locks, and a source of memory.

#[path = "../../src/os/lock.rs"]
pub(crate) mod lock;
pub(crate) mod raw_locks;
#[path = "../../src/os/source.rs"]
mod source;

pub(crate) use source::{Discarded, Growth, HugeAdvice, MapRequest, PageError, PageSource, Pages, Release};
