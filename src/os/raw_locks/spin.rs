//! Systems without a lock of their own that never allocates: spin, then yield where there is something to yield to.

#![expect(unsafe_code, reason = "implements a lock")]

use crate::os::lock::RawLock;
use crate::os::raw_locks::waiting::{SPINS, give_way, spin_loop};
use crate::primitives::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

/// A spinning lock. It never allocates.
#[derive(Debug)]
pub struct SystemLock {
    held: AtomicBool,
}

// SAFETY: only the thread whose compare-exchange finds the lock free returns from `lock`, and only `unlock` frees it;
// acquire and release order what the holders do. Nothing allocates.
unsafe impl RawLock for SystemLock {
    const UNLOCKED: Self = Self { held: AtomicBool::new(false) };

    #[inline]
    fn lock(&self) {
        if self.held.compare_exchange(false, true, Acquire, Relaxed).is_err() {
            self.lock_contended();
        }
    }

    #[inline]
    unsafe fn unlock(&self) {
        self.held.store(false, Release);
    }
}

impl SystemLock {
    #[cold]
    fn lock_contended(&self) {
        let mut spins = 0;
        while self.held.compare_exchange_weak(false, true, Acquire, Relaxed).is_err() {
            while self.held.load(Relaxed) {
                if spins < SPINS {
                    spins += 1;
                    spin_loop();
                } else {
                    give_way();
                }
            }
        }
    }
}
