//! Faults: a source that refuses any of its calls, a system that has no more maps or addresses. Nothing is lost or
//! leaked, nothing panics, and the heap goes on working.

mod blocks;
mod support;

#[path = "faults/again.rs"]
mod again;
#[cfg(target_os = "linux")]
#[path = "faults/child.rs"]
mod child;
#[path = "faults/exhaust.rs"]
mod exhaust;
#[path = "faults/hosted.rs"]
mod hosted;
#[cfg(target_os = "linux")]
#[path = "faults/maps.rs"]
mod maps;
#[cfg(target_os = "linux")]
#[path = "faults/on_system.rs"]
mod on_system;
#[path = "faults/pool.rs"]
mod pool;
#[cfg(target_os = "linux")]
#[path = "faults/resource_limits.rs"]
mod resource_limits;
#[cfg(target_os = "linux")]
#[path = "support/runner.rs"]
mod runner;
#[path = "faults/stamped.rs"]
mod stamped;
#[path = "faults/tenant.rs"]
mod tenant;
#[path = "faults/threads.rs"]
mod threads;

use std::sync::{Mutex, MutexGuard, PoisonError};

use exhaust::{Setting, exhaust};

/// Thread slots are the process's: what a test finds in the cache of a thread that has ended, another test's thread may
/// have by then.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Declares a test of a local heap for each setting.
macro_rules! every_refusal {
    ($($setting:ident: $local:ident, $threaded:ident, $global:ident;)*) => {$(
        #[test]
        fn $local() {
            exhaust(Setting::$setting, |builder| builder.local());
        }

        #[test]
        fn $threaded() {
            let _alone = alone();
            exhaust(Setting::$setting, |builder| builder);
        }

        #[test]
        #[cfg(target_os = "linux")]
        fn $global() {
            let _alone = alone();
            exhaust(Setting::$setting, |builder| builder.global());
        }
    )*};
}

every_refusal! {
    PLAIN: local_on_plain_pages, threaded_on_plain_pages, global_on_plain_pages;
    DEMANDING: local_on_pages_that_demand_commits, threaded_on_pages_that_demand_commits,
        global_on_pages_that_demand_commits;
    RECYCLED: local_on_recycled_pages, threaded_on_recycled_pages, global_on_recycled_pages;
    LIMITED: local_within_a_limit, threaded_within_a_limit, global_within_a_limit;
    SHORT: local_on_short_segments, threaded_on_short_segments, global_on_short_segments;
}
