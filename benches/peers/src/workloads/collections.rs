//! Collections that live in a heap made for them.

use std::hint::black_box;
use std::time::Duration;

use allocator_api2::boxed::Box;
use allocator_api2::vec::Vec;
use fastrand::Rng;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::SEED;
use crate::peers::Peer;
use crate::timing::nanoseconds_per_unit;

/// Elements of one vector.
const PUSHES: u64 = 1_000_000;

/// Vectors that grow side by side.
const VECTORS: usize = 100;

/// Elements of each of them.
const PUSHES_EACH: u64 = 10_000;

/// Operations on one map.
const OPERATIONS: usize = 200_000;

/// Keys of the map's entries.
const KEYS: u64 = 50_000;

/// Time of one push to a vector.
pub(super) fn measure_push<P: Peer>(budget: Duration) -> f64 {
    let vector = nanoseconds_per_unit(budget, |vectors| {
        for _ in 0..vectors {
            let heap = P::create();
            let mut vector = Vec::new_in(heap.handle());
            (0..PUSHES).for_each(|element| vector.push(element));
            black_box(&vector);
        }
    });
    vector / PUSHES as f64
}

/// Time of one push to one of the vectors, to each in turn.
pub(super) fn measure_growth<P: Peer>(budget: Duration) -> f64 {
    let round = nanoseconds_per_unit(budget, |rounds| {
        for _ in 0..rounds {
            let heap = P::create();
            let mut vectors: std::vec::Vec<_> = (0..VECTORS).map(|_| Vec::new_in(heap.handle())).collect();
            for element in 0..PUSHES_EACH {
                vectors.iter_mut().for_each(|vector| vector.push(element));
            }
            black_box(&vectors);
        }
    });
    round / (VECTORS as f64 * PUSHES_EACH as f64)
}

enum Operation {
    Insert(u64),
    Remove(u64),
    Get(u64),
}

/// Two in four operations insert, one removes and one looks.
fn operations() -> std::vec::Vec<Operation> {
    let mut rng = Rng::with_seed(SEED);
    let mut operation = |_| {
        let key = rng.u64(0..KEYS);
        match rng.u32(0..4) {
            0 | 1 => Operation::Insert(key),
            2 => Operation::Remove(key),
            _ => Operation::Get(key),
        }
    };
    (0..OPERATIONS).map(&mut operation).collect()
}

/// Time of one operation on a map of boxes.
pub(super) fn measure_map<P: Peer>(budget: Duration) -> f64 {
    let operations = operations();
    let map = nanoseconds_per_unit(budget, |maps| {
        for _ in 0..maps {
            let heap = P::create();
            let mut map = HashMap::with_hasher_in(FixedState::default(), heap.handle());
            let mut sum = 0;
            for operation in &operations {
                match *operation {
                    Operation::Insert(key) => drop(map.insert(key, Box::new_in([key; 4], heap.handle()))),
                    Operation::Remove(key) => drop(map.remove(&key)),
                    Operation::Get(key) => sum += map.get(&key).map_or(0, |value| value[0]),
                }
            }
            black_box((sum, &map));
        }
    });
    map / OPERATIONS as f64
}
