//! Motion: how well a tensor predicts that of the same picture after it has moved.

mod estimate;
mod transform;

use anyhow::{Context as _, Result};
use ndarray::Array3;
use serde::{Deserialize, Serialize};

use self::estimate::estimate;
use self::transform::Transform;
use super::bench::Bench;
use super::pool::each;
use super::values::Count;
use crate::statistics::Percentiles;

/// The highest PSNR that is told apart from exactness: rounding of f32 is about there.
const MOST_DB: f64 = 140.0;
/// Half the width of a 95 % interval of a mean, in standard errors.
const Z_95: f64 = 1.959_963_984_540_054;

/// The section `[motion]` of a plan.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MotionPlan {
    /// Tensors at which the model is split; none: the description's.
    #[serde(default)]
    pub(super) splits: Vec<String>,
    transforms: Vec<Transform>,
    /// Entries along the edges that the inner PSNR leaves out.
    #[serde(default = "margin")]
    margin: Count,
}

const fn margin() -> Count {
    Count(2)
}

/// One movement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    transform: Transform,
    margin: f64,
}

/// PSNR of a movement, decibels: 10·log₁₀(peak² / mean squared error) of each image, and the mean of that.
#[derive(Clone, Debug, Serialize)]
struct Row {
    model: String,
    split: String,
    transform: String,
    /// Pixels of the input for each entry of the tensor.
    stride: f64,
    images: usize,
    /// Largest value less smallest, over all images.
    peak: f64,
    /// Without compensation.
    still: Psnr,
    /// The movement being known.
    known: Psnr,
    /// The same, entries near the edges left out: what the edge of the picture makes up does not reach
    /// them, or less.
    known_inner: Option<Psnr>,
    /// The movement estimated from the two tensors alone, as a shift.
    estimated: Psnr,
    /// Median distance of the estimate from the true shift, entries; none for other movements.
    estimate_error: Option<f64>,
}

/// Over the images: mean, 95 % interval of the mean, and median. An exact prediction counts as 140 dB.
#[derive(Clone, Copy, Debug, Serialize)]
struct Psnr {
    db: f64,
    ci95: [f64; 2],
    median: f64,
}

/// Of one image.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    still: f64,
    known: f64,
    known_inner: Option<f64>,
    estimated: f64,
    estimate_error: Option<f64>,
}

impl MotionPlan {
    pub(super) fn shared(&self) -> String {
        format!("margin {}", self.margin.0)
    }

    /// The cells of a split, with their keys.
    pub(super) fn cells(&self, split: &str) -> Vec<(String, Cell)> {
        let cell = |transform: &Transform| Cell {
            transform: *transform,
            margin: self.margin.0.into(),
        };
        let transforms = self.transforms.iter();
        transforms
            .map(|transform| (format!("{split} {transform}"), cell(transform)))
            .collect()
    }
}

impl Cell {
    /// Measures the cell on all threads of the pool.
    pub(super) fn measure(&self, bench: &Bench) -> Result<serde_json::Value> {
        let evaluation = &bench.evaluation;
        let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
        for x in bench.subjects.iter().flat_map(|subject| &subject.tensor) {
            (low, high) = (low.min(*x), high.max(*x));
        }
        let peak = f64::from(high) - f64::from(low);
        let input = evaluation.loaded().model.input();
        let stride = input.height as f64 / evaluation.shape().1 as f64;
        let items: Vec<usize> = (0..bench.subjects.len()).collect();
        let one = |(): &mut (), item: &usize| {
            let before = &bench.subjects.get(*item).context("no such image")?.tensor;
            let sample = evaluation.labelled(*item)?.sample;
            let name = self.transform.to_string();
            let after = evaluation.features(sample, &name, |input| self.transform.apply(&input))?;
            Ok(self.compare(before, &after, stride, peak))
        };
        let outcomes = each(&items, || Ok(()), one)?;
        let of = |figure: fn(&Outcome) -> f64| psnr(outcomes.iter().map(figure).collect());
        let inner: Option<Vec<f64>> = outcomes.iter().map(|one| one.known_inner).collect();
        let errors: Option<Vec<f64>> = outcomes.iter().map(|one| one.estimate_error).collect();
        let loaded = evaluation.loaded();
        Ok(serde_json::to_value(Row {
            model: loaded.description.name.clone(),
            split: loaded.split.clone(),
            transform: self.transform.to_string(),
            stride,
            images: outcomes.len(),
            peak,
            still: of(|one| one.still),
            known: of(|one| one.known),
            known_inner: inner.map(psnr),
            estimated: of(|one| one.estimated),
            estimate_error: errors.and_then(|errors| Percentiles::of(errors).at(50.0)),
        })?)
    }

    fn compare(
        &self,
        before: &Array3<f32>,
        after: &Array3<f32>,
        stride: f64,
        peak: f64,
    ) -> Outcome {
        let (predicted, covered) = self.transform.compensate(before, stride, 0.0);
        let (_, inner) = self.transform.compensate(before, stride, self.margin);
        let (down, right) = estimate(before, after);
        let shift = Transform::Shift { down, right };
        let (estimated, reached) = shift.compensate(before, 1.0, 0.0);
        let estimate_error = match self.transform {
            Transform::Shift { down: y, right: x } => {
                Some((down - y / stride).hypot(right - x / stride))
            }
            _ => None,
        };
        Outcome {
            still: decibels(before, after, &covered, peak).unwrap_or_default(),
            known: decibels(&predicted, after, &covered, peak).unwrap_or_default(),
            known_inner: decibels(&predicted, after, &inner, peak),
            estimated: decibels(&estimated, after, &reached, peak).unwrap_or_default(),
            estimate_error,
        }
    }
}

/// PSNR over the entries that count; none if there are none.
fn decibels(
    predicted: &Array3<f32>,
    actual: &Array3<f32>,
    counts: &Array3<bool>,
    peak: f64,
) -> Option<f64> {
    let (mut sum, mut number) = (0.0, 0.0);
    for ((predicted, actual), counts) in predicted.iter().zip(actual).zip(counts) {
        if *counts {
            sum += f64::from(predicted - actual).powi(2);
            number += 1.0;
        }
    }
    let db = 10.0 * (peak * peak / (sum / number)).log10();
    (number > 0.0).then(|| db.min(MOST_DB))
}

fn psnr(figures: Vec<f64>) -> Psnr {
    let n = figures.len().max(1) as f64;
    let mean = figures.iter().sum::<f64>() / n;
    let squares = figures.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
    let reach = Z_95 * (squares / (n - 1.0).max(1.0) / n).sqrt();
    Psnr {
        db: mean,
        ci95: [mean - reach, mean + reach],
        median: Percentiles::of(figures).at(50.0).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decibels_of_known_errors() {
        let zero = Array3::zeros((1, 2, 2));
        let tenth = Array3::from_elem((1, 2, 2), 0.1);
        let all = Array3::from_elem((1, 2, 2), true);
        assert!((decibels(&zero, &tenth, &all, 1.0).unwrap() - 20.0).abs() < 1e-5);
        assert_eq!(decibels(&zero, &zero, &all, 1.0), Some(MOST_DB));
        let none = Array3::from_elem((1, 2, 2), false);
        assert_eq!(decibels(&zero, &tenth, &none, 1.0), None);
    }

    #[test]
    fn intervals_hold_the_mean() {
        let found = psnr(vec![10.0, 20.0, 30.0]);
        assert_eq!((found.db, found.median), (20.0, 20.0));
        assert!((found.ci95[1] - 20.0 - Z_95 * 10.0 / 3.0_f64.sqrt()).abs() < 1e-9);
    }
}
