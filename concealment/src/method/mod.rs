//! The methods of concealment: which there are, and what they share.

pub(crate) mod altec;
pub(crate) mod caltec;
pub(crate) mod channel_mean;
pub(crate) mod dataset_mean;
pub(crate) mod ground;
mod holes;
pub(crate) mod hybrid;
pub(crate) mod low_rank;
mod motion;
pub(crate) mod spatial;
pub(crate) mod temporal;
pub(crate) mod zero;

pub(crate) use holes::Holes;

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::bundle::Section;

/// A way to estimate the entries of a tensor that did not arrive. A [`Concealer`](crate::Concealer)
/// carries it out.
///
/// Written T(i, j, c) for the tensor, μ(i, j, c) for the dataset mean of the bundle, and T_μ(c) for
/// the mean of the received entries of channel c. The simple fills are those of Ulhaq's thesis
/// slides on shared inference; their rules for a channel of which nothing arrived, where T_μ(c)
/// does not exist, are this crate's own.
///
/// | simple fill | missing entry | channel of which nothing arrived |
/// |---|---|---|
/// | [`Zero`](Self::Zero) | 0 | 0 |
/// | [`ChannelMean`](Self::ChannelMean) | T_μ(c) | mean of μ over the channel; 0 without a bundle |
/// | [`DatasetMean`](Self::DatasetMean) | μ(i, j, c) | μ(i, j, c) |
/// | [`Hybrid`](Self::Hybrid) | μ(i, j, c) + (T_μ(c) − mean of μ over the channel) | μ(i, j, c) |
///
/// A received entry that is NaN or infinite is left alone like any other and tells nothing about
/// the missing ones; a channel whose received entries are all non-finite counts as one of which
/// nothing arrived. For all methods but the simple fills the same holds for entries beyond ±2⁵⁰,
/// whose products would not fit an f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Method {
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
    /// Interpolation from the received neighbours within the channel. Better with a bundle.
    Spatial,
    /// The same entries of the previous tensor of the stream, as far as it predicts what was
    /// received, and interpolation of what it does not. The first tensor is filled as by
    /// [`Spatial`](Self::Spatial).
    Temporal,
    /// As [`Temporal`](Self::Temporal), with the previous tensor shifted by the motion of the
    /// picture.
    Motion,
    /// A weighted sum of the same rows of the other channels and of the rows above and below, with
    /// weights trained beforehand. Needs the section ALTEC.
    Altec,
    /// A linear fit on the same rows of the channel that correlates best nearby. Needs nothing.
    Caltec,
    /// Low-rank completion of the tensor over its three unfoldings. Needs nothing; slow.
    Silrtc,
    /// The same as a constrained problem, by the method of multipliers. Needs nothing; slow.
    Halrtc,
    /// The linear estimate of least expected squared error, given what was received around the
    /// entry in all channels. Needs the section COVARIANCE.
    Lmmse,
    /// Whichever method the bundle's policy says is best for the loss at hand and the time there
    /// is, or without a policy the best that the bundle allows.
    Auto,
}

impl Method {
    /// Every method, simplest first.
    pub const ALL: &'static [Self] = &[
        Self::Zero,
        Self::ChannelMean,
        Self::DatasetMean,
        Self::Hybrid,
        Self::Spatial,
        Self::Temporal,
        Self::Motion,
        Self::Altec,
        Self::Caltec,
        Self::Silrtc,
        Self::Halrtc,
        Self::Lmmse,
        Self::Auto,
    ];

    /// The four simple fills, cheapest first.
    pub const SIMPLE: [Self; 4] = [
        Self::Zero,
        Self::ChannelMean,
        Self::DatasetMean,
        Self::Hybrid,
    ];

    /// The name by which configuration and tables know the method, as in `channel-mean`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::ChannelMean => "channel-mean",
            Self::DatasetMean => "dataset-mean",
            Self::Hybrid => "hybrid",
            Self::Spatial => "spatial",
            Self::Temporal => "temporal",
            Self::Motion => "motion",
            Self::Altec => "altec",
            Self::Caltec => "caltec",
            Self::Silrtc => "silrtc",
            Self::Halrtc => "halrtc",
            Self::Lmmse => "lmmse",
            Self::Auto => "auto",
        }
    }

    /// Whether there can be no [`Concealer`](crate::Concealer) of the method without a bundle.
    #[must_use]
    pub const fn needs_bundle(self) -> bool {
        matches!(self, Self::DatasetMean | Self::Hybrid) || self.section().is_some()
    }

    /// The optional section of the bundle that the method needs, if it needs one.
    #[must_use]
    pub const fn section(self) -> Option<Section> {
        match self {
            Self::Altec => Some(Section::Altec),
            Self::Lmmse => Some(Section::Covariance),
            _ => None,
        }
    }

    /// Whether the method looks at the previous tensor of the stream.
    #[must_use]
    pub const fn uses_previous(self) -> bool {
        matches!(self, Self::Temporal | Self::Motion)
    }

    /// The code in a bundle's policy (`spec/bundle-format.md` section 6); `None` for `auto`.
    #[must_use]
    pub const fn code(self) -> Option<u8> {
        Some(match self {
            Self::Zero => 0,
            Self::ChannelMean => 1,
            Self::DatasetMean => 2,
            Self::Hybrid => 3,
            Self::Spatial => 4,
            Self::Temporal => 5,
            Self::Motion => 6,
            Self::Altec => 7,
            Self::Caltec => 8,
            Self::Silrtc => 9,
            Self::Halrtc => 10,
            Self::Lmmse => 11,
            Self::Auto => return None,
        })
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|method| method.code() == Some(code))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(name: &str) -> Result<Self, UnknownMethod> {
        Self::ALL
            .iter()
            .copied()
            .find(|method| method.name() == name)
            .ok_or_else(|| UnknownMethod {
                name: name.to_owned(),
            })
    }
}

/// A name that is not one of [`Method::ALL`]; whoever wrote it has to correct it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "unknown method {name:?}: use zero, channel-mean, dataset-mean, hybrid, spatial, temporal, \
     motion, altec, caltec, silrtc, halrtc, lmmse or auto"
)]
pub struct UnknownMethod {
    /// The name as given.
    pub name: String,
}
