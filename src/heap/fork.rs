//! Forks: the child finds free what other threads had locked.
//!
//! Around a fork, handlers hold the locks of the crate's statics and of all heaps of the mode `Global`, in the order in
//! which the crate takes them. What other threads had in their caches is out of the child's reach: their slots stay leased
//! there.

#![expect(unsafe_code, reason = "gives back locks that were taken before the fork")]

use core::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};

use crate::cache::slot;
use crate::os::{native, segment_cache};

#[cfg(all(
    feature = "std",
    any(
        target_os = "linux",
        target_vendor = "apple",
        target_os = "freebsd",
        target_os = "netbsd",
        all(windows, target_env = "msvc")
    )
))]
use super::global;

/// On systems without the mode there is nothing to do for it.
#[cfg(not(all(
    feature = "std",
    any(
        target_os = "linux",
        target_vendor = "apple",
        target_os = "freebsd",
        target_os = "netbsd",
        all(windows, target_env = "msvc")
    )
)))]
mod global {
    pub(super) fn fork_prepare() {}

    pub(super) unsafe fn fork_parent() {}

    pub(super) unsafe fn fork_child() {}
}

static WATCHING: AtomicBool = AtomicBool::new(false);

/// Sets the handlers up, once in the life of the process.
pub(crate) fn watch() {
    if !WATCHING.load(Acquire) && !WATCHING.swap(true, AcqRel) && !native::at_fork(prepare, parent, child) {
        // The next heap tries again.
        WATCHING.store(false, Release);
    }
}

extern "C" fn prepare() {
    global::fork_prepare();
    slot::fork_prepare();
    segment_cache::fork_prepare();
}

extern "C" fn parent() {
    // SAFETY: `prepare` ran in this thread.
    unsafe { segment_cache::fork_parent() };
    // SAFETY: as above.
    unsafe { slot::fork_parent() };
    // SAFETY: as above.
    unsafe { global::fork_parent() };
}

extern "C" fn child() {
    // SAFETY: `prepare` ran in this thread, the only one here.
    unsafe { segment_cache::fork_child() };
    // SAFETY: as above.
    unsafe { slot::fork_child() };
    // SAFETY: as above.
    unsafe { global::fork_child() };
}
