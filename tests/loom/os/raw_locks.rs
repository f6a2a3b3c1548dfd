//! Loom's mutex where a heap has a system's lock, and the crate's own locks beside it, to be tried themselves.

#![expect(unsafe_code, reason = "implements locks")]

use std::cell::Cell;
use std::mem;
use std::sync::OnceLock;

use loom::sync::{Mutex, MutexGuard};

use crate::os::lock::RawLock;

#[path = "../../../src/os/raw_locks/futex.rs"]
pub(crate) mod futex;
#[path = "../../../src/os/raw_locks/spin.rs"]
pub(crate) mod spin;
pub(crate) mod waiting;

/// Loom's mutex.
pub(crate) struct SystemLock {
    mutex: OnceLock<Mutex<()>>,
    guard: Cell<Option<MutexGuard<'static, ()>>>,
}

// SAFETY: loom runs the threads of a model one at a time, all in one thread of the system.
unsafe impl Send for SystemLock {}

// SAFETY: as above.
unsafe impl Sync for SystemLock {}

// SAFETY: a mutex excludes and orders as `RawLock` asks.
unsafe impl RawLock for SystemLock {
    const UNLOCKED: Self = Self { mutex: OnceLock::new(), guard: Cell::new(None) };

    fn lock(&self) {
        let guard = self.mutex.get_or_init(|| Mutex::new(())).lock().unwrap();
        // SAFETY: the guard goes no later than the lock that it is kept in.
        self.guard.set(Some(unsafe { mem::transmute::<MutexGuard<'_, ()>, MutexGuard<'static, ()>>(guard) }));
    }

    unsafe fn unlock(&self) {
        drop(self.guard.take());
    }
}

/// No lock: for the tests of one thread.
pub(crate) struct NoLock;

// SAFETY: the tests that name it have one thread.
unsafe impl RawLock for NoLock {
    const UNLOCKED: Self = Self;

    const SINGLE_THREADED: bool = true;

    fn lock(&self) {}

    unsafe fn unlock(&self) {}
}
