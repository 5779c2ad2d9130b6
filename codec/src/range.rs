//! The interval that entries are clipped to before they are quantised.

use ndarray::ArrayView3;
use thiserror::Error;

/// A closed interval of finite values, low < high.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipRange {
    low: f32,
    high: f32,
}

/// Why no clip range could be made. The fault is the caller's, or that of the tensor it gave.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum RangeError {
    /// A bound is NaN or infinite, or low is not below high.
    #[error("a clip range needs finite bounds, low below high, not {low} to {high}")]
    Bounds {
        /// The lower bound that was given.
        low: f32,
        /// The upper bound that was given.
        high: f32,
    },
    /// The width in standard deviations is not a positive finite number, or the deviation is
    /// negative or not finite.
    #[error("a clip range of {n} standard deviations of {std} around {mean} does not exist")]
    Sigma {
        /// The mean that was given.
        mean: f32,
        /// The standard deviation that was given.
        std: f32,
        /// Half the width of the range, in standard deviations.
        n: f32,
    },
    /// The tensor has no entries, or one that is NaN or infinite.
    #[error("a clip range cannot be measured on a tensor that is empty or not finite")]
    Tensor,
}

impl ClipRange {
    /// The range from `low` to `high`.
    ///
    /// # Errors
    /// [`RangeError::Bounds`] unless both are finite and `low < high`.
    pub fn new(low: f32, high: f32) -> Result<Self, RangeError> {
        if low.is_finite() && high.is_finite() && low < high {
            Ok(Self { low, high })
        } else {
            Err(RangeError::Bounds { low, high })
        }
    }

    /// `mean ± n × std`; a deviation of zero gives a range around the one value, as
    /// [`ClipRange::min_max`] does.
    ///
    /// n = 3 keeps 99.7 % of a normal distribution inside.
    ///
    /// # Errors
    /// [`RangeError::Sigma`] if `n` is not positive and finite or `std` is negative or not finite,
    /// [`RangeError::Bounds`] if the bounds are not finite.
    pub fn sigma(mean: f32, std: f32, n: f32) -> Result<Self, RangeError> {
        if !(n.is_finite() && n > 0.0 && std.is_finite() && std >= 0.0) {
            return Err(RangeError::Sigma { mean, std, n });
        }
        let (low, high) = (mean - n * std, mean + n * std);
        if low == high {
            Self::around(mean)
        } else {
            Self::new(low, high)
        }
    }

