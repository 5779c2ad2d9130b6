//! Runs a split model over images that its side information was not made from.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use ndarray::Array3;
use tensorwire_concealment::{Bundle, ClipRule};

use super::calibrate::{Effort, Source};
use super::experiment::Cache;
use super::motion::Motion;
use super::parallel::in_order;
use super::table::{count, percent};
use crate::classifier::SideInformation;
use crate::digest::Digest;
use crate::images::{Dataset, Rows, Sample};
use crate::model::{CloudModel, EdgeModel, softmax, top_k};
use crate::options::{ImageOptions, LoadedModel, ModelOptions, check_unseen};

/// What is evaluated on what.
#[derive(Args, Clone, Debug)]
pub struct EvaluationOptions {
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    images: ImageOptions,
    /// Side-information bundle, made by `tw-lab calibrate` from other images [default: the built-in one,
    /// if it fits]
    #[arg(long, value_name = "FILE", conflicts_with = "swap")]
    bundle: Option<PathBuf>,
    /// Instead of a bundle: calibrate on the even rows and test on the odd ones, then swap, and pool
    /// both halves
    #[arg(long)]
    swap: bool,
    /// Test the first N images only; with --swap, half of them from each half
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

impl EvaluationOptions {
    /// What a plan says is evaluated on what.
    pub(super) const fn new(
        model: ModelOptions,
        images: ImageOptions,
        bundle: Option<PathBuf>,
        swap: bool,
        limit: Option<u32>,
    ) -> Self {
        Self {
            model,
            images,
            bundle,
            swap,
            limit,
        }
    }

    /// Share of each half of `--swap` that methods are judged on, for the other half.
    const HOLD_OUT: f64 = 0.2;

    /// Whether to calibrate on each half of the images for the other.
    #[must_use]
    pub const fn swap(&self) -> bool {
        self.swap
    }

    /// Loads the model, the images and the side information; `rule` is for `--swap`, whose side
    /// information is all that methods of concealment need.
    ///
    /// # Errors
    /// If something is missing or does not fit.
    pub fn load(&self, rule: ClipRule) -> Result<Evaluation> {
        self.load_with(|source| {
            Ok(source
                .calibrate(rule, Effort::METHODS, Self::HOLD_OUT)?
                .bundle)
        })
    }

    /// The same with the means and the clip range as the only side information of `--swap`: all that
    /// coders need, in a fraction of the time.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_for_coders(&self, rule: ClipRule) -> Result<Evaluation> {
        self.load_with(|source| source.means(rule))
    }

    fn load_with(&self, calibrate: impl Fn(&Source<'_>) -> Result<Bundle>) -> Result<Evaluation> {
        let loaded = self.model.load()?;
        let edge = EdgePart::new(&loaded)?;
        let dataset = loaded.images(&self.images)?;
        let parts = if self.swap {
            let half = |rows| {
                dataset
                    .clone()
                    .select(&rows)
                    .context("--swap needs two halves")
            };
            let (even, odd) = (half(Rows::Even)?, half(Rows::Odd)?);
            let side = |half: &Dataset| -> Result<Option<SideInformation>> {
                let bundle = calibrate(&Source {
                    edge: &edge,
                    loaded: &loaded,
                    dataset: half,
                })?;
                let digest = Digest::of(bundle.to_bytes());
                Ok(Some(SideInformation {
                    bundle: Arc::new(bundle),
                    digest,
                }))
            };
            let (from_even, from_odd) = (side(&even)?, side(&odd)?);
            let odd = Part {
                dataset: odd,
                side: from_even,
            };
            vec![
                odd,
                Part {
                    dataset: even,
                    side: from_odd,
                },
            ]
        } else {
            vec![Part {
                dataset,
                side: loaded.bundle(self.bundle.as_deref())?,
            }]
        };
        let cloud = loaded.model.cloud(&loaded.split)?;
        let limit = self.limit.map_or(usize::MAX, |limit| limit as usize);
        let items = turns(
            &parts
                .iter()
                .map(|part| part.dataset.len())
                .collect::<Vec<_>>(),
            limit,
        );
        Ok(Evaluation {
            loaded,
            edge,
            cloud,
            parts,
            items,
            cache: None,
        })
    }
}

/// The first `limit` pairs of part and index when the parts take turns.
fn turns(lengths: &[usize], limit: usize) -> Vec<(usize, usize)> {
    let mut items = vec![];
    for index in 0..lengths.iter().copied().max().unwrap_or(0) {
        let parts = lengths
            .iter()
            .enumerate()
            .filter(|(_, length)| index < **length);
        items.extend(parts.map(|(part, _)| (part, index)));
        if items.len() >= limit {
            break;
        }
    }
    items.truncate(limit);
    items
}

/// Images, and the side information for them.
#[derive(Debug)]
#[non_exhaustive]
pub struct Part {
    /// The images to test.
    pub dataset: Dataset,
    /// What was measured on other images.
    pub side: Option<SideInformation>,
}

impl Part {
    /// What the fills use.
    #[must_use]
    pub fn bundle(&self) -> Option<&Bundle> {
        self.side.as_ref().map(|side| &*side.bundle)
    }
}

/// A split model, and the images to test it on.
#[derive(Debug)]
pub struct Evaluation {
    loaded: LoadedModel,
    edge: EdgePart,
    cloud: CloudModel,
    parts: Vec<Part>,
    /// Part, and index in it, of each image.
    items: Vec<(usize, usize)>,
    cache: Option<Cache>,
}

/// One image at the split.
#[derive(Debug)]
#[non_exhaustive]
pub struct Subject {
    /// Which of [`Evaluation::parts`] it is from.
    pub part: usize,
    /// SHA-256 of the image.
    pub digest: Digest,
    /// Its class.
    pub label: u32,
    /// The whole tensor.
    pub tensor: Array3<f32>,
    /// What the rest of the model makes of it.
    pub right: bool,
    /// Probability that the rest of the model gives the class.
    pub probability: f64,
    /// The tensor of the image before, where there is a motion to make it from.
    pub previous: Option<Array3<f32>>,
}

/// What a model makes of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Judgement {
    /// Whether the best class is the right one.
    pub right: bool,
    /// Softmax probability of the right class, 0 to 1.
    pub probability: f64,
}

