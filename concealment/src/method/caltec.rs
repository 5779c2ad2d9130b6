//! CALTeC: content-adaptive linear tensor completion (Dhondea, Cohen and Bajić, ICIP 2021).
//!
//! A packet is a few rows of one channel. For a lost packet i of channel c: n is the nearest
//! received packet of c; among the channels that have both their packet i and their packet n, b is
//! the one whose packet n correlates best with that of c; and packet i of c becomes a·(packet i of
//! b) + β, with a and β the least-squares fit of c's packet n on b's. Three things differ from the
//! paper:
//!
//! - correlation counts by its magnitude: a channel that mirrors c tells as much as one like it;
//! - losses need not be whole packets. A packet counts as received if at least half of it is;
//!   correlations and fits are over the entries that both have; a packet of which half arrived is
//!   its own nearest; and what the best channel lacks is taken from the next best;
//! - a channel of which nothing arrived takes its ground.

use std::{iter, ops::Range};

use super::{Holes, channel_mean::received_mean, holes::fill_from};
use crate::{mask::received_count, number::dot};

/// Least entries of a packet whose rows the losses tell: correlations over fewer would pick channels
/// by chance.
const LEAST_ENTRIES: usize = 48;

/// Least entries of a packet if no whole rows were lost.
const LEAST_ENTRIES_SCATTERED: usize = 192;

/// Channels from which one packet is filled at most: each takes what the better ones lack.
const CANDIDATES: usize = 8;

/// Memory of the method.
#[derive(Debug, Default)]
pub(crate) struct Caltec {
    /// Received entries less the mean over their packet's, zero where nothing arrived.
    centred: Vec<f32>,
    /// Of each channel in turn.
    packets: Vec<Packet>,
    /// Channels with the magnitude of their correlation, best first.
    candidates: Vec<(f32, usize)>,
    /// The entries of the packet at hand that are still to be filled.
    open: Vec<bool>,
}

/// What is known of a packet before anything is filled.
#[derive(Debug, Clone, Copy)]
struct Packet {
    mean: f32,
    /// Sum of the squares of the centred entries.
    energy: f32,
    received: usize,
    size: usize,
}

impl Packet {
    const fn is_received(&self) -> bool {
        2 * self.received >= self.size
    }
}

/// How channels are divided into packets.
#[derive(Debug, Clone, Copy)]
struct Grid {
    channels: usize,
    plane: usize,
    /// Entries of a packet; the last of a channel may have fewer.
    size: usize,
    /// Packets a channel.
    number: usize,
}

impl Grid {
    fn entries(&self, channel: usize, packet: usize) -> Range<usize> {
        let end = (packet + 1) * self.size;
        channel * self.plane + packet * self.size..channel * self.plane + end.min(self.plane)
    }

    /// The packets of a channel by their distance from one, itself first.
    fn nearest(self, packet: usize) -> impl Iterator<Item = usize> {
        (0..self.number).flat_map(move |distance| {
            let after = (distance > 0).then_some(packet + distance);
            iter::chain(
                packet.checked_sub(distance),
                after.filter(|&packet| packet < self.number),
            )
        })
    }
}

impl Caltec {
    /// Fills with packets of `rows` rows, or of as many as the losses suggest: see [`packet_rows`].
    pub(crate) fn fill(&mut self, mut holes: Holes<'_>, rows: Option<usize>, ground: &[f32]) {
        let (channels, height, width) = holes.shape;
        let rows = rows
            .unwrap_or_else(|| packet_rows(holes.received, holes.shape))
            .clamp(1, height);
        let grid = Grid {
            channels,
            plane: height * width,
            size: rows * width,
            number: height.div_ceil(rows),
        };
        self.measure(&holes, grid);
        // The ground first: it stays where nothing better is found.
        fill_from(holes.entries, holes.received, ground);
        for channel in 0..channels {
            for packet in 0..grid.number {
                let is_whole = |packet: Packet| packet.received == packet.size;
                if !self.packet(grid, channel, packet).is_some_and(is_whole) {
                    self.fill_packet(&mut holes, grid, channel, packet);
                }
            }
        }
    }

    fn measure(&mut self, holes: &Holes<'_>, grid: Grid) {
        self.centred.clear();
        self.packets.clear();
        let channels = holes
            .entries
            .chunks_exact(grid.plane)
            .zip(holes.received.chunks_exact(grid.plane));
        for (entries, received) in channels {
            for (entries, received) in entries.chunks(grid.size).zip(received.chunks(grid.size)) {
                let start = self.centred.len();
                let mean = received_mean(entries, received).unwrap_or(0.0);
                let values = entries.iter().zip(received);
                self.centred.extend(values.map(
                    |(&entry, &received)| {
                        if received { entry - mean } else { 0.0 }
                    },
                ));
                let centred = self.centred.get(start..).unwrap_or_default();
                self.packets.push(Packet {
                    mean,
                    energy: dot(centred, centred),
                    received: received_count(received),
                    size: entries.len(),
                });
            }
        }
    }

    fn packet(&self, grid: Grid, channel: usize, packet: usize) -> Option<Packet> {
        self.packets.get(channel * grid.number + packet).copied()
    }

