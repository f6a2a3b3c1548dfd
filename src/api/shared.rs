//! Owning handles: for what must be `'static`, or outlive the scope that made the heap.

#![expect(unsafe_code, reason = "implements an unsafe trait")]

use alloc::rc::Rc;
use alloc::sync::Arc;
use core::alloc::Layout;
use core::fmt;
use core::ops::Deref;
use core::ptr::NonNull;

use allocator_api2::alloc::{AllocError, Allocator};

use crate::api::allocator::implement_allocator;
use crate::heap::{Local, MallocState, Teardown, Threaded};
use crate::os::{PageSource, SystemPages};

/// Writes a handle over a counted pointer.
macro_rules! handle {
    ($(#[$docs:meta])* $name:ident, $count:ident, $mode:ty) => {
        $(#[$docs])*
        pub struct $name<S: PageSource = SystemPages>($count<MallocState<$mode, S>>);

        impl<S: PageSource> $name<S> {
            /// Makes the heap one that its handles own together. The handles' counter is the only memory that is not
            /// the heap's own.
            pub fn new(heap: MallocState<$mode, S>) -> Self {
                Self($count::new(heap))
            }

            /// Destroys the heap if this is its last handle.
            ///
            /// # Errors
            ///
            /// The handle itself, where there are others.
            pub fn try_destroy(self) -> Result<Teardown, Self> {
                $count::try_unwrap(self.0).map(MallocState::destroy).map_err(Self)
            }
        }

        impl<S: PageSource> Clone for $name<S> {
            fn clone(&self) -> Self {
                Self($count::clone(&self.0))
            }
        }

        impl<S: PageSource> Deref for $name<S> {
            type Target = MallocState<$mode, S>;

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        impl<S: PageSource> fmt::Debug for $name<S> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&**self).finish()
            }
        }

        impl<S: PageSource> From<MallocState<$mode, S>> for $name<S> {
            fn from(heap: MallocState<$mode, S>) -> Self {
                Self::new(heap)
            }
        }

        implement_allocator!([S: PageSource] $name<S>, handle => handle.0);
    };
}

handle! {
    /// A handle that owns a heap together with its clones: `Clone`, `Send`, `Sync` and `'static`.
    ///
    /// Each clone costs an atomic increment, and a collection that takes the handle by value keeps one: within a scope
    /// `&handle` is the cheaper allocator. The heap goes with its last handle. A clone stored inside its own heap keeps
    /// the heap alive for good.
    ///
    /// ```
    /// use mallocstate::{MallocState, SharedMallocState};
    /// use mallocstate::collections::Vec;
    ///
    /// let heap = SharedMallocState::new(MallocState::new());
    /// let numbers = {
    ///     let mut numbers = Vec::new_in(heap.clone());
    ///     numbers.extend(0..10);
    ///     numbers
    /// };
    /// let sum = std::thread::spawn(move || numbers.iter().sum::<i32>()).join().unwrap();
    /// assert_eq!(sum, 45);
    /// assert_eq!(heap.try_destroy().unwrap().live_blocks(), 0);
    /// ```
    SharedMallocState, Arc, Threaded
}

handle! {
    /// The single-thread twin of [`SharedMallocState`]: clones cost a plain increment, and neither the handle nor the heap
    /// leaves its thread.
    ///
    /// ```
    /// use mallocstate::{LocalSharedMallocState, MallocState};
    ///
    /// let heap = LocalSharedMallocState::new(MallocState::local());
    /// let boxed = mallocstate::allocator_api2::boxed::Box::new_in(5, heap.clone());
    /// let heap = heap.try_destroy().unwrap_err();
    /// drop(boxed);
    /// assert_eq!(heap.try_destroy().unwrap().live_blocks(), 0);
    /// ```
    LocalSharedMallocState, Rc, Local
}
