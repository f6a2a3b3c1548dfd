//! How long a block is that a heap returns, and what the heap counts for it.
//!
//! Where the heap tells a memory tool, a block is returned without what it has beyond the request. Counted is all of it.

/// Blocks end where requests do: this is a build for a memory tool.
pub(crate) const EXACT: bool = cfg!(any(
    mallocstate_asan,
    all(
        feature = "valgrind",
        target_os = "linux",
        target_pointer_width = "64",
        any(target_arch = "x86_64", target_arch = "aarch64")
    )
));

/// Bytes returned of a block with `usable` bytes.
pub(crate) fn returned(requested: usize, usable: usize) -> usize {
    if EXACT { requested } else { usable }
}

/// Panics where a heap counts other blocks and bytes than it has returned.
#[track_caller]
pub(crate) fn assert_counted(counted: (usize, usize), returned: (usize, usize)) {
    let holds = counted == returned || EXACT && counted.0 == returned.0 && counted.1 > returned.1;
    assert!(holds, "{counted:?} blocks and bytes counted, {returned:?} returned");
}
