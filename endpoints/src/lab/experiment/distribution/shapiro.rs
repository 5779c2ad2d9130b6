//! The test of Shapiro and Wilk for normality.

use anyhow::{Result, ensure};

use crate::lab::experiment::normal::{cdf, quantile};

/// What the test says of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Verdict {
    /// How well the ordered values correlate with those that a normal sample is expected to have: 0 to 1,
    /// 1 being a perfect fit.
    pub(super) w: f64,
    /// Probability that a normal sample would fit as badly.
    pub(super) p: f64,
}

/// The test for samples of one size (Royston, Applied Statistics 44, 1995, algorithm AS R94).
#[derive(Clone, Debug)]
pub(super) struct ShapiroWilk {
    n: usize,
    /// The weights of the upper half of the ordered sample, the largest first; the lower half has the
    /// same with the other sign.
    weights: Vec<f64>,
}

impl ShapiroWilk {
    /// Sizes for which the approximation of p was fitted.
    pub(super) const SIZES: std::ops::RangeInclusive<usize> = 3..=5_000;

    /// The test for samples of `n` values.
    ///
    /// # Errors
    /// If `n` is not one of [`SIZES`](Self::SIZES).
    pub(super) fn new(n: usize) -> Result<Self> {
        ensure!(
            Self::SIZES.contains(&n),
            "the Shapiro–Wilk test is for 3 to 5,000 values, not {n}"
        );
        Ok(Self {
            n,
            weights: weights(n),
        })
    }

    /// Tests a sample, which is sorted on the way; none if its values do not differ, or are not as many.
    pub(super) fn test(&self, sample: &mut [f64]) -> Option<Verdict> {
        sample.sort_by(f64::total_cmp);
        let (first, last) = (*sample.first()?, *sample.last()?);
        let range = last - first;
        if sample.len() != self.n || !range.is_finite() || range <= 0.0 {
            return None;
        }
        // Scaled to a range of 1, and from the mean, against rounding.
        let n = self.n as f64;
        let mean = sample.iter().map(|x| (x - first) / range).sum::<f64>() / n;
        let centred = || sample.iter().map(|x| (x - first) / range - mean);
        let mirrored = self.weights.iter().map(|weight| -weight);
        let middle = (self.n % 2 == 1).then_some(0.0);
        let all = mirrored
            .chain(middle)
            .chain(self.weights.iter().rev().copied());
        let (mut squares, mut products) = (0.0, 0.0);
        for (x, weight) in centred().zip(all) {
            squares += x * x;
            products += x * weight;
        }
        let of_weights = 2.0
            * self
                .weights
                .iter()
                .map(|weight| weight * weight)
                .sum::<f64>();
        let root = (of_weights * squares).sqrt();
        // 1 − W, without cancelling where W is close to 1.
        let rest = (root - products) * (root + products) / (of_weights * squares);
        Some(Verdict {
            w: 1.0 - rest,
            p: self.p(rest),
        })
    }

    /// The upper tail of what 1 − W, transformed, is normally distributed as.
    fn p(&self, rest: f64) -> f64 {
        let n = self.n as f64;
        if self.n == 3 {
            let exact = 6.0 / std::f64::consts::PI
                * ((1.0 - rest).max(0.0).sqrt().asin() - std::f64::consts::FRAC_PI_3);
            return exact.clamp(0.0, 1.0);
        }
        let y = rest.max(f64::MIN_POSITIVE).ln();
        let (y, mean, deviation) = if self.n <= 11 {
            let gamma = polynomial(&[-2.273, 0.459], n);
            if y >= gamma {
                return 0.0;
            }
            (
                -(gamma - y).ln(),
                polynomial(&[0.544, -0.399_78, 0.025_054, -6.714e-4], n),
                polynomial(&[1.3822, -0.778_57, 0.062_767, -0.002_032_2], n).exp(),
            )
        } else {
            let ln = n.ln();
            (
                y,
                polynomial(&[-1.5861, -0.310_82, -0.083_751, 0.003_891_5], ln),
                polynomial(&[-0.4803, -0.082_676, 0.003_030_2], ln).exp(),
            )
        };
        cdf((mean - y) / deviation)
    }
}

