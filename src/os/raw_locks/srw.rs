//! Windows: a slim reader-writer lock, taken for writing only.

#![expect(unsafe_code, reason = "implements a lock; calls the system")]

use core::cell::UnsafeCell;

use windows_sys::Win32::System::Threading::{AcquireSRWLockExclusive, ReleaseSRWLockExclusive, SRWLOCK, SRWLOCK_INIT};

use crate::os::lock::RawLock;

/// The system's own lock. It never allocates.
#[cfg_attr(target_env = "gnu", expect(unreachable_pub, reason = "reached through the mode `Global` elsewhere"))]
pub struct SystemLock {
    state: UnsafeCell<SRWLOCK>,
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

// SAFETY: a slim lock excludes and orders as `RawLock` asks, and never allocates.
unsafe impl RawLock for SystemLock {
    const UNLOCKED: Self = Self { state: UnsafeCell::new(SRWLOCK_INIT) };

    #[inline]
    fn lock(&self) {
        // SAFETY: the lock is initialised and does not move while it is borrowed.
        unsafe { AcquireSRWLockExclusive(self.state.get()) }
    }

    #[inline]
    unsafe fn unlock(&self) {
        // SAFETY: the caller holds the lock.
        unsafe { ReleaseSRWLockExclusive(self.state.get()) }
    }
}
