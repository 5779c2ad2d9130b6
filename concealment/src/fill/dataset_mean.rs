//! The dataset mean μ(i, j, c) in every missing entry.

use super::{Channels, fill_from};
use crate::bundle::Bundle;

pub(super) fn fill(channels: Channels<'_>, bundle: &Bundle) {
    fill_from(channels.entries, channels.received, bundle.mean());
}
