//! The fills: which there are, and the checks and memory layouts common to all.

mod channel_mean;
mod dataset_mean;
mod hybrid;
mod zero;

#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

use ndarray::{ArrayView3, ArrayViewMut3};
use thiserror::Error;

use crate::bundle::Bundle;

/// A way to estimate the entries of a tensor that did not arrive.
///
/// Written T(i, j, c) for the tensor, μ(i, j, c) for the dataset mean of the bundle, and T_μ(c) for
/// the mean of the received entries of channel c. The four are those of Ulhaq's thesis slides on
/// shared inference; the rules for a channel of which nothing arrived, where T_μ(c) does not exist,
/// are this crate's own.
///
/// | fill | missing entry | channel of which nothing arrived |
/// |---|---|---|
/// | [`Zero`](Self::Zero) | 0 | 0 |
/// | [`ChannelMean`](Self::ChannelMean) | T_μ(c) | mean of μ over the channel; 0 without a bundle |
/// | [`DatasetMean`](Self::DatasetMean) | μ(i, j, c) | μ(i, j, c) |
/// | [`Hybrid`](Self::Hybrid) | μ(i, j, c) + (T_μ(c) − mean of μ over the channel) | μ(i, j, c) |
///
/// A received entry that is NaN or infinite is left alone like any other and is left out of T_μ(c);
/// a channel whose received entries are all non-finite counts as one of which nothing arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fill {
    /// Zero. Right for signed tensors centred near zero, such as linear residual adds; poor after a
    /// ReLU with a large bias. Needs nothing.
    Zero,
    /// The mean of the channel's received entries. Uses a bundle, if there is one, only for a
    /// channel of which nothing arrived.
    ChannelMean,
    /// The mean of this entry over the calibration images. Needs a bundle.
    DatasetMean,
    /// The dataset mean, shifted so that the channel's level is that of its received entries. Needs
    /// a bundle.
    ///
    /// As published, the shift compares the mean of the *received* entries with the mean of μ over
    /// the *whole* channel, so where many rows are lost at once it also holds the difference of
    /// the places. A mean of μ over the received positions would be the better estimate, by nothing
    /// measurable for scattered losses and by up to 0.5 % of squared error for slices of a quarter
    /// or half of a channel (ResNet-20 on CIFAR-10, losses of 5 to 20 %).
    Hybrid,
}

impl Fill {
    /// Every fill, cheapest first.
    pub const ALL: &'static [Self] = &[
        Self::Zero,
        Self::ChannelMean,
        Self::DatasetMean,
        Self::Hybrid,
    ];

    /// The name by which configuration and tables know the fill, as in `channel-mean`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::ChannelMean => "channel-mean",
            Self::DatasetMean => "dataset-mean",
            Self::Hybrid => "hybrid",
        }
    }

    /// Whether [`apply`](Self::apply) fails without a bundle.
    #[must_use]
    pub const fn needs_side_information(self) -> bool {
        matches!(self, Self::DatasetMean | Self::Hybrid)
    }

    /// Fills every entry of `tensor` (C×H×W) whose `mask` (C×H×W, `true` = received) is `false`.
    ///
    /// Received entries keep their bits. What a missing entry held before is never read. Filled
    /// entries are finite; a result beyond the range of f32 becomes the nearest finite value. An
    /// empty tensor is left as it is.
    ///
    /// The result does not depend on the memory layout. Views that are contiguous in C, H, W order
    /// are filled in place without allocation, in tens of microseconds for 128×28×28; others cost a
    /// copy of the tensor.
    ///
    /// # Errors
    ///
    /// All are the caller's, and leave the tensor as it was: [`FillError::MaskShape`],
    /// [`FillError::BundleShape`] (of whichever fill, if a bundle is given), and
    /// [`FillError::NeedsSideInformation`].
    pub fn apply(
        self,
        mut tensor: ArrayViewMut3<'_, f32>,
        mask: ArrayView3<'_, bool>,
        side: Option<&Bundle>,
    ) -> Result<(), FillError> {
        let shape = tensor.dim();
        if mask.dim() != shape {
            return Err(FillError::MaskShape {
                tensor: shape,
                mask: mask.dim(),
            });
        }
        if let Some(bundle) = side.filter(|bundle| bundle.shape() != shape) {
            return Err(FillError::BundleShape {
                tensor: shape,
                bundle: bundle.shape(),
            });
        }
        let plane = shape.1 * shape.2;
        if tensor.is_empty() {
            return self.fill(
                Channels {
                    entries: &mut [],
                    received: &[],
                    plane: 1,
                },
                side,
            );
        }
        if let (Some(entries), Some(received)) = (tensor.as_slice_mut(), mask.as_slice()) {
            return self.fill(
                Channels {
                    entries,
                    received,
                    plane,
                },
                side,
            );
        }
        // `iter` walks any layout in C, H, W order.
        let mut entries: Vec<f32> = tensor.iter().copied().collect();
        let received: Vec<bool> = mask.iter().copied().collect();
        self.fill(
            Channels {
                entries: &mut entries,
                received: &received,
                plane,
            },
            side,
        )?;
        tensor
            .iter_mut()
            .zip(entries)
            .for_each(|(entry, filled)| *entry = filled);
        Ok(())
    }

    fn fill(self, channels: Channels<'_>, side: Option<&Bundle>) -> Result<(), FillError> {
        let needed = side.ok_or(FillError::NeedsSideInformation { fill: self });
        match self {
            Self::Zero => zero::fill(channels),
            Self::ChannelMean => channel_mean::fill(channels, side),
            Self::DatasetMean => dataset_mean::fill(channels, needed?),
            Self::Hybrid => hybrid::fill(channels, needed?),
        }
        Ok(())
    }
}

