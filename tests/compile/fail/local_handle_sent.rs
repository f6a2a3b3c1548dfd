//! A local handle cannot go to another thread.

use mallocstate::LocalSharedMallocState;

fn send<T: Send>() {}

fn main() {
    send::<LocalSharedMallocState>();
}
