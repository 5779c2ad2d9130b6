//! Measures the methods in a cell: one map, one share of loss.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use ndarray::Array3;
use tensorwire_concealment::{Concealer, Distortion, Method};

use super::pattern::{Losses, Pattern};
use super::row::{Kept, Row, ends};
use crate::classifier::Concealment;
use crate::lab::evaluate::{Evaluation, Judgement, Subject};
use crate::lab::parallel::in_order;
use crate::lab::tally::Tally;
use crate::statistics::{Percentiles, mean_interval, ratio_interval};

/// What all cells share.
#[derive(Debug)]
pub(super) struct Setting<'a> {
    pub(super) evaluation: &'a Evaluation,
    pub(super) subjects: &'a [Subject],
    /// The dataset mean for the subjects of each part, where there is a bundle.
    pub(super) means: &'a [Option<Array3<f32>>],
    /// The losses drawn for each image: first seed and number.
    pub(super) seed: u64,
    pub(super) seeds: u16,
}

/// One map at one share of loss.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) pattern: Pattern,
    pub(super) missing: f64,
    /// What is measured, and on how many of the images.
    pub(super) methods: Vec<(Method, usize)>,
}

/// What one method made of the losses of one image.
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

/// The concealers of a thread, by part of the images and method.
type Concealers = BTreeMap<(usize, Method), Concealer>;

