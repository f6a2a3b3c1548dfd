//! Systems without a lock of their own that never allocates: spin, then yield where there is something to yield to.

#![expect(unsafe_code, reason = "implements a lock")]

use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::os::lock::RawLock;

/// How often a waiting thread looks again before it yields.
const SPINS: u32 = 100;

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
                    core::hint::spin_loop();
                } else {
                    give_way();
                }
            }
        }
    }
}

/// Lets another thread run.
#[cfg(feature = "std")]
fn give_way() {
    std::thread::yield_now();
}

/// Lets another thread run.
#[cfg(all(unix, not(feature = "std")))]
fn give_way() {
    // SAFETY: yielding has no preconditions.
    unsafe { libc::sched_yield() };
}

/// There is no scheduler to call.
#[cfg(not(any(unix, feature = "std")))]
fn give_way() {
    core::hint::spin_loop();
}
