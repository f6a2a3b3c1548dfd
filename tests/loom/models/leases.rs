//! Slot leases: what belongs to a slot is touched by one thread at a time, and the next one sees what the last one did.

#![expect(unsafe_code, reason = "copies a list that is too large for a stack; publishes caches")]

use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::{Plain, check, join, spawn};
use crate::cache::slot_list::SlotList;
use crate::primitives::published::Published;

/// A heap for threads with two slots: a cache for each slot, once some thread has had it.
struct Heap {
    slots: Box<SlotList>,
    entries: [Published<Plain>; 2],
    /// Where caches are made, each with the blocks it has cached.
    rooms: [Plain; 2],
    flushed: Plain,
}

impl Heap {
    fn new() -> Arc<Self> {
        static PRISTINE: SlotList = SlotList::new();
        let mut slots = Box::<SlotList>::new_uninit();
        // SAFETY: nobody ever touches the static, so that it is as good as new wherever its bytes are.
        unsafe { ptr::copy_nonoverlapping(&raw const PRISTINE, slots.as_mut_ptr(), 1) };
        // SAFETY: it was just written.
        let slots = unsafe { slots.assume_init() };
        assert!(!slots.take_if_free(0) && slots.high_water() == 0);
        let heap = Self {
            slots,
            entries: [const { Published::nothing() }; 2],
            rooms: [Plain::new(0), Plain::new(0)],
            flushed: Plain::new(0),
        };
        assert!(heap.entries.iter().all(|entry| entry.get().is_none()));
        Arc::new(heap)
    }

    /// A thread leases the lowest slot, finds or makes its cache, leaves a block there, and ends.
    fn live_and_end(&self) {
        let slot = self.slots.take_lowest().unwrap();
        let entry = &self.entries[slot];
        if entry.get().is_none() {
            self.rooms[slot].set(0);
            // SAFETY: the room lasts as long as the heap, and who leases the slot is alone here.
            unsafe { entry.publish(NonNull::from(&self.rooms[slot])) };
        }
        entry.get().unwrap().add(1);
        self.slots.give_back(slot);
    }

    /// Flushes the caches of slots that no thread has now, as a reclaim does; the answer is how many blocks that were.
    fn flush_free_slots(&self) -> usize {
        let mut flushed = 0;
        for slot in 0..self.slots.high_water() {
            if self.entries[slot].get().is_some() && self.slots.take_if_free(slot) {
                flushed += self.entries[slot].get().map_or(0, Plain::take);
                self.slots.give_back(slot);
            }
        }
        flushed
    }
}

#[test]
fn a_cache_goes_from_thread_to_thread() {
    check(|| {
        let heap = Heap::new();
        join([spawn(&heap, Heap::live_and_end), spawn(&heap, Heap::live_and_end)]);
        heap.live_and_end();
        assert_eq!(heap.flush_free_slots(), 3);
    });
}

#[test]
fn a_reclaim_meets_threads_that_come_and_go() {
    check(|| {
        let heap = Heap::new();
        let worker = spawn(&heap, |heap| {
            heap.live_and_end();
            heap.live_and_end();
        });
        let reclaimer = spawn(&heap, |heap| heap.flushed.add(heap.flush_free_slots()));
        let flushed = heap.flush_free_slots();
        join([worker, reclaimer]);
        assert_eq!(flushed + heap.flushed.get() + heap.flush_free_slots(), 2);
    });
}

#[test]
fn a_slot_has_one_lease_at_a_time() {
    check(|| {
        let heap = Heap::new();
        heap.live_and_end();
        let [first, second] = [0, 1].map(|_| {
            spawn(&heap, |heap| {
                if heap.slots.take_if_free(0) {
                    heap.rooms[0].add(1);
                    heap.slots.give_back(0);
                }
            })
        });
        join([first, second]);
        assert!(heap.slots.take_if_free(0) && !heap.slots.take_if_free(0));
        assert!([2, 3].contains(&heap.rooms[0].get()), "one of the two has had it");
    });
}
