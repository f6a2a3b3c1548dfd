//! Routes of layouts, for segments of several sizes.

#[path = "../../../../src/heap/route.rs"]
mod route;

use std::alloc::Layout;

use mallocstate::{PageSource, SystemPages};

use crate::arithmetic::slab::SizeClass;
use crate::probe::Probe;
use crate::sizes::{Align, Size};
use crate::support::classes::{Geometry, Tier};
use route::{Route, direct_usable, medium_index, route};

/// Compares the route of a layout, and of one of any size that fits what it gets.
pub(super) fn check_routes(size: Size, align: Align, fit: u8) {
    check::<Probe<{ 256 << 10 }>>(size, align, fit);
    check::<Probe<{ 1 << 20 }>>(size, align, fit);
    check::<SystemPages>(size, align, fit);
    check::<Probe<{ 1 << 30 }>>(size, align, fit);
}

fn check<S: PageSource>(size: Size, Align(align): Align, fit: u8) {
    let geometry = Geometry::of::<S>();
    let layout = Layout::from_size_align(size.in_bytes(geometry), align).expect("a possible layout");
    let found = route::<S>(layout);
    let usable = match geometry.tier(layout) {
        Tier::Nothing => {
            assert_eq!(found, Route::Small(SizeClass::ZERO), "{layout:?}");
            0
        }
        Tier::Class(bytes) if bytes <= geometry.small_max => {
            assert_eq!(found, Route::Small(SizeClass::of(bytes)), "{layout:?}");
            assert_eq!(bytes % align, 0, "{layout:?} is not aligned in its slab");
            bytes
        }
        Tier::Class(bytes) => {
            let class = SizeClass::of(bytes);
            assert_eq!(found, Route::Medium(class), "{layout:?}");
            let medium = geometry.classes().filter(|&size| size > geometry.small_max);
            assert_eq!(medium_index::<S>(class), medium.take_while(|&size| size < bytes).count());
            bytes
        }
        Tier::Direct => {
            assert_eq!(found, Route::Direct, "{layout:?}");
            direct_usable::<S>(layout.size() + usize::from(fit) * 16)
        }
        Tier::Mapping => {
            assert_eq!(found, Route::Mapping, "{layout:?}");
            layout.size() + usize::from(fit) * 16
        }
    };
    let fitting = layout.size() + (usable - layout.size()) * usize::from(fit) / 255;
    let fitting = Layout::from_size_align(fitting, align).expect("a possible layout");
    assert_eq!(route::<S>(fitting), found, "{layout:?} got {usable} bytes");
}
