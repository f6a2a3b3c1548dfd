//! What the model asks of a page source.

use mallocstate::os::testing::TestPages;
use mallocstate::{PageSource, RegionPages, SystemPages};

/// A source of which the model knows more than a heap does.
pub(crate) trait Observed: PageSource {
    /// It may have no more at any time.
    const EXHAUSTS: bool = false;

    /// Bytes handed out and not got back, where the source can tell.
    fn outstanding(&self) -> Option<usize> {
        None
    }

    /// Refuses the call after this many; `None` refuses nothing more.
    fn refuse(&self, _after: Option<usize>) {}

    /// Calls refused so far.
    fn refusals(&self) -> usize {
        0
    }
}

impl Observed for SystemPages {}

impl Observed for &RegionPages {
    const EXHAUSTS: bool = true;
}

impl<S: PageSource> Observed for &TestPages<S> {
    const EXHAUSTS: bool = S::SEGMENT_SIZE < SystemPages::SEGMENT_SIZE;

    fn outstanding(&self) -> Option<usize> {
        Some(self.outstanding_bytes())
    }

    fn refuse(&self, after: Option<usize>) {
        match after {
            Some(calls) => self.refuse_once_after(calls),
            None => self.refuse_nothing(),
        }
    }

    fn refusals(&self) -> usize {
        TestPages::refusals(self)
    }
}
