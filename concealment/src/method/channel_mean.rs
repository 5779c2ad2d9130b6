//! The mean T_μ(c) of the channel's received entries in its missing ones.

use pulp::Arch;

use super::{Holes, holes::fill_with};
use crate::{
    bundle::Bundle,
    mask::received_count,
    number::{count, narrow},
};

/// Partial sums kept side by side, so that additions do not wait for each other.
const LANES: usize = 16;

/// Entries that a lane adds in f32 before it is widened: half the time of widening each. The few
/// roundings are of the order of the one by which the mean becomes an f32 in the end.
const RUN: usize = 4;

pub(crate) fn fill(holes: Holes<'_>, side: Option<&Bundle>) {
    let dataset = side.map_or(&[][..], Bundle::channel_means);
    for (channel, (entries, received)) in holes.channels().enumerate() {
        let mean = received_mean(entries, received)
            .or_else(|| dataset.get(channel).copied())
            .unwrap_or(0.0);
        fill_with(entries, received, mean);
    }
}

/// Mean of the entries that were received and are finite; `None` if there are none.
pub(crate) fn received_mean(entries: &[f32], received: &[bool]) -> Option<f32> {
    let sum = Arch::new().dispatch(
        #[inline(always)]
        || received_sum(entries, received),
    );
    let (sum, number) = if sum.is_finite() {
        (sum, received_count(received))
    } else {
        received_finite_sum(entries, received)
    };
    (number > 0).then(|| narrow(sum / count(number)))
}

/// Sum of the received entries; not finite if one of them is not, or if they are too large to be
/// added in f32.
#[inline(always)]
fn received_sum(entries: &[f32], received: &[bool]) -> f64 {
    let (blocks, tail) = entries.as_chunks::<{ LANES * RUN }>();
    let (mask_blocks, mask_tail) = received.as_chunks::<{ LANES * RUN }>();
    let mut sums = [0.0_f64; LANES];
    for (block, mask) in blocks.iter().zip(mask_blocks) {
        let (rows, _) = block.as_chunks::<LANES>();
        let (mask_rows, _) = mask.as_chunks::<LANES>();
        let mut partial = [0.0_f32; LANES];
        for (row, mask) in rows.iter().zip(mask_rows) {
            for ((partial, &entry), &received) in partial.iter_mut().zip(row).zip(mask) {
                *partial += if received { entry } else { 0.0 };
            }
        }
        sums.iter_mut()
            .zip(partial)
            .for_each(|(sum, partial)| *sum += f64::from(partial));
    }
    let tail = tail
        .iter()
        .zip(mask_tail)
        .filter(|&(_, &received)| received);
    sums.iter().sum::<f64>() + tail.map(|(&entry, _)| f64::from(entry)).sum::<f64>()
}

/// Sum and number of the received entries that are finite. In f64 it cannot overflow.
fn received_finite_sum(entries: &[f32], received: &[bool]) -> (f64, usize) {
    entries
        .iter()
        .zip(received)
        .filter(|&(entry, &received)| received && entry.is_finite())
        .fold((0.0, 0), |(sum, number), (&entry, _)| {
            (sum + f64::from(entry), number + 1)
        })
}