/// Expected normal order statistics, of unit length, with the two outermost corrected by polynomials in
/// 1/√n.
fn weights(n: usize) -> Vec<f64> {
    if n == 3 {
        return vec![0.5_f64.sqrt()];
    }
    let size = n as f64;
    let expected: Vec<f64> = (1..=n / 2)
        .map(|i| -quantile((i as f64 - 0.375) / (size + 0.25)))
        .collect();
    let squares = 2.0 * expected.iter().map(|m| m * m).sum::<f64>();
    let norm = squares.sqrt();
    let x = 1.0 / size.sqrt();
    let corrections = [
        polynomial(
            &[0.0, 0.221_157, -0.147_981, -2.071_19, 4.434_685, -2.706_056],
            x,
        ),
        polynomial(
            &[
                0.0, 0.042_981, -0.293_762, -1.752_461, 5.682_633, -3.582_633,
            ],
            x,
        ),
    ];
    let corrected: Vec<(f64, f64)> = expected
        .iter()
        .zip(corrections)
        .take(if n > 5 { 2 } else { 1 })
        .map(|(m, correction)| (*m, m / norm + correction))
        .collect();
    let (mut left, mut of) = (squares, 1.0);
    for (m, weight) in &corrected {
        left -= 2.0 * m * m;
        of -= 2.0 * weight * weight;
    }
    let scale = (left / of).sqrt();
    let others = expected.iter().skip(corrected.len()).map(|m| m / scale);
    let outermost = corrected.iter().map(|(_, weight)| *weight);
    outermost.chain(others).collect()
}

/// c₀ + c₁x + c₂x² + …
fn polynomial(coefficients: &[f64], x: f64) -> f64 {
    coefficients.iter().rev().fold(0.0, |sum, c| sum * x + c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(sample: &[f64]) -> Verdict {
        let mut sample = sample.to_vec();
        ShapiroWilk::new(sample.len())
            .unwrap()
            .test(&mut sample)
            .unwrap()
    }

    /// Of n values, `shape` at (i + 1/2)/n, which SciPy was given too.
    fn spread(n: usize, shape: fn(f64) -> f64) -> Vec<f64> {
        (0..n).map(|i| shape((i as f64 + 0.5) / n as f64)).collect()
    }

    #[test]
    fn as_scipy_has_it() {
        // scipy.stats.shapiro, SciPy 1.17.
        let uniform: fn(f64) -> f64 = |u| u;
        let exponential: fn(f64) -> f64 = |u| -(1.0 - u).ln();
        let cubed: fn(f64) -> f64 = |u| quantile(u).powi(3);
        let cases = [
            (3, exponential, 0.957_432_521_664, 0.603_109_478_027),
            (4, uniform, 0.992_912_006_998, 0.971_877_058_560),
            (5, exponential, 0.916_637_104_210, 0.508_481_954_694),
            (6, exponential, 0.905_217_139_468, 0.405_685_330_266),
            (11, cubed, 0.837_825_283_462, 0.029_574_767_917),
            (12, exponential, 0.872_562_488_166, 0.070_434_830_218),
            (20, uniform, 0.960_375_183_242, 0.551_371_745_791),
            (50, quantile, 0.999_203_568_385, 1.0),
            (50, exponential, 0.837_586_521_564, 7.255_412_1e-6),
            (200, uniform, 0.954_611_614_751, 5.392_061_44e-6),
            (500, quantile, 0.999_901_479_551, 1.0),
            (5_000, quantile, 0.999_988_925_359, 1.0),
        ];
        for (n, shape, w, p) in cases {
            let found = test(&spread(n, shape));
            assert!((found.w - w).abs() < 1e-6, "{n}: {} {w}", found.w);
            assert!((found.p / p - 1.0).abs() < 1e-4, "{n}: {} {p}", found.p);
        }
    }

    #[test]
    fn what_has_no_verdict() {
        assert!(ShapiroWilk::new(2).is_err() && ShapiroWilk::new(5_001).is_err());
        let four = ShapiroWilk::new(4).unwrap();
        assert_eq!(four.test(&mut [1.0; 4]), None);
        assert_eq!(four.test(&mut [1.0, 2.0, f64::NAN, 3.0]), None);
        assert_eq!(four.test(&mut [1.0, 2.0, 3.0]), None);
    }

    #[test]
    fn place_and_scale_do_not_matter() {
        let one = spread(40, |u| u * u);
        let other: Vec<f64> = one.iter().map(|x| 1e6 - 300.0 * x).collect();
        assert!((test(&one).w - test(&other).w).abs() < 1e-9);
    }
}
