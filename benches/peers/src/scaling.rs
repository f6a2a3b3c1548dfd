//! How the time of one operation changes as something grows.

use clap::ValueEnum;

use crate::peers::PeerId;
use crate::sizes::Sizes;
use crate::workloads::Work;

/// What grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Scale {
    /// Blocks in use in one heap.
    Live,
    /// Memory that one heap maps, in MiB.
    Mapped,
    /// Heaps at once.
    Heaps,
    /// Threads in one heap.
    Threads,
    /// Free blocks in a coalescing root.
    Free,
}

const SMALL: Sizes = Sizes::even(8, 256);

/// Sizes of which four make a MiB, on average.
const QUARTERS: Sizes = Sizes::even(64 << 10, 448 << 10);

/// Sizes of blocks in a coalescing root on its own.
const ANY: Sizes = Sizes::even(64, 512);

impl Scale {
    /// From little to much; not so much in a quick run.
    pub fn amounts(self, quick: bool) -> &'static [u32] {
        match (self, quick) {
            (Self::Live, false) => &[1000, 10_000, 100_000, 1_000_000, 10_000_000],
            (Self::Live, true) => &[1000, 10_000, 100_000],
            (Self::Mapped, false) => &[4, 16, 64, 256, 1024, 4096, 8192],
            (Self::Mapped, true) => &[4, 16, 64],
            (Self::Heaps, false) => &[1, 10, 100, 1000, 10_000, 100_000],
            (Self::Heaps, true) => &[1, 10, 100],
            (Self::Threads, false) => &[1, 2, 4, 8, 16, 32, 64, 100, 200],
            (Self::Threads, true) => &[1, 2, 4],
            (Self::Free, false) => &[10, 100, 1000, 10_000, 100_000, 1_000_000],
            (Self::Free, true) => &[10, 100, 1000],
        }
    }

    /// What is measured at one amount.
    pub fn work(self, amount: u32) -> Work {
        match self {
            Self::Live => Work::DrawnChurn(SMALL, amount),
            Self::Mapped => Work::DrawnChurn(QUARTERS, 4 * amount),
            Self::Heaps => Work::Heaps(amount),
            Self::Threads => Work::Threads(amount as usize),
            Self::Free => Work::PairAmongFree(ANY, amount),
        }
    }

    /// A word that a file can have for a name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Mapped => "mapped",
            Self::Heaps => "heaps",
            Self::Threads => "threads",
            Self::Free => "free",
        }
    }

    /// What an operation is.
    pub fn title(self) -> &'static str {
        match self {
            Self::Live => "One block of 8..256 B replaced among many",
            Self::Mapped => "One block of 64..448 KiB replaced",
            Self::Heaps => "One block of 8..256 B replaced, heaps in turn",
            Self::Threads => "One block of 8..256 B replaced by each of many threads",
            Self::Free => "One block of 64..512 B allocated and freed, boundary tags",
        }
    }

    /// What grows, for an axis.
    pub fn amount(self) -> &'static str {
        match self {
            Self::Live => "blocks in use",
            Self::Mapped => "MiB in use",
            Self::Heaps => "heaps",
            Self::Threads => "threads",
            Self::Free => "free blocks",
        }
    }

    /// Whether the peer can come so far.
    pub fn admits(self, peer: PeerId, amount: u32) -> bool {
        self.work(amount).admits(peer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn whoever_is_admitted_can_do_it() {
        for &scale in Scale::value_variants() {
            let amount = scale.amounts(true)[1];
            let mut ours = 0;
            for peer in PeerId::value_variants().iter().filter(|&&peer| scale.admits(peer, amount)) {
                let measured = peer.measure(scale.work(amount), Duration::from_micros(100));
                assert!(measured > 0.0 && measured.is_finite(), "{scale:?} on {peer}: {measured}");
                ours += u32::from(peer.is_ours());
            }
            assert!(ours > 0, "{scale:?} is measured of our heaps");
        }
    }
}
