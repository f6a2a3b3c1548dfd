//! Every constructor infers without annotation: in a variable, a `static`, a field, a thread-local, as `Default`.

use std::mem::MaybeUninit;

use mallocstate::allocator_api2::boxed::Box as HeapBox;
use mallocstate::{HugePages, LocalMallocState, MallocState, RegionPages, SystemPages};

static SHARED: MallocState = MallocState::new();

#[cfg(target_os = "linux")]
static GLOBAL: mallocstate::GlobalMallocState = MallocState::global();

thread_local! {
    static OWN: LocalMallocState = const { MallocState::local() };
}

#[derive(Default)]
struct Tenant {
    heap: MallocState,
    requests: usize,
}

struct Worker {
    heap: LocalMallocState,
}

pub(crate) fn main() {
    let threaded = MallocState::new();
    let local = MallocState::local();
    let sourced = MallocState::new_in(SystemPages::new());
    let memory: &'static mut [MaybeUninit<u8>] = Box::leak(Box::new_uninit_slice(1 << 20));
    let region = MallocState::local_in(RegionPages::new(memory));
    let built = MallocState::builder().name("built").limit(1 << 20).huge_pages(HugePages::Never).build().unwrap();
    let built_local = MallocState::builder().local().build().unwrap();
    let numbers = [
        *HeapBox::new_in(1, &threaded),
        *HeapBox::new_in(2, &local),
        *HeapBox::new_in(3, &sourced),
        *HeapBox::new_in(4, &region),
        *HeapBox::new_in(5, &built),
        *HeapBox::new_in(6, &built_local),
        *HeapBox::new_in(7, &SHARED),
        OWN.with(|heap| *HeapBox::new_in(8, heap)),
    ];
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);

    #[cfg(target_os = "linux")]
    {
        let global = MallocState::global();
        assert_eq!(*global.alloc(1) + *GLOBAL.alloc(2), 3);
    }

    let mut tenant = Tenant::default();
    tenant.requests += tenant.heap.alloc_slice_copy(&[1, 2, 3]).len();
    let worker = Worker { heap: MallocState::local() };
    assert_eq!(tenant.requests + worker.heap.alloc_str("four").len(), 7);
    assert_eq!(*MallocState::default().alloc(9), 9);
}
