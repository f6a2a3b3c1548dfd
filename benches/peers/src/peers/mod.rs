//! The heaps that are compared, each behind the same adapter.

#![expect(unsafe_code, reason = "the adapters' trait hands out raw blocks")]

mod block;
mod bumpalo;
mod mallocstate;
mod mimalloc;

use std::alloc::Layout;
use std::fmt;
use std::ptr::NonNull;
use std::time::Duration;

use clap::ValueEnum;

pub use block::{Block, Size, Slots, Table};

use self::bumpalo::BumpArena;
use self::mallocstate::{LocalHeap, ThreadedHeap};
use self::mimalloc::MimallocHeap;
use crate::workloads::Workload;

/// One kind of heap, used the way its documentation recommends. Dropping the heap gives back all that it holds.
///
/// # Safety
///
/// A block that [`allocate`](Self::allocate) returns fits the layout, overlaps no block in use, and stays valid until it
/// is freed or the heap is dropped, wherever the heap is moved in between.
pub unsafe trait Peer {
    /// A new, empty heap.
    fn create() -> Self;

    /// A block for the layout, whose size is not zero.
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>>;

    /// Takes a block back.
    ///
    /// # Safety
    ///
    /// The block is from this heap, in use, and of this layout; the caller gives it up.
    unsafe fn free(&self, block: NonNull<u8>, layout: Layout);
}

/// Which heap to measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum PeerId {
    /// This crate's heap, shareable between threads.
    Threaded,
    /// This crate's heap for one thread at a time.
    Local,
    /// A first-class heap of mimalloc 3.
    Mimalloc,
    /// A bump arena, new for each request.
    Bumpalo,
}

impl PeerId {
    /// Whether this is a heap of mallocstate, not one it is compared with.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Threaded | Self::Local)
    }

    /// Whether the heap hands out again what was freed. A bump arena does so with its last block only.
    pub fn recycles(self) -> bool {
        self != Self::Bumpalo
    }

    /// Measures the workload on this heap in the running process: nanoseconds per unit of work.
    pub fn measure(self, workload: Workload, budget: Duration) -> f64 {
        match self {
            Self::Threaded => workload.measure::<ThreadedHeap>(budget),
            Self::Local => workload.measure::<LocalHeap>(budget),
            Self::Mimalloc => workload.measure::<MimallocHeap>(budget),
            Self::Bumpalo => workload.measure::<BumpArena>(budget),
        }
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Threaded => "mallocstate threaded",
            Self::Local => "mallocstate local",
            Self::Mimalloc => "mimalloc 3 heap",
            Self::Bumpalo => "bumpalo",
        })
    }
}
