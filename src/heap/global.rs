//! The mode for a program's global allocator: nothing in it allocates, and a fork finds its locks free.
//!
//! Offered where the target has native thread-locals: elsewhere a thread's slot could not be found without allocating.

#![cfg(all(
    feature = "std",
    any(
        target_os = "linux",
        target_vendor = "apple",
        target_os = "freebsd",
        target_os = "netbsd",
        all(windows, target_env = "msvc")
    )
))]
#![expect(unsafe_code, reason = "holds locks across a fork")]

use core::ptr;
use core::sync::atomic::Ordering::Relaxed;

use crate::cache::slot;
use crate::heap::core::Core;
use crate::heap::mode::{InlineCaches, parts, threaded};
use crate::heap::{Builder, MallocState, Mode};
#[cfg(unix)]
use crate::os::lock::RawLock;
use crate::os::lock::{Guard, Locked};
use crate::os::raw_locks::SystemLock;
use crate::os::{PageSource, SystemPages};

/// As [`Threaded`](crate::Threaded), but nothing allocates behind the heap's back: the mode for a program's global
/// allocator. Offered where the target has native thread-locals.
#[derive(Clone, Copy, Debug)]
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
unsafe impl<S: PageSource + Send + Sync> Sync for MallocState<Global, S> {}

impl<'a, M: Mode, S: PageSource> Builder<'a, M, S> {
    /// Makes it a heap that can be a program's global allocator. A source of its own must not allocate from any heap of
    /// this mode, the program's global allocator included.
    ///
    /// ```
    /// let heap = mallocstate::MallocState::builder().name("all").global().build()?;
    /// assert_eq!(heap.name(), "all");
    /// # Ok::<(), mallocstate::ConfigError>(())
    /// ```
    #[must_use]
    pub fn global(self) -> Builder<'a, Global, S> {
        self.mode()
    }
}

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
    type Making = Making;
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

    fn making() -> Making {
        // Before the lock: a fork that runs the handlers meanwhile may hold the C library's list of them.
        #[cfg(unix)]
        crate::heap::fork::watch_too(&FORK);
        Making(REGISTRY.lock())
    }

    fn enter(core: &Core<Self>, making: &mut Making) {
        core.next.store(making.0.first, Relaxed);
        making.0.first = ptr::from_ref(core).cast_mut();
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

/// Keeps forks away while a heap gets new locks.
pub struct Making(Guard<'static, SystemLock, Registry>);

/// The heaps of this mode that have a core.
struct Registry {
    first: *mut Core<Global>,
}

// SAFETY: cores have no thread; the registry's lock hands them from one to the next.
unsafe impl Send for Registry {}

static REGISTRY: Locked<SystemLock, Registry> = Locked::new(Registry { first: ptr::null_mut() });

impl Registry {
    fn heaps(&self) -> impl Iterator<Item = &Core<Global>> {
        // SAFETY: a core leaves the registry before it goes.
        let core = |core: *mut Core<Global>| unsafe { core.as_ref() };
        core::iter::successors(core(self.first), move |heap| core(heap.next.load(Relaxed)))
    }

    /// Calls `visit` for every lock of every heap, in the order in which they are taken.
    #[cfg(unix)]
    fn for_each_lock(&self, mut visit: impl FnMut(&SystemLock)) {
        for heap in self.heaps() {
            heap.roots().for_each(|(_, root)| visit(root.raw()));
            heap.medium().into_iter().flat_map(|tier| tier.roots()).for_each(|root| visit(root.raw()));
            visit(heap.mappings.raw());
            visit(heap.pool.raw());
            visit(heap.records.raw());
        }
    }
}

#[cfg(unix)]
static FORK: crate::heap::fork::Handlers =
    crate::heap::fork::Handlers { prepare: fork_prepare, parent: fork_parent, child: fork_child };

/// Before a fork: takes the locks of all heaps. The registry stays locked meanwhile, so that no heap comes, goes, or gets
/// new locks.
#[cfg(unix)]
fn fork_prepare() {
    core::mem::ManuallyDrop::new(REGISTRY.lock()).for_each_lock(RawLock::lock);
}

/// After a fork, in the parent: gives the locks back.
///
/// # Safety
///
/// This thread called [`fork_prepare`] before the fork.
#[cfg(unix)]
unsafe fn fork_parent() {
    // SAFETY: this thread holds the registry's lock.
    let registry = unsafe { REGISTRY.get_locked() };
    // SAFETY: `fork_prepare` took each of these locks in this thread.
    registry.for_each_lock(|lock| unsafe { lock.unlock() });
    // SAFETY: as above.
    unsafe { REGISTRY.raw().unlock() };
}

/// After a fork, in the child: frees the locks.
///
/// # Safety
///
/// This thread called [`fork_prepare`] before the fork.
#[cfg(unix)]
unsafe fn fork_child() {
    // SAFETY: this thread holds the registry's lock.
    let registry = unsafe { REGISTRY.get_locked() };
    // SAFETY: `fork_prepare` took each of these locks in this thread, the only one here.
    registry.for_each_lock(|lock| unsafe { lock.unlock_in_child() });
    // SAFETY: as above.
    unsafe { REGISTRY.raw().unlock_in_child() };
}
