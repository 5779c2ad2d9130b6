//! The normal distribution.

use std::f64::consts::TAU;

/// Probability that a standard normal variable is at most `x`. Exact to 1e-15 relative to the smaller of
/// the two tails.
///
/// Φ(x) = 1/2 + φ(x)·(x + x³/3 + x⁵/(3·5) + …) near zero (Marsaglia, Journal of Statistical Software 11,
/// 2004), and beyond 3 Laplace's continued fraction of the tail, φ(x)/(x + 1/(x + 2/(x + 3/…))).
pub(super) fn cdf(x: f64) -> f64 {
    if x > 3.0 {
        return 1.0 - cdf(-x);
    }
    let density = density(x);
    if x < -3.0 {
        let x = -x;
        let tail = (1..=200).rev().fold(x, |tail, k| x + f64::from(k) / tail);
        return density / tail;
    }
    let (mut sum, mut term, mut k) = (x, x, 1.0);
    while term.abs() > 1e-18 * sum.abs() {
        k += 2.0;
        term *= x * x / k;
        sum += term;
    }
    0.5 + density * sum
}

fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / TAU.sqrt()
}

/// The value that a standard normal variable is below with probability `p`, of 0 to 1 without its ends.
///
/// A rational approximation (Abramowitz and Stegun, 26.2.23) made exact by Halley's method.
pub(super) fn quantile(p: f64) -> f64 {
    if p > 0.5 {
        return -quantile(1.0 - p);
    }
    let t = (-2.0 * p.ln()).sqrt();
    let above = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let below = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    let mut x = above / below - t;
    for _ in 0..3 {
        let error = (cdf(x) - p) / density(x);
        x -= error / (1.0 + 0.5 * x * error);
    }
    x
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_values() {
        // Φ by scipy.special.ndtr, Φ⁻¹ by scipy.special.ndtri (SciPy 1.16).
        for (x, p) in [
            (0.0, 0.5),
            (1.0, 0.841_344_746_068_542_9),
            (-1.959_963_984_540_054, 0.025),
            (-3.5, 2.326_290_790_355_25e-4),
            (-6.0, 9.865_876_450_376_946e-10),
        ] {
            assert!((cdf(x) / p - 1.0).abs() < 1e-13, "{x}: {}", cdf(x));
            assert!((quantile(p) - x).abs() < 1e-12, "{p}: {}", quantile(p));
        }
    }

    proptest! {
        #[test]
        fn quantiles_invert(p in 1e-12..0.999_999_f64) {
            prop_assert!((cdf(quantile(p)) / p - 1.0).abs() < 1e-9);
        }
    }
}
