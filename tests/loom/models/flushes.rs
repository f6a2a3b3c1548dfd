//! Flush requests: none is lost, and who follows one sees what was done before it was made.

#![expect(unsafe_code, reason = "shares what one thread at a time touches")]

use std::sync::Arc;

use super::{Plain, check, join, spawn};
use crate::cache::flush::{FlushRequests, FlushesSeen};
use crate::segment::Account;

/// A heap with one thread cache.
struct Heap {
    requests: FlushRequests,
    account: Account,
    seen: FlushesSeen,
    cached: Plain,
}

// SAFETY: `seen` is its thread's alone until that has ended.
unsafe impl Sync for Heap {}

impl Heap {
    fn new() -> Arc<Self> {
        let (requests, account) = (FlushRequests::none(), Account::new(usize::MAX));
        let seen = FlushesSeen::all(&requests);
        assert!(!account.is_limited());
        Arc::new(Self { requests, account, seen, cached: Plain::new(0) })
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

#[test]
fn who_follows_caches_within_the_new_limit() {
    check(|| {
        let heap = Heap::new();
        let limiting = spawn(&heap, |heap| {
            heap.account.set_limit(100);
            heap.requests.ask();
        });
        if heap.follow() {
            assert!(heap.account.is_limited(), "what is cached from now on is bounded by the old limit");
        }
        join([limiting]);
    });
}
