//! A local heap cannot be a `static`, which all threads share.

use mallocstate::{LocalMallocState, MallocState};

static HEAP: LocalMallocState = MallocState::local();

fn main() {
    HEAP.alloc(1);
}
