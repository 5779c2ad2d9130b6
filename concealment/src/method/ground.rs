//! What entries are expected to be before anything around them is looked at.

use super::{Holes, channel_mean::received_mean};
use crate::bundle::Bundle;

/// Writes the expectation of every entry into `ground`, in C, H, W order.
///
/// With a bundle μ(i, j, c) + the mean of T − μ over the received entries of the channel, and
/// without one the mean T_μ(c) of those. Unlike the shift of [`hybrid`](super::hybrid), which is
/// kept as published, this one compares the same places. Where nothing of a channel arrived: μ, and
/// without a bundle 0.
pub(crate) fn ground(ground: &mut Vec<f32>, holes: &Holes<'_>, side: Option<&Bundle>) {
    let plane = holes.plane();
    let channels = holes
        .entries
        .chunks_exact(plane)
        .zip(holes.received.chunks_exact(plane));
    ground.clear();
    match side {
        Some(bundle) => {
            for ((entries, received), mean) in channels.zip(bundle.mean().chunks_exact(plane)) {
                let shift = mean_deviation(entries, received, mean).unwrap_or(0.0);
                ground.extend(mean.iter().map(|&mean| mean + shift));
            }
        }
        None => {
            for (entries, received) in channels {
                let level = received_mean(entries, received).unwrap_or(0.0);
                ground.extend(std::iter::repeat_n(level, plane));
            }
        }
    }
}

/// Mean of the received entries less that of their dataset means; `None` where nothing was received.
fn mean_deviation(entries: &[f32], received: &[bool], mean: &[f32]) -> Option<f32> {
    let level = received_mean(entries, received)?;
    Some(level - received_mean(mean, received)?)
}