impl Evaluation {
    /// The model.
    #[must_use]
    pub const fn loaded(&self) -> &LoadedModel {
        &self.loaded
    }

    /// The sets of images, each with its side information: two with `--swap`, else one.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Shape of the tensors at the split, (channels, rows, columns).
    #[must_use]
    pub fn shape(&self) -> (usize, usize, usize) {
        self.edge.model.output().as_tuple()
    }

    /// Keeps the tensors of images in `cache`, and takes them from there.
    #[must_use]
    pub fn with_cache(mut self, cache: Option<Cache>) -> Self {
        self.cache = cache;
        self
    }

    /// Number of images.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are no images.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The line above a table: the model and what it is tested on.
    #[must_use]
    pub fn heading(&self, clean: f64) -> String {
        let (name, split) = (&self.loaded.description.name, &self.loaded.split);
        let shape = self.edge.model.output();
        let (images, clean) = (count(self.items.len()), percent(clean));
        format!("{name} at {split} {shape}, {images} images, top-1 {clean} without loss\n")
    }

    /// Runs the edge's part on every image and does `work` with the tensor: every image once, on all
    /// cores. The results are in the order of the images. `state` makes what a thread keeps.
    ///
    /// # Errors
    /// If an image cannot be read, has no label or was calibrated on, or `work` fails.
    pub fn each<S, T: Send>(
        &self,
        state: impl Fn() -> Result<S> + Sync,
        work: impl Fn(&mut S, &Subject) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let mut results = Vec::with_capacity(self.items.len());
        let one = |kept: &mut S, item: usize| work(kept, &self.subject(item, None)?);
        in_order("testing", self.items.len(), state, one, |result| {
            results.push(result);
            Ok(())
        })?;
        Ok(results)
    }

    /// Every image at the split, with the tensor before it where there is a motion. The images are run
    /// on all cores and come in order; they stay in memory.
    ///
    /// # Errors
    /// As of [`each`](Self::each).
    pub fn subjects(&self, motion: Option<Motion>) -> Result<Vec<Subject>> {
        let mut subjects = Vec::with_capacity(self.items.len());
        in_order(
            "splitting",
            self.items.len(),
            || Ok(()),
            |(), item| self.subject(item, motion),
            |subject| {
                subjects.push(subject);
                Ok(())
            },
        )?;
        Ok(subjects)
    }

    /// What the rest of the model makes of a tensor whose class is `label`.
    ///
    /// # Errors
    /// If the model cannot be run on it.
    pub fn judge(&self, label: u32, tensor: &Array3<f32>) -> Result<Judgement> {
        let logits = self.cloud.run(tensor.view())?;
        let best = top_k(&logits, 1).first().map(|(class, _)| *class);
        let class = usize::try_from(label).ok();
        let probability = class.and_then(|class| softmax(&logits).get(class).copied());
        Ok(Judgement {
            right: best == class,
            probability: probability.unwrap_or_default().into(),
        })
    }

    /// Whether the rest of the model finds the class `label` from the tensor.
    ///
    /// # Errors
    /// If the model cannot be run on it.
    pub fn finds(&self, label: u32, tensor: &Array3<f32>) -> Result<bool> {
        Ok(self.judge(label, tensor)?.right)
    }

