//! Flush requests: none is lost.

#![expect(unsafe_code, reason = "shares what one thread at a time touches")]

use std::sync::Arc;

use super::{Plain, check, join, spawn};
use crate::cache::flush::{FlushRequests, FlushesSeen};

/// A heap with one thread cache.
struct Heap {
    requests: FlushRequests,
    seen: FlushesSeen,
    cached: Plain,
}

// SAFETY: `seen` is its thread's alone until that has ended.
unsafe impl Sync for Heap {}

impl Heap {
    fn new() -> Arc<Self> {
        let requests = FlushRequests::none();
        let seen = FlushesSeen::all(&requests);
        Arc::new(Self { requests, seen, cached: Plain::new(0) })
    }

    /// What a thread does first on its long way.
    fn follow(&self) -> bool {
        let must = self.seen.must_follow(&self.requests);
        if must {
            self.cached.set(0);
        }
        must
    }
}

#[test]
fn no_request_is_lost() {
    check(|| {
        let heap = Heap::new();
        heap.cached.set(1);
        let asking = [(); 2].map(|()| spawn(&heap, |heap| heap.requests.ask()));
        let followed = [heap.follow(), heap.follow(), heap.follow()];
        join(asking);
        // What is still asked for is followed on the next long way, and then nothing is.
        let last = heap.follow();
        assert_eq!(heap.cached.get(), 0);
        assert!((1..=2).contains(&followed.into_iter().chain([last]).filter(|&must| must).count()));
        assert!(!heap.follow());
    });
}
