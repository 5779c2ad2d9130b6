//! The dataset mean μ(i, j, c) in every missing entry.

use super::Holes;
pub(crate) use super::holes::fill_from;
use crate::bundle::Bundle;

pub(crate) fn fill(holes: Holes<'_>, bundle: &Bundle) {
    fill_from(holes.entries, holes.received, bundle.mean());
}
