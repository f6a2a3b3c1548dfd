//! Kinds of work with what varies in each, who can do them, and the way to their code.

use std::time::Duration;

use super::{
    Stage, arena, batch, churn, collections, heaps, json, lifecycle, pair, passing, request, resident, sharing,
};
use crate::peers::{Arena, Peer, PeerId};
use crate::sizes::Sizes;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Work {
    /// One block of so many bytes allocated and freed, the layout known when compiling.
    PairKnown(u32),
    /// The same, the layout opaque.
    PairOpaque(u32),
    /// So many blocks of 48 bytes allocated, then freed in the same order.
    Batch(u32),
    /// A random one of so many blocks freed and another allocated.
    Churn(Sizes, u32),
    /// The same, of more blocks than are made up beforehand.
    DrawnChurn(Sizes, u32),
    /// A block of a random size allocated and freed among so many free ones.
    PairAmongFree(Sizes, u32),
    /// A new heap, so many mixed allocations, three in five of them freed, the heap destroyed.
    Request(usize),
    /// The same in a heap that is reset.
    Reset(usize),
    /// Values, strings and slices by an arena's calls in a new heap that is destroyed.
    ArenaFresh,
    /// The same in a heap that is reset.
    ArenaReset,
    /// A new heap, so many blocks in it, the heap destroyed.
    Life(u32),
    /// A churn by so many threads in one heap.
    Threads(usize),
    /// One thread allocates, another frees.
    HandOver,
    /// Blocks go round so many threads.
    Ring(usize),
    /// Two threads write to small blocks.
    FalseSharing,
    /// One vector grows.
    Push,
    /// A hundred vectors grow.
    Growth,
    /// A map of boxes.
    Map,
    /// A document becomes a tree.
    Json,
    /// So many heaps used in turn.
    Heaps(u32),
    /// Resident memory after a churn.
    ResidentLive(Sizes, u32),
    /// Resident memory of a heap with so many blocks.
    ResidentSmall(u32),
    /// Resident memory of a fragmented heap.
    Fragmented(Stage),
}

/// What a heap must offer for some work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    /// Nothing beyond blocks.
    Nothing,
    /// Use by threads at once.
    Threads,
    /// An arena's calls.
    Arena,
}

/// What each thread of a shared heap churns.
const THREAD_SIZES: Sizes = Sizes::even(8, 256);
const THREAD_LIVE: u32 = 1000;

impl Work {
    /// What a heap must offer.
    pub fn needs(self) -> Needs {
        match self {
            Self::Threads(_) | Self::HandOver | Self::Ring(_) | Self::FalseSharing => Needs::Threads,
            Self::Reset(_) | Self::ArenaFresh | Self::ArenaReset => Needs::Arena,
            _ => Needs::Nothing,
        }
    }

    /// Whether this takes seconds however short the measurement is.
    pub fn is_long(self) -> bool {
        matches!(self, Self::Heaps(1001..))
    }

    /// Whether this is done with nothing that a bump arena lacks: no block is freed to be used again.
    pub(super) fn suits_bump_arena(self) -> bool {
        let fresh = matches!(self, Self::Request(_) | Self::Life(_) | Self::Json | Self::ResidentSmall(_));
        fresh || self.needs() == Needs::Arena
    }

    /// Whether a bump arena can do it at all, in bounded memory.
    fn is_in_reach_of_bump_arena(self) -> bool {
        let shown = matches!(self, Self::PairKnown(_) | Self::PairOpaque(_) | Self::Push | Self::Growth | Self::Map);
        self.suits_bump_arena() || shown
    }

    /// Whether the peer can do this.
    pub fn admits(self, peer: PeerId) -> bool {
        let offered = match self.needs() {
            Needs::Nothing => true,
            Needs::Threads => peer.is_shared(),
            Needs::Arena => peer.is_arena(),
        };
        let heaps = match self {
            // A global allocator cannot be had so often.
            Self::Heaps(count) if count > 1 => !peer.is_global() && count <= peer.most_heaps(),
            Self::ResidentSmall(_) => !peer.is_global(),
            // Free blocks of any size side by side, which boundary tags keep.
            Self::PairAmongFree(..) => return peer.has_boundary_tags(),
            _ => true,
        };
        offered && heaps && !peer.is_engine() && (peer.recycles() || self.is_in_reach_of_bump_arena())
    }

    /// Does work that needs nothing beyond blocks; the answer is in its unit.
    pub(crate) fn measure<P: Peer>(self, budget: Duration) -> f64 {
        match self {
            Self::PairKnown(bytes) => pair::measure_known::<P>(budget, bytes),
            Self::PairOpaque(bytes) => pair::measure_opaque::<P>(budget, bytes),
            Self::Batch(blocks) => batch::measure::<P>(budget, blocks),
            Self::Churn(sizes, live) => churn::measure::<P>(budget, sizes, live),
            Self::DrawnChurn(sizes, live) => churn::measure_drawn::<P>(budget, sizes, live),
            Self::PairAmongFree(sizes, free) => pair::measure_among_free::<P>(budget, sizes, free),
            Self::Request(allocations) => request::measure::<P>(budget, allocations),
            Self::Life(blocks) => lifecycle::measure::<P>(budget, blocks),
            Self::Push => collections::measure_push::<P>(budget),
            Self::Growth => collections::measure_growth::<P>(budget),
            Self::Map => collections::measure_map::<P>(budget),
            Self::Json => json::measure::<P>(budget),
            Self::Heaps(count) => heaps::measure::<P>(budget, count),
            Self::ResidentLive(sizes, live) => resident::measure_live::<P>(sizes, live),
            Self::ResidentSmall(blocks) => resident::measure_small::<P>(blocks),
            Self::Fragmented(stage) => resident::measure_fragmented::<P>(stage),
            other => unreachable!("{other:?} needs more of a heap"),
        }
    }

    /// Does work that needs a heap for threads.
    pub(crate) fn measure_shared<P: Peer + Sync>(self, budget: Duration) -> f64 {
        match self {
            Self::Threads(threads) => churn::measure_threads::<P>(budget, THREAD_SIZES, THREAD_LIVE, threads),
            Self::HandOver => passing::measure_hand_over::<P>(budget),
            Self::Ring(threads) => passing::measure_ring::<P>(budget, threads),
            Self::FalseSharing => sharing::measure::<P>(budget),
            other => unreachable!("{other:?} needs no threads"),
        }
    }

    /// Does work that needs an arena's calls.
    pub(crate) fn measure_arena<P: Arena>(self, budget: Duration) -> f64 {
        match self {
            Self::Reset(allocations) => request::measure_reset::<P>(budget, allocations),
            Self::ArenaFresh => arena::measure_fresh::<P>(budget),
            Self::ArenaReset => arena::measure_reset::<P>(budget),
            other => unreachable!("{other:?} needs no arena"),
        }
    }
}
