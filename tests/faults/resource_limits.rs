//! A process that may have only so many bytes of addresses, or of memory of its own, or so many thread-local keys.
//!
//! Each test runs in a process of its own.

#![expect(unsafe_code, reason = "calls the system")]

use mallocstate::{MallocState, Mode, PageSource, SystemPages};

use crate::blocks::check_all;
use crate::child::in_child;
use crate::on_system::{Mapped, OnSystem, is_watched};
use crate::stamped::{Stamped, free_all};

const SEGMENT: usize = SystemPages::SEGMENT_SIZE;

/// What the system lends the process at most.
#[derive(Clone, Copy, Debug)]
enum Resource {
    Addresses,
    /// Maps that are private and writable.
    Memory,
}

/// Sets how much of a resource the process may have: so many bytes more than it has now, or as many as it likes.
fn limit(resource: Resource, more: Option<usize>) {
    let resource = match resource {
        Resource::Addresses => libc::RLIMIT_AS,
        Resource::Memory => libc::RLIMIT_DATA,
    };
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is written to a local.
    assert_eq!(unsafe { libc::getrlimit(resource, &raw mut limit) }, 0);
    // Of either there is no more than of addresses: a little more is allowed where the two differ.
    let bytes = more.map(|more| Mapped::beside(0..0).bytes + more);
    limit.rlim_cur = bytes.and_then(|bytes| bytes.try_into().ok()).unwrap_or(limit.rlim_max);
    // SAFETY: the limit is read from a local.
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
}

/// Heaps that live and end while the process is refused what they ask for.
fn live_within<M: Mode>(resource: Resource, more: usize, make: fn() -> MallocState<M>) -> usize {
    let mut tenants = [(); 3].map(|()| OnSystem::new(make()));
    tenants.iter_mut().for_each(OnSystem::fill);
    limit(resource, Some(more));
    for _ in 0..2 {
        for tenant in &mut tenants {
            tenant.thin_out();
            tenant.grow_all();
            (0..4).for_each(|_| tenant.fill());
            tenant.heap.reclaim();
            tenant.check();
        }
    }
    let refused = tenants.iter().map(|tenant| tenant.heap.stats().failures.source).sum();
    let [first, second, third] = tenants;
    drop(second);
    limit(resource, None);
    [first, third].into_iter().for_each(OnSystem::end);
    SystemPages::trim();
    assert_eq!(SystemPages::cached_bytes(), 0);
    refused
}

fn within<M: Mode>(name: &str, resource: Resource, make: fn() -> MallocState<M>) {
    in_child(name, || {
        if is_watched() {
            println!("not tried: the emulator passes no such limit on, and a memory tool needs memory of its own");
            return;
        }
        // What the standard library and the system make once is there before the count.
        live_within(resource, 1 << 30, make);
        let (before, mut refused) = (Mapped::beside(0..0), 0);
        for segments in [0, 1, 4] {
            refused += live_within(resource, segments * SEGMENT * 2 / 3, make);
            assert_eq!(Mapped::beside(0..0), before);
        }
        assert!(refused > 0);
    });
}

#[test]
fn threaded_heaps_without_addresses() {
    within("resource_limits::threaded_heaps_without_addresses", Resource::Addresses, MallocState::new);
}

#[test]
fn local_heaps_without_addresses() {
    within("resource_limits::local_heaps_without_addresses", Resource::Addresses, MallocState::local);
}

#[test]
fn global_heaps_without_addresses() {
    within("resource_limits::global_heaps_without_addresses", Resource::Addresses, MallocState::global);
}

#[test]
fn threaded_heaps_without_memory() {
    within("resource_limits::threaded_heaps_without_memory", Resource::Memory, MallocState::new);
}

#[test]
fn local_heaps_without_memory() {
    within("resource_limits::local_heaps_without_memory", Resource::Memory, MallocState::local);
}

#[test]
fn global_heaps_without_memory() {
    within("resource_limits::global_heaps_without_memory", Resource::Memory, MallocState::global);
}

/// Threads that cannot say that they end get a slot for single operations.
fn share_without_keys<M: Mode>(mut heap: MallocState<M>)
where
    MallocState<M>: Sync,
{
    std::thread::scope(|scope| {
        let work = |seed: u64| {
            let sizes = [40, 3000, SEGMENT / 100, SEGMENT / 2, SEGMENT];
            let mut blocks = Vec::new();
            for step in 0..200 {
                let size = sizes[(step * 7 + step / 5) % if step % 50 == 0 { 5 } else { 3 }];
                blocks.push(Stamped::zeroed(&heap, size, 8, seed).unwrap());
                if step % 3 == 0 {
                    blocks.swap_remove(blocks.len() / 2).free(&heap);
                }
            }
            free_all(&heap, blocks);
        };
        let threads: Vec<_> = (0..4).map(|seed| scope.spawn(move || work(seed))).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    // No thread has a slot: whatever the threads cached can be reached.
    heap.reclaim();
    let stats = heap.stats();
    assert_eq!((stats.live, stats.cached), (0, 0), "{stats}");
    check_all(&mut heap);
}

#[test]
fn threads_without_keys() {
    in_child("resource_limits::threads_without_keys", || {
        let mut keys = Vec::new();
        loop {
            let mut key = 0;
            // SAFETY: the key is written to a local.
            if unsafe { libc::pthread_key_create(&raw mut key, None) } != 0 {
                break;
            }
            keys.push(key);
        }
        share_without_keys(MallocState::new());
        share_without_keys(MallocState::global());
        for key in keys {
            // SAFETY: the key was made above, and no thread has a value for it.
            assert_eq!(unsafe { libc::pthread_key_delete(key) }, 0);
        }
        share_without_keys(MallocState::new());
    });
}
