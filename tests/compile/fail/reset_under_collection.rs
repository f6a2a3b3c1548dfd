//! A heap cannot be reset while a collection lives in it.

use mallocstate::MallocState;
use mallocstate::allocator_api2::vec::Vec;

fn main() {
    let mut heap = MallocState::new();
    let mut numbers = Vec::new_in(&heap);
    numbers.push(1);
    heap.reset();
    numbers.push(2);
}
