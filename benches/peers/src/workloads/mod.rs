//! What the heaps are put to, and what this crate's must reach there.

mod arena;
mod batch;
mod churn;
mod collections;
pub mod counted;
mod heaps;
mod json;
mod lifecycle;
mod pair;
mod passing;
mod request;
mod resident;
mod rows;
mod sharing;
mod work;

use std::fmt;

use clap::ValueEnum;
use clap::builder::PossibleValue;

pub use resident::Stage;
pub use work::{Needs, Work};

use crate::peers::PeerId;

/// The seed of every generator: the work is the same in every run and for every peer.
const SEED: u64 = 0x6d61_6c6c_6f63;

/// One row of the comparison.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    name: &'static str,
    title: &'static str,
    /// What it is shown together with.
    pub group: Group,
    /// What a measurement counts.
    pub unit: Unit,
    /// What is measured.
    pub work: Work,
    /// What this crate's heaps must reach, where that is said.
    pub must: Option<Must>,
}

/// Rows that are shown together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// One block, again and again.
    Pairs,
    /// Many blocks, all freed, or replaced at random.
    Churn,
    /// A heap's whole life.
    Lives,
    /// Several threads in one heap.
    Threads,
    /// Vectors, maps, trees.
    Collections,
    /// Many heaps at once.
    Heaps,
    /// Resident memory.
    Memory,
}

impl Group {
    /// Every group, in the order of the table.
    pub const ALL: [Self; 7] =
        [Self::Pairs, Self::Churn, Self::Lives, Self::Threads, Self::Collections, Self::Heaps, Self::Memory];

    /// The group in a word that a file can have for a name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pairs => "pairs",
            Self::Churn => "churn",
            Self::Lives => "lives",
            Self::Threads => "threads",
            Self::Collections => "collections",
            Self::Heaps => "heaps",
            Self::Memory => "memory",
        }
    }

    /// The group for a reader.
    pub fn title(self) -> &'static str {
        match self {
            Self::Pairs => "One block allocated and freed",
            Self::Churn => "Batches of blocks, and blocks replaced at random",
            Self::Lives => "The life of a heap: requests, arenas, next to nothing",
            Self::Threads => "Threads in one heap",
            Self::Collections => "Collections in a heap",
            Self::Heaps => "Many heaps at once",
            Self::Memory => "Resident memory",
        }
    }
}

/// What a measurement counts, less of which is better.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Nanoseconds.
    Nanoseconds,
    /// Nanoseconds, shown as microseconds.
    Microseconds,
    /// Nanoseconds, shown as milliseconds.
    Milliseconds,
    /// Resident bytes for each one requested.
    Ratio,
    /// Bytes, shown as thousands.
    Kilobytes,
}

impl Unit {
    /// The unit as it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Microseconds => "µs",
            Self::Milliseconds => "ms",
            Self::Ratio => "resident/requested",
            Self::Kilobytes => "KB",
        }
    }

    /// What a measurement is in this unit.
    pub fn show(self, measured: f64) -> f64 {
        match self {
            Self::Nanoseconds | Self::Ratio => measured,
            Self::Microseconds | Self::Kilobytes => measured / 1e3,
            Self::Milliseconds => measured / 1e6,
        }
    }
}

/// What a heap of this crate must reach.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Must {
    /// At most so much of the best heap's.
    OfBest(f64),
    /// At most so much of one heap's.
    Of(f64, PeerId),
    /// At most so much, as it is shown.
    AtMost(f64),
}

impl Workload {
    /// Whether the peer counts when the best is sought. A global allocator is a yardstick only, and a bump arena counts
    /// where nothing would be used again anyway.
    pub fn is_rival(self, peer: PeerId) -> bool {
        !peer.is_ours()
            && !peer.is_global()
            && self.work.admits(peer)
            && (peer.recycles() || self.work.suits_bump_arena())
    }
}

impl PartialEq for Workload {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl ValueEnum for Workload {
    fn value_variants<'a>() -> &'a [Self] {
        rows::ROWS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name).help(self.title))
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title)
    }
}
