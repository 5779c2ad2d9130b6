//! ALTeC: adaptive linear tensor completion (Bragilevsky and Bajić, IEEE Access 2020).
//!
//! A packet is r rows of one channel. A lost packet i of channel c becomes the sum, with the weights
//! of the bundle's table, of the packets i of all other channels and of the packets i − 1 and i + 1
//! of channel c; a lost packet counts as zero, and so does one above or below the tensor. Channels
//! are repaired in ascending order, packets from top to bottom, and repaired packets feed later
//! ones. Entries lost singly are repaired by the same sums, entry by entry.

use super::Holes;
use crate::{bundle::AltecTable, number::dot};

/// Memory of the method.
#[derive(Debug, Default)]
pub(crate) struct Altec {
    /// The tensor as far as it is known or repaired, channels last, zero elsewhere.
    known: Vec<f32>,
    /// A channel's weights with a zero for the channel itself.
    weights: Vec<f32>,
}

impl Altec {
    /// Fills with the weights of a table for tensors of this shape.
    pub(crate) fn fill(&mut self, holes: Holes<'_>, table: &AltecTable) {
        let (channels, _, width) = holes.shape;
        let plane = holes.plane();
        let reach = table.rows() * width;
        self.load(&holes);
        let weights = table.weights().chunks_exact(channels + 1);
        for (channel, ((entries, received), weights)) in holes.channels().zip(weights).enumerate() {
            let Some((others, &[above, below])) = weights.split_last_chunk() else {
                continue;
            };
            let (before, after) = others.split_at(channel.min(others.len()));
            self.weights.clear();
            self.weights.extend(before);
            self.weights.push(0.0);
            self.weights.extend(after);
            let missing = (0..plane).zip(received).filter(|&(_, &received)| !received);
            for (at, _) in missing {
                let known = |at: usize| self.known.get(at * channels + channel).copied();
                let up = at.checked_sub(reach).and_then(known).unwrap_or(0.0);
                let down = known(at + reach).unwrap_or(0.0);
                let here = at * channels..(at + 1) * channels;
                let across = dot(self.known.get(here).unwrap_or_default(), &self.weights);
                let value = across + above * up + below * down;
                if let Some(known) = self.known.get_mut(at * channels + channel) {
                    *known = value;
                }
                if let Some(entry) = entries.get_mut(at) {
                    *entry = value;
                }
            }
        }
    }

    fn load(&mut self, holes: &Holes<'_>) {
        let (channels, plane) = (holes.shape.0, holes.plane());
        self.known.clear();
        self.known.resize(holes.entries.len(), 0.0);
        let planes = holes
            .entries
            .chunks_exact(plane)
            .zip(holes.received.chunks_exact(plane));
        for (channel, (entries, received)) in planes.enumerate() {
            let places = self.known.iter_mut().skip(channel).step_by(channels);
            for ((place, &entry), &received) in places.zip(entries).zip(received) {
                *place = if received { entry } else { 0.0 };
            }
        }
    }
}
