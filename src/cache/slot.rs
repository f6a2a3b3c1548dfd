//! Thread slots: small integers that running threads lease, lowest first, recycled when a thread ends.
//!
//! What a slot stands for, a thread cache in each heap, is touched only by the thread that leases it. Leases pass from
//! thread to thread through the lock of the [list](SlotList), which orders what they do.

use core::cell::Cell;
use core::marker::PhantomData;

use crate::cache::slot_list::{SLOTS, SlotList};
#[cfg(unix)]
use crate::os::raw_locks::SystemLock;
use crate::os::thread_exit::at_thread_exit;

/// The one list that the threads of the process share.
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

/// The lock that is held around a fork. In the child the slots of threads that are not there stay leased: what belongs to
/// them may be half done.
#[cfg(unix)]
pub(crate) fn fork_lock() -> &'static SystemLock {
    SLOT_LIST.raw()
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
    fn a_slot_that_no_thread_has_is_leased_once_at_a_time() {
        // Threads of other tests may have it first.
        let taken = (0..1000).any(|_| {
            let slot = std::thread::spawn(|| lease().unwrap().slot()).join().unwrap();
            let Some(ours) = lease_if_free(slot) else { return false };
            assert_eq!(ours.slot(), slot);
            assert!(lease_if_free(slot).is_none());
            drop(ours);
            lease_if_free(slot).is_some()
        });
        assert!(taken);
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
