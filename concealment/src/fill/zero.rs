//! Zero in every missing entry.

use super::{Channels, fill_with};

pub(super) fn fill(channels: Channels<'_>) {
    fill_with(channels.entries, channels.received, 0.0);
}
