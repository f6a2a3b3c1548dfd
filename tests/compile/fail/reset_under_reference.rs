//! A heap cannot be reset while a reference of its arena is in use.

use mallocstate::MallocState;

fn main() {
    let mut heap = MallocState::new();
    let word = heap.alloc_str("word");
    heap.reset();
    word.make_ascii_uppercase();
}
