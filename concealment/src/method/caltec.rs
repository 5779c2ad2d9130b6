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

mod line;
mod packet;

use std::{mem, ops::Range};

use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use pulp::Arch;

use self::{
    line::{Flagged, Sums},
    packet::{Grid, NO_HELP, Packet, packet_rows},
};
use super::{Holes, holes::fill_from};

/// Channels from which one packet is filled at most: each takes what the better ones lack.
const CANDIDATES: usize = 8;

/// Gaps whose packets are multiplied with those of all channels in one matrix product.
const BATCH: usize = 64;

/// Memory of the method.
#[derive(Debug, Default)]
pub(crate) struct Caltec {
    arch: Arch,
    /// Received entries less the mean over their packet's, zero where nothing arrived.
    centred: Vec<f32>,
    /// Those of all channels with the first number, then those with the next.
    packets: Vec<Packet>,
    /// For each of these, the inverse norm of its centred entries; zero for a constant packet, which
    /// tells nothing, and [`NO_HELP`] for one that was not received.
    weights: Vec<f32>,
    /// By the packet that tells them, so that its products are computed for many at once.
    gaps: Vec<Gap>,
    /// Working memory of the products: the packets of a batch.
    telling: Vec<f32>,
    /// For each gap of a batch, how well the packets of all channels correlate with the gap's nearest,
    /// in which the gap's own channel counts nothing.
    scores: Vec<f32>,
    /// The places in the packet at hand that are still to be filled.
    open: Vec<usize>,
}

