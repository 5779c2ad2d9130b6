//! Quantisation: how few levels, how narrow a clip range.

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tensorwire_codec::{ClipRange, Quantiser};
use tensorwire_concealment::Bundle;

use super::bench::Bench;
use super::pool::each;
use super::values::{Levels, Width};
use crate::lab::evaluate::{Part, Subject};
use crate::lab::tally::{Accuracy, Tally};
use crate::statistics::ratio_interval;

/// The section `[quantisation]` of a plan.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QuantisationPlan {
    /// Tensors at which the model is split; none: the description's.
    #[serde(default)]
    pub(super) splits: Vec<String>,
    levels: Vec<Levels>,
    /// Clip ranges: the mean and so many standard deviations to either side, cut to the values seen.
    widths: Vec<Width>,
}

/// One quantiser.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    levels: u16,
    width: Width,
}

/// What a quantiser leaves. Shares are fractions, intervals 95 %.
#[derive(Clone, Debug, Serialize)]
struct Row {
    model: String,
    split: String,
    levels: u16,
    /// Standard deviations to either side, or `min-max`.
    width: String,
    /// Ends of the clip range, the mean over the halves where each has its own.
    low: f64,
    high: f64,
    images: usize,
    #[serde(flatten)]
    accuracy: Accuracy,
    /// Mean squared error of an entry.
    mse: f64,
    /// Squared error over the squared distance from the mean of all entries.
    variance_share: f64,
    variance_share_ci95: Option<[f64; 2]>,
    /// Share of the entries beyond the clip range.
    clipped_share: f64,
    /// Entropy of the levels: what an ideal coder that knows nothing else takes, bits an entry.
    bits_per_entry: f64,
}

/// What becomes of one image.
#[derive(Debug)]
struct Outcome {
    right: bool,
    error: f64,
    variance: f64,
    clipped: usize,
    levels: Vec<u64>,
}

impl QuantisationPlan {
    /// The cells of a split, with their keys.
    pub(super) fn cells(&self, split: &str) -> Vec<(String, Cell)> {
        let mut cells = vec![];
        for width in &self.widths {
            for Levels(levels) in &self.levels {
                let name = match width {
                    Width::Sigma(sigma) => format!("sigma {sigma:06.2}"),
                    Width::MinMax => width.to_string(),
                };
                let cell = Cell {
                    levels: *levels,
                    width: *width,
                };
                cells.push((format!("{split} {name} levels {levels:03}"), cell));
            }
        }
        cells
    }
}

impl Cell {
    /// Measures the cell on all threads of the pool.
    pub(super) fn measure(&self, bench: &Bench) -> Result<serde_json::Value> {
        let quantiser = |part: &Part| {
            let bundle = part.bundle().context(
                "a clip range is measured on other images: a bundle that fits the split is needed, or \
                 `swap = true`",
            )?;
            let range = range(bundle, self.width)?;
            Ok((Quantiser::new(range, self.levels)?, bundle.summary().mean))
        };
        let parts = bench.evaluation.parts().iter().map(quantiser);
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let one = |(): &mut (), subject: &Subject| {
            let (quantiser, mean) = parts.get(subject.part).context("there is no such part")?;
            let mut outcome = Outcome {
                right: false,
                error: 0.0,
                variance: 0.0,
                clipped: 0,
                levels: vec![0; self.levels.into()],
            };
            let (low, high) = (quantiser.range().low(), quantiser.range().high());
            let tensor = subject.tensor.map(|&x| {
                let level = quantiser.quantise(x);
                let value = quantiser.dequantise(level);
                outcome.error += f64::from(x - value).powi(2);
                outcome.variance += f64::from(x - mean).powi(2);
                outcome.clipped += usize::from(x < low || x > high);
                if let Some(count) = outcome.levels.get_mut(usize::from(level)) {
                    *count += 1;
                }
                value
            });
            outcome.right = bench.evaluation.finds(subject.label, &tensor)?;
            Ok(outcome)
        };
        let outcomes = each(&bench.subjects, || Ok(()), one)?;
        let ranges = parts.iter().map(|(quantiser, _)| quantiser.range());
        self.sum_up(bench, ranges, &outcomes)
    }

    fn sum_up(
        &self,
        bench: &Bench,
        ranges: impl ExactSizeIterator<Item = ClipRange>,
        outcomes: &[Outcome],
    ) -> Result<serde_json::Value> {
        let mut tally = Tally::default();
        for (subject, outcome) in bench.subjects.iter().zip(outcomes) {
            tally.add(subject.right, &[outcome.right]);
        }
        let errors: Vec<f64> = outcomes.iter().map(|one| one.error).collect();
        let variances: Vec<f64> = outcomes.iter().map(|one| one.variance).collect();
        let interval = ratio_interval(&errors, &variances);
        let error = errors.iter().sum::<f64>();
        let entries = bench.subjects.iter().map(|one| one.tensor.len());
        let entries = entries.sum::<usize>().max(1) as f64;
        let clipped: usize = outcomes.iter().map(|one| one.clipped).sum();
        let mut levels = vec![0; self.levels.into()];
        for outcome in outcomes {
            let counts = levels.iter_mut().zip(&outcome.levels);
            counts.for_each(|(sum, count)| *sum += count);
        }
        let parts = ranges.len().max(1) as f64;
        let (mut low, mut high) = (0.0, 0.0);
        for range in ranges {
            low += f64::from(range.low()) / parts;
            high += f64::from(range.high()) / parts;
        }
        let loaded = bench.evaluation.loaded();
        Ok(serde_json::to_value(Row {
            model: loaded.description.name.clone(),
            split: loaded.split.clone(),
            levels: self.levels,
            width: self.width.to_string(),
            low,
            high,
            images: outcomes.len(),
            accuracy: tally.accuracy().context("there are no images")?,
            mse: error / entries,
            variance_share: error / variances.iter().sum::<f64>(),
            variance_share_ci95: interval.map(|found| [found.low, found.high]),
            clipped_share: clipped as f64 / entries,
            bits_per_entry: entropy(&levels),
        })?)
    }
}

/// The clip range of a width around the mean of what a bundle was made from.
pub(super) fn range(bundle: &Bundle, width: Width) -> Result<ClipRange> {
    let seen = bundle.summary();
    let range = match width {
        Width::MinMax => ClipRange::new(seen.min, seen.max),
        Width::Sigma(sigma) => {
            let low = (seen.mean - sigma * seen.std).max(seen.min);
            ClipRange::new(low, (seen.mean + sigma * seen.std).min(seen.max))
        }
    };
    match range {
        Ok(range) => Ok(range),
        Err(_) => bail!("a tensor that never changes has no clip range"),
    }
}

/// −Σ p·log₂ p of what was counted.
fn entropy(counts: &[u64]) -> f64 {
    let all = counts.iter().sum::<u64>().max(1) as f64;
    let shares = counts.iter().map(|count| *count as f64 / all);
    let bits = shares.filter(|share| *share > 0.0).map(|p| -p * p.log2());
    bits.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_of_known_counts() {
        assert_eq!(entropy(&[5, 5, 5, 5]), 2.0);
        assert_eq!(entropy(&[7, 0, 0]), 0.0);
        assert_eq!(entropy(&[2, 1, 1]), 1.5);
        assert_eq!(entropy(&[]), 0.0);
    }
}
