//! The collections that take an allocator, with all that they ask of it.

use std::collections::BTreeMap;

use mallocstate::allocator_api2::alloc::Allocator;
use mallocstate::allocator_api2::{boxed::Box, vec::Vec};
use mallocstate::collections::HashMap;
use mallocstate::{MallocState, hashbrown};

use crate::in_every_mode;
use crate::support::{scale, where_global};

#[test]
fn vectors_grow_and_shrink() {
    in_every_mode(|heap| {
        let mut numbers = Vec::new_in(heap);
        for number in 0..300_000_u64 {
            numbers.push(number);
        }
        for len in [200_000, 5000, 4000, 100, 3, 0] {
            numbers.truncate(len);
            numbers.shrink_to_fit();
            assert!(numbers.iter().zip(0..).all(|(&number, index)| number == index));
        }
        numbers.extend_from_slice(&[1, 2, 3]);
        let slice = numbers.into_boxed_slice();
        assert_eq!(*slice, [1, 2, 3]);
    });
}

#[test]
fn vectors_of_aligned_values_are_aligned() {
    #[repr(align(256))]
    #[derive(Clone)]
    struct Line(u8);
    in_every_mode(|heap| {
        let mut lines = Vec::new_in(heap);
        for index in 0..500 {
            lines.push(Line(index as u8));
            assert!(lines.as_ptr().is_aligned());
        }
        lines.shrink_to_fit();
        assert!(lines.iter().enumerate().all(|(index, line)| line.0 == index as u8));
    });
}

#[test]
fn boxes_free_what_they_hold() {
    in_every_mode(|heap| {
        let words = (0..1000_usize).map(|len| Box::new_in(std::string::String::from("x").repeat(len), heap));
        let words: std::vec::Vec<_> = words.collect();
        assert!(words.iter().enumerate().all(|(len, word)| word.len() == len));
        let zeroed = Box::<[u64; 1000], _>::new_zeroed_in(heap);
        // SAFETY: numbers may be all zero.
        assert_eq!(*unsafe { zeroed.assume_init() }, [0; 1000]);
    });
}

/// Grows, shrinks and empties a map beside one of std's.
fn check_map(heap: impl Allocator + Clone) {
    let mut map = hashbrown::HashMap::<u64, Vec<u8, _>, hashbrown::DefaultHashBuilder, _>::new_in(heap.clone());
    let mut expected = BTreeMap::new();
    for key in 0..scale(20_000) as u64 {
        let mut value = Vec::new_in(heap.clone());
        value.resize((key % 50) as usize, key as u8);
        map.insert(key * 7, value);
        expected.insert(key * 7, vec![key as u8; (key % 50) as usize]);
        if key % 3 == 0 {
            map.remove(&(key * 7 / 2));
            expected.remove(&(key * 7 / 2));
        }
    }
    map.retain(|key, _| key % 5 != 0);
    expected.retain(|key, _| key % 5 != 0);
    map.shrink_to_fit();
    assert_eq!(map.len(), expected.len());
    assert!(expected.iter().all(|(key, value)| map[key] == **value));
}

#[test]
fn maps_hold_what_they_were_given() {
    let heap = MallocState::new();
    check_map(&heap);
    let local = MallocState::local();
    check_map(&local);
    check_map(mallocstate::SharedMallocState::new(MallocState::new()));
    assert_eq!(heap.stats().live_blocks + local.stats().live_blocks, 0);
    where_global! {
        let global = MallocState::global();
        check_map(&global);
        assert_eq!(global.stats().live_blocks, 0);
    }
}

#[test]
fn a_vector_that_cannot_grow_keeps_what_it_has() {
    let heap = MallocState::builder().limit(256 << 10).build().expect("a possible limit");
    let mut numbers = Vec::new_in(&heap);
    let refused = loop {
        if let Err(error) = numbers.try_reserve(1) {
            break error;
        }
        numbers.push(numbers.len());
    };
    assert!(!std::string::ToString::to_string(&refused).is_empty());
    assert!(numbers.len() > 1000 && numbers.iter().enumerate().all(|(index, &number)| index == number));
    assert!(numbers.try_reserve(usize::MAX / 16).is_err());
    assert!(numbers.try_reserve(usize::MAX).is_err());
    numbers.truncate(10);
    numbers.shrink_to_fit();
    assert!(numbers.try_reserve(1000).is_ok());
    assert_eq!(numbers.iter().sum::<usize>(), 45);
}

#[test]
fn a_map_that_cannot_grow_keeps_what_it_has() {
    let heap = MallocState::builder().limit(256 << 10).build().expect("a possible limit");
    let mut map: HashMap<'_, u64, u64> = HashMap::new_in(&heap);
    while map.try_reserve(1).is_ok() {
        let key = map.len() as u64;
        map.insert(key, key * key);
    }
    assert!(map.len() > 1000 && map.iter().all(|(&key, &value)| value == key * key));
    assert!(map.try_reserve(usize::MAX / 64).is_err());
    map.clear();
    map.shrink_to_fit();
    assert!(map.try_reserve(1000).is_ok());
    assert!(heap.committed() <= 256 << 10);
}