impl Setting<'_> {
    /// Every method in a cell, in the order in which they were asked for.
    pub(super) fn measure(&self, cell: &Cell, losses: &Losses) -> Result<Vec<Kept>> {
        let images = cell.methods.iter().map(|(_, images)| *images).max();
        let images = images.unwrap_or(0).min(self.subjects.len());
        let mut outcomes = vec![vec![]; cell.methods.len()];
        let work = |concealers: &mut Concealers, item: usize| {
            let subject = self.subjects.get(item).context("there is no such image")?;
            let methods = cell.methods.iter();
            let methods = methods.map(|(method, images)| (item < *images).then_some(*method));
            self.repair(concealers, cell, losses, subject, methods.collect())
        };
        in_order(
            "concealing",
            images,
            || Ok(Concealers::new()),
            work,
            |of_image: Vec<Option<Outcome>>| {
                for (outcomes, outcome) in outcomes.iter_mut().zip(of_image) {
                    outcomes.extend(outcome);
                }
                Ok(())
            },
        )?;
        let methods = cell.methods.iter().zip(&outcomes);
        methods
            .map(|((method, _), outcomes)| self.kept(cell, *method, outcomes))
            .collect()
    }

    /// What each method makes of one image's losses.
    fn repair(
        &self,
        concealers: &mut Concealers,
        cell: &Cell,
        losses: &Losses,
        subject: &Subject,
        methods: Vec<Option<Method>>,
    ) -> Result<Vec<Option<Outcome>>> {
        let mean = self.means.get(subject.part).and_then(Option::as_ref);
        let mut outcomes: Vec<_> = methods
            .iter()
            .map(|method| method.map(|_| Outcome::default()))
            .collect();
        for number in 0..u64::from(self.seeds) {
            let seed = self.seed.wrapping_add(number);
            let mask = losses.mask(cell.missing, &subject.digest, seed);
            let clean = Judgement {
                right: subject.right,
                probability: subject.probability,
            };
            // What the model makes of tensors that were judged already: `auto` takes another method.
            let mut judged = vec![(subject.tensor.clone(), clean)];
            let mut from_mean = Distortion::default();
            if let Some(mean) = mean {
                from_mean.add(subject.tensor.view(), mean.view(), mask.view())?;
            }
            for (method, outcome) in methods.iter().zip(&mut outcomes) {
                let (Some(method), Some(outcome)) = (*method, outcome) else {
                    continue;
                };
                let concealer = self.concealer(concealers, cell, subject.part, method)?;
                let looks_back = method.uses_previous() || method == Method::Auto;
                concealer.forget();
                if let Some(previous) = subject.previous.as_ref().filter(|_| looks_back) {
                    let whole = Array3::from_elem(previous.dim(), true);
                    concealer.conceal(previous.clone().view_mut(), whole.view())?;
                }
                let mut tensor = subject.tensor.clone();
                // No method may profit from what a lost entry was.
                tensor.zip_mut_with(&mask, |x, received| {
                    *x = if *received { *x } else { f32::NAN }
                });
                let start = Instant::now();
                outcome
                    .took
                    .push(concealer.conceal(tensor.view_mut(), mask.view())?);
                outcome.micros += start.elapsed().as_secs_f64() * 1e6 / f64::from(self.seeds);
                outcome
                    .distortion
                    .add(subject.tensor.view(), tensor.view(), mask.view())?;
                outcome.variance += from_mean.squared_error;
                let known = judged.iter().find(|(judged, _)| *judged == tensor);
                let known = known.map(|(_, judgement)| *judgement);
                let judgement = match known {
                    Some(judgement) => judgement,
                    None => {
                        let judgement = self.evaluation.judge(subject.label, &tensor)?;
                        judged.push((tensor, judgement));
                        judgement
                    }
                };
                outcome.right.push(judgement.right);
                outcome.probability += judgement.probability / f64::from(self.seeds);
            }
        }
        Ok(outcomes)
    }

    fn concealer<'c>(
        &self,
        concealers: &'c mut Concealers,
        cell: &Cell,
        part: usize,
        method: Method,
    ) -> Result<&'c mut Concealer> {
        use std::collections::btree_map::Entry;
        match concealers.entry((part, method)) {
            Entry::Occupied(made) => Ok(made.into_mut()),
            Entry::Vacant(place) => {
                let side = self.evaluation.parts().get(part);
                let side = side.and_then(|part| part.side.as_ref());
                let bundle = side.map(|side| Arc::clone(&side.bundle));
                let concealer = Concealment::new(method).concealer(
                    self.evaluation.shape(),
                    Some(cell.pattern.kind()),
                    bundle,
                )?;
                Ok(place.insert(concealer))
            }
        }
    }

    /// Sums up what came of a method.
    fn kept(&self, cell: &Cell, method: Method, outcomes: &[Outcome]) -> Result<Kept> {
        let images = outcomes.len().max(1) as f64;
        let mut tally = Tally::default();
        let mut drops = Vec::with_capacity(outcomes.len());
        for (subject, outcome) in self.subjects.iter().zip(outcomes) {
            tally.add(subject.right, &outcome.right);
            let others = outcome.right.iter();
            drops.push(
                others
                    .map(|right| i32::from(subject.right) - i32::from(*right))
                    .sum(),
            );
        }
        let accuracy = tally.accuracy().context("there are no images")?;
        let clean = || self.subjects.iter().map(|subject| subject.probability);
        let lost: Vec<f64> = clean()
            .zip(outcomes)
            .map(|(clean, outcome)| clean - outcome.probability)
            .collect();
        let p_true_clean = clean().take(outcomes.len()).sum::<f64>() / images;
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
        let entries = self.subjects.first().map_or(1, |one| one.tensor.len());
        let loaded = self.evaluation.loaded();
        let row = Row {
            model: loaded.description.name.clone(),
            split: loaded.split.clone(),
            map: cell.pattern.name().to_owned(),
            missing: cell.missing,
            method: method.name().to_owned(),
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
            us_per_tensor: Percentiles::of(of(|outcome| outcome.micros))
                .at(50.0)
                .unwrap_or_default(),
            took: took(method, outcomes),
        };
        Ok(Kept {
            row,
            seeds: self.seeds,
            drops,
        })
    }
}

/// The methods that stood in for `auto`, the most frequent first.
fn took(method: Method, outcomes: &[Outcome]) -> Vec<(String, f64)> {
    if method != Method::Auto {
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
