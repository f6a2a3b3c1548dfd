//! Thread slots: small integers that running threads lease, lowest first, recycled when a thread ends.
//!
//! What a slot stands for, a thread cache in each heap, is touched only by the thread that leases it. Leases pass from
//! thread to thread through the list's lock, which orders what they do.
//!
//! ```text
//! top      4 words, a bit for each word of `middle`: is it full?
//! middle   a bit for each word of `leaves`: is it full?
//! leaves   a bit for each slot: is it leased?
//! ```
//!
//! # Invariants
//!
//! - A bit above the leaves is set where the word below it has all bits set.
//! - Every slot ever leased is below the high-water mark.

#![cfg(feature = "std")]
#![cfg_attr(unix, expect(unsafe_code, reason = "a fork frees a lock"))]

use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::{Acquire, Release};

use crate::os::lock::Locked;
#[cfg(unix)]
use crate::os::lock::RawLock;
use crate::os::raw_locks::SystemLock;

pub(crate) use thread::{Lease, current, high_water, lease, lease_if_free};
#[cfg(unix)]
pub(crate) use thread::{fork_child, fork_parent, fork_prepare};

/// How many slots there are.
pub(crate) const SLOTS: usize = 1 << 20;

const MIDDLE: usize = SLOTS / 64 / 64;
const TOP: usize = MIDDLE / 64;

/// Which slots are leased.
struct Leased {
    top: [u64; TOP],
    middle: [u64; MIDDLE],
    leaves: [u64; SLOTS / 64],
}

impl Leased {
    const NONE: Self = Self { top: [0; TOP], middle: [0; MIDDLE], leaves: [0; SLOTS / 64] };

    fn lowest_free(&self) -> Option<usize> {
        let top = self.top.iter().position(|&word| word != u64::MAX)?;
        let middle = top * 64 + self.top[top].trailing_ones() as usize;
        let leaf = middle * 64 + self.middle[middle].trailing_ones() as usize;
        Some(leaf * 64 + self.leaves[leaf].trailing_ones() as usize)
    }

    fn contains(&self, slot: usize) -> bool {
        self.leaves[slot / 64] & bit(slot) != 0
    }

    fn insert(&mut self, slot: usize) {
        debug_assert!(!self.contains(slot));
        let (leaf, middle) = (slot / 64, slot / 64 / 64);
        self.leaves[leaf] |= bit(slot);
        if self.leaves[leaf] == u64::MAX {
            self.middle[middle] |= bit(leaf);
        }
        if self.middle[middle] == u64::MAX {
            self.top[middle / 64] |= bit(middle);
        }
    }

    fn remove(&mut self, slot: usize) {
        debug_assert!(self.contains(slot));
        let (leaf, middle) = (slot / 64, slot / 64 / 64);
        self.leaves[leaf] &= !bit(slot);
        self.middle[middle] &= !bit(leaf);
        self.top[middle / 64] &= !bit(middle);
    }
}

const fn bit(index: usize) -> u64 {
    1 << (index % 64)
}

/// The slots, and who may have them.
pub(crate) struct SlotList {
    leased: Locked<SystemLock, Leased>,
    high_water: AtomicUsize,
}

impl SlotList {
    pub(crate) const fn new() -> Self {
        Self { leased: Locked::new(Leased::NONE), high_water: AtomicUsize::new(0) }
    }

    /// Leases the lowest free slot.
    pub(crate) fn take_lowest(&self) -> Option<usize> {
        let mut leased = self.leased.lock();
        let slot = leased.lowest_free()?;
        leased.insert(slot);
        if slot >= self.high_water.load(Acquire) {
            self.high_water.store(slot + 1, Release);
        }
        Some(slot)
    }

    /// Leases the slot if it is free and was leased before.
    pub(crate) fn take_if_free(&self, slot: usize) -> bool {
        let mut leased = self.leased.lock();
        let free = slot < self.high_water() && !leased.contains(slot);
        if free {
            leased.insert(slot);
        }
        free
    }

    /// Ends the lease of a slot.
    pub(crate) fn give_back(&self, slot: usize) {
        self.leased.lock().remove(slot);
    }

    /// Every slot ever leased is below.
    pub(crate) fn high_water(&self) -> usize {
        self.high_water.load(Acquire)
    }
}

/// The one list that the threads of the process share.
mod thread {
    use core::cell::Cell;
    use core::marker::PhantomData;

    #[cfg(unix)]
    use super::RawLock;
    use super::{SLOTS, SlotList};
    use crate::os::thread_exit::at_thread_exit;

    static SLOT_LIST: SlotList = SlotList::new();

    /// The thread has no slot yet. Any number from [`SLOTS`] on means that there is no slot.
    pub(crate) const NONE: usize = usize::MAX;

    /// The thread is past its end, and has no slot any more.
    const ENDED: usize = usize::MAX - 1;

    std::thread_local! {
        static SLOT: Cell<usize> = const { Cell::new(NONE) };
    }

    /// The slot that the current thread leases; from [`SLOTS`] on if there is none.
    #[inline(always)]
    pub(crate) fn current() -> usize {
        SLOT.get()
    }

    /// The right to touch what belongs to a slot, in the thread that has it.
    #[derive(Debug)]
    pub struct Lease {
        slot: usize,
        /// The slot goes back when the lease is dropped, not when the thread ends.
        temporary: bool,
        not_send: PhantomData<*const ()>,
    }

    impl Lease {
        const fn new(slot: usize, temporary: bool) -> Self {
            Self { slot, temporary, not_send: PhantomData }
        }

        /// The slot.
        pub(crate) fn slot(&self) -> usize {
            self.slot
        }
    }

