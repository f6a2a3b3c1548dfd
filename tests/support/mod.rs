//! Helpers that several test programs share: how long loops run, what sizes lead to, what blocks hold.

#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "each test program includes this file whole and uses a part of it"
)]

pub(crate) mod classes;
pub(crate) mod pattern;
pub(crate) mod returned;
mod scale;

use mallocstate::{MIN_LIMIT, PageSource, SystemPages};
pub(crate) use scale::{scale, stride};

/// The statements, on targets with the mode `Global`.
#[cfg(not(all(windows, target_env = "gnu")))]
macro_rules! where_global {
    ($($statements:tt)*) => { $($statements)* };
}

/// A line instead of the statements: this target has no native thread-locals, and so no mode `Global`.
#[cfg(all(windows, target_env = "gnu"))]
macro_rules! where_global {
    ($($statements:tt)*) => {
        println!("left out: without native thread-locals there is no mode `Global`")
    };
}

pub(crate) use where_global;

/// All of many cases; every [`stride`]th, the first included, where long loops are short.
pub(crate) fn thin<I: IntoIterator>(cases: I) -> impl Iterator<Item = I::Item> {
    cases.into_iter().step_by(stride())
}

/// The least limit that a heap takes where pages are as long as here.
pub(crate) fn least_limit() -> usize {
    MIN_LIMIT.max(4 * SystemPages::new().page_size())
}

/// [`scale`] for counts of cases, which are `u32` in proptest.
pub(crate) fn scale_u32(full: u32) -> u32 {
    u32::try_from(scale(full as usize)).unwrap_or(u32::MAX)
}

/// Whether blocks of that many bytes are out of question. Half of all addresses are more than any system has, but with
/// 32 bits they may be free: there, only what becomes more than half with a header is certain.
pub(crate) fn is_impossible(size: usize) -> bool {
    usize::BITS >= 64 || size > isize::MAX as usize - 4096
}
