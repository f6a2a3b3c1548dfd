//! How a thread waits for a lock of our own: it looks again a few times, then lets the system know.

#![cfg_attr(
    any(target_os = "linux", target_os = "android", all(unix, not(feature = "std"))),
    expect(unsafe_code, reason = "calls the system")
)]

pub(super) use core::hint::spin_loop;

/// How often a waiting thread looks again before it gives its time away.
pub(super) const SPINS: u32 = 100;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use futex::{sleep_while, wake_one};

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) use elsewhere::give_way;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod futex {
    use core::ptr;

    use crate::primitives::sync::atomic::AtomicU32;

    /// Sleeps while the word has this value; may wake for no reason.
    pub(crate) fn sleep_while(word: &AtomicU32, value: u32) {
        let timeout = ptr::null::<libc::timespec>();
        let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: the futex word is borrowed for the call, and no timeout is given.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, timeout) };
    }

    /// Wakes one of those that sleep at the word.
    #[cold]
    pub(crate) fn wake_one(word: &AtomicU32) {
        let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: waking takes the address only; nothing is read or written through it.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, 1) };
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod elsewhere {
    /// Lets another thread run.
    pub(crate) fn give_way() {
        #[cfg(feature = "std")]
        std::thread::yield_now();
        #[cfg(all(unix, not(feature = "std")))]
        // SAFETY: yielding has no preconditions.
        unsafe {
            libc::sched_yield()
        };
        // Without a scheduler there is nothing to yield to.
        #[cfg(not(any(unix, feature = "std")))]
        super::spin_loop();
    }
}
