//! The section IMPORTANCE: what the loss of each channel costs.

use super::{BundleError, Section, SectionError, bytes::read_floats};

/// The relative cost of losing each channel: of accuracy or of squared error, whichever calibration
/// measured. Every value is at least 0 and their mean is 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Importance {
    channels: Vec<f32>,
}

/// How far the mean may be from 1, for the roundings of f32.
const MEAN_TOLERANCE: f64 = 1e-3;

impl Importance {
    /// Takes the cost of each channel, in any unit, and scales the costs to a mean of 1. Costs that
    /// are all zero become all 1.
    ///
    /// # Errors
    ///
    /// [`SectionError`] if there is none, or one is negative or not finite.
    pub fn from_costs(costs: &[f32]) -> Result<Self, SectionError> {
        let fits = |&cost: &f32| cost.is_finite() && cost >= 0.0;
        if costs.is_empty() || !costs.iter().all(fits) {
            return Err(SectionError::new(
                Section::Importance,
                "every channel's cost is finite and at least 0",
            ));
        }
        let mean = mean(costs);
        let scaled = |&cost: &f32| {
            if mean > 0.0 {
                crate::number::narrow(f64::from(cost) / mean)
            } else {
                1.0
            }
        };
        Self::new(costs.iter().map(scaled).collect())
    }

    fn new(channels: Vec<f32>) -> Result<Self, SectionError> {
        let fits = |&value: &f32| value.is_finite() && value >= 0.0;
        if channels.iter().all(fits) && (mean(&channels) - 1.0).abs() <= MEAN_TOLERANCE {
            Ok(Self { channels })
        } else {
            Err(SectionError::new(
                Section::Importance,
                "values are finite, at least 0, and have a mean of 1",
            ))
        }
    }

    /// One value a channel.
    #[must_use]
    pub fn channels(&self) -> &[f32] {
        &self.channels
    }

    pub(super) fn decode(content: &[u8], channels: usize) -> Result<Self, BundleError> {
        Ok(Self::new(read_floats(
            Section::Importance,
            content,
            channels,
        )?)?)
    }
}

fn mean(values: &[f32]) -> f64 {
    values.iter().copied().map(f64::from).sum::<f64>() / crate::number::count(values.len())
}
