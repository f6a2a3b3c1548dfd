//! Which heap to measure, and the way from its name to its type.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;

use super::bumpalo::BumpArena;
use super::dlmalloc::DlmallocHeap;
use super::jemalloc::{JemallocArena, JemallocCachedArena, JemallocGlobal};
use super::mallocstate::{LocalCoalescing, LocalHeap, ThreadedCoalescing, ThreadedHeap};
use super::mimalloc::{MimallocGlobal, MimallocHeap};
use super::rlsf::RlsfHeap;
use super::rusty::RustyHeap;
use super::system::SystemMalloc;
use crate::workloads::{Needs, Work};

/// Which heap to measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum PeerId {
    /// This crate's heap, shareable between threads.
    Threaded,
    /// This crate's heap for one thread at a time.
    Local,
    /// A first-class heap of mimalloc 3.
    Mimalloc,
    /// An arena of jemalloc, without a thread cache.
    JemallocArena,
    /// An arena of jemalloc with an explicit cache, for one thread.
    JemallocCached,
    /// A first-class heap of `rusty_alloc`, for one thread.
    RustyAlloc,
    /// An instance of `dlmalloc`, for one thread.
    Dlmalloc,
    /// The bins of `rlsf` over pools of 4 MiB, for one thread.
    Rlsf,
    /// A bump arena.
    Bumpalo,
    /// The system's malloc.
    System,
    /// mimalloc's global allocator.
    MimallocGlobal,
    /// jemalloc's global allocator.
    JemallocGlobal,
    /// This crate's coalescing engine on its own, shareable between threads.
    Coalescing,
    /// This crate's coalescing engine on its own, for one thread at a time.
    LocalCoalescing,
}

/// Evaluates the expression with the name `$peer` for the type of the heap, of those that are listed.
macro_rules! with_type {
    ($id:expr, $peer:ident => $body:expr, [$($name:ident: $heap:ty),+ $(,)?]) => {
        match $id {
            $(PeerId::$name => {
                type $peer = $heap;
                Some($body)
            })+
            #[allow(unreachable_patterns, reason = "lists may name every heap")]
            _ => None,
        }
    };
}

impl PeerId {
    /// Whether this is a heap of mallocstate, not one it is compared with.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Threaded | Self::Local) || self.is_engine()
    }

    /// Whether this is a part of a heap, which only the scaling of that part is measured of.
    pub fn is_engine(self) -> bool {
        matches!(self, Self::Coalescing | Self::LocalCoalescing)
    }

    /// Whether this is one allocator for the whole process, a yardstick: a user of heaps cannot pick it instead.
    pub fn is_global(self) -> bool {
        matches!(self, Self::System | Self::MimallocGlobal | Self::JemallocGlobal)
    }

    /// Whether the heap hands out again what was freed. A bump arena does so with its last block only.
    pub fn recycles(self) -> bool {
        self != Self::Bumpalo
    }

    /// Whether threads may use the heap at once.
    pub fn is_shared(self) -> bool {
        self.is_global() || matches!(self, Self::Threaded | Self::Coalescing | Self::Mimalloc | Self::JemallocArena)
    }

    /// Whether the heap has an arena's calls.
    pub fn is_arena(self) -> bool {
        matches!(self, Self::Threaded | Self::Local | Self::Bumpalo)
    }

    /// Whether blocks of all sizes are cut from free ones and merged with free neighbours.
    pub fn has_boundary_tags(self) -> bool {
        self.is_engine() || matches!(self, Self::Dlmalloc | Self::Rlsf | Self::System)
    }

    /// How many heaps there can be at once.
    pub fn most_heaps(self) -> u32 {
        match self {
            // A number of an arena or of a cache has 12 bits.
            Self::JemallocArena | Self::JemallocCached => 4000,
            // A heap takes 640 KB as soon as it has some blocks.
            Self::Mimalloc => 10_000,
            // Each heap, and each pool, takes maps of its own, of which a process may have 65 530.
            Self::RustyAlloc => 20_000,
            Self::Rlsf => 60_000,
            _ => u32::MAX,
        }
    }

    /// Does the work on this heap in the running process, for about so long; the answer is in the work's unit.
    ///
    /// # Panics
    ///
    /// Where the heap does not offer what the work needs.
    pub fn measure(self, work: Work, budget: Duration) -> f64 {
        let measured = match work.needs() {
            Needs::Nothing => with_type!(self, P => work.measure::<P>(budget), [
                Threaded: ThreadedHeap,
                Local: LocalHeap,
                Mimalloc: MimallocHeap,
                JemallocArena: JemallocArena,
                JemallocCached: JemallocCachedArena,
                RustyAlloc: RustyHeap,
                Dlmalloc: DlmallocHeap,
                Rlsf: RlsfHeap,
                Bumpalo: BumpArena,
                System: SystemMalloc,
                MimallocGlobal: MimallocGlobal,
                JemallocGlobal: JemallocGlobal,
                Coalescing: ThreadedCoalescing,
                LocalCoalescing: LocalCoalescing,
            ]),
            Needs::Threads => with_type!(self, P => work.measure_shared::<P>(budget), [
                Threaded: ThreadedHeap,
                Mimalloc: MimallocHeap,
                JemallocArena: JemallocArena,
                System: SystemMalloc,
                MimallocGlobal: MimallocGlobal,
                JemallocGlobal: JemallocGlobal,
                Coalescing: ThreadedCoalescing,
            ]),
            Needs::Arena => with_type!(self, P => work.measure_arena::<P>(budget), [
                Threaded: ThreadedHeap,
                Local: LocalHeap,
                Bumpalo: BumpArena,
            ]),
        };
        measured.unwrap_or_else(|| panic!("{self} does not offer what the work needs"))
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Threaded => "mallocstate threaded",
            Self::Local => "mallocstate local",
            Self::Mimalloc => "mimalloc 3 heap",
            Self::JemallocArena => "jemalloc arena",
            Self::JemallocCached => "jemalloc arena, cache",
            Self::RustyAlloc => "rusty_alloc heap",
            Self::Dlmalloc => "dlmalloc",
            Self::Rlsf => "rlsf",
            Self::Bumpalo => "bumpalo",
            Self::System => "system malloc",
            Self::MimallocGlobal => "mimalloc global",
            Self::JemallocGlobal => "jemalloc global",
            Self::Coalescing => "coalescing engine",
            Self::LocalCoalescing => "coalescing engine, local",
        })
    }
}
