//! Heaps and handles are values: sent, shared, cloned, kept in collections of their own.

use mallocstate::collections::{Box, HashMap, HashSet, Vec};
use mallocstate::{LocalMallocState, LocalSharedMallocState, MallocState, SharedMallocState};

fn assert_handle<T: Clone + Send + Sync + 'static>() {}
fn assert_send<T: Send>() {}
fn assert_sync<T: Sync>() {}

/// For a type with `Default` it would be ambiguous which of the two is meant.
trait AmbiguousWithDefault<Which> {
    fn has_no_default() {}
}
impl<T> AmbiguousWithDefault<()> for T {}
impl<T: Default> AmbiguousWithDefault<u8> for T {}

struct Session<'a> {
    names: Vec<'a, &'a str>,
    ages: HashMap<'a, &'a str, u32>,
}

pub(crate) fn main() {
    assert_handle::<SharedMallocState>();
    assert_send::<MallocState>();
    assert_sync::<MallocState>();
    assert_send::<&MallocState>();
    assert_send::<LocalMallocState>();
    assert_send::<Vec<u8>>();
    // It would silently make new heaps.
    <SharedMallocState as AmbiguousWithDefault<_>>::has_no_default();
    <LocalSharedMallocState as AmbiguousWithDefault<_>>::has_no_default();

    let mut heaps: std::vec::Vec<MallocState> = (0..10).map(|_| MallocState::new()).collect();
    let first = heaps[0].allocate_number(1);
    assert_eq!(first, 1);
    heaps.rotate_left(3);
    std::thread::spawn(move || heaps.into_iter().for_each(|heap| _ = heap.destroy())).join().unwrap();

    let moved = MallocState::local();
    assert_eq!(std::thread::spawn(move || *moved.alloc(5)).join().unwrap(), 5);

    let heap = MallocState::new();
    let mut session = Session { names: Vec::new_in(&heap), ages: HashMap::new_in(&heap) };
    session.names.push("Ada");
    session.ages.insert("Ada", 36);
    let mut seen: HashSet<u32> = HashSet::new_in(&heap);
    seen.extend(session.ages.values().copied());
    let boxed: Box<u32> = Box::new_in(36, &heap);
    assert!(seen.contains(&*boxed) && session.names == ["Ada"]);

    let by_value = mallocstate::allocator_api2::vec::Vec::<u8, MallocState>::with_capacity_in(8, MallocState::new());
    assert!(by_value.capacity() >= 8);

    let handle: SharedMallocState = MallocState::new().into();
    let other = handle.clone();
    let sum = std::thread::spawn(move || *other.alloc(1) + *other.alloc(2)).join().unwrap();
    assert_eq!((sum, handle.try_destroy().unwrap().live_blocks()), (3, 2));

    let local = LocalSharedMallocState::new(MallocState::local());
    let twin = local.clone();
    assert_eq!(*twin.alloc(4), 4);
    assert!(local.try_destroy().is_err());
}

trait AllocateNumber {
    fn allocate_number(&self, number: i32) -> i32;
}

impl AllocateNumber for MallocState {
    fn allocate_number(&self, number: i32) -> i32 {
        *mallocstate::allocator_api2::boxed::Box::new_in(number, self)
    }
}
