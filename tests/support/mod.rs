//! Helpers that several test programs share: how long loops run, what sizes lead to, what blocks hold.

#![allow(dead_code, reason = "each test program includes this file whole and uses a part of it")]

pub(crate) mod classes;
pub(crate) mod pattern;
pub(crate) mod returned;
mod scale;

pub(crate) use scale::scale;

/// [`scale`] for counts of cases, which are `u32` in proptest.
pub(crate) fn scale_u32(full: u32) -> u32 {
    u32::try_from(scale(full as usize)).unwrap_or(u32::MAX)
}
