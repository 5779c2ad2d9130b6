//! What a missing share costs in accuracy: the curve by which parity is bought.

use anyhow::Result;
use tensorwire_concealment::{AccuracyCurve, AccuracyPoint, Method};

use super::super::loss::LossMap;
use super::super::rising::rising;
use super::bench::{Bench, Mean, Outcome, Summary, Whole};

/// The losses of the random map, which streams have unless another is asked for.
pub(super) const MAP: LossMap = LossMap::Elements;

/// Missing shares of the curve, besides 0. Between 5 and 50 % it decides how much parity is bought.
const SHARES: [f32; 11] = [0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9];

/// Other losses than those that the methods were chosen by.
const FIRST_SEED: u64 = 1_001;

/// How gradually an image turns from wrong to right as its margin rises, in standard deviations of the
/// margins of whole tensors.
///
/// Hits are counted in whole images, and of hundreds of them few turn: their drop has a standard error of
/// about a point for one loss of each of 250 photographs. Images whose margin comes near to turning are
/// many more, and counted in part they say the same. On these photographs, four losses of each, the error
/// at 20 % missing was 0.41 points of hits and 0.26 of degrees, in the same place; twice as gradual, it was
/// 0.19, but the curve ran a tenth lower where it is steep.
const SOFTNESS: f64 = 0.1;

/// A point of the curve.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) share: f32,
    pub(super) images: usize,
    pub(super) summary: Summary,
    /// The drop with images that turn by degrees, a fraction.
    pub(super) gradual: Mean,
    /// The same as the bundle has it, points: it never falls.
    pub(super) drop: f64,
}

/// What became of one image: of each of [`SHARES`] the outcomes of its losses.
pub(super) type Looked = Vec<Vec<Outcome>>;

/// Looks at what `auto` leaves of so many images, with so many losses of each.
pub(super) fn look(bench: &Bench<'_>, images: usize, seeds: u64) -> Result<Vec<Looked>> {
    let concealer = || Ok(bench.concealer(Method::Auto)?.with_kind(MAP.kind()));
    let seeds = FIRST_SEED..FIRST_SEED + seeds;
    bench.each(
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
            SHARES.into_iter().map(at).collect()
        },
    )
}

/// The points of the curve, from all images that were looked at.
pub(super) fn measure(images: &[Looked]) -> Result<Vec<Measured>> {
    let width = SOFTNESS * spread(images);
    let mut points = vec![];
    for (number, share) in SHARES.into_iter().enumerate() {
        let outcomes = images.iter().filter_map(|image| image.get(number));
        let outcomes: Vec<&[Outcome]> = outcomes.map(Vec::as_slice).collect();
        points.push(Measured {
            share,
            images: outcomes.len(),
            summary: Summary::of(&outcomes)?,
            gradual: Mean::of(outcomes.iter().map(|losses| {
                let drop =
                    |one: &Outcome| degree(one.margin_whole, width) - degree(one.margin, width);
                losses.iter().map(drop).sum::<f64>() / losses.len() as f64
            })),
            drop: 0.0,
        });
    }
    let drops = points.iter().map(|point| (100.0 * point.gradual.mean, 1.0));
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

/// The standard deviation of the margins of whole tensors.
fn spread(images: &[Looked]) -> f64 {
    let first = |image: &Looked| Some(image.first()?.first()?.margin_whole);
    let margins = images.iter().filter_map(first);
    let margins: Vec<f64> = margins.filter(|margin| margin.is_finite()).collect();
    let number = margins.len().max(1) as f64;
    let mean = margins.iter().sum::<f64>() / number;
    let squares: f64 = margins.iter().map(|margin| (margin - mean).powi(2)).sum();
    (squares / number).sqrt()
}

/// To what degree an image of this margin is right, 0..=1: ½ at 0, over a width of a few of `width`.
fn degree(margin: f64, width: f64) -> f64 {
    if width > 0.0 {
        1.0 / (1.0 + (-margin / width).exp())
    } else {
        f64::from(u8::from(margin > 0.0))
    }
}

#[cfg(test)]
mod tests {
    use tensorwire_concealment::Distortion;

    use super::*;

    /// Images of these margins, which every loss lowers by `by`.
    fn images(margins: &[f64], by: f64) -> Vec<Looked> {
        let looked = |&margin_whole: &f64| {
            let one = Outcome {
                right_whole: margin_whole > 0.0,
                right: margin_whole - by > 0.0,
                margin_whole,
                margin: margin_whole - by,
                probability_drop: 0.0,
                shift: 0.0,
                distortion: Distortion::default(),
                micros: 1.0,
            };
            vec![vec![one; 3]; SHARES.len()]
        };
        margins.iter().map(looked).collect()
    }

    #[test]
    fn degrees_say_what_hits_say_and_say_it_better() {
        // Margins −3 to 7, and a shift of 0.2 turns one of fifty.
        let margins: Vec<f64> = (0..1_000)
            .map(|i| f64::from(i).mul_add(0.01, -2.995))
            .collect();
        let points = measure(&images(&margins, 0.2)).unwrap();
        let Measured {
            summary, gradual, ..
        } = &points[0];
        assert!((summary.accuracy.drop - 0.02).abs() < 1e-9);
        assert!((gradual.mean - 0.02).abs() < 1e-4, "{gradual:?}");
        let [low, high] = summary.accuracy.ci95;
        let [gradual_low, gradual_high] = gradual.ci95();
        assert!(
            gradual_high - gradual_low < 0.6 * (high - low),
            "{gradual:?}"
        );
        assert!((points[0].drop - 2.0).abs() < 0.01);
    }

    #[test]
    fn margins_that_say_nothing_are_hits() {
        let points = measure(&images(&[1.0, 1.0], 2.0)).unwrap();
        assert!((points[0].drop - 100.0).abs() < 1e-9, "no spread");
        let points = measure(&images(&[1.0, 3.0, f64::NEG_INFINITY], 0.0)).unwrap();
        assert!(points.iter().all(|point| point.drop == 0.0));
        assert_eq!(
            (degree(f64::NEG_INFINITY, 0.1), degree(0.0, 0.1)),
            (0.0, 0.5)
        );
        assert_eq!(degree(f64::INFINITY, 0.1), 1.0);
    }
}