    /// [`ClipRange::sigma`] of the mean and (population) standard deviation of a tensor. One pass
    /// over its entries, in double precision.
    ///
    /// # Errors
    /// [`RangeError::Tensor`] for a tensor that is empty or not finite, else as
    /// [`ClipRange::sigma`].
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounding to the entries' own precision"
    )]
    pub fn sigma_of(tensor: ArrayView3<'_, f32>, n: f32) -> Result<Self, RangeError> {
        // Shifted by the first entry, so that a large mean does not cancel a small deviation.
        let shift = f64::from(*tensor.first().ok_or(RangeError::Tensor)?);
        let (mut sum, mut squares) = (0.0, 0.0);
        for &x in tensor {
            let x = f64::from(x) - shift;
            sum += x;
            squares += x * x;
        }
        let entries = tensor.len() as f64;
        let mean = sum / entries;
        let variance = (squares / entries - mean * mean).max(0.0);
        if !(mean.is_finite() && squares.is_finite()) {
            return Err(RangeError::Tensor);
        }
        Self::sigma((mean + shift) as f32, variance.sqrt() as f32, n)
    }

    /// From the smallest to the largest entry of a tensor.
    ///
    /// A constant tensor of value v gives \[v, v + max(|v|, 1)\], so that v is a level of every
    /// quantiser of the range and survives it exactly; where that bound is not finite, the range
    /// is \[v / 2, v\].
    ///
    /// # Errors
    /// [`RangeError::Tensor`] for a tensor that is empty or not finite.
    pub fn min_max(tensor: ArrayView3<'_, f32>) -> Result<Self, RangeError> {
        let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
        for &x in tensor {
            if !x.is_finite() {
                return Err(RangeError::Tensor);
            }
            low = low.min(x);
            high = high.max(x);
        }
        if low == high {
            Self::around(low)
        } else {
            Self::new(low, high)
        }
        .map_err(|_| RangeError::Tensor)
    }

    /// A range of which `value` is an end.
    fn around(value: f32) -> Result<Self, RangeError> {
        let high = value + value.abs().max(1.0);
        // Adding |v| ≥ ulp(v) always moves a finite v.
        if high.is_finite() {
            Self::new(value, high)
        } else {
            Self::new(value / 2.0, value)
        }
    }

    /// The lower bound.
    #[must_use]
    pub const fn low(self) -> f32 {
        self.low
    }

    /// The upper bound.
    #[must_use]
    pub const fn high(self) -> f32 {
        self.high
    }

    /// `x`, or the bound it lies beyond.
    #[must_use]
    pub const fn clip(self, x: f32) -> f32 {
        x.clamp(self.low, self.high)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, array};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bounds_are_finite_and_ordered() {
        assert!(ClipRange::new(-1.0, 1.0).is_ok());
        for (low, high) in [
            (1.0, 1.0),
            (2.0, 1.0),
            (f32::NAN, 1.0),
            (0.0, f32::INFINITY),
        ] {
            assert!(matches!(
                ClipRange::new(low, high),
                Err(RangeError::Bounds { .. })
            ));
        }
    }

    #[test]
    fn sigma_is_symmetric_about_the_mean() {
        assert_eq!(ClipRange::sigma(1.0, 2.0, 3.0), ClipRange::new(-5.0, 7.0));
        assert!(ClipRange::sigma(1.0, 2.0, 0.0).is_err());
        assert!(ClipRange::sigma(1.0, -2.0, 3.0).is_err());
        assert!(ClipRange::sigma(f32::NAN, 2.0, 3.0).is_err());
        assert!(ClipRange::sigma(0.0, f32::MAX, 2.0).is_err());
    }

    #[test]
    fn measured_ranges() {
        let tensor = array![[[1.0, 3.0], [1.0, 3.0]]];
        assert_eq!(
            ClipRange::sigma_of(tensor.view(), 2.0),
            ClipRange::new(0.0, 4.0)
        );
        assert_eq!(ClipRange::min_max(tensor.view()), ClipRange::new(1.0, 3.0));
        let far = tensor.mapv(|x| x + 1.0e6);
        let range = ClipRange::sigma_of(far.view(), 2.0).unwrap();
        assert_eq!((range.low(), range.high()), (1.0e6, 1.0e6 + 4.0));
    }

    #[test]
    fn unusable_tensors_are_refused() {
        let empty = Array3::<f32>::zeros((0, 1, 1));
        assert_eq!(ClipRange::min_max(empty.view()), Err(RangeError::Tensor));
        assert_eq!(
            ClipRange::sigma_of(empty.view(), 3.0),
            Err(RangeError::Tensor)
        );
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let tensor = array![[[0.0, bad]]];
            assert_eq!(ClipRange::min_max(tensor.view()), Err(RangeError::Tensor));
            assert_eq!(
                ClipRange::sigma_of(tensor.view(), 3.0),
                Err(RangeError::Tensor)
            );
        }
    }

    proptest! {
        #[test]
        fn a_constant_tensor_has_a_range_that_ends_at_it(value in any::<f32>()) {
            prop_assume!(value.is_finite());
            let tensor = Array3::from_elem((2, 1, 3), value);
            for range in [ClipRange::min_max(tensor.view()), ClipRange::sigma(value, 0.0, 3.0)] {
                let range = range.unwrap();
                prop_assert!(range.low() == value || range.high() == value);
            }
        }

        #[test]
        fn min_max_holds_every_entry(values in prop::collection::vec(-1e30f32..1e30, 1..40)) {
            let tensor = Array3::from_shape_vec((1, 1, values.len()), values.clone()).unwrap();
            let range = ClipRange::min_max(tensor.view()).unwrap();
            prop_assert!(values.iter().all(|&x| range.clip(x) == x));
        }
    }
}
