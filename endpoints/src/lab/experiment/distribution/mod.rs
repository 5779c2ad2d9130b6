//! How the values of a tensor are distributed, and how normal each neuron is.

mod shapiro;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use self::shapiro::{ShapiroWilk, Verdict};
use super::bench::Bench;
use super::pool::each;
use super::values::Count;
use crate::lab::evaluate::Subject;
use crate::statistics::{Percentiles, wilson_interval};

/// Standard deviations to either side that the histogram shows.
const REACH: f64 = 5.0;
/// Its bars, and one more at either end for what lies beyond.
const BARS: usize = 80;
/// A neuron counts as normal where the test does not refuse that at this level.
const LEVEL: f64 = 0.05;
/// Neurons that a thread tests at a time.
const BLOCK: usize = 16;

/// The section `[distribution]` of a plan.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DistributionPlan {
    /// Tensors at which the model is split; none: the description's.
    #[serde(default)]
    pub(super) splits: Vec<String>,
    /// Images whose values of a neuron are one sample, the first of all; 3 to 5,000.
    #[serde(default = "sample")]
    sample: Count,
}

const fn sample() -> Count {
    Count(500)
}

/// The distribution at one split, over all images.
#[derive(Clone, Debug, Serialize)]
struct Row {
    model: String,
    split: String,
    images: usize,
    entries: usize,
    mean: f64,
    std: f64,
    skewness: f64,
    /// Fourth moment over the squared second, less the 3 of a normal distribution.
    excess_kurtosis: f64,
    /// Share of the values that are 0.
    zero_share: f64,
    /// Standard deviations from the mean at which the bars begin, and their width.
    histogram_from: f64,
    histogram_step: f64,
    /// Share of the values below, in each bar, and above.
    histogram: Vec<f64>,
    /// Values of a neuron that were tested together.
    sample: usize,
    /// Neurons whose values differ, and so could be tested, and those that are constant.
    neurons_tested: usize,
    neurons_constant: usize,
    /// Share of the tested neurons for which the Shapiro–Wilk test does not refuse, at 5 %, that their
    /// values are normal; and its 95 % interval, as if neurons were independent.
    normal_share: f64,
    normal_share_ci95: [f64; 2],
    /// Percentiles of W over the tested neurons: 5, 25, 50, 75, 95.
    w_percentiles: [f64; 5],
}

/// Sums of the powers of a value.
#[derive(Clone, Copy, Debug, Default)]
struct Powers([f64; 5]);

impl Powers {
    fn add(&mut self, x: f64) {
        let mut power = 1.0;
        for sum in &mut self.0 {
            *sum += power;
            power *= x;
        }
    }

    fn merge(mut self, other: &Self) -> Self {
        self.0
            .iter_mut()
            .zip(other.0)
            .for_each(|(sum, more)| *sum += more);
        self
    }
}

impl DistributionPlan {
    pub(super) fn shared(&self) -> String {
        format!("sample {}", self.sample.0)
    }

    /// Measures a split.
    pub(super) fn measure(&self, bench: &Bench) -> Result<serde_json::Value> {
        let subjects = &bench.subjects;
        let first = subjects.first().context("there are no images")?;
        let entries = first.tensor.len();
        let [count, sum, ..] = powers(subjects, 0.0)?.0;
        let mean = sum / count;
        // About the mean, so that nothing cancels.
        let [_, _, second, third, fourth] = powers(subjects, mean)?.0.map(|sum| sum / count);
        let std = second.sqrt();
        let (histogram, zeros) = histogram(subjects, mean, std)?;
        let sample = subjects.len().min(self.sample.0 as usize);
        let verdicts = verdicts(subjects.get(..sample).unwrap_or(subjects), entries)?;
        let normal = verdicts.iter().filter(|verdict| verdict.p > LEVEL).count();
        let interval = wilson_interval(normal, verdicts.len());
        let tested = verdicts.len();
        let w = Percentiles::of(verdicts.into_iter().map(|verdict| verdict.w).collect());
        let loaded = bench.evaluation.loaded();
        Ok(serde_json::to_value(Row {
            model: loaded.description.name.clone(),
            split: loaded.split.clone(),
            images: subjects.len(),
            entries,
            mean,
            std,
            skewness: third / second.powf(1.5),
            excess_kurtosis: fourth / (second * second) - 3.0,
            zero_share: zeros as f64 / count,
            histogram_from: -REACH,
            histogram_step: 2.0 * REACH / BARS as f64,
            histogram: histogram.iter().map(|bar| *bar as f64 / count).collect(),
            sample,
            neurons_tested: tested,
            neurons_constant: entries - tested,
            normal_share: normal as f64 / tested.max(1) as f64,
            normal_share_ci95: interval.map_or([0.0, 1.0], |found| [found.low, found.high]),
            w_percentiles: [5.0, 25.0, 50.0, 75.0, 95.0]
                .map(|percent| w.at(percent).unwrap_or_default()),
        })?)
    }
}

/// Sums over all images of the powers of each value less `mean`.
fn powers(subjects: &[Subject], mean: f64) -> Result<Powers> {
    let one = |(): &mut (), subject: &Subject| {
        let mut powers = Powers::default();
        for x in &subject.tensor {
            powers.add(f64::from(*x) - mean);
        }
        Ok(powers)
    };
    let all = each(subjects, || Ok(()), one)?;
    Ok(all.iter().fold(Powers::default(), Powers::merge))
}

/// The number of values below, in each bar and above, and the number of zeros.
fn histogram(subjects: &[Subject], mean: f64, std: f64) -> Result<(Vec<u64>, u64)> {
    let step = 2.0 * REACH / BARS as f64;
    let one = |(): &mut (), subject: &Subject| {
        let (mut bars, mut zeros) = (vec![0; BARS + 2], 0);
        for x in &subject.tensor {
            let place = (f64::from(*x) - mean) / std.max(f64::MIN_POSITIVE);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped to the bars"
            )]
            let bar = ((place + REACH) / step + 1.0).clamp(0.0, (BARS + 1) as f64) as usize;
            if let Some(bar) = bars.get_mut(bar) {
                *bar += 1;
            }
            zeros += u64::from(*x == 0.0);
        }
        Ok((bars, zeros))
    };
    let all = each(subjects, || Ok(()), one)?;
    let none = (vec![0; BARS + 2], 0);
    Ok(all.iter().fold(none, |(mut sums, zeros), (bars, more)| {
        sums.iter_mut().zip(bars).for_each(|(sum, bar)| *sum += bar);
        (sums, zeros + more)
    }))
}

/// Tests every neuron that is not constant.
fn verdicts(subjects: &[Subject], entries: usize) -> Result<Vec<Verdict>> {
    let test = ShapiroWilk::new(subjects.len())?;
    let blocks: Vec<usize> = (0..entries).step_by(BLOCK).collect();
    let one = |sample: &mut Vec<f64>, start: &usize| {
        let mut found = vec![];
        for neuron in *start..entries.min(start + BLOCK) {
            sample.clear();
            let values = subjects.iter().filter_map(|subject| {
                let value = subject.tensor.as_slice()?.get(neuron)?;
                Some(f64::from(*value))
            });
            sample.extend(values);
            found.extend(test.test(sample));
        }
        Ok(found)
    };
    let found = each(&blocks, || Ok(vec![]), one)?;
    Ok(found.into_iter().flatten().collect())
}
