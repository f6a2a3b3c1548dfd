//! Locks, and the cell that only a lock opens.
//!
//! `RawLock` is what the modes choose between: parking_lot's raw mutex, the system's own lock that never allocates, and
//! a lock for heaps of a single thread that compiles to nothing. Every piece of shared state in the crate sits in a
//! [`Locked`], which opens only for the length of a guard.

#![expect(unsafe_code, reason = "a lock's cell is unsafe by nature")]

use core::ops::{Deref, DerefMut};

use crate::primitives::sync::UnsafeCell;

/// A mutual-exclusion lock without data.
///
/// # Safety
///
/// Between `lock` (or a `try_lock` that said true) and `unlock`, no other call of `lock` returns; everything done
/// before `unlock` is seen after the next `lock`. No method allocates where `ALLOCATES` is false.
pub unsafe trait RawLock: 'static {
    /// A lock that nobody holds.
    const UNLOCKED: Self;

    /// Only one thread at a time can reach the lock at all, so that atomics around it need no read-modify-write.
    const SINGLE_THREADED: bool = false;

    /// Waits until the lock is free and takes it.
    fn lock(&self);

    /// Gives the lock back.
    ///
    /// # Safety
    ///
    /// The caller holds the lock.
    unsafe fn unlock(&self);

    /// Makes the lock free in the child of a fork, where its holder was the thread that forked.
    ///
    /// # Safety
    ///
    /// The process has one thread, and it holds the lock.
    unsafe fn unlock_in_child(&self) {
        // SAFETY: the caller holds the lock.
        unsafe { self.unlock() }
    }
}

/// A value that only the holder of its lock reaches.
pub(crate) struct Locked<L, T> {
    raw: L,
    value: UnsafeCell<T>,
}

// SAFETY: the lock hands the value from thread to thread, one at a time; `L: Sync` says that it really excludes.
unsafe impl<L: Sync, T: Send> Sync for Locked<L, T> {}

impl<L: RawLock, T> Locked<L, T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { raw: L::UNLOCKED, value: UnsafeCell::new(value) }
    }

    /// Waits for the lock; the value is open until the guard goes.
    #[inline]
    pub(crate) fn lock(&self) -> Guard<'_, L, T> {
        self.raw.lock();
        Guard { owner: self }
    }

    /// The value, without the lock that an exclusive borrow makes needless.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// The value, for a fork handler that has taken the lock without a guard.
    ///
    /// # Safety
    ///
    /// The caller holds the lock, and nothing borrows the value.
    #[cfg(all(feature = "std", unix))]
    pub(crate) unsafe fn get_locked(&self) -> &T {
        // SAFETY: the caller says so.
        unsafe { &*self.value.get() }
    }

    /// The bare lock, for the fork handlers.
    #[cfg(all(feature = "std", unix))]
    pub(crate) const fn raw(&self) -> &L {
        &self.raw
    }
}

/// Holds the lock of a [`Locked`] open.
pub(crate) struct Guard<'a, L: RawLock, T> {
    owner: &'a Locked<L, T>,
}

impl<L: RawLock, T> Deref for Guard<'_, L, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock, and a shared borrow of it allows no `deref_mut`.
        unsafe { &*self.owner.value.get() }
    }
}

impl<L: RawLock, T> DerefMut for Guard<'_, L, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock and is borrowed exclusively.
        unsafe { &mut *self.owner.value.get() }
    }
}

impl<L: RawLock, T> Drop for Guard<'_, L, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this guard took the lock when it was made.
        unsafe { self.owner.raw.unlock() }
    }
}
