//! Measures a cell: what is lost, how much of it, and one way to fill it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use ndarray::Array3;
use tensorwire_concealment::{Concealer, Distortion, Method};

use super::fill::Fill;
use super::lost::{Codec, Drawn, Lost};
use super::row::Row;
use crate::classifier::Concealment;
use crate::lab::evaluate::{Evaluation, Judgement, Part, Subject};
use crate::lab::experiment::pool::each;
use crate::lab::loss::fates;
use crate::lab::tally::Tally;
use crate::statistics::{Interval, Percentiles, mean_interval, ratio_interval};

/// What all cells of a split share.
#[derive(Clone, Copy, Debug)]
pub(in crate::lab) struct Setting<'a> {
    pub(in crate::lab) evaluation: &'a Evaluation,
    pub(in crate::lab) subjects: &'a [Subject],
    /// The losses drawn for each image: first seed and number.
    pub(in crate::lab) seed: u64,
    pub(in crate::lab) seeds: u16,
    /// Packets of a tensor that is cut into a number of them.
    pub(in crate::lab) packets: usize,
    /// Bytes of a packet of coded slices, at most.
    pub(in crate::lab) mss: usize,
}

/// What is lost, how much of it, and how it is filled.
#[derive(Clone, Copy, Debug)]
pub(in crate::lab) struct Cell {
    pub(in crate::lab) lost: Lost,
    pub(in crate::lab) missing: f64,
    pub(in crate::lab) burst: Option<f64>,
    pub(in crate::lab) fill: Fill,
    /// Measure the first images only.
    pub(in crate::lab) images: usize,
}

/// What a cell comes to.
#[derive(Clone, Debug)]
pub(in crate::lab) struct Measured {
    pub(in crate::lab) row: Row,
    /// Of each image, how many of its losses turned a right answer into a wrong one, less those that
    /// did the reverse.
    pub(in crate::lab) drops: Vec<i32>,
    /// Median time of the fill on one thread.
    pub(in crate::lab) us_per_tensor: f64,
}

/// What came of the losses of one image.
#[derive(Clone, Debug, Default)]
struct Outcome {
    right: Vec<bool>,
    probability: f64,
    distortion: Distortion,
    /// Squared distance of the missing entries from the dataset mean.
    variance: f64,
    micros: f64,
    took: Vec<Method>,
}

/// What is kept from image to image, for each part of them.
type Tools = BTreeMap<usize, Tool>;

/// What the images of a part need.
#[derive(Debug)]
struct Tool {
    /// None where there is no method to carry out.
    concealer: Option<Concealer>,
    codec: Option<Codec>,
    mean: Option<Array3<f32>>,
    minimum: f32,
}

