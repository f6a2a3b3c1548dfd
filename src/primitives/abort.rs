//! The one way out when going on would be unsound: a line on standard error, then abort.

#![cfg_attr(any(unix, windows), expect(unsafe_code, reason = "calls the system"))]

use core::fmt::{self, Write};

/// Says that memory at `ptr` is corrupt, and aborts. Allocates nothing.
#[cold]
pub(crate) fn corruption(what: &str, ptr: *const u8) -> ! {
    let mut line = Line::new();
    // Writing to a line cannot fail.
    let _ = writeln!(line, "mallocstate: {what}: {:#x}", ptr.addr());
    abort_with(&line)
}

/// Aborts when it is dropped; `core::mem::forget` disarms it.
#[derive(Debug)]
pub(crate) struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    #[cold]
    fn drop(&mut self) {
        let mut line = Line::new();
        // Writing to a line cannot fail.
        let _ = line.write_str("mallocstate: a page source panicked\n");
        abort_with(&line)
    }
}

/// What `f` answers; aborts where `f` panics.
#[inline]
pub(crate) fn no_unwind<R>(f: impl FnOnce() -> R) -> R {
    let armed = AbortOnUnwind;
    let answer = f();
    core::mem::forget(armed);
    answer
}

/// A line of text on the stack. What does not fit is left out, but for the end of the line.
struct Line {
    bytes: [u8; Line::CAPACITY],
    len: usize,
}

impl Line {
    const CAPACITY: usize = 256;

    const fn new() -> Self {
        Self { bytes: [0; Self::CAPACITY], len: 0 }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if self.len < Self::CAPACITY - 1 || (byte == b'\n' && self.len < Self::CAPACITY) {
                self.bytes[self.len] = byte;
                self.len += 1;
            }
        }
        Ok(())
    }
}

/// Writes the line to standard error and aborts.
#[cfg(unix)]
fn abort_with(line: &Line) -> ! {
    let text = line.bytes();
    // SAFETY: the pointer and the length are those of a slice.
    unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
    // SAFETY: aborting is always allowed.
    unsafe { libc::abort() }
}

/// Writes the line to standard error and aborts.
#[cfg(windows)]
fn abort_with(line: &Line) -> ! {
    use windows_sys::Win32::Storage::FileSystem::WriteFile;
    use windows_sys::Win32::System::Console::{GetStdHandle, STD_ERROR_HANDLE};
    use windows_sys::Win32::System::Threading::{GetCurrentProcess, TerminateProcess};

    /// What the C runtime's `abort` makes the process end with.
    const ABORTED: u32 = 3;

    let text = line.bytes();
    let mut written = 0;
    // SAFETY: asking for a handle is always allowed; a missing one makes the write fail, no more.
    let stderr = unsafe { GetStdHandle(STD_ERROR_HANDLE) };
    let len = text.len() as u32; // at most `Line::CAPACITY`
    // SAFETY: the pointer and the length are those of a slice, and `written` outlives the call.
    unsafe { WriteFile(stderr, text.as_ptr(), len, &raw mut written, core::ptr::null_mut()) };
    // SAFETY: the answer is a constant.
    let process = unsafe { GetCurrentProcess() };
    // SAFETY: the handle is that of this very process, which is to end.
    unsafe { TerminateProcess(process, ABORTED) };
    stop(line)
}

/// Panics with the line where the panic cannot unwind.
#[cfg(not(any(unix, windows)))]
fn abort_with(line: &Line) -> ! {
    stop(line)
}

/// Panics: leaving a function of the C ABI by a panic aborts.
#[cfg(not(unix))]
extern "C" fn stop(line: &Line) -> ! {
    panic!("{}", core::str::from_utf8(line.bytes()).unwrap_or("mallocstate: abort").trim_end())
}

/// What `body` says on standard error before it aborts: it runs in a process of its own, which is this test program again
/// with the test `name` alone.
#[cfg(all(test, feature = "std"))]
pub(crate) fn last_words(name: &str, body: fn()) -> std::string::String {
    const CHILD: &str = "MALLOCSTATE_TEST_ABORTS";
    if std::env::var_os(CHILD).is_some() {
        body();
        // The parent asserts that this process has failed.
        std::process::exit(0);
    }
    let arguments = ["--exact", name, "--nocapture", "--test-threads=1"];
    let output = super::runner::this_program().args(arguments).env(CHILD, "1").output().unwrap();
    assert!(!output.status.success(), "{name} did not abort");
    super::runner::errors(&output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_too_long_keeps_its_end() {
        let mut line = Line::new();
        for _ in 0..100 {
            line.write_str("0123456789").unwrap();
        }
        line.write_str("\n").unwrap();
        line.write_str("\n").unwrap();
        assert_eq!(line.bytes().len(), Line::CAPACITY);
        assert_eq!(line.bytes().last(), Some(&b'\n'));
        assert_eq!(line.bytes().iter().filter(|&&byte| byte == b'\n').count(), 1);
    }

    #[test]
    fn without_a_panic_the_answer_passes() {
        assert_eq!(no_unwind(|| 7), 7);
    }

    #[cfg(feature = "std")]
    #[test]
    fn corruption_writes_one_line_and_aborts() {
        let errors = last_words("primitives::abort::tests::corruption_writes_one_line_and_aborts", || {
            corruption("bad tag", core::ptr::without_provenance(0x1230))
        });
        assert_eq!(errors, "mallocstate: bad tag: 0x1230\n");
    }

    #[cfg(feature = "std")]
    #[test]
    fn a_panic_does_not_unwind_out() {
        let errors = last_words("primitives::abort::tests::a_panic_does_not_unwind_out", || {
            no_unwind(|| panic!("a source's own words"))
        });
        assert!(errors.contains("a source's own words"));
        assert!(errors.ends_with("mallocstate: a page source panicked\n"));
    }
}
