//! When empty segments leave a heap.

/// When segments that have become empty leave a heap: after `interval` of them, up to `batch` at once; those that stay
/// behind then give their pages back.
///
/// The ancestor's RELEASE_RATE and MAX_SEGMENTS_TO_FREE.
///
/// ```
/// use mallocstate::{MallocState, ReleasePolicy};
///
/// let eager = ReleasePolicy { interval: 1, batch: 1 };
/// let heap = MallocState::builder().release_policy(eager).build()?;
/// # Ok::<(), mallocstate::ConfigError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReleasePolicy {
    /// How many segments become empty between two releases; at least 1.
    pub interval: usize,
    /// How many segments leave in one release; at least 1.
    pub batch: usize,
}

impl ReleasePolicy {
    /// Every fourth segment that becomes empty releases up to four.
    pub const DEFAULT: Self = Self { interval: 4, batch: 4 };
}

impl Default for ReleasePolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Counts the segments of one tier that have become empty.
#[derive(Debug)]
pub(crate) struct EmptiedCounter {
    emptied_since_release: usize,
}

impl EmptiedCounter {
    pub(crate) const fn new() -> Self {
        Self { emptied_since_release: 0 }
    }

    /// One more has become empty: how many may leave now.
    pub(crate) fn emptied(&mut self, policy: ReleasePolicy) -> usize {
        self.emptied_since_release += 1;
        if self.emptied_since_release < policy.interval {
            return 0;
        }
        self.emptied_since_release = 0;
        policy.batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_leaves_after_each_interval() {
        let mut counter = EmptiedCounter::new();
        let policy = ReleasePolicy { interval: 3, batch: 2 };
        let leaving: std::vec::Vec<usize> = (0..7).map(|_| counter.emptied(policy)).collect();
        assert_eq!(leaving, [0, 0, 2, 0, 0, 2, 0]);
    }
}
