//! Apple's systems: `os_unfair_lock`.

#![expect(unsafe_code, reason = "implements a lock; calls the system")]

use core::cell::UnsafeCell;

use crate::os::lock::RawLock;

/// The system's own lock. It never allocates.
pub struct SystemLock {
    state: UnsafeCell<libc::os_unfair_lock_s>,
}

// SAFETY: the system's functions may be called from any thread.
unsafe impl Send for SystemLock {}

// SAFETY: the system's functions may be called from any thread at the same time.
unsafe impl Sync for SystemLock {}

impl core::fmt::Debug for SystemLock {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SystemLock")
    }
}

// SAFETY: `os_unfair_lock` excludes and orders as `RawLock` asks, and never allocates.
unsafe impl RawLock for SystemLock {
    const UNLOCKED: Self = Self { state: UnsafeCell::new(libc::OS_UNFAIR_LOCK_INIT) };

    #[inline]
    fn lock(&self) {
        // SAFETY: the lock is initialised and does not move while it is borrowed.
        unsafe { libc::os_unfair_lock_lock(self.state.get()) }
    }

    #[inline]
    unsafe fn unlock(&self) {
        // SAFETY: the caller holds the lock.
        unsafe { libc::os_unfair_lock_unlock(self.state.get()) }
    }

    /// The lock holds its owner's name, which the thread does not keep in the child: the system's unlock would abort.
    unsafe fn unlock_in_child(&self) {
        // SAFETY: the only thread is here, so nobody else reads or writes the lock.
        unsafe { self.state.get().write(libc::OS_UNFAIR_LOCK_INIT) }
    }
}
