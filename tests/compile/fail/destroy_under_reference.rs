//! A heap cannot be destroyed while a reference of its arena is in use.

use mallocstate::MallocState;

fn main() {
    let heap = MallocState::new();
    let number = heap.alloc(1);
    heap.destroy();
    *number += 1;
}
