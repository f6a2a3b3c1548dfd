//! The sums a heap keeps: mapped, committed, peak, and the limit that committed must not pass.

use crate::os::lock::RawLock;
use crate::primitives::sync::atomic::{AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

/// Why memory was not to be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// Committed would have passed the limit.
    Limit,
    /// The page source had nothing.
    Source,
    /// No heap serves such a request.
    Size,
}

/// A heap's sums, in bytes. No call to the heap's blocks goes through them: they change with portions and segments.
///
/// # Invariants
///
/// - `committed <= limit` whenever committed grew.
/// - The highest committed so far is the larger of `peak` and `committed`: each maximum of committed lies right before a
///   decrease, and a decrease first raises `peak` to what it found.
pub(crate) struct Account {
    mapped: AtomicUsize,
    committed: AtomicUsize,
    peak: AtomicUsize,
    limit: AtomicUsize,
}

impl Account {
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            mapped: AtomicUsize::new(0),
            committed: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
        }
    }

    pub(crate) fn mapped(&self) -> usize {
        self.mapped.load(Relaxed)
    }

    pub(crate) fn committed(&self) -> usize {
        self.committed.load(Relaxed)
    }

    pub(crate) fn peak(&self) -> usize {
        // In this order: who sees that committed has shrunk sees the peak that it shrank from.
        let committed = self.committed.load(Acquire);
        committed.max(self.peak.load(Relaxed))
    }

    #[inline(always)]
    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Relaxed)
    }

    /// Whether there is a limit at all.
    #[inline]
    pub(crate) fn is_limited(&self) -> bool {
        self.limit() != usize::MAX
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Relaxed);
    }

    /// Adds to committed, unless that would pass `limit`.
    #[inline]
    pub(crate) fn charge<L: RawLock>(&self, bytes: usize, limit: usize) -> Result<(), Refusal> {
        let mut committed = self.committed();
        loop {
            let after = committed.checked_add(bytes).filter(|&sum| sum <= limit).ok_or(Refusal::Limit)?;
            if L::SINGLE_THREADED {
                self.committed.store(after, Relaxed);
                return Ok(());
            }
            match self.committed.compare_exchange_weak(committed, after, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(current) => committed = current,
            }
        }
    }

    /// Takes back a charge for what was never had: as if it had not been made.
    pub(crate) fn refund<L: RawLock>(&self, bytes: usize) {
        if L::SINGLE_THREADED {
            self.committed.store(self.committed() - bytes, Relaxed);
        } else {
            self.committed.fetch_sub(bytes, Relaxed);
        }
    }

    /// Takes from committed.
    pub(crate) fn uncharge<L: RawLock>(&self, bytes: usize) {
        let mut before = self.committed();
        loop {
            debug_assert!(before >= bytes, "uncharged {bytes} of {before} bytes");
            // INVARIANT: `peak` is at least what committed was before it shrank.
            if before > self.peak.load(Relaxed) {
                self.peak.fetch_max(before, Relaxed);
            }
            let after = before.wrapping_sub(bytes);
            if L::SINGLE_THREADED {
                return self.committed.store(after, Relaxed);
            }
            match self.committed.compare_exchange_weak(before, after, Release, Relaxed) {
                Ok(_) => return,
                Err(current) => before = current,
            }
        }
    }

    pub(crate) fn add_mapped(&self, bytes: usize) {
        self.mapped.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn sub_mapped(&self, bytes: usize) {
        self.mapped.fetch_sub(bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::raw_locks::NoLock;
    use crate::primitives::sync::model;

    #[test]
    fn the_limit_holds_and_the_peak_is_the_highest_committed() {
        model(|| {
            let account = Account::new(100);
            assert_eq!(account.charge::<NoLock>(60, 100), Ok(()));
            assert_eq!(account.charge::<NoLock>(41, 100), Err(Refusal::Limit));
            assert_eq!(account.charge::<NoLock>(usize::MAX, usize::MAX), Err(Refusal::Limit));
            assert_eq!((account.committed(), account.peak()), (60, 60));
            account.uncharge::<NoLock>(50);
            assert_eq!((account.committed(), account.peak()), (10, 60));
            assert_eq!(account.charge::<NoLock>(90, 100), Ok(()));
            assert_eq!((account.committed(), account.peak()), (100, 100));
            assert_eq!(account.charge::<NoLock>(7, usize::MAX), Ok(()));
            assert_eq!((account.committed(), account.peak()), (107, 107));
        });
    }
}