    fn fill_packet(&mut self, holes: &mut Holes<'_>, grid: Grid, channel: usize, packet: usize) {
        let place = grid.entries(channel, packet);
        for near in grid.nearest(packet) {
            let own = self.packet(grid, channel, near);
            let Some(own) = own.filter(Packet::is_received) else {
                continue;
            };
            self.rank(grid, channel, packet, near, own);
            if self.candidates.is_empty() {
                continue;
            }
            self.open.clear();
            let missing = holes.received.get(place.clone()).unwrap_or_default();
            self.open.extend(missing.iter().map(|&received| !received));
            for &(_, other) in &self.candidates {
                let fit = self.fit(holes.received, grid, near, (channel, other));
                let source = grid.entries(other, packet);
                if !copy(holes, place.clone(), source, fit, &mut self.open) {
                    break;
                }
            }
            if let Some(entries) = holes.entries.get_mut(place) {
                let open = entries.iter_mut().zip(&self.open);
                open.filter(|&(_, &open)| open)
                    .for_each(|(entry, _)| *entry = own.mean);
            }
            return;
        }
    }

    /// Finds the channels whose packet `near` correlates best with that of `channel` and that have
    /// the packet to be filled.
    fn rank(&mut self, grid: Grid, channel: usize, packet: usize, near: usize, own: Packet) {
        self.candidates.clear();
        let own_entries = self.centred.get(grid.entries(channel, near));
        for other in (0..grid.channels).filter(|&other| other != channel) {
            let has = |packet| self.packet(grid, other, packet).filter(Packet::is_received);
            let (Some(_), Some(theirs)) = (has(packet), has(near)) else {
                continue;
            };
            let their_entries = self.centred.get(grid.entries(other, near));
            let product = dot(
                own_entries.unwrap_or_default(),
                their_entries.unwrap_or_default(),
            );
            // The channel's own energy is the same for all. A constant packet tells nothing.
            let score = if theirs.energy > 0.0 && own.energy > 0.0 {
                product.abs() / theirs.energy.sqrt()
            } else {
                0.0
            };
            let is_full = self.candidates.len() == CANDIDATES;
            if is_full
                && self
                    .candidates
                    .last()
                    .is_some_and(|&(worst, _)| score <= worst)
            {
                continue;
            }
            let rank = self
                .candidates
                .partition_point(|&(better, _)| better >= score);
            if rank < CANDIDATES {
                self.candidates.truncate(CANDIDATES - 1);
                self.candidates.insert(rank, (score, other));
            }
        }
    }

    /// Slope and offset of the least-squares line of one channel's packet on the other's, over the
    /// entries that both have.
    fn fit(
        &self,
        received: &[bool],
        grid: Grid,
        packet: usize,
        (channel, other): (usize, usize),
    ) -> (f32, f32) {
        let (of_y, of_x) = (grid.entries(channel, packet), grid.entries(other, packet));
        let side = |range: Range<usize>| {
            let values = self.centred.get(range.clone()).unwrap_or_default();
            values.iter().zip(received.get(range).unwrap_or_default())
        };
        let [mut n, mut x1, mut y1, mut xx, mut xy] = [0.0_f32; 5];
        for ((&y, &y_in), (&x, &x_in)) in side(of_y).zip(side(of_x)) {
            let one = if x_in & y_in { 1.0 } else { 0.0 };
            let (x, y) = (one * x, one * y);
            n += one;
            x1 += x;
            y1 += y;
            xx += x * x;
            xy += x * y;
        }
        let mean = |channel| {
            self.packet(grid, channel, packet)
                .map_or(0.0, |packet| packet.mean)
        };
        let (x_mean, y_mean) = (mean(other), mean(channel));
        if n == 0.0 {
            return (0.0, y_mean);
        }
        let variance = xx - x1 * x1 / n;
        let slope = if variance > f32::EPSILON * xx {
            (xy - x1 * y1 / n) / variance
        } else {
            0.0
        };
        (slope, (y_mean + y1 / n) - slope * (x_mean + x1 / n))
    }
}

/// Writes the line's value of the entries at `source` into those at `place` that are open, where
/// the source was received. Returns whether any are left open.
fn copy(
    holes: &mut Holes<'_>,
    place: Range<usize>,
    source: Range<usize>,
    (slope, offset): (f32, f32),
    open: &mut [bool],
) -> bool {
    let length = place.len().min(source.len());
    let mut left = false;
    for (step, open) in open.iter_mut().enumerate().take(length) {
        if !*open {
            continue;
        }
        let (to, from) = (place.start + step, source.start + step);
        if holes.received.get(from) != Some(&true) {
            left = true;
            continue;
        }
        let value = holes.entries.get(from).copied().unwrap_or_default();
        if let Some(entry) = holes.entries.get_mut(to) {
            *entry = slope * value + offset;
            *open = false;
        }
    }
    left
}

/// Rows of a packet, judged from the losses.
///
/// The greatest common divisor of the places where runs of wholly lost rows begin and end, channels
/// of which nothing arrived left out; the bottom of a channel says nothing. Where that makes packets
/// of fewer than [`LEAST_ENTRIES`], the smallest multiple that does not. Where no row is wholly lost,
/// as few rows as have [`LEAST_ENTRIES_SCATTERED`].
pub(crate) fn packet_rows(received: &[bool], (_, height, width): (usize, usize, usize)) -> usize {
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