impl fmt::Display for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Fill {
    type Err = UnknownFill;

    fn from_str(name: &str) -> Result<Self, UnknownFill> {
        Self::ALL
            .iter()
            .copied()
            .find(|fill| fill.name() == name)
            .ok_or_else(|| UnknownFill {
                name: name.to_owned(),
            })
    }
}

/// A name that is not one of [`Fill::ALL`]; whoever wrote it has to correct it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown fill {name:?}: use zero, channel-mean, dataset-mean or hybrid")]
pub struct UnknownFill {
    /// The name as given.
    pub name: String,
}

/// Why nothing was filled. Every variant is the caller's to correct.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FillError {
    /// The mask's shape is not the tensor's: pass the mask that was decoded with the tensor.
    #[error("mask of shape {mask:?} for a tensor of shape {tensor:?} (C, H, W)")]
    MaskShape {
        /// Shape of the tensor as (channels, rows, columns).
        tensor: (usize, usize, usize),
        /// Shape of the mask as (channels, rows, columns).
        mask: (usize, usize, usize),
    },
    /// The bundle's shape is not the tensor's: pass a bundle made at the same split.
    #[error("side information of shape {bundle:?} for a tensor of shape {tensor:?} (C, H, W)")]
    BundleShape {
        /// Shape of the tensor as (channels, rows, columns).
        tensor: (usize, usize, usize),
        /// Shape of the bundle as (channels, rows, columns).
        bundle: (usize, usize, usize),
    },
    /// The fill cannot work without a bundle: calibrate one, or choose another fill.
    #[error("the fill {fill} needs side information: give a bundle, or fill zero or channel-mean")]
    NeedsSideInformation {
        /// The fill that was asked for.
        fill: Fill,
    },
}

/// A tensor and its mask as flat slices in C, H, W order.
struct Channels<'a> {
    entries: &'a mut [f32],
    /// As long as `entries`.
    received: &'a [bool],
    /// Entries a channel, at least one; divides the length.
    plane: usize,
}

impl<'a> Channels<'a> {
    /// Entries and mask of each channel.
    fn iter_mut(self) -> impl Iterator<Item = (&'a mut [f32], &'a [bool])> {
        self.entries
            .chunks_exact_mut(self.plane)
            .zip(self.received.chunks_exact(self.plane))
    }
}

/// Writes `value` into the entries that were not received.
///
/// A select for every entry instead of a branch, so that the loop vectorises and scattered losses
/// cost no mispredicted branches; the same holds for the loops of the other fills.
fn fill_with(entries: &mut [f32], received: &[bool], value: f32) {
    for (entry, &received) in entries.iter_mut().zip(received) {
        *entry = if received { *entry } else { value };
    }
}

/// Copies `values` into the entries that were not received.
fn fill_from(entries: &mut [f32], received: &[bool], values: &[f32]) {
    for ((entry, &received), &value) in entries.iter_mut().zip(received).zip(values) {
        *entry = if received { *entry } else { value };
    }
}
