//! Makes a bundle out of the tensors of calibration images.

mod altec;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use ndarray::ArrayView3;
use thiserror::Error;

use self::altec::Trainer;
use crate::{
    bundle::{Bundle, ClipRange, Fields, ImageDigest, Optional, Section, Summary},
    covariance::Accumulator,
    limits,
    number::{count, narrow},
};

/// How [`Calibration::finish`] chooses the clip range of the bundle.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum ClipRule {
    /// From the smallest to the largest value seen. Nothing that calibration saw is clipped, but a
    /// single outlier coarsens every step of the quantiser.
    MinMax,
    /// Mean ± this many standard deviations, over all entries; finite and greater than zero. Cut to
    /// the values seen where the interval reaches beyond them, so that no quantiser level goes to
    /// waste: after a ReLU the lower end is 0. Published with 3 for ResNet-34.
    Sigma(f32),
    /// This range; `low < high`.
    Given {
        /// Lower end.
        low: f32,
        /// Upper end.
        high: f32,
    },
}

/// Accumulates the tensors of calibration images.
///
/// Means and squared deviations are updated in f64 after Welford, so that neither the number of
/// images nor the size of the values costs accuracy. Memory: 16 bytes an entry and 16 an image,
/// with the overhead of an ordered set.
///
/// What some methods need beyond means is asked for before the first image, with
/// [`with_covariance`](Self::with_covariance) and [`with_altec`](Self::with_altec).
#[derive(Debug, Clone)]
pub struct Calibration {
    shape: (usize, usize, usize),
    /// Running mean and sum of squared deviations from it, of each entry in C, H, W order.
    entries: Vec<Moments>,
    min: f32,
    max: f32,
    images: BTreeSet<ImageDigest>,
    covariance: Option<Accumulator>,
    altec: Option<Trainer>,
}

impl Calibration {
    /// Starts with nothing, for tensors of this shape (channels, rows, columns).
    ///
    /// # Errors
    ///
    /// [`CalibrationError::ShapeLimit`].
    pub fn new(shape: (usize, usize, usize)) -> Result<Self, CalibrationError> {
        let entries = limits::entries(shape).ok_or(CalibrationError::ShapeLimit { shape })?;
        Ok(Self {
            shape,
            entries: vec![Moments::default(); entries],
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
            images: BTreeSet::new(),
            covariance: None,
            altec: None,
        })
    }

    /// Measures the covariance of channels and neighbours too, which
    /// [`Method::Lmmse`](crate::Method::Lmmse) needs.
    ///
    /// # Errors
    ///
    /// [`CalibrationError::Unsupported`] if the tensor has too many channels, and
    /// [`CalibrationError::Late`] if an image was added before.
    pub fn with_covariance(mut self) -> Result<Self, CalibrationError> {
        let section = Section::Covariance;
        self.check_early(section)?;
        let accumulator = Accumulator::new(self.shape).ok_or(CalibrationError::Unsupported {
            section,
            shape: self.shape,
        })?;
        self.covariance = Some(accumulator);
        Ok(self)
    }

    /// Trains the weights of [`Method::Altec`](crate::Method::Altec) too, for packets of `rows`
    /// rows.
    ///
    /// Costs an eigendecomposition a packet of each image, of a matrix whose side is the smaller of
    /// C + 1 and rows × W: a tenth of a second an image for 40×28×28, several seconds for
    /// 128×28×28.
    ///
    /// # Errors
    ///
    /// [`CalibrationError::Unsupported`] if `rows` is zero or more than the tensor has, or the tensor
    /// has more channels than [`MAX_ALTEC_CHANNELS`](limits::MAX_ALTEC_CHANNELS), and
    /// [`CalibrationError::Late`] if an image was added before.
    pub fn with_altec(mut self, rows: usize) -> Result<Self, CalibrationError> {
        let section = Section::Altec;
        self.check_early(section)?;
        if !(1..=self.shape.1).contains(&rows) || self.shape.0 > limits::MAX_ALTEC_CHANNELS {
            return Err(CalibrationError::Unsupported {
                section,
                shape: self.shape,
            });
        }
        self.altec = Some(Trainer::new(self.shape, rows));
        Ok(self)
    }

