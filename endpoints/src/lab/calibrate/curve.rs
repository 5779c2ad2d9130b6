//! What a missing share costs in accuracy: the curve by which parity is bought.

use anyhow::Result;
use tensorwire_concealment::{AccuracyCurve, AccuracyPoint, Method};

use super::super::loss::LossMap;
use super::bench::{Bench, Outcome, Summary, Whole};

/// The losses of the random map, which streams have unless another is asked for.
pub(super) const MAP: LossMap = LossMap::Elements;

/// Missing shares of the curve, besides 0. Between 5 and 50 % it decides how much parity is bought.
const SHARES: [f32; 11] = [0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9];

/// Other losses than those that the methods were chosen by.
const FIRST_SEED: u64 = 1_001;

/// A point of the curve.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) share: f32,
    pub(super) images: usize,
    pub(super) summary: Summary,
    /// After smoothing, points.
    pub(super) drop: f64,
}

/// Measures the curve of `auto` on so many images, with so many losses of each.
pub(super) fn measure(bench: &Bench<'_>, images: usize, seeds: u64) -> Result<Vec<Measured>> {
    let concealer = || Ok(bench.concealer(Method::Auto)?.with_kind(MAP.kind()));
    let seeds = FIRST_SEED..FIRST_SEED + seeds;
    let images = bench.each(
        "measuring accuracy",
        images,
        concealer,
        |concealer, _, whole: &Whole| {
            let at = |share: f32| -> Result<Vec<Outcome>> {
                let mut outcomes = vec![];
                for seed in seeds.clone() {
                    let share = f64::from(share);
                    let mask = MAP.mask(bench.shape(), share, &whole.digest, seed);
                    outcomes.push(bench.trial(whole, &mask, concealer)?);
                }
                Ok(outcomes)
            };
            SHARES.into_iter().map(at).collect::<Result<Vec<_>>>()
        },
    )?;
    let mut points = vec![];
    for (number, share) in SHARES.into_iter().enumerate() {
        let outcomes = images.iter().filter_map(|image| image.get(number));
        let outcomes: Vec<&[Outcome]> = outcomes.map(Vec::as_slice).collect();
        points.push(Measured {
            share,
            images: outcomes.len(),
            summary: Summary::of(&outcomes)?,
            drop: 0.0,
        });
    }
    let drops = points
        .iter()
        .map(|point| 100.0 * point.summary.accuracy.drop);
    let smooth = rising(&drops.collect::<Vec<_>>());
    for (point, drop) in points.iter_mut().zip(smooth) {
        point.drop = drop;
    }
    Ok(points)
}

/// The curve through these points.
pub(super) fn curve(points: &[Measured]) -> Result<AccuracyCurve> {
    let origin = AccuracyPoint {
        share: 0.0,
        drop: 0.0,
    };
    #[expect(clippy::cast_possible_truncation, reason = "points of accuracy")]
    let measured = points.iter().map(|point| AccuracyPoint {
        share: point.share,
        drop: point.drop as f32,
    });
    let points = std::iter::once(origin).chain(measured).collect();
    Ok(AccuracyCurve::new(MAP.kind(), points)?)
}

/// The rising sequence of least squared distance, from zero (pool adjacent violators: Ayer and others,
/// Annals of Mathematical Statistics 26, 1955): losing more never helps, and where it seems to, the
/// measurement was too small to tell.
fn rising(values: &[f64]) -> Vec<f64> {
    // Runs of equal values: their sum and their number.
    let mut runs: Vec<(f64, usize)> = vec![];
    let mean = |(sum, number): (f64, usize)| sum / number as f64;
    for &value in values {
        let mut run = (value, 1);
        while let Some(before) = runs.pop() {
            if mean(before) < mean(run) {
                runs.push(before);
                break;
            }
            run = (before.0 + run.0, before.1 + run.1);
        }
        runs.push(run);
    }
    runs.into_iter()
        .flat_map(|run| std::iter::repeat_n(mean(run).max(0.0), run.1))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn violators_are_pooled() {
        assert_eq!(rising(&[1.0, 3.0, 2.0, 4.0]), [1.0, 2.5, 2.5, 4.0]);
        assert_eq!(rising(&[3.0, 2.0, 1.0, 8.0]), [2.0, 2.0, 2.0, 8.0]);
        assert_eq!(rising(&[-0.5, 0.1, -0.2, 1.0]), [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(rising(&[]), [0.0; 0]);
    }

    proptest! {
        #[test]
        fn what_rises_stays_and_the_rest_rises(
            mut values in proptest::collection::vec(0.0..100.0_f64, 1..40),
        ) {
            let smooth = rising(&values);
            prop_assert_eq!(smooth.len(), values.len());
            prop_assert!(smooth.is_sorted());
            let sum = |values: &[f64]| values.iter().sum::<f64>();
            prop_assert!((sum(&smooth) - sum(&values)).abs() < 1e-9);
            values.sort_by(f64::total_cmp);
            for (value, smooth) in values.iter().zip(rising(&values)) {
                prop_assert!((value - smooth).abs() < 1e-9);
            }
        }
    }
}
