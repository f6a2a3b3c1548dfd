//! What a check of a heap's structures has found.

use core::fmt;

/// A structure of the heap contradicts itself: somebody wrote where they should not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Corruption {
    what: &'static str,
    address: usize,
}

impl Corruption {
    pub(crate) const fn new(what: &'static str, address: usize) -> Self {
        Self { what, address }
    }

    /// `Ok` where `holds`.
    pub(crate) fn unless(holds: bool, what: &'static str, address: usize) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self::new(what, address)) }
    }

    /// What is wrong.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// Where: the address of a block, slab or segment.
    pub fn address(&self) -> usize {
        self.address
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:#x}", self.what, self.address)
    }
}

impl core::error::Error for Corruption {}
