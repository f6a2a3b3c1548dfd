//! An iterator over segments cannot outlive its heap.

use mallocstate::MallocState;

fn main() {
    let mut segments;
    {
        let heap = MallocState::new();
        segments = heap.segments();
    }
    segments.next();
}
