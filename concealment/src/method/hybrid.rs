//! The dataset mean, shifted to the level of the channel's received entries.
//!
//! The published shift is T_μ(c) − mean of μ over the *whole* channel. Were the second mean taken
//! over the received positions, it would not matter where the losses fell. That gains less than one
//! might think. Measured as NMSE of the missing entries at `add_2` and `add_5` of a CIFAR-10
//! ResNet-20, 1,000 images calibrated and another 1,000 tested, one seed, losses of 5 to 20 %: for
//! scattered entries the two agree to four digits; for slices of a quarter or half of a channel's
//! rows the mean over received positions is never worse and up to 0.5 % better. So the published
//! formula is kept.

use pulp::Arch;

use super::{Holes, channel_mean::received_mean, holes::fill_from};
use crate::bundle::Bundle;

pub(crate) fn fill(holes: Holes<'_>, bundle: &Bundle) {
    let plane = holes.plane();
    let dataset = bundle
        .mean()
        .chunks_exact(plane)
        .zip(bundle.channel_means());
    for ((entries, received), (mean, &level)) in holes.channels().zip(dataset) {
        match received_mean(entries, received) {
            Some(received_level) => {
                Arch::new().dispatch(
                    #[inline(always)]
                    || shifted_fill(entries, received, mean, level, received_level),
                );
            }
            None => fill_from(entries, received, mean),
        }
    }
}

/// Writes `received_level + (mean − level)` into the entries that were not received.
///
/// Summed in this order, a channel whose dataset mean is uniform gets exactly the received level,
/// however large the dataset mean is.
#[inline(always)]
fn shifted_fill(
    entries: &mut [f32],
    received: &[bool],
    mean: &[f32],
    level: f32,
    received_level: f32,
) {
    for ((entry, &received), &mean) in entries.iter_mut().zip(received).zip(mean) {
        let value = (received_level + (mean - level)).clamp(f32::MIN, f32::MAX);
        *entry = if received { *entry } else { value };
    }
}
