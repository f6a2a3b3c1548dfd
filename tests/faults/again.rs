//! What the source refused to take or to discard goes back when it no longer refuses: as much as if it never had.

use mallocstate::os::testing::Call;
use mallocstate::{Builder, MallocState, Mode, Threaded};

use crate::exhaust::{Counts, Fault, Setting, is_sure, thinned};
use crate::pool::{Memory, Pool};
use crate::tenant::{Source, Tenant};

/// Steps before the reclaim.
const STEPS: usize = 330;

/// Bytes of pages that are free in one run and not in another: with the feature `hardened` blocks come in no order.
const BY_CHANCE: usize = if cfg!(feature = "hardened") { 64 << 10 } else { 0 };

/// What a reclaim gave back, and another one when nothing was refused any more; what stayed mapped then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Reclaimed {
    first: usize,
    second: usize,
    mapped: usize,
}

/// Works for a while, and reclaims while the fault is there and after.
fn run<M: Mode>(
    setting: Setting,
    memory: &mut Memory,
    fault: Option<Fault>,
    mode: impl for<'a, 'm> Fn(Builder<'a, Threaded, &'a Source<'m>>) -> Builder<'a, M, &'a Source<'m>>,
) -> (Reclaimed, Counts)
where
    for<'a, 'm> MallocState<M, &'a Source<'m>>: Send,
{
    let pool = Pool::new(memory, setting.habits);
    let source = setting.source(&pool);
    let mut tenant = Tenant::new(setting.build(mode(MallocState::builder().source(&source))), &pool);
    tenant.work_alone(STEPS);
    let before = Counts::of(&source);
    if let Some(fault) = fault {
        fault.arm(&source);
    }
    let first = tenant.heap.reclaim();
    let counts = Counts::of(&source).since(before);
    tenant.check();
    source.refuse_nothing();
    let second = tenant.heap.reclaim();
    tenant.check();
    let mapped = tenant.heap.mapped();
    tenant.end(0);
    (Reclaimed { first, second, mapped }, counts)
}

fn refuse_each<M: Mode>(
    mode: impl for<'a, 'm> Fn(Builder<'a, Threaded, &'a Source<'m>>) -> Builder<'a, M, &'a Source<'m>> + Copy,
) where
    for<'a, 'm> MallocState<M, &'a Source<'m>>: Send,
{
    for setting in [Setting::PLAIN, Setting::DEMANDING, Setting::RECYCLED] {
        let mut memory = Memory::new();
        let (whole, counts) = run(setting, &mut memory, None, mode);
        assert_eq!(whole.second, 0);
        for call in [Call::Discard, Call::Unmap] {
            assert!(counts.of_call(Some(call)) > 1 || !is_sure(call), "{counts:?}");
            let faults = counts.of_kind(Some(call)).step_by(thinned(2));
            for fault in faults.flat_map(|fault| [fault, Fault { once: true, ..fault }]) {
                let (parts, _) = run(setting, &mut memory, Some(fault), mode);
                assert_eq!(parts.mapped, whole.mapped, "{fault:?}");
                // Some of it goes back twice: what cannot be unmapped is discarded, and slabs are tried again whole.
                let given_back = parts.first + parts.second + BY_CHANCE;
                assert!(given_back >= whole.first, "{fault:?}: {parts:?}, {whole:?}");
            }
        }
    }
}

#[test]
fn a_local_heap_gives_back_later_what_was_refused() {
    refuse_each(|builder| builder.local());
}

#[test]
fn a_threaded_heap_gives_back_later_what_was_refused() {
    refuse_each(|builder| builder);
}

#[test]
#[cfg(target_os = "linux")]
fn a_global_heap_gives_back_later_what_was_refused() {
    refuse_each(|builder| builder.global());
}
