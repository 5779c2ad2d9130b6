//! Zero in every missing entry.

use super::{Holes, holes::fill_with};

pub(crate) fn fill(holes: Holes<'_>) {
    fill_with(holes.entries, holes.received, 0.0);
}
