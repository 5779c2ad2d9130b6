//! The packets that a tensor's channels are divided into, and what is known of each.

use std::{iter, ops::Range};

use crate::{mask::received_count, method::channel_mean::received_mean, number::dot};

/// Least entries of a packet whose rows the losses tell: correlations over fewer would pick channels
/// by chance.
const LEAST_ENTRIES: usize = 48;

/// Least entries of a packet if no whole rows were lost.
const LEAST_ENTRIES_SCATTERED: usize = 192;

/// Stands for the weight of a packet that was not received and the score of a channel that cannot help;
/// those of others are not negative.
pub(super) const NO_HELP: f32 = -1.0;

/// What is known of a packet before anything is filled.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Packet {
    pub(super) mean: f32,
    received: usize,
    size: usize,
}

impl Packet {
    /// Of these entries.
    pub(super) fn of(entries: &[f32], received: &[bool]) -> Self {
        Self {
            mean: received_mean(entries, received).unwrap_or(0.0),
            received: received_count(received),
            size: entries.len(),
        }
    }

    /// The weight of the packet; writes its entries less their mean.
    pub(super) fn centre(&self, entries: &[f32], received: &[bool], centred: &mut [f32]) -> f32 {
        // In place, so that the loop vectorises: entries behind a flag are not read ahead.
        centred.copy_from_slice(entries);
        for (entry, &received) in centred.iter_mut().zip(received) {
            *entry = if received { *entry - self.mean } else { 0.0 };
        }
        let energy = dot(centred, centred);
        match (self.is_received(), energy > 0.0) {
            (true, true) => energy.sqrt().recip(),
            (true, false) => 0.0,
            (false, _) => NO_HELP,
        }
    }

    pub(super) const fn is_received(&self) -> bool {
        2 * self.received >= self.size
    }

    pub(super) const fn is_whole(&self) -> bool {
        self.received == self.size
    }
}

/// How channels are divided into packets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    pub(super) channels: usize,
    pub(super) plane: usize,
    /// Entries of a packet; the last of a channel may have fewer.
    pub(super) size: usize,
    /// Packets a channel.
    pub(super) number: usize,
}

impl Grid {
    pub(super) fn entries(&self, channel: usize, packet: usize) -> Range<usize> {
        let end = (packet + 1) * self.size;
        channel * self.plane + packet * self.size..channel * self.plane + end.min(self.plane)
    }

    /// The packets of a channel by their distance from one, itself first.
    pub(super) fn nearest(self, packet: usize) -> impl Iterator<Item = usize> {
        (0..self.number).flat_map(move |distance| {
            let after = (distance > 0).then_some(packet + distance);
            iter::chain(
                packet.checked_sub(distance),
                after.filter(|&packet| packet < self.number),
            )
        })
    }
}

/// Rows of a packet, judged from the losses.
///
/// The greatest common divisor of the places where runs of wholly lost rows begin and end, channels
/// of which nothing arrived left out; the bottom of a channel says nothing. Where that makes packets
/// of fewer than [`LEAST_ENTRIES`], the smallest multiple that does not. Where no row is wholly lost,
/// as few rows as have [`LEAST_ENTRIES_SCATTERED`].
pub(super) fn packet_rows(received: &[bool], (_, height, width): (usize, usize, usize)) -> usize {
    let mut divisor = 0;
    for channel in received.chunks_exact(height * width) {
        if !channel.contains(&true) {
            continue;
        }
        let mut above = false;
        for (number, row) in channel.chunks_exact(width).enumerate() {
            let lost = !row.contains(&true);
            if lost != above {
                divisor = greatest_common_divisor(divisor, number);
            }
            above = lost;
        }
    }
    let (unit, least) = if divisor == 0 {
        (1, LEAST_ENTRIES_SCATTERED)
    } else {
        (divisor, LEAST_ENTRIES)
    };
    unit * least.div_ceil(unit * width)
}

const fn greatest_common_divisor(mut a: usize, mut b: usize) -> usize {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
