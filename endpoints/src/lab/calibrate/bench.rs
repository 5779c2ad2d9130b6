//! Conceals losses of held-out images and looks at what the model makes of them.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use ndarray::{Array3, Zip};
use tensorwire_concealment::{Bundle, Concealer, Distortion, Method};

use super::super::parallel::in_order;
use super::super::tally::{Accuracy, Tally};
use super::Source;
use crate::digest::Digest;
use crate::model::{CloudModel, ModelError, softmax, top_k};
use crate::statistics::{Interval, Percentiles};

/// Images to measure on, the rest of the model, and side information that was made from others.
#[derive(Debug)]
pub(super) struct Bench<'a> {
    source: &'a Source<'a>,
    cloud: CloudModel,
    held_out: &'a [usize],
    side: Arc<Bundle>,
}

/// An image at the split, before anything is lost.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) digest: Digest,
    pub(super) tensor: Array3<f32>,
    label: usize,
    /// A probability for each class.
    prediction: Vec<f32>,
    right: bool,
    /// Score of the true class over the best of the others.
    margin: f64,
}

/// What became of one loss.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// Whether the class is found from the whole tensor, and from the concealed one.
    pub(super) right_whole: bool,
    pub(super) right: bool,
    /// Score of the true class over the best of the others, from the whole tensor and from the
    /// concealed one.
    pub(super) margin_whole: f64,
    pub(super) margin: f64,
    /// Probability of the true class, less than from the whole tensor by this.
    pub(super) probability_drop: f64,
    /// Total variation between the predictions from the whole and from the concealed tensor, half the
    /// sum of the differences of the classes' probabilities, 0..=1. The expected accuracy changes by
    /// this much at most, and unlike the accuracy itself it is no matter of luck.
    pub(super) shift: f64,
    pub(super) distortion: Distortion,
    pub(super) micros: f64,
}

impl Outcome {
    /// Squared error of the missing entries as a share of their energy; 0 if they have none.
    pub(super) fn relative_error(&self) -> f64 {
        self.distortion.nmse().unwrap_or(0.0)
    }
}

impl<'a> Bench<'a> {
    pub(super) fn new(source: &'a Source<'a>, held_out: &'a [usize], side: Bundle) -> Result<Self> {
        Ok(Self {
            source,
            cloud: source.loaded.model.cloud(&source.loaded.split)?,
            held_out,
            side: Arc::new(side),
        })
    }

    pub(super) fn shape(&self) -> (usize, usize, usize) {
        self.side.shape()
    }

    pub(super) const fn side(&self) -> &Arc<Bundle> {
        &self.side
    }

    /// The same bench with this bundle, made from the same images.
    pub(super) fn with_side(self, side: Bundle) -> Self {
        Self {
            side: Arc::new(side),
            ..self
        }
    }

    pub(super) fn concealer(&self, method: Method) -> Result<Concealer> {
        let side = Some(Arc::clone(&self.side));
        Ok(Concealer::new(method, self.shape(), side)?)
    }

    /// Does `work` with the number of each of the first `images` held-out images and what it looks like
    /// at the split: on all cores, the results in order. `state` makes what a thread keeps.
    pub(super) fn each<S, T: Send>(
        &self,
        title: &'static str,
        images: usize,
        state: impl Fn() -> Result<S> + Sync,
        work: impl Fn(&mut S, usize, &Whole) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let images = images.min(self.held_out.len());
        let mut results = Vec::with_capacity(images);
        let one = |kept: &mut S, number: usize| work(kept, number, &self.whole(number)?);
        in_order(title, images, state, one, |result| {
            results.push(result);
            Ok(())
        })?;
        Ok(results)
    }

    fn whole(&self, number: usize) -> Result<Whole> {
        let index = *self.held_out.get(number).context("no such image")?;
        let sample = self.source.dataset.get(index)?;
        let label = sample.label.context("an image without a label")? as usize;
        let digest = sample.digest;
        let tensor = self.source.edge.run(sample)?;
        let logits = self.cloud.run(tensor.view())?;
        Ok(Whole {
            digest,
            tensor,
            label,
            right: is_best(&logits, label),
            margin: margin(&logits, label),
            prediction: softmax(&logits),
        })
    }

    /// Conceals what `mask` says is missing of the tensor, and classifies it.
    pub(super) fn trial(
        &self,
        whole: &Whole,
        mask: &Array3<bool>,
        concealer: &mut Concealer,
    ) -> Result<Outcome> {
        // No method may profit from what a lost entry was.
        let mut tensor = Zip::from(&whole.tensor)
            .and(mask)
            .map_collect(|&entry, &received| if received { entry } else { f32::NAN });
        let start = Instant::now();
        concealer.conceal(tensor.view_mut(), mask.view())?;
        let micros = start.elapsed().as_secs_f64() * 1e6;
        let mut distortion = Distortion::default();
        distortion.add(whole.tensor.view(), tensor.view(), mask.view())?;
        let probability = |prediction: &[f32]| {
            let of_label = prediction.get(whole.label);
            f64::from(of_label.copied().unwrap_or(0.0))
        };
        let (right, margin, prediction) = match self.cloud.run(tensor.view()) {
            Ok(logits) => (
                is_best(&logits, whole.label),
                margin(&logits, whole.label),
                softmax(&logits),
            ),
            // What was filled in is finite but may be too much for the model.
            Err(ModelError::NotFinite) => (false, f64::NEG_INFINITY, vec![]),
            Err(error) => return Err(error.into()),
        };
        let shift = if prediction.is_empty() {
            1.0
        } else {
            let pairs = whole.prediction.iter().zip(&prediction);
            let differences = pairs.map(|(a, b)| f64::from((a - b).abs()));
            differences.sum::<f64>() / 2.0
        };
        Ok(Outcome {
            right_whole: whole.right,
            right,
            margin_whole: whole.margin,
            margin,
            probability_drop: probability(&whole.prediction) - probability(&prediction),
            shift,
            distortion,
            micros,
        })
    }
}

