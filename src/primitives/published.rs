//! A pointer that is published once: whoever sees it sees all that it points to.
//!
//! # Invariants
//!
//! - The pointer is null, or that of a value which stays until the `Published` is cleared or goes.
//! - It changes once, from null, but under an exclusive borrow.

#![expect(unsafe_code, reason = "shares what a pointer leads to")]

use core::ptr::{self, NonNull};

use crate::primitives::sync::atomic::{AtomicPtr, Ordering::Acquire, Ordering::Release};

/// Nothing at first, then a value for good.
pub(crate) struct Published<T>(AtomicPtr<T>);

impl<T> Published<T> {
    pub(crate) const fn nothing() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// What has been published. All that was written to it before is seen.
    #[inline(always)]
    pub(crate) fn get(&self) -> Option<&T> {
        // SAFETY: by the first invariant, what is published stays.
        self.pointer().map(|published| unsafe { published.as_ref() })
    }

    /// As [`get`](Self::get), with the provenance that was published.
    #[inline(always)]
    pub(crate) fn pointer(&self) -> Option<NonNull<T>> {
        NonNull::new(self.0.load(Acquire))
    }

    /// Publishes a value that nobody else publishes here.
    ///
    /// # Safety
    ///
    /// The value stays until `self` is cleared or goes.
    pub(crate) unsafe fn publish(&self, made: NonNull<T>) {
        self.0.store(made.as_ptr(), Release);
    }

    /// What has been published. Where that is nothing yet, `make` makes it and it is published, all under what `lock`
    /// answers: of several threads that find nothing, one makes something.
    ///
    /// # Safety
    ///
    /// What `lock` answers excludes all others that would publish here. What `make` makes stays until `self` is cleared or
    /// goes.
    pub(crate) unsafe fn get_or_make<G, E>(
        &self,
        lock: impl FnOnce() -> G,
        make: impl FnOnce(&mut G) -> Result<NonNull<T>, E>,
    ) -> Result<&T, E> {
        // SAFETY: the caller keeps the contract of this very method.
        let pointer = unsafe { self.pointer_or_make(lock, make) }?;
        // SAFETY: by the first invariant, what is published stays.
        Ok(unsafe { pointer.as_ref() })
    }

    /// As [`get_or_make`](Self::get_or_make), with the provenance that was published.
    ///
    /// # Safety
    ///
    /// As for [`get_or_make`](Self::get_or_make).
    pub(crate) unsafe fn pointer_or_make<G, E>(
        &self,
        lock: impl FnOnce() -> G,
        make: impl FnOnce(&mut G) -> Result<NonNull<T>, E>,
    ) -> Result<NonNull<T>, E> {
        if let Some(published) = self.pointer() {
            return Ok(published);
        }
        let mut guard = lock();
        if let Some(published) = self.pointer() {
            return Ok(published);
        }
        let made = make(&mut guard)?;
        // SAFETY: the caller says that it stays, and that nobody else publishes under this lock.
        unsafe { self.publish(made) };
        Ok(made)
    }

    /// Forgets what was published.
    pub(crate) fn take(&mut self) -> Option<NonNull<T>> {
        let published = self.pointer();
        *self = Self::nothing();
        published
    }
}
