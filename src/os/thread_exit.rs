//! The end of a thread, through the platform's own hook, which allocates nothing on Rust's heap.

#![cfg_attr(any(unix, windows), expect(unsafe_code, reason = "calls the system"))]

#[cfg(any(unix, windows))]
use core::sync::atomic::AtomicUsize;
#[cfg(any(unix, windows))]
use core::sync::atomic::Ordering::{Acquire, Release};

/// Makes `hook` run when the current thread ends, in place of an earlier hook of this thread. False where the system
/// refuses.
///
/// Other code may still run in the thread after the hook. The hook of the main thread may not run at all.
#[cfg(any(unix, windows))]
pub(crate) fn at_thread_exit(hook: fn()) -> bool {
    match key() {
        Some(key) => native::set(key, hook as *const ()),
        None => false,
    }
}

/// Makes `hook` run when the current thread ends, in place of an earlier hook of this thread. False once it has ended.
#[cfg(not(any(unix, windows)))]
pub(crate) fn at_thread_exit(hook: fn()) -> bool {
    use core::cell::Cell;

    struct RunAtEnd(Cell<Option<fn()>>);

    impl Drop for RunAtEnd {
        fn drop(&mut self) {
            if let Some(hook) = self.0.take() {
                hook();
            }
        }
    }

    std::thread_local! {
        static HOOK: RunAtEnd = const { RunAtEnd(Cell::new(None)) };
    }
    HOOK.try_with(|end| end.0.set(Some(hook))).is_ok()
}

/// The process's key for the hook, made when first asked for.
#[cfg(any(unix, windows))]
fn key() -> Option<usize> {
    /// One more than the key; zero while there is none.
    static KEY: AtomicUsize = AtomicUsize::new(0);

    if let Some(key) = KEY.load(Acquire).checked_sub(1) {
        return Some(key);
    }
    let made = native::create()?;
    match KEY.compare_exchange(0, made + 1, Release, Acquire) {
        Ok(_) => Some(made),
        Err(theirs) => {
            native::delete(made);
            Some(theirs - 1)
        }
    }
}

/// Runs the hook that a key's value stands for.
#[cfg(any(unix, windows))]
fn run(value: *const ()) {
    // SAFETY: the values of the key are made from `fn()` in `at_thread_exit`, and none is null.
    let hook = unsafe { core::mem::transmute::<*const (), fn()>(value) };
    hook();
}

#[cfg(unix)]
mod native {
    use core::ffi::c_void;

    extern "C" fn end(value: *mut c_void) {
        super::run(value.cast_const().cast());
    }

    pub(super) fn create() -> Option<usize> {
        let mut key = 0;
        // SAFETY: the key is written to a local; the destructor is a function of this crate.
        let refused = unsafe { libc::pthread_key_create(&raw mut key, Some(end)) };
        (refused == 0).then_some(key as usize)
    }

    pub(super) fn delete(key: usize) {
        // SAFETY: the key was made by `create`, and no thread has a value for it.
        unsafe { libc::pthread_key_delete(key as libc::pthread_key_t) };
    }

    pub(super) fn set(key: usize, value: *const ()) -> bool {
        // SAFETY: the key was made by `create` and is never deleted once it is published.
        unsafe { libc::pthread_setspecific(key as libc::pthread_key_t, value.cast()) == 0 }
    }
}

#[cfg(windows)]
mod native {
    use core::ffi::c_void;

    use windows_sys::Win32::System::Threading::{FLS_OUT_OF_INDEXES, FlsAlloc, FlsFree, FlsSetValue};

    unsafe extern "system" fn end(value: *const c_void) {
        super::run(value.cast());
    }

    pub(super) fn create() -> Option<usize> {
        // SAFETY: the callback is a function of this crate; the system calls it only with values that are not null.
        let index = unsafe { FlsAlloc(Some(end)) };
        (index != FLS_OUT_OF_INDEXES).then_some(index as usize)
    }

    pub(super) fn delete(key: usize) {
        // SAFETY: the index was made by `create`, and no thread has a value for it.
        unsafe { FlsFree(key as u32) };
    }

    pub(super) fn set(key: usize, value: *const ()) -> bool {
        // SAFETY: the index was made by `create` and is never freed once it is published.
        unsafe { FlsSetValue(key as u32, value.cast()) != 0 }
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn the_hook_runs_once_a_thread() {
        static ENDED: AtomicUsize = AtomicUsize::new(0);

        fn hook() {
            ENDED.fetch_add(1, Ordering::Relaxed);
        }

        let threads: std::vec::Vec<_> = (0..8)
            .map(|_| {
                std::thread::spawn(|| {
                    assert!(at_thread_exit(hook));
                    assert!(at_thread_exit(hook));
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(ENDED.load(Ordering::Relaxed), 8);
    }
}
