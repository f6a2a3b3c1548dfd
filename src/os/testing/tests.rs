//! What the source for tests hands out, counts and refuses.

#![expect(unsafe_code, reason = "calls a page source")]

use super::*;

fn release(zero_from: usize) -> Release {
    Release { zero_from, huge: HugeAdvice::Against, keep: true }
}

fn request(source: &impl PageSource, pages: usize) -> MapRequest {
    let page = source.page_size();
    MapRequest { len: pages * page, least: pages * page, align: page, offset: 0, huge: HugeAdvice::Against }
}

#[test]
fn dirty_pages_stay_dirty_after_a_discard() {
    let source = TestPages::new().dirty();
    let Pages { ptr, len, zero_from, .. } = source.map(request(&source, 4)).unwrap();
    assert_eq!(zero_from, len);
    // SAFETY: the range is handed out, and its contents are nobody's.
    unsafe { source.commit(ptr, len).unwrap() };
    // SAFETY: the range is handed out, and its contents are nobody's.
    let discarded = unsafe { source.discard(ptr, len).unwrap() };
    assert!(!discarded.zeroed);
    // SAFETY: the range is handed out.
    unsafe { source.commit(ptr, len).unwrap() };
    // SAFETY: the last byte of the range.
    let last = unsafe { ptr.add(len - 1) };
    // SAFETY: the last byte of the range, which is committed.
    assert_eq!(unsafe { last.read() }, DIRT);
    // SAFETY: nobody uses the range.
    unsafe { source.unmap(ptr, len, release(len)).unwrap() };
}

#[test]
fn committed_pages_can_be_touched() {
    let source = TestPages::new().demanding_commits();
    let Pages { ptr, len, needs_commit, .. } = source.map(request(&source, 4)).unwrap();
    assert!(needs_commit);
    assert_eq!(source.committed_bytes(), source.page_size());
    // SAFETY: the range is handed out.
    unsafe { source.commit(ptr, len / 2).unwrap() };
    assert_eq!(source.committed_bytes(), len / 2);
    // SAFETY: the first half of the range is committed.
    unsafe { ptr.write_bytes(1, len / 2) };
    // SAFETY: the range is handed out.
    assert_eq!(unsafe { source.grow(ptr, len, 2 * len, Growth::InPlace) }.unwrap_err(), PageError);
    // SAFETY: the range is handed out, and its contents are nobody's.
    assert!(unsafe { source.discard(ptr, len).unwrap() }.needs_commit);
    // SAFETY: nobody uses the range.
    unsafe { source.unmap(ptr, len, release(len)).unwrap() };
    assert_eq!((source.outstanding_ranges(), source.committed_bytes(), source.calls()), (0, 0, 5));
}

#[test]
fn refused_calls_change_nothing() {
    let source = TestPages::new();
    source.refuse_call_once_after(Call::Unmap, 0);
    let Pages { ptr, len, .. } = source.map(request(&source, 1)).unwrap();
    // SAFETY: nobody uses the range.
    assert_eq!(unsafe { source.unmap(ptr, len, release(0)) }, Err(PageError));
    assert_eq!((source.outstanding_bytes(), source.refusals()), (len, 1));
    // SAFETY: nobody uses the range.
    unsafe { source.unmap(ptr, len, release(0)).unwrap() };
    assert_eq!((source.outstanding_bytes(), source.calls_of(Call::Unmap)), (0, 2));
}
