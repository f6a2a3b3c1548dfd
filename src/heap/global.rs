//! The mode for a program's global allocator: nothing in it allocates, and a fork finds its locks free.
//!
//! Before a fork the handlers take every lock that a heap of this mode, or a static of the crate, may hold, in the order
//! in which the crate takes them; after it, parent and child give them back. What other threads had cached is out of the
//! child's reach: their slots stay leased there.

#![expect(unsafe_code, reason = "holds locks across a fork")]

use core::ptr;
use core::sync::atomic::Ordering::Relaxed;

use crate::cache::slot;
use crate::heap::core::Core;
use crate::heap::mode::{InlineCaches, parts, threaded};
use crate::heap::{MallocState, Mode};
use crate::os::SystemPages;
use crate::os::lock::Locked;
use crate::os::raw_locks::SystemLock;

/// As [`Threaded`](crate::Threaded), but nothing allocates behind the heap's back: the mode for a program's global
/// allocator. Offered where the target has native thread-locals.
#[derive(Debug)]
pub struct Global {
    _never: core::convert::Infallible,
}

impl Mode for Global {}

/// A heap that can be a program's global allocator.
///
/// ```
/// use mallocstate::{GlobalMallocState, MallocState};
///
/// #[global_allocator]
/// static HEAP: GlobalMallocState = MallocState::global();
///
/// let numbers: Vec<u32> = (0..1000).collect();
/// assert!(HEAP.contains(numbers.as_ptr()));
/// ```
pub type GlobalMallocState = MallocState<Global, SystemPages>;

// SAFETY: as for a threaded heap.
unsafe impl Sync for GlobalMallocState {}

impl MallocState {
    /// A heap that can be a program's global allocator.
    pub const fn global() -> GlobalMallocState {
        MallocState::unlimited(SystemPages::new())
    }
}

impl parts::Parts for Global {
    type Lock = SystemLock;
    type Table = InlineCaches<{ threaded::INLINE_SLOTS }>;
    type Lease = slot::Lease;
    const COALESCING_ROOTS: usize = threaded::COALESCING_ROOTS;

    #[inline(always)]
    fn slot() -> usize {
        slot::current()
    }

    fn lease() -> Option<slot::Lease> {
        slot::lease()
    }

    fn lease_if_free(slot: usize) -> Option<slot::Lease> {
        slot::lease_if_free(slot)
    }

    fn high_water() -> usize {
        slot::high_water()
    }

    fn while_making<R>(make: impl FnOnce() -> R) -> R {
        let _no_fork = REGISTRY.lock();
        make()
    }

    fn enter(core: &Core<Self>) {
        let mut registry = REGISTRY.lock();
        #[cfg(unix)]
        registry.watch_forks();
        core.next.store(registry.first, Relaxed);
        registry.first = ptr::from_ref(core).cast_mut();
    }

    fn leave(core: &Core<Self>) {
        let mut registry = REGISTRY.lock();
        let after = core.next.load(Relaxed);
        if ptr::eq(registry.first, core) {
            registry.first = after;
            return;
        }
        let before = registry.heaps().find(|heap| ptr::eq(heap.next.load(Relaxed), core));
        if let Some(before) = before {
            before.next.store(after, Relaxed);
        }
    }
}

/// The heaps of this mode that have a core.
struct Registry {
    first: *mut Core<Global>,
    #[cfg(unix)]
    watches_forks: bool,
}

// SAFETY: cores have no thread; the registry's lock hands them from one to the next.
unsafe impl Send for Registry {}

static REGISTRY: Locked<SystemLock, Registry> = Locked::new(Registry {
    first: ptr::null_mut(),
    #[cfg(unix)]
    watches_forks: false,
});

impl Registry {
    fn heaps(&self) -> impl Iterator<Item = &Core<Global>> {
        // SAFETY: a core leaves the registry before it goes.
        let core = |core: *mut Core<Global>| unsafe { core.as_ref() };
        core::iter::successors(core(self.first), move |heap| core(heap.next.load(Relaxed)))
    }

    #[cfg(unix)]
    fn watch_forks(&mut self) {
        if !self.watches_forks {
            self.watches_forks = crate::os::native::at_fork(fork::prepare, fork::parent, fork::child);
        }
    }
}

#[cfg(unix)]
mod fork {
    //! Handlers that run around every fork.

    use super::REGISTRY;
    use crate::cache::slot;
    use crate::os::lock::RawLock;
    use crate::os::segment_cache;

    pub(super) extern "C" fn prepare() {
        // The registry stays locked until after the fork: no heap comes, goes, or gets new locks.
        let registry = core::mem::ManuallyDrop::new(REGISTRY.lock());
        registry.heaps().for_each(|heap| heap.for_each_lock(RawLock::lock));
        slot::fork_prepare();
        segment_cache::fork_prepare();
    }

    pub(super) extern "C" fn parent() {
        // SAFETY: `prepare` ran in this thread.
        unsafe { segment_cache::fork_parent() };
        // SAFETY: as above.
        unsafe { slot::fork_parent() };
        // SAFETY: this thread holds the registry's lock since `prepare`.
        let registry = unsafe { REGISTRY.get_locked() };
        // SAFETY: `prepare` took each of these locks in this thread.
        registry.heaps().for_each(|heap| heap.for_each_lock(|lock| unsafe { lock.unlock() }));
        // SAFETY: as above.
        unsafe { REGISTRY.raw().unlock() };
    }

    pub(super) extern "C" fn child() {
        // SAFETY: `prepare` ran in this thread, the only one here.
        unsafe { segment_cache::fork_child() };
        // SAFETY: as above.
        unsafe { slot::fork_child() };
        // SAFETY: this thread holds the registry's lock since `prepare`.
        let registry = unsafe { REGISTRY.get_locked() };
        // SAFETY: `prepare` took each of these locks in this thread, the only one here.
        registry.heaps().for_each(|heap| heap.for_each_lock(|lock| unsafe { lock.unlock_in_child() }));
        // SAFETY: as above.
        unsafe { REGISTRY.raw().unlock_in_child() };
    }
}
