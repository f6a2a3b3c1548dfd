//! The sizes that follow from a segment's.

#[path = "../../../../src/segment/geometry.rs"]
mod geometry;

pub(crate) use geometry::{Geometry, UNIT};