    fn check_early(&self, section: Section) -> Result<(), CalibrationError> {
        if self.images.is_empty() {
            Ok(())
        } else {
            Err(CalibrationError::Late { section })
        }
    }

    /// Adds the tensor (C×H×W) of one image.
    ///
    /// An image counts once: a digest that was added before changes nothing and gives `false`, so
    /// that a duplicate in the dataset weighs no more than any other image.
    ///
    /// # Errors
    ///
    /// [`CalibrationError::Shape`], [`CalibrationError::NotFinite`] and
    /// [`CalibrationError::TooManyImages`]; the image is then not counted.
    pub fn add(
        &mut self,
        tensor: ArrayView3<'_, f32>,
        image: ImageDigest,
    ) -> Result<bool, CalibrationError> {
        if tensor.dim() != self.shape {
            return Err(CalibrationError::Shape {
                expected: self.shape,
                given: tensor.dim(),
            });
        }
        if !tensor.iter().all(|value| value.is_finite()) {
            return Err(CalibrationError::NotFinite { image });
        }
        if self.images.contains(&image) {
            return Ok(false);
        }
        if self.images.len() == limits::MAX_IMAGES {
            return Err(CalibrationError::TooManyImages);
        }
        self.images.insert(image);
        let number = count(self.images.len());
        for (moments, &value) in self.entries.iter_mut().zip(tensor.iter()) {
            moments.add(f64::from(value), number);
            self.min = self.min.min(value);
            self.max = self.max.max(value);
        }
        if let Some(accumulator) = &mut self.covariance {
            accumulator.add(tensor);
        }
        if let Some(trainer) = &mut self.altec {
            trainer.add(tensor);
        }
        Ok(true)
    }

    /// Number of images counted so far.
    #[must_use]
    pub fn images(&self) -> usize {
        self.images.len()
    }

    /// The bundle of the images so far, for the split tensor `split` of the model file whose
    /// SHA-256 is `model_digest`.
    ///
    /// # Errors
    ///
    /// [`CalibrationError::Empty`], [`CalibrationError::Split`], [`CalibrationError::Clip`], and
    /// [`CalibrationError::Unsupported`] if the weights of ALTeC came out of nothing finite.
    pub fn finish(
        self,
        split: &str,
        model_digest: [u8; 32],
        rule: ClipRule,
    ) -> Result<Bundle, CalibrationError> {
        if self.images.is_empty() {
            return Err(CalibrationError::Empty);
        }
        let images = count(self.images.len());
        let plane = self.shape.1 * self.shape.2;
        let channels: Vec<Spread> = self
            .entries
            .chunks_exact(plane)
            .map(|entries| Spread::pool(entries, images))
            .collect();
        let whole = Spread::pool(&self.entries, images);
        let summary = Summary {
            // Rounding must not carry the mean of a constant tensor past its only value.
            mean: narrow(whole.mean).clamp(self.min, self.max),
            std: narrow(whole.std()),
            min: self.min,
            max: self.max,
        };
        let clip = rule
            .range(&whole, &summary)
            .ok_or(CalibrationError::Clip { rule })?;
        let mean: Vec<f32> = self
            .entries
            .iter()
            .map(|entry| narrow(entry.mean))
            .collect();
        let optional = Optional {
            covariance: self.covariance.map(|covariance| covariance.finish(&mean)),
            altec: self
                .altec
                .map(Trainer::finish)
                .transpose()
                .map_err(|error| CalibrationError::Unsupported {
                    section: error.section,
                    shape: self.shape,
                })?,
            ..Optional::default()
        };
        Fields {
            split: split.to_owned(),
            model_digest,
            shape: self.shape,
            summary,
            clip,
            mean,
            channel_std: channels
                .iter()
                .map(|channel| narrow(channel.std()))
                .collect(),
            images: self.images.into_iter().collect(),
            optional,
        }
        .check()
        .map_err(|section| match section {
            Section::Clip => CalibrationError::Clip { rule },
            _ => CalibrationError::Split,
        })
    }
}

