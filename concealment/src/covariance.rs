//! What received entries of a split's tensors tell about missing ones.
//!
//! The tensor, less its dataset mean, is taken to be Gaussian, and its distribution written as the
//! product, in reading order, of that of each pixel's channels given the channels of a few pixels
//! before it (Vecchia, "Estimation and model identification for continuous spatial processes", JRSS
//! B 1988; the same with a Cholesky factor on a lattice is a causal Markov random field). With y_p
//! the C deviations at pixel p, each divided by its channel's scale, and y_q those of the pixels
//! before it,
//!
//! r_p = F · (y_q1, …, y_qn, y_p)ᵀ
//!
//! is white with unit variance, where F is the last C rows of the inverse Cholesky factor of the
//! covariance of (y_q1, …, y_qn, y_p). The factors are the same for all pixels with the same
//! neighbours ([`window`]); stacked over the pixels they are a sparse inverse Cholesky factor of
//! the covariance of the whole tensor. So whatever the factors are, the model is a valid one, and
//! the borders are as exact as the interior: this is why the bundle has factors in place of
//! covariances, of which the larger and sparser ones would have to be estimated and inverted by the
//! reader.

mod accumulator;
mod factor;
mod fit;
mod format;
#[cfg(test)]
mod tests;
pub(crate) mod window;

use self::{factor::Factor, window::Reach};

pub(crate) use accumulator::Accumulator;

/// How the channels of a split's tensors vary together, at one pixel and with the pixels around it.
///
/// Measured by calibration and kept in the bundle (`spec/bundle-format.md`, section COVARIANCE),
/// for at most [`MAX_COVARIANCE_CHANNELS`](crate::limits::MAX_COVARIANCE_CHANNELS) channels. It is
/// the factored inverse of a covariance: [`Method::Lmmse`](crate::Method::Lmmse) takes means given
/// what was received from it.
///
/// Memory and size on file: 2 bytes a coefficient, of which there are about 13 C² to 28 C².
#[derive(Debug, Clone, PartialEq)]
pub struct Covariance {
    shape: (usize, usize, usize),
    reach: Reach,
    /// Positive, normal, one a channel: roughly the standard deviation about the dataset mean.
    scales: Vec<f32>,
    /// One for each situation of the window.
    factors: Vec<Factor>,
}

impl Covariance {
    /// Whether a covariance can be measured and kept for tensors of this shape (channels, rows,
    /// columns): within the limits, and no more than
    /// [`MAX_COVARIANCE_CHANNELS`](crate::limits::MAX_COVARIANCE_CHANNELS) channels.
    #[must_use]
    pub fn is_supported(shape: (usize, usize, usize)) -> bool {
        crate::limits::entries(shape).is_some() && shape.0 <= crate::limits::MAX_COVARIANCE_CHANNELS
    }

    /// Shape of the tensors as (channels, rows, columns).
    #[must_use]
    pub const fn shape(&self) -> (usize, usize, usize) {
        self.shape
    }

    /// Number of earlier pixels from which a pixel inside the plane is foretold: 4, 8 or 12.
    #[must_use]
    pub const fn neighbours(&self) -> usize {
        self.reach.neighbours()
    }

    pub(crate) const fn reach(&self) -> Reach {
        self.reach
    }

    pub(crate) fn scales(&self) -> &[f32] {
        &self.scales
    }

    pub(crate) fn factors(&self) -> &[Factor] {
        &self.factors
    }
}
