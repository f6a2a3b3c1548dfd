//! Numbers that look random and are the same in each run.

#![allow(dead_code, reason = "each test program includes this file whole and uses a part of it")]

/// Numbers that are the same in each run: xorshift.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound
    }

    /// A number of any magnitude, from 1 up to `largest`.
    pub(crate) fn length(&mut self, largest: usize) -> usize {
        let bits = self.below(largest.ilog2() as usize + 1);
        self.below(2 << bits).clamp(1, largest)
    }

    /// Any byte but zero.
    pub(crate) fn byte(&mut self) -> u8 {
        self.below(255) as u8 + 1
    }
}
