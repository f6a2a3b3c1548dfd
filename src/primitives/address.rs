//! Rounding of addresses and lengths to powers of two.

/// `value` rounded down to a multiple of `align`, a power of two.
#[inline(always)]
pub(crate) const fn align_down(value: usize, align: usize) -> usize {
    value & !(align - 1)
}

/// `value` rounded up to a multiple of `align`, a power of two. The sum must not exceed `usize::MAX`.
#[inline(always)]
pub(crate) const fn align_up(value: usize, align: usize) -> usize {
    (value + (align - 1)) & !(align - 1)
}

/// `value` rounded up to a multiple of `align`, a power of two; `None` where that exceeds `isize::MAX`.
#[inline]
pub(crate) const fn checked_align_up(value: usize, align: usize) -> Option<usize> {
    match value.checked_add(align - 1) {
        Some(sum) if sum & !(align - 1) <= isize::MAX as usize => Some(sum & !(align - 1)),
        _ => None,
    }
}

/// Whether `value` is a multiple of `align`, a power of two.
#[inline(always)]
pub(crate) const fn is_aligned(value: usize, align: usize) -> bool {
    value & (align - 1) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_agrees_with_division() {
        for shift in 0..8 {
            let align = 1 << shift;
            for value in 0..1000 {
                assert_eq!(align_down(value, align), value / align * align);
                assert_eq!(align_up(value, align), value.div_ceil(align) * align);
                assert_eq!(checked_align_up(value, align), Some(align_up(value, align)));
                assert_eq!(is_aligned(value, align), value % align == 0);
            }
        }
    }

    #[test]
    fn rounding_up_near_the_maximum_is_refused() {
        let largest = isize::MAX as usize;
        assert_eq!(checked_align_up(largest, 1), Some(largest));
        assert_eq!(checked_align_up(largest, 2), None);
        assert_eq!(checked_align_up(usize::MAX, 4096), None);
        assert_eq!(checked_align_up(largest - 4095, 4096), Some(largest - 4095));
    }
}
