//! Linux and Android: a futex, after "Futexes Are Tricky" (Drepper 2011), mutex 3.

#![expect(unsafe_code, reason = "implements a lock; calls the system")]

use core::ptr;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::os::lock::RawLock;

const FREE: u32 = 0;
const HELD: u32 = 1;
/// Held, and some thread may sleep.
const CONTENDED: u32 = 2;

/// How often a waiting thread looks again before it sleeps.
const SPINS: u32 = 100;

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
            self.wake_one();
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
                _ => core::hint::spin_loop(),
            }
        }
        while self.state.swap(CONTENDED, Acquire) != FREE {
            self.sleep();
        }
    }

    /// Sleeps while the state is `CONTENDED`; may wake for no reason.
    fn sleep(&self) {
        let timeout = ptr::null::<libc::timespec>();
        let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: the futex word is borrowed for the call, and no timeout is given.
        unsafe { libc::syscall(libc::SYS_futex, self.state.as_ptr(), operation, CONTENDED, timeout) };
    }

    #[cold]
    fn wake_one(&self) {
        let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: waking takes the address only; nothing is read or written through it.
        unsafe { libc::syscall(libc::SYS_futex, self.state.as_ptr(), operation, 1) };
    }
}