/// Score of the class `label` over the best of the others; minus infinity if there is no such class.
fn margin(logits: &[f32], label: usize) -> f64 {
    let others = logits.iter().enumerate();
    let others = others.filter(|&(class, _)| class != label);
    let best = others.fold(f32::NEG_INFINITY, |best, (_, &score)| best.max(score));
    let own = logits.get(label).copied();
    own.map_or(f64::NEG_INFINITY, |own| f64::from(own) - f64::from(best))
}

fn is_best(logits: &[f32], label: usize) -> bool {
    top_k(logits, 1)
        .first()
        .is_some_and(|&(class, _)| class == label)
}

/// The mean of a difference over images, and its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mean {
    pub(super) mean: f64,
    pub(super) error: f64,
}

impl Mean {
    /// Standard normal quantile of a two-sided 95 % interval.
    const Z_95: f64 = 1.959_963_984_540_054;

    /// Of values of one image each. One image alone says nothing of the error, which is infinite then.
    pub(super) fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let number = values.clone().count() as f64;
        if number == 0.0 {
            return Self {
                mean: 0.0,
                error: f64::INFINITY,
            };
        }
        let mean = values.clone().sum::<f64>() / number;
        let squares: f64 = values.map(|value| (value - mean).powi(2)).sum();
        let error = if number > 1.0 {
            (squares / (number - 1.0) / number).sqrt()
        } else {
            f64::INFINITY
        };
        Self { mean, error }
    }

    pub(super) fn ci95(self) -> [f64; 2] {
        let reach = Self::Z_95 * self.error;
        [self.mean - reach, self.mean + reach]
    }

    pub(super) fn interval(self) -> Interval {
        let [low, high] = self.ci95();
        Interval { low, high }
    }

    /// Whether the whole 95 % interval lies above zero.
    pub(super) fn is_above_zero(self) -> bool {
        let [low, _] = self.ci95();
        low > 0.0
    }
}

/// What the outcomes of one cell say together: of each image, those of its losses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Summary {
    pub(super) accuracy: Accuracy,
    pub(super) probability_drop: Mean,
    pub(super) shift: Mean,
    pub(super) nmse: Option<f64>,
    /// Median time of the concealment.
    pub(super) micros: f64,
}

impl Summary {
    /// `images` holds the outcomes of each image; none of them is empty.
    pub(super) fn of(images: &[&[Outcome]]) -> Result<Self> {
        let mut tally = Tally::default();
        let mut sum = Distortion::default();
        let mut micros = vec![];
        for outcomes in images {
            let right_whole = outcomes.first().is_some_and(|one| one.right_whole);
            let right: Vec<bool> = outcomes.iter().map(|one| one.right).collect();
            tally.add(right_whole, &right);
            for Outcome { distortion, .. } in *outcomes {
                sum.squared_error += distortion.squared_error;
                sum.energy += distortion.energy;
                sum.missing += distortion.missing;
            }
            micros.extend(outcomes.iter().map(|one| one.micros));
        }
        let mean = |value: fn(&Outcome) -> f64| {
            let of_image = move |outcomes: &&[Outcome]| {
                outcomes.iter().map(value).sum::<f64>() / outcomes.len() as f64
            };
            Mean::of(images.iter().map(of_image))
        };
        Ok(Self {
            accuracy: tally.accuracy().context("there are no images")?,
            probability_drop: mean(|one| one.probability_drop),
            shift: mean(|one| one.shift),
            nmse: sum.nmse(),
            micros: Percentiles::of(micros).at(50.0).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_margin_is_above_zero_where_the_class_is_found() {
        assert_eq!(margin(&[1.0, 3.5, 2.0], 1), 1.5);
        assert_eq!(margin(&[1.0, 3.5, 2.0], 0), -2.5);
        assert_eq!(margin(&[1.0, 3.5], 2), f64::NEG_INFINITY);
    }

    #[test]
    fn means_by_hand() {
        let Mean { mean, error } = Mean::of([1.0, 2.0, 3.0, 6.0].into_iter());
        // Squares 4 + 1 + 0 + 9 = 14; √(14 / 3 / 4).
        assert_eq!(mean, 3.0);
        assert!((error - 1.080_123).abs() < 1e-6, "{error}");
        assert!(Mean { mean, error }.is_above_zero());
        assert!(!Mean::of([5.0].into_iter()).is_above_zero());
        assert!(!Mean::of([].into_iter()).is_above_zero());
    }
}
