//! The locks that modes choose between: none, the system's own, and parking_lot's.

#![expect(unsafe_code, reason = "implements locks")]

use core::cell::Cell;
use core::marker::PhantomData;

use super::lock::RawLock;

#[cfg(any(target_os = "linux", target_os = "android"))]
#[path = "futex.rs"]
mod system;

#[cfg(target_vendor = "apple")]
#[path = "unfair.rs"]
mod system;

#[cfg(windows)]
#[path = "srw.rs"]
mod system;

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple", windows)))]
#[path = "spin.rs"]
mod system;

#[cfg(not(any(target_vendor = "apple", windows)))]
mod waiting;

pub(crate) use system::SystemLock;

/// No lock: for what one thread at a time can reach. `Send`, never `Sync`.
///
/// Debug builds notice when it is taken twice.
#[derive(Debug)]
pub struct NoLock {
    #[cfg(debug_assertions)]
    held: Cell<bool>,
    not_sync: PhantomData<Cell<()>>,
}

// SAFETY: the type is not `Sync`, so that all calls come from one thread at a time. The same thread never takes a lock
// that it holds already: all locks are taken for the length of a guard, in the one order of the crate, and debug builds
// check it.
unsafe impl RawLock for NoLock {
    const UNLOCKED: Self = Self {
        #[cfg(debug_assertions)]
        held: Cell::new(false),
        not_sync: PhantomData,
    };

    const SINGLE_THREADED: bool = true;

    #[inline(always)]
    fn lock(&self) {
        #[cfg(debug_assertions)]
        if self.held.replace(true) {
            crate::primitives::abort::corruption("a lock is taken twice", core::ptr::from_ref(self).cast());
        }
    }

    #[inline(always)]
    unsafe fn unlock(&self) {
        #[cfg(debug_assertions)]
        self.held.set(false);
    }
}

/// parking_lot's raw mutex. It allocates when it is contended.
#[cfg(feature = "std")]
pub struct ParkingLot(core::cell::UnsafeCell<parking_lot::RawMutex>);

// SAFETY: the mutex within is `Sync`, and it is written only where there is a single thread.
#[cfg(feature = "std")]
unsafe impl Sync for ParkingLot {}

#[cfg(feature = "std")]
impl ParkingLot {
    #[inline(always)]
    fn mutex(&self) -> &parking_lot::RawMutex {
        // SAFETY: it is written only in `unlock_in_child`, where no other thread has a reference.
        unsafe { &*self.0.get() }
    }
}

#[cfg(feature = "std")]
impl core::fmt::Debug for ParkingLot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ParkingLot")
    }
}

// SAFETY: parking_lot's mutex excludes and orders as `RawLock` asks.
#[cfg(feature = "std")]
unsafe impl RawLock for ParkingLot {
    const UNLOCKED: Self =
        Self(core::cell::UnsafeCell::new(<parking_lot::RawMutex as parking_lot::lock_api::RawMutex>::INIT));

    #[inline]
    fn lock(&self) {
        parking_lot::lock_api::RawMutex::lock(self.mutex());
    }

    #[inline]
    unsafe fn unlock(&self) {
        // SAFETY: the caller holds the lock.
        unsafe { parking_lot::lock_api::RawMutex::unlock(self.mutex()) }
    }

    /// Threads that waited are not in the child: handing the lock to one of them would lose it.
    unsafe fn unlock_in_child(&self) {
        // SAFETY: the only thread is here, so there is no other reference to the mutex.
        unsafe { self.0.get().write(<parking_lot::RawMutex as parking_lot::lock_api::RawMutex>::INIT) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_lock_is_nothing_in_release_builds() {
        let size = if cfg!(debug_assertions) { 1 } else { 0 };
        assert_eq!(size_of::<NoLock>(), size);
    }

    #[test]
    fn taken_and_given_back_in_turn() {
        fn turn<L: RawLock>() {
            let lock = L::UNLOCKED;
            for _ in 0..3 {
                lock.lock();
                // SAFETY: taken on the line above.
                unsafe { lock.unlock() };
            }
            lock.lock();
            // SAFETY: as far as this lock goes, the test is the only thread, and it holds it.
            unsafe { lock.unlock_in_child() };
            lock.lock();
            // SAFETY: taken on the line above.
            unsafe { lock.unlock() };
        }
        turn::<NoLock>();
        turn::<SystemLock>();
        #[cfg(feature = "std")]
        turn::<ParkingLot>();
    }

    #[cfg(feature = "std")]
    #[test]
    fn threads_exclude_each_other() {
        use crate::os::lock::Locked;

        fn contend<L: RawLock + Sync>() {
            let (threads, rounds) = (4, 20_000);
            let counter = Locked::<L, usize>::new(0);
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        for _ in 0..rounds {
                            let mut count = counter.lock();
                            let seen = *count;
                            core::hint::spin_loop();
                            *count = seen + 1;
                        }
                    });
                }
            });
            assert_eq!(*counter.lock(), threads * rounds);
        }
        contend::<SystemLock>();
        contend::<ParkingLot>();
    }
}
