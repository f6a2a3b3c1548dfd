//! valgrind's memcheck, by client requests: a few instructions that do nothing, unless valgrind runs them.
//!
//! A heap is a memory pool of memcheck's: it knows the pool's blocks by where they start, with the stacks that asked for
//! and freed them, and reports a free of what is no block. Numbers and sequences are those of `valgrind.h` and
//! `memcheck.h`, which promise not to change them.

#![expect(unsafe_code, reason = "writes the instructions that valgrind knows")]

use core::ptr::NonNull;

/// Whether there is a tool to tell.
pub(crate) const ENABLED: bool = true;

/// What valgrind can be asked for.
#[derive(Clone, Copy)]
enum Request {
    CreateMempool = 0x1303,
    DestroyMempool = 0x1304,
    MempoolAlloc = 0x1305,
    MempoolFree = 0x1306,
    MempoolChange = 0x1309,
    ChangeErrorDisablement = 0x1801,
    MakeMemNoAccess = MEMCHECK,
    MakeMemUndefined = MEMCHECK + 1,
    MakeMemDefined = MEMCHECK + 2,
    CheckMemIsAddressable = MEMCHECK + 4,
}

/// Memcheck's own requests start with its initials.
const MEMCHECK: isize = 0x4d43_0000;

/// Asks valgrind; 0 where it is not there.
#[inline(always)]
fn ask(request: Request, arguments: [usize; 4]) -> usize {
    let [first, second, third, fourth] = arguments;
    let block = [request as usize, first, second, third, fourth, 0];
    let mut answer = 0;
    // SAFETY: the instructions rotate a register once around and exchange another with itself. valgrind reads the six
    // words, and changes nothing of the program's but the answer.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        core::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") block.as_ptr(),
            inout("rdx") answer,
            options(nostack),
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        core::arch::asm!(
            "ror x12, x12, #3",
            "ror x12, x12, #13",
            "ror x12, x12, #51",
            "ror x12, x12, #61",
            "orr x10, x10, x10",
            inout("x3") answer,
            in("x4") block.as_ptr(),
            options(nostack),
        );
    }
    answer
}

fn ask_of_range(request: Request, ptr: NonNull<u8>, len: usize) -> usize {
    ask(request, [ptr.addr().get(), len, 0, 0])
}

/// Errors of this thread are not reported while it is there.
struct Unreported;

impl Unreported {
    fn new() -> Self {
        ask(Request::ChangeErrorDisablement, [1, 0, 0, 0]);
        Self
    }
}

impl Drop for Unreported {
    fn drop(&mut self) {
        ask(Request::ChangeErrorDisablement, [usize::MAX, 0, 0, 0]);
    }
}

/// Does what would be reported, and is right all the same.
pub(crate) fn unreported<T>(what: impl FnOnce() -> T) -> T {
    let _unreported = Unreported::new();
    what()
}

/// The word at `ptr`, poisoned or not.
///
/// # Safety
///
/// As for reading the pointer.
pub(crate) unsafe fn read<T: Copy>(ptr: NonNull<T>) -> T {
    // SAFETY: the caller keeps the contract.
    unreported(|| unsafe { ptr.read_volatile() })
}

/// Writes the word at `ptr`, poisoned or not.
///
/// # Safety
///
/// As for writing the pointer.
pub(crate) unsafe fn write<T: Copy>(ptr: NonNull<T>, word: T) {
    // SAFETY: the caller keeps the contract.
    unreported(|| unsafe { ptr.write_volatile(word) });
}

/// Says that nobody may access these bytes.
pub(crate) fn poison(ptr: NonNull<u8>, len: usize) {
    ask_of_range(Request::MakeMemNoAccess, ptr, len);
}

/// Says that these bytes may be accessed, and hold nothing yet.
pub(crate) fn unpoison(ptr: NonNull<u8>, len: usize) {
    ask_of_range(Request::MakeMemUndefined, ptr, len);
}

/// Says that these bytes hold something: zeros from the system, for one.
pub(super) fn define(ptr: NonNull<u8>, len: usize) {
    ask_of_range(Request::MakeMemDefined, ptr, len);
}

/// How many of the first `len` bytes may be accessed: of a block, as many as its user has asked for.
pub(crate) fn accessible(ptr: NonNull<u8>, len: usize) -> usize {
    match unreported(|| ask_of_range(Request::CheckMemIsAddressable, ptr, len)) {
        0 => len,
        poisoned => poisoned - ptr.addr().get(),
    }
}

/// What is known of pages moves along with them.
pub(crate) fn leaving(_ptr: NonNull<u8>, _len: usize) {}

/// Says that a block may have moved along with its pages.
pub(crate) fn moved(pool: usize, from: NonNull<u8>, to: NonNull<u8>, requested: usize) {
    if from != to {
        ask(Request::MempoolChange, [pool, from.addr().get(), to.addr().get(), requested]);
    }
}

/// Says that a heap has come to be.
pub(crate) fn pool_made(pool: usize) {
    ask(Request::CreateMempool, [pool, 0, 0, 0]);
}

/// Says that a heap goes, with all its blocks: these are no leaks.
pub(crate) fn pool_gone(pool: usize) {
    ask(Request::DestroyMempool, [pool, 0, 0, 0]);
}

/// Says that a user has a block of `requested` bytes.
pub(super) fn allocated(pool: usize, block: NonNull<u8>, requested: usize) {
    ask(Request::MempoolAlloc, [pool, block.addr().get(), requested, 0]);
}

/// Says that a block of `old` bytes has `requested` now. What it held it holds still.
pub(super) fn resized(pool: usize, block: NonNull<u8>, old: usize, requested: usize) {
    let start = block.addr().get();
    ask(Request::MempoolChange, [pool, start, start, requested]);
    if let Some(added) = requested.checked_sub(old) {
        unpoison(block.map_addr(|start| start.saturating_add(old)), added);
    }
}

/// Says that a user gives a block up: that is reported where the pool has no such block.
pub(crate) fn freed(pool: usize, block: NonNull<u8>) {
    ask(Request::MempoolFree, [pool, block.addr().get(), 0, 0]);
}
