//! What the heaps are put to, and what this crate's must reach there.

mod churn;
mod pair;
mod request;

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;

use crate::peers::{Peer, PeerId};

/// The seed of every generator: the work is the same in every run and for every peer.
const SEED: u64 = 0x6d61_6c6c_6f63;

/// Which work to measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Workload {
    /// One block of 32 bytes allocated and freed, the layout known when compiling.
    PairConstant,
    /// The same, the layout opaque.
    PairOpaque,
    /// A random one of 1000 blocks of 8 to 256 bytes freed and another allocated.
    #[value(name = "churn-1000")]
    Churn1000,
    /// A random one of 100 000 blocks of 8 to 256 bytes freed and another allocated.
    #[value(name = "churn-100000")]
    Churn100000,
    /// A new heap, 50 mixed allocations, three in five of them freed, the heap destroyed.
    #[value(name = "request-50")]
    Request50,
    /// The same with 300 allocations.
    #[value(name = "request-300")]
    Request300,
    /// The same with 5000 allocations.
    #[value(name = "request-5000")]
    Request5000,
}

/// What a heap of this crate must reach: at most `ratio` of the time of another.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Must {
    /// Our time over the other's.
    pub ratio: f64,
    /// Whom we are compared with; the best of those that [`Workload::is_rival`] admits where it is nobody in particular.
    pub peer: Option<PeerId>,
}

impl Workload {
    /// Nanoseconds per unit of this work on a heap, in the running process.
    pub fn measure<P: Peer>(self, budget: Duration) -> f64 {
        match self {
            Self::PairConstant => pair::measure_constant::<P>(budget),
            Self::PairOpaque => pair::measure_opaque::<P>(budget),
            Self::Churn1000 => churn::measure::<P>(budget, 1000),
            Self::Churn100000 => churn::measure::<P>(budget, 100_000),
            Self::Request50 => request::measure::<P>(budget, 50),
            Self::Request300 => request::measure::<P>(budget, 300),
            Self::Request5000 => request::measure::<P>(budget, 5000),
        }
    }

    fn is_request(self) -> bool {
        matches!(self, Self::Request50 | Self::Request300 | Self::Request5000)
    }

    fn is_pair(self) -> bool {
        matches!(self, Self::PairConstant | Self::PairOpaque)
    }

    /// Whether the peer can do this work at all: one that does not recycle would hold all of a churn's blocks.
    pub fn admits(self, peer: PeerId) -> bool {
        peer.recycles() || self.is_pair() || self.is_request()
    }

    /// Whether the peer counts when the best is sought. One that does not recycle counts in requests only: in a pair,
    /// taking its last block back is all that it can do.
    pub fn is_rival(self, peer: PeerId) -> bool {
        !peer.is_ours() && self.admits(peer) && (peer.recycles() || self.is_request())
    }

    /// What this crate's heaps must reach.
    pub fn must(self) -> Must {
        match self {
            Self::PairConstant | Self::PairOpaque => Must { ratio: 0.8, peer: None },
            Self::Churn1000 | Self::Churn100000 => Must { ratio: 1.0, peer: None },
            Self::Request50 | Self::Request300 | Self::Request5000 => Must { ratio: 1.0, peer: Some(PeerId::Bumpalo) },
        }
    }

    /// The unit that the table speaks in, and how many nanoseconds it is.
    pub fn unit(self) -> (&'static str, f64) {
        if self.is_request() { ("µs a request", 1e3) } else { ("ns", 1.0) }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PairConstant => "pair 32 B, layout known",
            Self::PairOpaque => "pair 32 B, layout opaque",
            Self::Churn1000 => "churn 8..256 B, 1000 live",
            Self::Churn100000 => "churn 8..256 B, 100 000 live",
            Self::Request50 => "request of 50",
            Self::Request300 => "request of 300",
            Self::Request5000 => "request of 5000",
        })
    }
}
