//! What the cells of one split share: the parts of the model, and every image at the split.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tensorwire_concealment::ClipRule;

use super::cache::Cache;
use super::plan::{Kind, Plan};
use super::values::Width;
use crate::description::{ChannelOrder, Input};
use crate::images::{Colour, Image};
use crate::lab::evaluate::{Evaluation, Subject};
use crate::lab::parallel::in_order;
use crate::lab::recovery;
use crate::model::{WholeModel, top_k};
use crate::options::{ImageOptions, LoadedModel};

/// A split model and its images.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) evaluation: Evaluation,
    pub(super) subjects: Vec<Subject>,
    /// What streams share, with the options of their stream.
    recovery: Option<(recovery::Options, recovery::Bench)>,
}

impl Bench {
    /// Loads the model, calibrates where the plan says so, and runs the edge's part on every image, on
    /// all cores.
    pub(super) fn load(plan: &Plan, split: &str, cache: Option<Cache>) -> Result<Self> {
        let options = plan.evaluation(split);
        let rule = match plan.clip {
            Width::Sigma(sigma) => ClipRule::Sigma(sigma),
            Width::MinMax => ClipRule::MinMax,
        };
        let evaluation = match &plan.kind {
            Kind::Loss(_) | Kind::Recovery(_) => options.load(rule),
            _ => options.load_for_coders(rule),
        };
        let evaluation = evaluation?.with_cache(cache);
        let mut motion = None;
        if let Kind::Loss(loss) = &plan.kind {
            loss.check(&evaluation)?;
            motion = loss.motion;
        }
        let subjects = evaluation.subjects(motion)?;
        let recovery = match &plan.kind {
            Kind::Recovery(streams) => {
                let options = streams.options(plan.evaluation(split), plan.seed())?;
                let cells = streams.cells(split, &options)?;
                let cells = cells.iter().map(|(_, cell)| cell);
                let bench = recovery::Bench::new(&options, &evaluation, &subjects, cells)?;
                Some((options, bench))
            }
            _ => None,
        };
        Ok(Self {
            evaluation,
            subjects,
            recovery,
        })
    }

    /// Streams a cell of `[recovery]`.
    pub(super) fn recover(&self, cell: &recovery::Cell) -> Result<Value> {
        let recovery = self.recovery.as_ref();
        let (options, bench) = recovery.context("this plan has no streams")?;
        let row = bench.measure(options, &self.evaluation, cell)?;
        Ok(serde_json::to_value(row)?)
    }
}

/// The whole model and the images that it takes.
#[derive(Debug)]
pub(in crate::lab) struct Pictures {
    name: String,
    input: Input,
    whole: WholeModel,
    pub(super) pictures: Vec<Picture>,
}

/// An image as the model takes it, but for its scale of values.
#[derive(Debug)]
pub(in crate::lab) struct Picture {
    pub(super) image: Image,
    pub(super) label: u32,
    /// Whether the model finds the class.
    pub(super) right: bool,
}

impl Pictures {
    /// What stands for a split where there is none.
    pub(super) const SPLIT: &str = "input";

    /// Loads the model and runs it on every image, on all cores.
    pub(super) fn load(plan: &Plan) -> Result<Self> {
        let loaded = plan.model_options(None).load()?;
        Self::new(&loaded, &plan.image_options(), plan.limit())
    }

    /// The same of the first images that the options name.
    pub(in crate::lab) fn new(
        loaded: &LoadedModel,
        images: &ImageOptions,
        limit: usize,
    ) -> Result<Self> {
        let dataset = loaded.images(images)?;
        let mut pictures = Self {
            name: loaded.description.name.clone(),
            input: loaded.description.input.clone(),
            whole: loaded.model.whole()?,
            pictures: vec![],
        };
        let colour = match pictures.input.channels {
            ChannelOrder::Grey => Colour::Grey,
            ChannelOrder::Rgb | ChannelOrder::Bgr => Colour::Rgb,
        };
        let mut made = vec![];
        let one = |(): &mut (), item| {
            let sample = dataset.get(item)?;
            let Some(label) = sample.label else {
                bail!(
                    "the image {} has no label, and accuracy needs one",
                    sample.name
                );
            };
            let Input {
                height,
                width,
                shorter_side,
                ..
            } = pictures.input;
            let image = sample.image.into_size(height, width, shorter_side);
            let image = image.with_context(|| format!("the image {}", sample.name))?;
            let image = image.into_colour(colour);
            Ok(Picture {
                right: pictures.finds(label, image.clone())?,
                image,
                label,
            })
        };
        let images = dataset.len().min(limit);
        in_order(
            "classifying",
            images,
            || Ok(()),
            one,
            |picture| {
                made.push(picture);
                Ok(())
            },
        )?;
        pictures.pictures = made;
        Ok(pictures)
    }

    /// What the model is called.
    pub(super) fn model(&self) -> &str {
        &self.name
    }

    /// The model's scores of an image.
    pub(super) fn run(&self, image: Image) -> Result<Vec<f32>> {
        let input = self.input.prepare(image)?;
        Ok(self.whole.run(input.view())?)
    }

    /// Whether the model finds the class of an image.
    pub(super) fn finds(&self, label: u32, image: Image) -> Result<bool> {
        let scores = self.run(image)?;
        let best = top_k(&scores, 1).first().map(|(class, _)| *class);
        Ok(best == usize::try_from(label).ok())
    }
}
