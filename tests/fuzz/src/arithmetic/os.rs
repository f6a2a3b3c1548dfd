//! What the arithmetic knows of page sources: the trait, of which it reads the segment size alone.

pub(crate) use mallocstate::PageSource;
