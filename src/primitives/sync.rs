//! What threads meet through: atomics, and the cell behind a lock. `tests/loom` compiles the protocols that are built on
//! them with loom's in their place, and tries them in every order.

pub(crate) use core::cell::UnsafeCell;
pub(crate) use core::sync::atomic;

/// Runs a test of one thread; loom's atomics want to know when a test starts and ends.
#[cfg(test)]
pub(crate) fn model(test: impl Fn() + Send + Sync + 'static) {
    test();
}
