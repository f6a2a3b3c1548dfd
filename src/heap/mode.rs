//! The three modes of a heap: what they lock with, and how they find a thread's slot.

use crate::cache::CachePtr;
use crate::os::raw_locks::NoLock;

/// How a heap meets threads: [`Threaded`], [`Local`] or `Global`. Sealed.
///
/// | mode | made by | `Send` | `Sync` | locks | thread cache |
/// | --- | --- | --- | --- | --- | --- |
/// | [`Threaded`] | `MallocState::new()` | yes | yes | parking_lot | one a thread |
/// | [`Local`] | `MallocState::local()` | yes | no | none | one |
/// | `Global` | `MallocState::global()` | yes | yes | the system's, which never allocate | one a thread |
pub trait Mode: parts::Parts {}

/// The default: any number of threads share the heap.
#[derive(Clone, Copy, Debug)]
pub struct Threaded {
    _never: core::convert::Infallible,
}

/// One thread at a time uses the heap: no thread-locals, no locks.
#[derive(Clone, Copy, Debug)]
pub struct Local {
    _never: core::convert::Infallible,
}

impl Mode for Threaded {}
impl Mode for Local {}

/// Caches that a heap finds without a look at its core: one for each of the first thread slots.
pub struct InlineCaches<const SLOTS: usize>([CachePtr; SLOTS]);

impl<const SLOTS: usize> parts::Table for InlineCaches<SLOTS> {
    const EMPTY: Self = Self([const { CachePtr::null() }; SLOTS]);

    #[inline(always)]
    fn get(&self, slot: usize) -> Option<&CachePtr> {
        self.0.get(slot)
    }

    fn clear(&mut self) {
        self.0.iter_mut().for_each(CachePtr::clear);
    }
}

/// The lease of a heap's only cache.
#[derive(Debug)]
pub struct LocalLease;

impl parts::Slotted for LocalLease {
    fn slot(&self) -> usize {
        0
    }
}

pub(crate) mod parts {
    //! What a mode is made of.

    use crate::cache::CachePtr;
    use crate::heap::core::Core;
    use crate::os::lock::RawLock;

    /// The inline table of caches.
    pub trait Table {
        /// No caches.
        const EMPTY: Self;
        /// The slot's entry, where the table has one.
        fn get(&self, slot: usize) -> Option<&CachePtr>;
        /// Forgets all caches.
        fn clear(&mut self);
    }

    /// A leased slot.
    pub trait Slotted {
        /// Its number.
        fn slot(&self) -> usize;
    }

    /// A mode's parts.
    pub trait Parts: Sized + 'static {
        /// The lock of roots, records and lists.
        type Lock: RawLock;
        /// The inline table of caches.
        type Table: Table;
        /// A leased slot.
        type Lease: Slotted;
        /// How many coalescing roots a heap has.
        const COALESCING_ROOTS: usize;
        /// The current thread's slot; a number beyond every table where it has none.
        fn slot() -> usize;
        /// Leases a slot for the current thread.
        fn lease() -> Option<Self::Lease>;
        /// Leases a slot that no thread has now.
        fn lease_if_free(slot: usize) -> Option<Self::Lease>;
        /// Every slot ever leased is below.
        fn high_water() -> usize;
        /// Held while a heap gets new locks: no fork happens meanwhile.
        type Making;
        /// Waits until locks may be made.
        fn making() -> Self::Making;
        /// Runs when a heap's core stands, before any other thread can reach it.
        fn enter(_core: &Core<Self>, _making: &mut Self::Making)
        where
            Self: crate::heap::Mode,
        {
        }
        /// Runs before a heap's core goes.
        fn leave(_core: &Core<Self>)
        where
            Self: crate::heap::Mode,
        {
        }
    }
}

impl parts::Parts for Local {
    type Lock = NoLock;
    type Table = InlineCaches<1>;
    type Lease = LocalLease;
    type Making = ();
    const COALESCING_ROOTS: usize = 1;

    #[inline(always)]
    fn slot() -> usize {
        0
    }

    fn lease() -> Option<LocalLease> {
        Some(LocalLease)
    }

    fn lease_if_free(_: usize) -> Option<LocalLease> {
        None
    }

    fn high_water() -> usize {
        1
    }

    fn making() {}

    #[cfg(all(feature = "std", unix))]
    fn enter(_: &crate::heap::core::Core<Self>, (): &mut ()) {
        crate::heap::fork::watch();
    }
}

#[cfg(feature = "std")]
pub(crate) mod threaded {
    //! What the modes with threads share.

    use super::parts::Slotted;
    use crate::cache::slot::Lease;

    /// Slots with an entry in the heap's own table.
    pub(crate) const INLINE_SLOTS: usize = 64;

    /// Coalescing roots of a heap: threads pick one by slot, so that they rarely meet.
    pub(crate) const COALESCING_ROOTS: usize = 4;

    impl Slotted for Lease {
        fn slot(&self) -> usize {
            Lease::slot(self)
        }
    }
}

#[cfg(feature = "std")]
impl parts::Parts for Threaded {
    type Lock = crate::os::raw_locks::ParkingLot;
    type Table = InlineCaches<{ threaded::INLINE_SLOTS }>;
    type Lease = crate::cache::slot::Lease;
    type Making = ();
    const COALESCING_ROOTS: usize = threaded::COALESCING_ROOTS;

    #[inline(always)]
    fn slot() -> usize {
        crate::cache::slot::current()
    }

    fn lease() -> Option<Self::Lease> {
        crate::cache::slot::lease()
    }

    fn lease_if_free(slot: usize) -> Option<Self::Lease> {
        crate::cache::slot::lease_if_free(slot)
    }

    fn high_water() -> usize {
        crate::cache::slot::high_water()
    }

    fn making() {}

    #[cfg(all(feature = "std", unix))]
    fn enter(_: &crate::heap::core::Core<Self>, (): &mut ()) {
        crate::heap::fork::watch();
    }
}

/// Without threads there is nothing to be threaded: the mode can be named, and no heap has it.
#[cfg(not(feature = "std"))]
impl parts::Parts for Threaded {
    type Lock = crate::os::raw_locks::SystemLock;
    type Table = InlineCaches<1>;
    type Lease = LocalLease;
    type Making = ();
    const COALESCING_ROOTS: usize = 1;

    fn slot() -> usize {
        usize::MAX
    }

    fn lease() -> Option<LocalLease> {
        None
    }

    fn lease_if_free(_: usize) -> Option<LocalLease> {
        None
    }

    fn high_water() -> usize {
        0
    }

    fn making() {}
}
