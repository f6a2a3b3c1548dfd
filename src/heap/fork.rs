//! Forks: the child finds free what other threads had locked.
//!
//! Around a fork, handlers hold the locks of the crate's statics and of all heaps of the mode `Global`, in the order in
//! which the crate takes them. What other threads had in their caches is out of the child's reach: their slots stay leased
//! there.

#![expect(unsafe_code, reason = "gives back locks that were taken before the fork")]

use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};

use crate::cache::slot;
use crate::os::lock::RawLock;
use crate::os::raw_locks::SystemLock;
use crate::os::{leftovers, native, segment_cache};

/// What the mode `Global` does around a fork, where there is such a mode.
pub(crate) struct Handlers {
    pub(crate) prepare: fn(),
    /// `prepare` ran before the fork in this thread, the same of the next.
    pub(crate) parent: unsafe fn(),
    pub(crate) child: unsafe fn(),
}

static WATCHING: AtomicBool = AtomicBool::new(false);
static GLOBAL: AtomicPtr<Handlers> = AtomicPtr::new(ptr::null_mut());
/// The handlers that `prepare` ran: others may come between it and the fork.
static PREPARED: AtomicPtr<Handlers> = AtomicPtr::new(ptr::null_mut());

/// Sets the handlers up, once in the life of the process.
pub(crate) fn watch() {
    if !WATCHING.load(Acquire) && !WATCHING.swap(true, AcqRel) && !native::at_fork(prepare, parent, child) {
        // The next heap tries again.
        WATCHING.store(false, Release);
    }
}

/// Sets up the handlers, and those of the mode `Global` with them.
pub(crate) fn watch_too(handlers: &'static Handlers) {
    GLOBAL.store(ptr::from_ref(handlers).cast_mut(), Release);
    watch();
}

fn handlers(of: &AtomicPtr<Handlers>) -> Option<&'static Handlers> {
    // SAFETY: only statics are stored.
    unsafe { of.load(Acquire).as_ref() }
}

/// The locks of the crate's statics, in the order in which they are taken.
fn locks() -> [&'static SystemLock; 3] {
    [slot::fork_lock(), segment_cache::fork_lock(), leftovers::fork_lock()]
}

extern "C" fn prepare() {
    let global = handlers(&GLOBAL);
    if let Some(global) = global {
        (global.prepare)();
    }
    locks().into_iter().for_each(RawLock::lock);
    // Under the locks that were just taken: of two threads that fork, one waits above.
    PREPARED.store(global.map_or(ptr::null_mut(), |global| ptr::from_ref(global).cast_mut()), Release);
}

extern "C" fn parent() {
    let global = handlers(&PREPARED);
    for lock in locks().into_iter().rev() {
        // SAFETY: `prepare` took the lock in this thread.
        unsafe { lock.unlock() };
    }
    if let Some(global) = global {
        // SAFETY: `prepare` ran its counterpart in this thread.
        unsafe { (global.parent)() };
    }
}

extern "C" fn child() {
    let global = handlers(&PREPARED);
    for lock in locks().into_iter().rev() {
        // SAFETY: `prepare` took the lock in this thread, the only one here.
        unsafe { lock.unlock_in_child() };
    }
    if let Some(global) = global {
        // SAFETY: `prepare` ran its counterpart in this thread.
        unsafe { (global.child)() };
    }
}
