//! What knows nothing of heaps.

pub(crate) mod sync;

#[path = "../../src/primitives/address.rs"]
pub(crate) mod address;
#[path = "../../src/primitives/list.rs"]
pub(crate) mod list;
#[path = "../../src/primitives/published.rs"]
pub(crate) mod published;

pub(crate) mod abort {
    //! A model that panics has failed: it need not abort.

    pub(crate) fn no_unwind<R>(f: impl FnOnce() -> R) -> R {
        f()
    }
}

pub(crate) mod sanitizer {
    //! No memory tool watches a model.

    use core::ptr::NonNull;

    pub(crate) fn poison(_: NonNull<u8>, _: usize) {}

    pub(crate) fn unpoison(_: NonNull<u8>, _: usize) {}

    pub(crate) fn surrender(_: NonNull<u8>, _: usize) {}
}
