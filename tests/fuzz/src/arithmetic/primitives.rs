//! Rounding, in twice as many bits.

#[path = "../../../../src/primitives/address.rs"]
pub(crate) mod address;

use address::{align_down, align_up, checked_align_up, is_aligned};

/// Compares the rounding of a value near either end.
pub(super) fn check(value: u64, down: u8, shift: u8) {
    let ends = [value as usize, usize::MAX - value as usize, isize::MAX as usize - (value >> 1) as usize];
    let value = ends[usize::from(down) % ends.len()] >> (down / 4);
    let align = 1_usize << (shift % 63);
    let (wide, step) = (value as u128, align as u128);
    let up = wide.div_ceil(step) * step;
    assert_eq!(align_down(value, align) as u128, wide / step * step);
    assert_eq!(is_aligned(value, align), wide % step == 0);
    let possible = usize::try_from(up).ok().filter(|&up| isize::try_from(up).is_ok());
    assert_eq!(checked_align_up(value, align), possible);
    if value.checked_add(align - 1).is_some() {
        assert_eq!(align_up(value, align) as u128, up);
    }
}