    /// The image, its part and its class, once it is sure that nothing was calibrated on it.
    ///
    /// # Errors
    /// If it cannot be read, has no label, or was calibrated on.
    pub(super) fn labelled(&self, item: usize) -> Result<Labelled> {
        let found = self
            .items
            .get(item)
            .and_then(|&(part, index)| self.parts.get(part).map(|images| (part, index, images)));
        let (part, index, images) = found.context("there is no such image")?;
        let sample = images.dataset.get(index)?;
        check_unseen(images.side.as_ref(), &sample.name, &sample.digest)?;
        let Some(label) = sample.label else {
            bail!(
                "the image {} has no label, and accuracy needs one",
                sample.name
            );
        };
        Ok(Labelled {
            part,
            label,
            sample,
        })
    }

    /// The tensor of an image whose input is changed by `change`; `name` says how, for the cache.
    ///
    /// # Errors
    /// If the model cannot be run on it, or the cache not be written.
    pub(super) fn features(
        &self,
        sample: Sample,
        name: &str,
        change: impl FnOnce(Array3<f32>) -> Array3<f32>,
    ) -> Result<Array3<f32>> {
        let (digest, image) = (sample.digest, sample.name.clone());
        let make = || {
            let input = change(self.edge.prepare(sample)?);
            self.edge.features(&image, &input)
        };
        match &self.cache {
            Some(cache) => cache.get_or(&self.cache_key(&digest, name), self.shape(), make),
            None => make(),
        }
    }

    /// The model's input of an image.
    ///
    /// # Errors
    /// If the image cannot be made one.
    pub(super) fn input(&self, sample: Sample) -> Result<Array3<f32>> {
        self.edge.prepare(sample)
    }

    /// The tensor of an input, which is always computed.
    ///
    /// # Errors
    /// If the model cannot be run on it.
    pub(super) fn run_edge(&self, input: &Array3<f32>) -> Result<Array3<f32>> {
        Ok(self.edge.model.run(input.view())?)
    }

    /// The scores of a tensor.
    ///
    /// # Errors
    /// If the model cannot be run on it.
    pub(super) fn run_cloud(&self, tensor: &Array3<f32>) -> Result<Vec<f32>> {
        Ok(self.cloud.run(tensor.view())?)
    }

    /// The digest of everything that a tensor is made from.
    fn cache_key(&self, image: &Digest, change: &str) -> Digest {
        let (version, split) = (env!("CARGO_PKG_VERSION"), &self.loaded.split);
        let (model, input) = (self.loaded.model.digest(), &self.edge.input);
        Digest::of(format!(
            "{version} {model} {split:?} {input:?} {image} {change}"
        ))
    }

    fn subject(&self, item: usize, motion: Option<Motion>) -> Result<Subject> {
        let Labelled {
            part,
            label,
            sample,
        } = self.labelled(item)?;
        let digest = sample.digest;
        let previous = motion
            .map(|motion| {
                let name = format!("before {motion:?}");
                self.features(sample.clone(), &name, |input| motion.before(&input))
            })
            .transpose()?;
        let tensor = self.features(sample, "", |input| input)?;
        let Judgement { right, probability } = self.judge(label, &tensor)?;
        Ok(Subject {
            part,
            digest,
            label,
            tensor,
            right,
            probability,
            previous,
        })
    }
}

/// An image with its class, and which of [`Evaluation::parts`] it is from.
#[derive(Debug)]
pub(super) struct Labelled {
    pub(super) part: usize,
    pub(super) label: u32,
    pub(super) sample: Sample,
}

/// The edge's part of a model, from images.
#[derive(Debug)]
pub(super) struct EdgePart {
    model: EdgeModel,
    input: crate::description::Input,
}

impl EdgePart {
    pub(super) fn new(loaded: &LoadedModel) -> Result<Self> {
        let model = loaded.model.edge(&loaded.split)?;
        Ok(Self {
            model,
            input: loaded.description.input.clone(),
        })
    }

    pub(super) fn run(&self, sample: Sample) -> Result<Array3<f32>> {
        let name = sample.name.clone();
        self.features(&name, &self.prepare(sample)?)
    }

    /// The model's input.
    fn prepare(&self, Sample { name, image, .. }: Sample) -> Result<Array3<f32>> {
        self.input
            .prepare(image)
            .with_context(|| format!("the image {name}"))
    }

    /// The tensor of an input, which is that of the image `name`.
    fn features(&self, name: &str, input: &Array3<f32>) -> Result<Array3<f32>> {
        self.model
            .run(input.view())
            .with_context(|| format!("the image {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_take_turns() {
        assert_eq!(turns(&[2, 3], 9), [(0, 0), (1, 0), (0, 1), (1, 1), (1, 2)]);
        assert_eq!(turns(&[2, 3], 3), [(0, 0), (1, 0), (0, 1)]);
        assert_eq!(turns(&[2], usize::MAX), [(0, 0), (0, 1)]);
    }
}
