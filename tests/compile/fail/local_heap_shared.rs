//! A local heap cannot be shared between threads.

use mallocstate::LocalMallocState;

fn share<T: Sync>() {}

fn main() {
    share::<LocalMallocState>();
}
