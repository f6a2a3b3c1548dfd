//! A heap cannot be destroyed while a collection lives in it.

use mallocstate::MallocState;
use mallocstate::allocator_api2::vec::Vec;

fn main() {
    let heap = MallocState::new();
    let mut numbers = Vec::new_in(&heap);
    numbers.push(1);
    heap.destroy();
    numbers.push(2);
}
