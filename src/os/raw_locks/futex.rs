//! Linux and Android: a futex, after "Futexes Are Tricky" (Drepper 2011), mutex 3.

#![expect(unsafe_code, reason = "implements a lock")]

use crate::os::lock::RawLock;
use crate::os::raw_locks::waiting::{SPINS, sleep_while, spin_loop, wake_one};
use crate::primitives::sync::atomic::{AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

const FREE: u32 = 0;
const HELD: u32 = 1;
/// Held, and some thread may sleep.
const CONTENDED: u32 = 2;

/// The system's own lock. It never allocates.
#[derive(Debug)]
pub struct SystemLock {
    state: AtomicU32,
}

// SAFETY: only the thread whose compare-exchange or swap finds `FREE` returns from `lock`, and only `unlock` writes
// `FREE`; acquire and release order what the holders do. Nothing allocates.
unsafe impl RawLock for SystemLock {
    const UNLOCKED: Self = Self { state: AtomicU32::new(FREE) };

    #[inline]
    fn lock(&self) {
        if self.state.compare_exchange(FREE, HELD, Acquire, Relaxed).is_err() {
            self.lock_contended();
        }
    }

    #[inline]
    unsafe fn unlock(&self) {
        if self.state.swap(FREE, Release) == CONTENDED {
            wake_one(&self.state);
        }
    }

    /// Threads that slept are not in the child: there is nobody to wake.
    unsafe fn unlock_in_child(&self) {
        self.state.store(FREE, Release);
    }
}

impl SystemLock {
    #[cold]
    fn lock_contended(&self) {
        for _ in 0..SPINS {
            match self.state.load(Relaxed) {
                FREE if self.state.compare_exchange(FREE, HELD, Acquire, Relaxed).is_ok() => return,
                CONTENDED => break,
                _ => spin_loop(),
            }
        }
        while self.state.swap(CONTENDED, Acquire) != FREE {
            sleep_while(&self.state, CONTENDED);
        }
    }
}
