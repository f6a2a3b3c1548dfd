//! What is made in the heap's own memory when it is first used: at most once, and seen whole by whoever sees it.

#![expect(unsafe_code, reason = "publishes")]

use std::cell::{Cell, UnsafeCell};
use std::convert::Infallible;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;

use super::{Plain, check, join, spawn};
use crate::cache::chunks::{Chunks, Place};
use crate::os::lock::{Guard, Locked};
use crate::os::raw_locks::SystemLock;
use crate::primitives::published::Published;

/// A heap's pool: how often it has hosted something.
type Pool = Locked<SystemLock, usize>;

struct Tier {
    published: Published<Plain>,
    pool: Pool,
    room: Plain,
}

impl Tier {
    fn new() -> Arc<Self> {
        let tier = Self { published: Published::nothing(), pool: Locked::new(0), room: Plain::new(0) };
        assert!(tier.published.get().is_none() && *tier.pool.lock() == 0);
        Arc::new(tier)
    }

    /// Uses what is published, once that is made.
    fn find_or_make(&self) {
        let make = |pool: &mut Guard<'_, SystemLock, usize>| {
            **pool += 1;
            self.room.set(7);
            Ok::<_, Infallible>(NonNull::from(&self.room))
        };
        // SAFETY: the room lasts as long as what is published; the pool's lock excludes.
        let Ok(made) = unsafe { self.published.get_or_make(|| self.pool.lock(), make) };
        assert_eq!(made.get(), 7);
    }
}

#[test]
fn made_once_and_seen_whole() {
    check(|| {
        let tier = Tier::new();
        let threads = [spawn(&tier, Tier::find_or_make), spawn(&tier, Tier::find_or_make)];
        if let Some(made) = tier.published.get() {
            assert_eq!(made.get(), 7);
        }
        join(threads);
        assert_eq!(*tier.pool.lock(), 1);
    });
}

type Entry = Published<Plain>;

/// The slots that the model's threads have, both in the first chunk.
const SLOTS: [usize; 2] = [64, 127];

/// The caches of threads beyond the inline table.
struct Table {
    chunks: Chunks<Entry>,
    pool: Pool,
    /// Where the first chunk is made.
    room: Box<[UnsafeCell<MaybeUninit<Entry>>; 64]>,
    caches: [Plain; 2],
}

// SAFETY: the room is written once, under the pool's lock, and then belongs to the chunks.
unsafe impl Sync for Table {}

impl Table {
    fn new() -> Arc<Self> {
        let table = Self {
            chunks: Chunks::new(),
            pool: Locked::new(0),
            room: Box::new([const { UnsafeCell::new(MaybeUninit::uninit()) }; 64]),
            caches: [Plain::new(0), Plain::new(0)],
        };
        assert!(table.cache(0).is_none() && *table.pool.lock() == 0);
        Arc::new(table)
    }

    fn cache(&self, thread: usize) -> Option<usize> {
        Some(self.chunks.get(Place::of(SLOTS[thread])?)?.get()?.get())
    }

    /// A thread makes its cache, in a chunk that it may have to make, too.
    fn make_cache(&self, thread: usize) {
        let host = |pool: &mut Guard<'_, SystemLock, usize>, entries| {
            **pool += 1;
            assert_eq!(entries, self.room.len());
            Ok::<_, Infallible>(NonNull::from(&*self.room).cast())
        };
        let made = Cell::new(0);
        let empty = || {
            let entry = Entry::nothing();
            // Loom is told of the entries that matter.
            if SLOTS.contains(&(64 + made.replace(made.get() + 1))) {
                assert!(entry.get().is_none());
            }
            entry
        };
        let place = Place::of(SLOTS[thread]).unwrap();
        // SAFETY: the pool's lock excludes, and the room lasts as long as the chunks.
        let Ok(entry) = unsafe { self.chunks.get_or_make(place, || self.pool.lock(), host, empty) };
        self.caches[thread].set(thread + 1);
        // SAFETY: caches last as long as the chunks, and each thread has an entry of its own.
        unsafe { entry.publish(NonNull::from(&self.caches[thread])) };
    }
}

#[test]
fn a_chunk_is_made_once_and_entries_stay() {
    check(|| {
        let table = Table::new();
        let threads = [spawn(&table, |table| table.make_cache(0)), spawn(&table, |table| table.make_cache(1))];
        for thread in 0..2 {
            assert!(table.cache(thread).is_none_or(|cache| cache == thread + 1));
        }
        join(threads);
        assert_eq!([table.cache(0), table.cache(1)], [Some(1), Some(2)]);
        assert_eq!(*table.pool.lock(), 1);
    });
}