impl ClipRule {
    fn range(self, whole: &Spread, seen: &Summary) -> Option<ClipRange> {
        match self {
            Self::MinMax => Some(ClipRange {
                low: seen.min,
                high: seen.max,
            }),
            Self::Sigma(sigmas) if sigmas.is_finite() && sigmas > 0.0 => {
                let reach = f64::from(sigmas) * whole.std();
                Some(ClipRange {
                    low: narrow(whole.mean - reach).max(seen.min),
                    high: narrow(whole.mean + reach).min(seen.max),
                })
            }
            Self::Sigma(_) => None,
            Self::Given { low, high } => Some(ClipRange { low, high }),
        }
    }
}

/// Running moments of one entry.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Adds the `number`th value (Welford 1962).
    fn add(&mut self, value: f64, number: f64) {
        let before = value - self.mean;
        self.mean += before / number;
        self.squares += before * (value - self.mean);
    }
}

/// Mean and variance over a set of entries and all images.
struct Spread {
    mean: f64,
    variance: f64,
}

impl Spread {
    /// The variance within each entry over the images, and that between the entries.
    fn pool(entries: &[Moments], images: f64) -> Self {
        let number = count(entries.len());
        let mean = entries.iter().map(|entry| entry.mean).sum::<f64>() / number;
        let within = entries
            .iter()
            .map(|entry| entry.squares / images)
            .sum::<f64>()
            / number;
        let between = entries
            .iter()
            .map(|entry| (entry.mean - mean).powi(2))
            .sum::<f64>()
            / number;
        Self {
            mean,
            variance: within + between,
        }
    }

    fn std(&self) -> f64 {
        self.variance.sqrt()
    }
}

/// Why there is no bundle. Every variant is the caller's to correct.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[non_exhaustive]
pub enum CalibrationError {
    /// The shape has a side of zero or is over a limit of [`limits`](crate::limits).
    #[error("a tensor of shape {shape:?} (C, H, W) cannot be calibrated: empty or too large")]
    ShapeLimit {
        /// The shape as (channels, rows, columns).
        shape: (usize, usize, usize),
    },
    /// A tensor of another shape than the calibration's.
    #[error("tensor of shape {given:?} in a calibration of shape {expected:?} (C, H, W)")]
    Shape {
        /// The calibration's shape as (channels, rows, columns).
        expected: (usize, usize, usize),
        /// The tensor's shape as (channels, rows, columns).
        given: (usize, usize, usize),
    },
    /// A tensor holds NaN or infinity: leave out the image or correct the model.
    #[error("the tensor of image {image} holds a value that is not finite")]
    NotFinite {
        /// The image concerned.
        image: ImageDigest,
    },
    /// More images than [`MAX_IMAGES`](crate::limits::MAX_IMAGES).
    #[error("more images than a bundle may be made from")]
    TooManyImages,
    /// The section cannot be measured for tensors of this shape, or not with these parameters:
    /// calibrate without it.
    #[error("the section {section} cannot be measured for tensors of shape {shape:?} (C, H, W)")]
    Unsupported {
        /// The section asked for.
        section: Section,
        /// The shape as (channels, rows, columns).
        shape: (usize, usize, usize),
    },
    /// The section was asked for when images had been added already: ask before the first.
    #[error("the section {section} has to be asked for before the first image is added")]
    Late {
        /// The section asked for.
        section: Section,
    },
    /// No image was added.
    #[error("no calibration image was added")]
    Empty,
    /// The name of the split tensor is empty, too long, or holds control characters.
    #[error("the name of the split tensor is empty, longer than 255 bytes or not printable")]
    Split,
    /// The clip rule gives no range: not finite, or not `low < high`. A tensor that is constant
    /// over all images has none but a given one.
    #[error("the rule {rule:?} gives no clip range")]
    Clip {
        /// The rule asked for.
        rule: ClipRule,
    },
}
