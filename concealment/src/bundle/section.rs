//! The sections of a bundle file and the constants of its frame.

use std::fmt;

/// First bytes of every bundle.
pub(super) const MAGIC: [u8; 4] = *b"\x89TWB";

/// The version that is written, and the only one that is read.
pub(super) const VERSION: u16 = 1;

/// Magic, version, number of sections, length of the file.
pub(super) const HEADER_SIZE: usize = 12;

/// Type and length in front of each section's content.
pub(super) const SECTION_HEADER_SIZE: usize = 6;

/// The CRC-32 at the end.
pub(super) const CHECKSUM_SIZE: usize = 4;

/// A section of a bundle; the discriminant is its type on file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u16)]
pub enum Section {
    /// Digest of the model and name of the split tensor.
    Origin = 1,
    /// Channels, rows and columns.
    Shape = 2,
    /// Mean, standard deviation, smallest and largest value of all entries.
    Summary = 3,
    /// The range to clip to.
    Clip = 4,
    /// The dataset mean of each entry.
    Mean = 5,
    /// The standard deviation of each channel.
    ChannelStd = 6,
    /// Digests of the calibration images.
    Images = 7,
    /// Covariance of channels and neighbours, for LMMSE. Optional.
    Covariance = 8,
    /// Weights of ALTeC. Optional.
    Altec = 9,
    /// What a missing share costs in accuracy. Optional.
    Accuracy = 10,
    /// What the loss of each channel costs. Optional.
    Importance = 11,
    /// Which method conceals which loss best, as measured. Optional.
    Policy = 12,
    /// What each way of coding takes and costs. Optional.
    Ladder = 13,
}

impl Section {
    /// All sections in the order in which they are written.
    pub(super) const ALL: [Self; 13] = [
        Self::Origin,
        Self::Shape,
        Self::Summary,
        Self::Clip,
        Self::Mean,
        Self::ChannelStd,
        Self::Images,
        Self::Covariance,
        Self::Altec,
        Self::Accuracy,
        Self::Importance,
        Self::Policy,
        Self::Ladder,
    ];

    /// The type on file.
    #[must_use]
    pub const fn kind(self) -> u16 {
        self as u16
    }

    pub(super) fn from_kind(kind: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|section| section.kind() == kind)
    }
}

/// The name used in `spec/bundle-format.md`.
impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Origin => "ORIGIN",
            Self::Shape => "SHAPE",
            Self::Summary => "SUMMARY",
            Self::Clip => "CLIP",
            Self::Mean => "MEAN",
            Self::ChannelStd => "CHANNEL_STD",
            Self::Images => "IMAGES",
            Self::Covariance => "COVARIANCE",
            Self::Altec => "ALTEC",
            Self::Accuracy => "ACCURACY",
            Self::Importance => "IMPORTANCE",
            Self::Policy => "POLICY",
            Self::Ladder => "LADDER",
        })
    }
}