    impl Drop for Lease {
        fn drop(&mut self) {
            if self.temporary {
                SLOT_LIST.give_back(self.slot);
            }
        }
    }

    /// Leases a slot for the thread until it ends; for a thread past its end, until the lease is dropped. `None` where
    /// all slots are leased.
    #[cold]
    pub(crate) fn lease() -> Option<Lease> {
        let before = current();
        if before < SLOTS {
            return Some(Lease::new(before, false));
        }
        let slot = SLOT_LIST.take_lowest()?;
        if before == ENDED {
            return Some(Lease::new(slot, true));
        }
        // Registering may allocate, from a heap of this crate in the end: the slot is the thread's before that.
        SLOT.set(slot);
        if at_thread_exit(end) {
            return Some(Lease::new(slot, false));
        }
        SLOT.set(NONE);
        Some(Lease::new(slot, true))
    }

    /// Ends the lease of the current thread. From here on it leases for single operations.
    fn end() {
        let slot = SLOT.replace(ENDED);
        if slot < SLOTS {
            SLOT_LIST.give_back(slot);
        }
    }

    /// Leases a slot that a thread had before and no thread has now, until the lease is dropped.
    pub(crate) fn lease_if_free(slot: usize) -> Option<Lease> {
        SLOT_LIST.take_if_free(slot).then(|| Lease::new(slot, true))
    }

    /// Every slot ever leased is below.
    pub(crate) fn high_water() -> usize {
        SLOT_LIST.high_water()
    }

    /// Before a fork: takes the list's lock.
    ///
    /// In the child the slots of threads that are not there stay leased: what belongs to them may be half done.
    #[cfg(unix)]
    pub(crate) fn fork_prepare() {
        SLOT_LIST.leased.raw().lock();
    }

    /// After a fork, in the parent: gives the list's lock back.
    ///
    /// # Safety
    ///
    /// This thread called [`fork_prepare`] before the fork.
    #[cfg(unix)]
    pub(crate) unsafe fn fork_parent() {
        // SAFETY: the caller holds the lock.
        unsafe { SLOT_LIST.leased.raw().unlock() }
    }

    /// After a fork, in the child: frees the list's lock.
    ///
    /// # Safety
    ///
    /// This thread called [`fork_prepare`] before the fork.
    #[cfg(unix)]
    pub(crate) unsafe fn fork_child() {
        // SAFETY: a child has one thread, and it holds the lock.
        unsafe { SLOT_LIST.leased.raw().unlock_in_child() }
    }
}

#[cfg(test)]
mod tests {
    use std::boxed::Box;
    use std::sync::{Barrier, Mutex};
    use std::vec::Vec;

    use super::*;

    /// A list is too large for the stack of a test.
    fn list() -> &'static SlotList {
        static LIST: SlotList = SlotList::new();
        &LIST
    }

    #[test]
    fn lowest_first_to_the_last() {
        let list = list();
        for slot in 0..SLOTS {
            assert_eq!(list.take_lowest(), Some(slot));
        }
        assert_eq!(list.take_lowest(), None);
        assert_eq!(list.high_water(), SLOTS);
        for slot in [SLOTS - 1, 64 * 64 * 3 + 7, 5, 64] {
            list.give_back(slot);
        }
        assert!(list.take_if_free(64));
        assert!(!list.take_if_free(64));
        assert!(!list.take_if_free(6));
        assert_eq!(list.take_lowest(), Some(5));
        assert_eq!(list.take_lowest(), Some(64 * 64 * 3 + 7));
        assert_eq!(list.take_lowest(), Some(SLOTS - 1));
        assert_eq!(list.take_lowest(), None);
    }

    #[test]
    fn a_slot_that_was_never_leased_is_not_free_to_take() {
        static LIST: SlotList = SlotList::new();
        assert!(!LIST.take_if_free(0));
        assert_eq!(LIST.take_lowest(), Some(0));
        LIST.give_back(0);
        assert!(LIST.take_if_free(0));
        assert!(!LIST.take_if_free(SLOTS));
    }

    #[test]
    fn threads_have_slots_of_their_own() {
        const THREADS: usize = 40;
        let seen = Mutex::new(Vec::new());
        let barrier = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    assert!(current() >= SLOTS);
                    let slot = lease().unwrap().slot();
                    assert_eq!(current(), slot);
                    assert_eq!(lease().unwrap().slot(), slot);
                    assert!(slot < high_water());
                    assert!(lease_if_free(slot).is_none());
                    seen.lock().unwrap().push(slot);
                    barrier.wait();
                });
            }
        });
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), THREADS);
    }

    #[test]
    fn slots_are_recycled() {
        for _ in 0..1000 {
            let slot = std::thread::spawn(|| lease().unwrap().slot()).join().unwrap();
            // Other tests run at the same time, but not with hundreds of threads.
            assert!(slot < 500);
        }
    }

    #[test]
    fn a_thread_past_its_end_leases_for_a_while() {
        struct Late(Box<dyn Fn()>);

        impl Drop for Late {
            fn drop(&mut self) {
                (self.0)();
            }
        }

        std::thread_local! {
            static LATE: core::cell::RefCell<Option<Late>> = const { core::cell::RefCell::new(None) };
        }
        // The order of destructors is the system's: the lease is good whichever comes first.
        std::thread::spawn(|| {
            LATE.set(Some(Late(Box::new(|| {
                let lease = lease().unwrap();
                assert!(lease.slot() < high_water());
                assert!(lease_if_free(lease.slot()).is_none());
            }))));
            drop(lease());
        })
        .join()
        .unwrap();
    }
}
