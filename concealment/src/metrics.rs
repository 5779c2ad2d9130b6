//! How far a filled tensor is from the clean one.

#[cfg(test)]
mod tests;

use ndarray::ArrayView3;
use thiserror::Error;

/// Normalised mean squared error on the missing entries of one tensor; `None` if it is undefined.
///
/// With x the clean tensor, x̂ the filled one and M the entries whose mask is `false`:
/// NMSE = Σ_M (x̂ − x)² / Σ_M x². So 0 is perfect and the zero fill scores exactly 1. Undefined
/// when nothing is missing or every missing entry is zero in the clean tensor. For the figure of a
/// set of images, divide sums rather than average quotients: see [`Distortion`].
///
/// # Errors
///
/// [`MetricError`], the caller's to correct.
pub fn nmse(
    clean: ArrayView3<'_, f32>,
    filled: ArrayView3<'_, f32>,
    mask: ArrayView3<'_, bool>,
) -> Result<Option<f64>, MetricError> {
    let mut distortion = Distortion::default();
    distortion.add(clean, filled, mask)?;
    Ok(distortion.nmse())
}

/// Squared error and energy of missing entries, summed over any number of tensors.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Distortion {
    /// Σ (x̂ − x)² over the missing entries.
    pub squared_error: f64,
    /// Σ x² over the missing entries.
    pub energy: f64,
    /// Number of missing entries.
    pub missing: usize,
}

impl Distortion {
    /// Adds the missing entries of one tensor: clean, filled, and mask, all C×H×W.
    ///
    /// # Errors
    ///
    /// [`MetricError`]; nothing is added then.
    pub fn add(
        &mut self,
        clean: ArrayView3<'_, f32>,
        filled: ArrayView3<'_, f32>,
        mask: ArrayView3<'_, bool>,
    ) -> Result<(), MetricError> {
        if clean.dim() != filled.dim() || clean.dim() != mask.dim() {
            return Err(MetricError::Shape {
                clean: clean.dim(),
                filled: filled.dim(),
                mask: mask.dim(),
            });
        }
        let missing = clean
            .iter()
            .zip(filled.iter())
            .zip(mask.iter())
            .filter(|(_, mask)| !**mask);
        let sum = missing.fold(Self::default(), |sum, ((&clean, &filled), _)| {
            let (clean, filled) = (f64::from(clean), f64::from(filled));
            Self {
                squared_error: sum.squared_error + (filled - clean).powi(2),
                energy: sum.energy + clean.powi(2),
                missing: sum.missing + 1,
            }
        });
        if !sum.squared_error.is_finite() || !sum.energy.is_finite() {
            return Err(MetricError::NotFinite);
        }
        self.squared_error += sum.squared_error;
        self.energy += sum.energy;
        self.missing += sum.missing;
        Ok(())
    }

    /// Squared error over energy, or `None` where the energy is zero.
    #[must_use]
    pub fn nmse(&self) -> Option<f64> {
        (self.energy > 0.0).then(|| self.squared_error / self.energy)
    }
}

/// Why a metric was not computed. Every variant is the caller's to correct.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MetricError {
    /// The shapes are not all the same.
    #[error("clean {clean:?}, filled {filled:?} and mask {mask:?} differ in shape (C, H, W)")]
    Shape {
        /// Shape of the clean tensor as (channels, rows, columns).
        clean: (usize, usize, usize),
        /// Shape of the filled tensor as (channels, rows, columns).
        filled: (usize, usize, usize),
        /// Shape of the mask as (channels, rows, columns).
        mask: (usize, usize, usize),
    },
    /// A missing entry is NaN or infinite in the clean or the filled tensor.
    #[error("a missing entry is not finite in the clean or the filled tensor")]
    NotFinite,
}