impl Setting<'_> {
    /// Measures the cell on all threads of the pool.
    pub(in crate::lab) fn measure(&self, cell: &Cell) -> Result<Measured> {
        let drawn = cell
            .lost
            .drawn(self.evaluation.shape(), self.packets, self.mss)?;
        let subjects = self.subjects.get(..cell.images).unwrap_or(self.subjects);
        let outcomes = each(
            subjects,
            || Ok(Tools::new()),
            |tools, subject| self.repair(tools, cell, &drawn, subject),
        )?;
        self.sum_up(cell, subjects, &outcomes)
    }

    /// What becomes of one image.
    fn repair(
        &self,
        tools: &mut Tools,
        cell: &Cell,
        drawn: &Drawn,
        subject: &Subject,
    ) -> Result<Outcome> {
        use std::collections::btree_map::Entry;
        let tool = match tools.entry(subject.part) {
            Entry::Occupied(made) => made.into_mut(),
            Entry::Vacant(place) => place.insert(self.tool(cell, drawn, subject.part)?),
        };
        let seeds = f64::from(self.seeds);
        let mut outcome = Outcome::default();
        for number in 0..u64::from(self.seeds) {
            let seed = self.seed.wrapping_add(number);
            let fates = fates(cell.missing, cell.burst, &subject.digest, seed)?;
            let (mut tensor, mask) = drawn.damage(tool.codec.as_mut(), &subject.tensor, fates)?;
            let start = match &mut tool.concealer {
                Some(concealer) => {
                    concealer.forget();
                    if let Some(previous) = &subject.previous
                        && cell.fill.looks_back()
                    {
                        let whole = Array3::from_elem(previous.dim(), true);
                        concealer.conceal(previous.clone().view_mut(), whole.view())?;
                    }
                    let start = Instant::now();
                    let took = concealer.conceal(tensor.view_mut(), mask.view())?;
                    outcome.took.push(took);
                    start
                }
                None => {
                    let start = Instant::now();
                    tensor.zip_mut_with(&mask, |x, received| {
                        *x = if *received { *x } else { tool.minimum }
                    });
                    start
                }
            };
            outcome.micros += start.elapsed().as_secs_f64() * 1e6 / seeds;
            let clean = subject.tensor.view();
            outcome.distortion.add(clean, tensor.view(), mask.view())?;
            if let Some(mean) = &tool.mean {
                let mut from_mean = Distortion::default();
                from_mean.add(clean, mean.view(), mask.view())?;
                outcome.variance += from_mean.squared_error;
            }
            let judgement = if tensor == subject.tensor {
                Judgement {
                    right: subject.right,
                    probability: subject.probability,
                }
            } else {
                self.evaluation.judge(subject.label, &tensor)?
            };
            outcome.right.push(judgement.right);
            outcome.probability += judgement.probability / seeds;
        }
        Ok(outcome)
    }

    fn tool(&self, cell: &Cell, drawn: &Drawn, part: usize) -> Result<Tool> {
        let side = self.evaluation.parts().get(part);
        let bundle = side.and_then(Part::bundle);
        let shape = self.evaluation.shape();
        let concealer = match cell.fill {
            Fill::Minimum => None,
            Fill::Method(method) => {
                let side = side.and_then(|part| part.side.as_ref());
                let bundle = side.map(|side| Arc::clone(&side.bundle));
                Some(Concealment::new(method).concealer(shape, drawn.kind(), bundle)?)
            }
        };
        let mean = bundle.map(|bundle| Array3::from_shape_vec(shape, bundle.mean().to_vec()));
        let minimum = match (cell.fill, bundle) {
            (Fill::Minimum, None) => {
                anyhow::bail!("the fill `minimum` needs a clip range, so a bundle or `swap`")
            }
            (_, bundle) => bundle.map_or(0.0, |bundle| bundle.clip().low),
        };
        Ok(Tool {
            concealer,
            codec: drawn.codec(bundle)?,
            mean: mean.transpose()?,
            minimum,
        })
    }

    fn sum_up(&self, cell: &Cell, subjects: &[Subject], outcomes: &[Outcome]) -> Result<Measured> {
        let images = outcomes.len().max(1) as f64;
        let mut tally = Tally::default();
        let mut drops = Vec::with_capacity(outcomes.len());
        for (subject, outcome) in subjects.iter().zip(outcomes) {
            tally.add(subject.right, &outcome.right);
            let others = outcome.right.iter();
            let drop = |right: &bool| i32::from(subject.right) - i32::from(*right);
            drops.push(others.map(drop).sum());
        }
        let accuracy = tally.accuracy().context("there are no images")?;
        let lost: Vec<f64> = subjects
            .iter()
            .zip(outcomes)
            .map(|(subject, outcome)| subject.probability - outcome.probability)
            .collect();
        let clean = subjects.iter().map(|subject| subject.probability);
        let p_true_clean = clean.sum::<f64>() / images;
        let of = |figure: fn(&Outcome) -> f64| outcomes.iter().map(figure).collect::<Vec<f64>>();
        let errors = of(|outcome| outcome.distortion.squared_error);
        let [energies, variances] = [
            of(|outcome| outcome.distortion.energy),
            of(|outcome| outcome.variance),
        ];
        let share = |whole: &[f64]| {
            let whole = whole.iter().sum::<f64>();
            (whole > 0.0).then(|| errors.iter().sum::<f64>() / whole)
        };
        let interval = |whole: &[f64]| ratio_interval(&errors, whole).map(ends);
        let missing: usize = outcomes.iter().map(|one| one.distortion.missing).sum();
        let entries = subjects.first().map_or(1, |one| one.tensor.len());
        let loaded = self.evaluation.loaded();
        let row = Row {
            model: loaded.description.name.clone(),
            split: loaded.split.clone(),
            map: cell.lost.to_string(),
            missing: cell.missing,
            burst: cell.burst,
            method: cell.fill.to_string(),
            images: outcomes.len(),
            missing_share: missing as f64 / (entries * accuracy.samples) as f64,
            accuracy,
            p_true_clean,
            p_true: p_true_clean - lost.iter().sum::<f64>() / images,
            p_true_drop_ci95: mean_interval(&lost).map_or([0.0; 2], ends),
            nmse: share(&energies),
            nmse_ci95: interval(&energies),
            variance_share: share(&variances),
            variance_share_ci95: interval(&variances),
            took: took(cell.fill, outcomes),
        };
        Ok(Measured {
            row,
            drops,
            us_per_tensor: Percentiles::of(of(|outcome| outcome.micros))
                .at(50.0)
                .unwrap_or_default(),
        })
    }
}

const fn ends(interval: Interval) -> [f64; 2] {
    [interval.low, interval.high]
}

/// The methods that stood in for `auto`, the most frequent first.
fn took(fill: Fill, outcomes: &[Outcome]) -> Vec<(String, f64)> {
    if fill != Fill::Method(Method::Auto) {
        return vec![];
    }
    let mut counts = BTreeMap::new();
    for took in outcomes.iter().flat_map(|outcome| &outcome.took) {
        *counts.entry(*took).or_insert(0_usize) += 1;
    }
    let all = counts.values().sum::<usize>() as f64;
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let shares = counts.into_iter();
    shares
        .map(|(method, count)| (method.name().to_owned(), count as f64 / all))
        .collect()
}