/// A packet of which something is missing, and what tells which channel to fill it from: the nearest
/// received packet of its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Gap {
    near: usize,
    channel: usize,
    packet: usize,
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
        self.find_gaps(grid);
        // The ground first: it stays where nothing better is found.
        fill_from(holes.entries, holes.received, ground);
        let gaps = mem::take(&mut self.gaps);
        for gaps in gaps.chunk_by(|one, next| one.near == next.near) {
            for gaps in gaps.chunks(BATCH) {
                self.multiply(grid, gaps);
                self.rate(grid, gaps);
                for (number, &gap) in gaps.iter().enumerate() {
                    self.fill_gap(&mut holes, grid, gap, number);
                }
            }
        }
        self.gaps = gaps;
    }

    fn measure(&mut self, holes: &Holes<'_>, grid: Grid) {
        self.centred.resize(holes.entries.len(), 0.0);
        self.packets
            .resize(grid.channels * grid.number, Packet::default());
        self.weights.resize(self.packets.len(), NO_HELP);
        let channels = holes
            .entries
            .chunks_exact(grid.plane)
            .zip(holes.received.chunks_exact(grid.plane))
            .zip(self.centred.chunks_exact_mut(grid.plane));
        for (channel, ((entries, received), centred)) in channels.enumerate() {
            let packets = entries
                .chunks(grid.size)
                .zip(received.chunks(grid.size))
                .zip(centred.chunks_mut(grid.size));
            let places = self.packets.iter_mut().zip(&mut self.weights);
            let of_channel = places.skip(channel).step_by(grid.channels);
            for (((entries, received), centred), (packet, weight)) in packets.zip(of_channel) {
                *packet = Packet::of(entries, received);
                *weight = packet.centre(entries, received, centred);
            }
        }
    }

    /// The packets of all channels with a number.
    fn packets(&self, grid: Grid, packet: usize) -> &[Packet] {
        let start = packet * grid.channels;
        self.packets
            .get(start..start + grid.channels)
            .unwrap_or_default()
    }

    fn packet(&self, grid: Grid, channel: usize, packet: usize) -> Option<Packet> {
        self.packets(grid, packet).get(channel).copied()
    }

    /// Lists the packets of which something is missing and for which there is a channel that can
    /// help, by the nearest packet that tells it.
    fn find_gaps(&mut self, grid: Grid) {
        let mut gaps = mem::take(&mut self.gaps);
        gaps.clear();
        for packet in 0..grid.number {
            let ours = self.packets(grid, packet).iter().enumerate();
            for (channel, _) in ours.filter(|(_, ours)| !ours.is_whole()) {
                let near = grid
                    .nearest(packet)
                    .find(|&near| self.can_tell(grid, channel, packet, near));
                gaps.extend(near.map(|near| Gap {
                    near,
                    channel,
                    packet,
                }));
            }
        }
        gaps.sort_unstable();
        self.gaps = gaps;
    }

    /// Whether the channel has packet `near`, and another has both that and `packet`.
    fn can_tell(&self, grid: Grid, channel: usize, packet: usize, near: usize) -> bool {
        let (near, at) = (self.packets(grid, near), self.packets(grid, packet));
        let mut both = near.iter().zip(at).enumerate();
        near.get(channel).is_some_and(Packet::is_received)
            && both.any(|(other, (near, at))| {
                other != channel && near.is_received() && at.is_received()
            })
    }

    /// Computes the products of the gaps' nearest packets, which have the same number, with those
    /// of all channels.
    fn multiply(&mut self, grid: Grid, gaps: &[Gap]) {
        let Some(&Gap { near, .. }) = gaps.first() else {
            return;
        };
        let size = grid.entries(0, near).len();
        self.telling.clear();
        for gap in gaps {
            let entries = self.centred.get(grid.entries(gap.channel, near));
            self.telling.extend_from_slice(entries.unwrap_or_default());
        }
        self.scores.resize(grid.channels * gaps.len(), 0.0);
        let all = self.centred.get(near * grid.size..).unwrap_or_default();
        matmul(
            MatMut::from_column_major_slice_mut(&mut self.scores, grid.channels, gaps.len()),
            Accum::Replace,
            MatRef::from_column_major_slice_with_stride(all, size, grid.channels, grid.plane)
                .transpose(),
            MatRef::from_column_major_slice(&self.telling, size, gaps.len()),
            1.0,
            Par::Seq,
        );
    }

    /// Turns the products into scores: of the channels that have both the nearest packet and the one to
    /// be filled.
    fn rate(&mut self, grid: Grid, gaps: &[Gap]) {
        let weights = &self.weights;
        let of_packet = |packet| weights.chunks_exact(grid.channels).nth(packet);
        let scores = self.scores.chunks_exact_mut(grid.channels);
        for (scores, gap) in scores.zip(gaps) {
            if let (Some(near), Some(at)) = (of_packet(gap.near), of_packet(gap.packet)) {
                // Code for AVX ends by clearing the upper halves of the vector registers, which the
                // matrix product does not. While they are in use, code for SSE takes twice as long.
                self.arch.dispatch(
                    #[inline(always)]
                    || rate(scores, near, at),
                );
            }
            if let Some(own) = scores.get_mut(gap.channel) {
                *own = NO_HELP;
            }
        }
    }

    /// The channel of the highest score for a gap, the first of equals, which it loses.
    fn take_best(&mut self, grid: Grid, number: usize) -> Option<usize> {
        let scores = self.scores.chunks_exact_mut(grid.channels).nth(number)?;
        let mut best = (NO_HELP, 0);
        for (channel, &score) in scores.iter().enumerate() {
            if score > best.0 {
                best = (score, channel);
            }
        }
        *scores.get_mut(best.1)? = NO_HELP;
        (best.0 > NO_HELP).then_some(best.1)
    }

    fn fill_gap(&mut self, holes: &mut Holes<'_>, grid: Grid, gap: Gap, number: usize) {
        let place = grid.entries(gap.channel, gap.packet);
        self.open.clear();
        let received = holes.received.get(place.clone()).unwrap_or_default();
        let missing = received
            .iter()
            .enumerate()
            .filter(|&(_, received)| !received);
        self.open.extend(missing.map(|(step, _)| step));
        for _ in 0..CANDIDATES {
            if self.open.is_empty() {
                return;
            }
            let Some(other) = self.take_best(grid, number) else {
                break;
            };
            let line = self.fit(holes.received, grid, gap, other);
            let source = grid.entries(other, gap.packet);
            copy(holes, place.start, source, line, &mut self.open);
        }
        let own = self.packet(grid, gap.channel, gap.near);
        let level = own.map_or(0.0, |own| own.mean);
        for &step in &self.open {
            if let Some(entry) = holes.entries.get_mut(place.start + step) {
                *entry = level;
            }
        }
    }

    /// Slope and offset of the least-squares line of the gap's nearest packet on another channel's,
    /// over the entries that both have.
    fn fit(&self, received: &[bool], grid: Grid, gap: Gap, other: usize) -> (f32, f32) {
        let (of_y, of_x) = (
            grid.entries(gap.channel, gap.near),
            grid.entries(other, gap.near),
        );
        let mean = |channel| {
            self.packet(grid, channel, gap.near)
                .map_or(0.0, |packet| packet.mean)
        };
        let flagged = |range: Range<usize>| Flagged {
            entries: self.centred.get(range.clone()).unwrap_or_default(),
            received: received.get(range).unwrap_or_default(),
        };
        let (x, y) = (flagged(of_x), flagged(of_y));
        self.arch
            .dispatch(
                #[inline(always)]
                || Sums::of(x, y),
            )
            .line(mean(other), mean(gap.channel))
    }
}

/// Turns products with packets into scores, given the weights of these and of those to fill from.
#[inline(always)]
fn rate(scores: &mut [f32], near: &[f32], at: &[f32]) {
    for ((score, &near), &at) in scores.iter_mut().zip(near).zip(at) {
        let has_both = (near >= 0.0) & (at >= 0.0);
        *score = if has_both {
            score.abs() * near
        } else {
            NO_HELP
        };
    }
}

/// Writes the line's value of the entries at `source` into those from `start` on that are open, where
/// the source was received; these are then open no more.
fn copy(
    holes: &mut Holes<'_>,
    start: usize,
    source: Range<usize>,
    (slope, offset): (f32, f32),
    open: &mut Vec<usize>,
) {
    open.retain(|&step| {
        let from = source.start + step;
        if holes.received.get(from) != Some(&true) {
            return true;
        }
        let value = holes.entries.get(from).copied().unwrap_or_default();
        if let Some(entry) = holes.entries.get_mut(start + step) {
            *entry = slope * value + offset;
        }
        false
    });
}
