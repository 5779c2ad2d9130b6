//! Side information: what a split's tensors look like on average.

mod accuracy;
mod altec;
mod bytes;
mod decode;
mod encode;
mod error;
mod image;
mod importance;
mod ladder;
mod optional;
mod policy;
mod section;

#[cfg(test)]
mod tests;

pub use accuracy::{AccuracyCurve, AccuracyPoint};
pub use altec::AltecTable;
pub use error::{BundleError, SectionError};
pub use image::ImageDigest;
pub use importance::Importance;
pub use ladder::{CodingLadder, CodingStep, StepCoder};
pub use policy::{Policy, PolicyRow};
pub use section::Section;

pub(crate) use optional::Optional;

use crate::{
    limits,
    number::{count, narrow},
};

/// Side information on the tensors of one model at one split, measured on calibration images.
///
/// Made by [`Calibration`](crate::Calibration) and kept as a file (`spec/bundle-format.md`) through
/// [`to_bytes`](Self::to_bytes) and [`from_bytes`](Self::from_bytes). Every value in it is finite
/// and within [`limits`](crate::limits).
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    split: String,
    model_digest: [u8; 32],
    shape: (usize, usize, usize),
    summary: Summary,
    clip: ClipRange,
    /// In C, H, W order.
    mean: Vec<f32>,
    /// Mean of `mean` over each channel; derived.
    channel_means: Vec<f32>,
    channel_std: Vec<f32>,
    /// Strictly ascending.
    images: Vec<ImageDigest>,
    optional: Optional,
}

/// Statistics over every entry of every calibration tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Mean.
    pub mean: f32,
    /// Standard deviation (of the population, not of a sample), at least zero.
    pub std: f32,
    /// Smallest value.
    pub min: f32,
    /// Largest value.
    pub max: f32,
}

/// The range of values worth sending: a quantiser clips to it. Finite, and `low < high`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClipRange {
    /// Lower end.
    pub low: f32,
    /// Upper end.
    pub high: f32,
}

impl Bundle {
    /// Name of the split tensor in the model, 1 to 255 bytes without control characters.
    #[must_use]
    pub fn split(&self) -> &str {
        &self.split
    }

    /// SHA-256 of the model file.
    #[must_use]
    pub const fn model_digest(&self) -> &[u8; 32] {
        &self.model_digest
    }

    /// Shape of the tensor as (channels, rows, columns).
    #[must_use]
    pub const fn shape(&self) -> (usize, usize, usize) {
        self.shape
    }

    /// Statistics over all entries and images.
    #[must_use]
    pub const fn summary(&self) -> Summary {
        self.summary
    }

    /// Range to which a quantiser of this split clips.
    #[must_use]
    pub const fn clip(&self) -> ClipRange {
        self.clip
    }

    /// The dataset mean μ of each entry, in C, H, W order: entry (c, i, j) is at
    /// `(c × rows + i) × columns + j`.
    #[must_use]
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// Mean of μ over the positions of each channel.
    #[must_use]
    pub fn channel_means(&self) -> &[f32] {
        &self.channel_means
    }

    /// Standard deviation of each channel over its positions and all images, about its mean.
    #[must_use]
    pub fn channel_std(&self) -> &[f32] {
        &self.channel_std
    }

    /// Digests of the images that the statistics were made from, ascending; their number is the
    /// sample count.
    #[must_use]
    pub fn images(&self) -> &[ImageDigest] {
        &self.images
    }

    /// Whether the bundle was made from this image, in which case accuracy measured on it would
    /// flatter every fill that uses the bundle. O(log images).
    #[must_use]
    pub fn contains_image(&self, image: &ImageDigest) -> bool {
        self.images.binary_search(image).is_ok()
    }

    /// The file's bytes. The same bundle always gives the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        encode::encode(self)
    }

    /// Reads a file of `spec/bundle-format.md`, version 1. Sections of unknown type are skipped.
    ///
    /// Allocates no more than a small multiple of the length of `bytes`.
    ///
    /// # Errors
    ///
    /// [`BundleError`], all of them the fault of whoever made or damaged the bytes. A truncated
    /// file and a flipped bit are always errors.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BundleError> {
        decode::decode(bytes)
    }
}

/// The stored fields of a bundle, before they are checked.
pub(crate) struct Fields {
    pub(crate) split: String,
    pub(crate) model_digest: [u8; 32],
    pub(crate) shape: (usize, usize, usize),
    pub(crate) summary: Summary,
    pub(crate) clip: ClipRange,
    pub(crate) mean: Vec<f32>,
    pub(crate) channel_std: Vec<f32>,
    pub(crate) images: Vec<ImageDigest>,
    /// Already checked, each by its own type; here only against the shape.
    pub(crate) optional: Optional,
}

impl Fields {
    /// Makes a bundle if every rule of the format holds, or names the section at fault.
    pub(crate) fn check(self) -> Result<Bundle, Section> {
        let Self {
            split,
            model_digest,
            shape,
            summary,
            clip,
            mean,
            channel_std,
            images,
            optional,
        } = self;
        let fits = |section, holds: bool| if holds { Ok(()) } else { Err(section) };

        let entries = limits::entries(shape).ok_or(Section::Shape)?;
        let name_fits = (1..=limits::MAX_SPLIT_BYTES).contains(&split.len());
        fits(
            Section::Origin,
            name_fits && !split.chars().any(char::is_control),
        )?;
        let Summary {
            mean: average,
            std,
            min,
            max,
        } = summary;
        let finite = [average, std, min, max]
            .iter()
            .all(|value| value.is_finite());
        fits(
            Section::Summary,
            finite && std >= 0.0 && min <= average && average <= max,
        )?;
        let ends_fit = clip.low.is_finite() && clip.high.is_finite() && clip.low < clip.high;
        fits(Section::Clip, ends_fit)?;
        let mean_fits = mean.len() == entries && mean.iter().all(|value| value.is_finite());
        fits(Section::Mean, mean_fits)?;
        let std_fits = |&value: &f32| value.is_finite() && value >= 0.0;
        let stds_fit = channel_std.len() == shape.0 && channel_std.iter().all(std_fits);
        fits(Section::ChannelStd, stds_fit)?;
        let number_fits = (1..=limits::MAX_IMAGES).contains(&images.len());
        fits(
            Section::Images,
            number_fits && images.is_sorted_by(|a, b| a < b),
        )?;

        optional.check(shape).map_err(|error| error.section)?;

        let plane = shape.1 * shape.2;
        let channel_means = mean.chunks_exact(plane).map(channel_mean).collect();
        Ok(Bundle {
            split,
            model_digest,
            shape,
            summary,
            clip,
            mean,
            channel_means,
            channel_std,
            images,
            optional,
        })
    }
}

fn channel_mean(plane: &[f32]) -> f32 {
    narrow(plane.iter().copied().map(f64::from).sum::<f64>() / count(plane.len()))
}
