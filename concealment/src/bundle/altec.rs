//! The section ALTEC: weights with which a packet of rows is predicted from its neighbours.

use super::{
    BundleError, Section, SectionError,
    bytes::{floats, read_floats, size, word32, wrong_length},
};
use crate::limits;

/// The weights of ALTeC for one split, a table of (C + 1) weights for each of C channels
/// (Bragilevsky and Bajić, "Tensor completion methods for collaborative intelligence", IEEE Access
/// 2020).
///
/// A packet is `rows` consecutive rows of one channel. Its estimate is the weighted sum of the
/// packets at the same place of every other channel and of the packets above and below it.
#[derive(Debug, Clone, PartialEq)]
pub struct AltecTable {
    rows: usize,
    channels: usize,
    /// For each channel in turn: a weight for each other channel in ascending order, one for the
    /// packet above, one for the packet below.
    weights: Vec<f32>,
}

impl AltecTable {
    /// A table for packets of `rows` rows of a tensor of `channels` channels: for each channel in
    /// turn, a weight for every other channel in ascending order, then one for the packet above and
    /// one for the packet below.
    ///
    /// # Errors
    ///
    /// [`SectionError`] if `rows` is zero, `channels` is zero or over
    /// [`MAX_ALTEC_CHANNELS`](limits::MAX_ALTEC_CHANNELS), there are not `channels × (channels + 1)`
    /// weights, or one of them is not finite.
    pub fn new(rows: usize, channels: usize, weights: Vec<f32>) -> Result<Self, SectionError> {
        let broken = |rule| Err(SectionError::new(Section::Altec, rule));
        if !(1..=limits::MAX_SIDE).contains(&rows) {
            return broken("a packet has at least one row and no more than a tensor");
        }
        if !(1..=limits::MAX_ALTEC_CHANNELS).contains(&channels) {
            return broken("the number of channels is zero or over the limit of the table");
        }
        if weights.len() != channels * (channels + 1) {
            return broken("the table has one more weight a channel than there are channels");
        }
        if !weights.iter().all(|weight| weight.is_finite()) {
            return broken("every weight is finite");
        }
        Ok(Self {
            rows,
            channels,
            weights,
        })
    }

    /// Rows of a packet.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Channels of the tensor.
    #[must_use]
    pub const fn channels(&self) -> usize {
        self.channels
    }

    /// All weights, `channels() + 1` for each channel in turn.
    #[must_use]
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = word32(self.rows).to_vec();
        bytes.extend(floats(&self.weights));
        bytes
    }

    pub(super) fn decode(
        content: &[u8],
        (channels, height, _): (usize, usize, usize),
    ) -> Result<Self, BundleError> {
        let section = Section::Altec;
        let (rows, weights) = content
            .split_first_chunk()
            .ok_or_else(|| wrong_length(section, content))?;
        let rows = size(*rows);
        if channels > limits::MAX_ALTEC_CHANNELS || rows > height {
            return Err(BundleError::Value { section });
        }
        let number = channels * (channels + 1);
        if weights.len() != number * 4 {
            return Err(wrong_length(section, content));
        }
        Ok(Self::new(
            rows,
            channels,
            read_floats(section, weights, number)?,
        )?)
    }
}
