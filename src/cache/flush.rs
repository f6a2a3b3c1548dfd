//! Requests to flush: a heap asks all of its thread caches at once, and each thread follows when it next takes the long
//! way.

use core::cell::Cell;

use crate::primitives::sync::atomic::{AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

/// How often all caches of a heap were asked to flush.
pub(crate) struct FlushRequests(AtomicU32);

impl FlushRequests {
    pub(crate) const fn none() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Asks all caches. Who follows sees what was done before, such as a new limit to cache within.
    pub(crate) fn ask(&self) {
        self.0.fetch_add(1, Release);
    }
}

/// The requests that a cache has followed; its thread alone looks at them.
pub(crate) struct FlushesSeen(Cell<u32>);

impl FlushesSeen {
    /// A new cache has nothing to flush.
    pub(crate) fn all(requests: &FlushRequests) -> Self {
        Self(Cell::new(requests.0.load(Relaxed)))
    }

    /// Whether there was a request since the last one followed.
    #[inline]
    pub(crate) fn are_behind(&self, requests: &FlushRequests) -> bool {
        self.0.get() != requests.0.load(Relaxed)
    }

    /// Whether there was a request since the last call; the caller flushes then.
    #[inline]
    pub(crate) fn must_follow(&self, requests: &FlushRequests) -> bool {
        let asked = requests.0.load(Acquire);
        self.0.replace(asked) != asked
    }
}
