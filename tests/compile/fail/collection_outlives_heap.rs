//! A collection cannot outlive the heap that it borrows.

use mallocstate::MallocState;
use mallocstate::allocator_api2::vec::Vec;

fn main() {
    let mut numbers;
    {
        let heap = MallocState::new();
        numbers = Vec::new_in(&heap);
        numbers.push(1);
    }
    numbers.push(2);
}
