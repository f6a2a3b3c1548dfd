//! jemalloc's controls, by paths that are looked up once, as its documentation advises.

#![expect(unsafe_code, reason = "adapts a C interface")]

use std::ffi::{CStr, c_void};
use std::mem::size_of;
use std::ptr;
use std::sync::OnceLock;

use tikv_jemalloc_sys::{mallctlbymib, mallctlnametomib};

/// A control of so many parts.
pub(super) struct Control<const LEN: usize> {
    name: &'static CStr,
    path: OnceLock<[usize; LEN]>,
}

pub(super) static CREATE_ARENA: Control<2> = Control::new(c"arenas.create");
pub(super) static DESTROY_ARENA: Control<3> = Control::new(c"arena.0.destroy");
pub(super) static PURGE_ARENA: Control<3> = Control::new(c"arena.0.purge");
pub(super) static CREATE_CACHE: Control<2> = Control::new(c"tcache.create");
pub(super) static FLUSH_CACHE: Control<2> = Control::new(c"tcache.flush");
pub(super) static DESTROY_CACHE: Control<2> = Control::new(c"tcache.destroy");
pub(super) static FLUSH_THREAD: Control<3> = Control::new(c"thread.tcache.flush");

impl<const LEN: usize> Control<LEN> {
    const fn new(name: &'static CStr) -> Self {
        Self { name, path: OnceLock::new() }
    }

    fn path(&self) -> [usize; LEN] {
        *self.path.get_or_init(|| {
            let (mut path, mut len) = ([0; LEN], LEN);
            // SAFETY: the name ends with a zero, and the path has room for as many parts as are said.
            let error = unsafe { mallctlnametomib(self.name.as_ptr(), path.as_mut_ptr(), &raw mut len) };
            assert_eq!((error, len), (0, LEN), "jemalloc knows {:?}", self.name);
            path
        })
    }

    /// Calls what answers with a number.
    pub(super) fn answer(&self) -> u32 {
        let (path, mut number, mut len) = (self.path(), 0_u32, size_of::<u32>());
        let answer: *mut c_void = ptr::from_mut(&mut number).cast();
        // SAFETY: the control writes a number of this length.
        let error = unsafe { mallctlbymib(path.as_ptr(), LEN, answer, &raw mut len, ptr::null_mut(), 0) };
        assert_eq!(error, 0, "jemalloc answers {:?}", self.name);
        number
    }

    /// Calls what reads a number.
    pub(super) fn tell(&self, mut number: u32) {
        let (path, number) = (self.path(), ptr::from_mut(&mut number).cast());
        // SAFETY: the control reads a number of this length.
        let error =
            unsafe { mallctlbymib(path.as_ptr(), LEN, ptr::null_mut(), ptr::null_mut(), number, size_of::<u32>()) };
        assert_eq!(error, 0, "jemalloc does {:?}", self.name);
    }

    fn call_path(&self, path: [usize; LEN]) {
        // SAFETY: the control neither reads nor writes.
        let error = unsafe { mallctlbymib(path.as_ptr(), LEN, ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), 0) };
        assert_eq!(error, 0, "jemalloc does {:?}", self.name);
    }

    /// Calls what neither reads nor writes.
    pub(super) fn call(&self) {
        self.call_path(self.path());
    }
}

impl Control<3> {
    /// Calls what is done to the arena of a number.
    pub(super) fn call_for(&self, arena: u32) {
        let mut path = self.path();
        path[1] = arena as usize;
        self.call_path(path);
    }
}
