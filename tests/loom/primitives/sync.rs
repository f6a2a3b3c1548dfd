//! Loom's atomics and cells under the names of `core`'s.
//!
//! Loom cannot make its own at compile time, as the sources make theirs. So each joins the model when it is first touched,
//! as if it had been made then: a model touches what it makes before another thread does, or loom reports a race.

#![expect(unsafe_code, reason = "shares a cell as `core`'s is shared")]

use std::sync::OnceLock;

/// As `core`'s. Every access counts as a write.
pub(crate) struct UnsafeCell<T> {
    value: std::cell::UnsafeCell<T>,
    accesses: OnceLock<loom::cell::UnsafeCell<()>>,
}

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { value: std::cell::UnsafeCell::new(value), accesses: OnceLock::new() }
    }

    pub(crate) fn get(&self) -> *mut T {
        self.accesses.get_or_init(|| loom::cell::UnsafeCell::new(())).with_mut(|_| ());
        self.value.get()
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

/// Runs a test of one thread, which has no orders to try.
pub(crate) fn model(test: impl Fn() + Send + Sync + 'static) {
    loom::model(test);
}

pub(crate) mod atomic {
    //! As `core::sync::atomic`.
    //!
    //! Loom remembers only the last access to an atomic: where a thread reads and then writes, it overlooks who came
    //! before the two. So each access takes a turn first, which is a write and nothing else.

    use std::ops::Deref;
    use std::sync::OnceLock;

    use loom::sync::atomic;
    pub(crate) use loom::sync::atomic::Ordering;

    macro_rules! twins {
        ($($name:ident $(<$T:ident>)? of $value:ty;)*) => {$(
            pub(crate) struct $name$(<$T>)? {
                initial: $value,
                joined: OnceLock<(atomic::$name$(<$T>)?, atomic::AtomicUsize)>,
            }

            impl$(<$T>)? $name$(<$T>)? {
                pub(crate) const fn new(initial: $value) -> Self {
                    Self { initial, joined: OnceLock::new() }
                }
            }

            impl$(<$T>)? Deref for $name$(<$T>)? {
                type Target = atomic::$name$(<$T>)?;

                fn deref(&self) -> &Self::Target {
                    let join = || (atomic::$name::new(self.initial), atomic::AtomicUsize::new(0));
                    let (atomic, turns) = self.joined.get_or_init(join);
                    turns.fetch_add(1, Ordering::Relaxed);
                    atomic
                }
            }

            impl$(<$T>)? std::fmt::Debug for $name$(<$T>)? {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str(stringify!($name))
                }
            }
        )*};
    }

    twins! {
        AtomicBool of bool;
        AtomicU8 of u8;
        AtomicU32 of u32;
        AtomicUsize of usize;
        AtomicPtr<T> of *mut T;
    }

    // SAFETY: the initial pointer is only copied, as `core`'s is.
    unsafe impl<T> Send for AtomicPtr<T> {}

    // SAFETY: as above.
    unsafe impl<T> Sync for AtomicPtr<T> {}
}
