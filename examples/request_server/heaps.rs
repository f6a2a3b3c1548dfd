//! The account of the requests' heaps: what the last of them held, and how many there are.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use mallocstate::{SystemPages, Teardown};
use serde::{Deserialize, Serialize};

/// How many heaps are remembered.
pub(crate) const REMEMBERED: usize = 100;

/// What a request's heap held when the answer was ready, all in bytes but for the blocks.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct HeapReport {
    pub(crate) committed: usize,
    pub(crate) peak: usize,
    pub(crate) mapped: usize,
    pub(crate) live: usize,
    pub(crate) live_blocks: usize,
    /// What the system did not take back.
    pub(crate) refused: usize,
}

impl HeapReport {
    pub(crate) fn new(committed: usize, teardown: &Teardown) -> Self {
        Self {
            committed,
            peak: teardown.peak(),
            mapped: teardown.mapped(),
            live: teardown.live(),
            live_blocks: teardown.live_blocks(),
            refused: teardown.refused(),
        }
    }
}

/// Answers `GET /heaps`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// Heaps that requests have had so far.
    pub(crate) made: usize,
    /// Those that are still there.
    pub(crate) alive: usize,
    /// Segments that the process keeps for the next heaps, in bytes.
    pub(crate) cached: usize,
    /// The last heaps, latest first.
    pub(crate) recent: Vec<HeapReport>,
}

/// Counts heaps and remembers some.
#[derive(Debug, Default)]
pub(crate) struct HeapLog {
    made: AtomicUsize,
    alive: AtomicUsize,
    recent: Mutex<VecDeque<HeapReport>>,
}

impl HeapLog {
    /// One more heap, until the guard goes: a request that is dropped half way counts down as well.
    pub(crate) fn enter(&self) -> Alive<'_> {
        self.made.fetch_add(1, Relaxed);
        self.alive.fetch_add(1, Relaxed);
        Alive(self)
    }

    pub(crate) fn remember(&self, report: HeapReport) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.truncate(REMEMBERED - 1);
        recent.push_front(report);
    }

    pub(crate) fn summary(&self) -> Summary {
        Summary {
            made: self.made.load(Relaxed),
            alive: self.alive.load(Relaxed),
            cached: SystemPages::cached_bytes(),
            recent: self.recent.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect(),
        }
    }
}

/// Counts a heap for as long as it is there.
pub(crate) struct Alive<'a>(&'a HeapLog);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Relaxed);
    }
}
