//! Plan files: which grid of cells is measured, on what.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::bench::Pictures;
use super::cell::{Cell, Work};
use super::distribution::DistributionPlan;
use super::latency::LatencyPlan;
use super::loss::LossPlan;
use super::motion::MotionPlan;
use super::quantisation::QuantisationPlan;
use super::size::SizePlan;
use super::values::{Count, Width, by_name};
use crate::images::Rows;
use crate::lab::evaluate::EvaluationOptions;
use crate::lab::recovery::RecoveryPlan;
use crate::options::{ImageOptions, LoadedModel, ModelOptions};

/// A plan: one experiment, and what it is measured on.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    file: PlanFile,
    /// Of the plan file: paths in it are relative to it.
    folder: PathBuf,
    pub(super) clip: Width,
    pub(super) kind: Kind,
}

/// Which experiment.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Size(SizePlan),
    Quantisation(QuantisationPlan),
    Distribution(DistributionPlan),
    Loss(LossPlan),
    Motion(MotionPlan),
    Latency(LatencyPlan),
    Recovery(Box<RecoveryPlan>),
}

/// The file as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFile {
    title: String,
    /// ONNX classifier and its description; none: the built-in one.
    model: Option<PathBuf>,
    description: Option<PathBuf>,
    /// Folder, IDX or npy file; none: the built-in images.
    images: Option<PathBuf>,
    labels: Option<PathBuf>,
    #[serde(default)]
    rows: ChosenRows,
    /// The first images only.
    limit: Option<Count>,
    bundle: Option<PathBuf>,
    /// Calibrate on the even rows and test on the odd ones, then the other way round.
    #[serde(default)]
    swap: bool,
    /// Clip range of a calibration with `swap`.
    #[serde(default = "clip")]
    clip: Width,
    #[serde(default = "seed")]
    seed: u64,
    size: Option<SizePlan>,
    quantisation: Option<QuantisationPlan>,
    distribution: Option<DistributionPlan>,
    loss: Option<LossPlan>,
    motion: Option<MotionPlan>,
    latency: Option<LatencyPlan>,
    recovery: Option<RecoveryPlan>,
}

/// Rows of a set by name.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
struct ChosenRows(Rows);

impl std::str::FromStr for ChosenRows {
    type Err = <Rows as std::str::FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

by_name!(ChosenRows);

impl Default for ChosenRows {
    fn default() -> Self {
        Self(Rows::All)
    }
}

const fn clip() -> Width {
    Width::Sigma(4.0)
}

const fn seed() -> u64 {
    1
}

/// What a results file begins with: everything that its cells have in common, so that files of other
/// plans are told apart. Paths are as the plan writes them, the same on every machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) experiment: String,
    pub(super) title: String,
    pub(super) model: String,
    model_digest: String,
    images: String,
    image_count: usize,
    bundle: String,
    clip: String,
    seed: u64,
    /// What else the cells of the experiment share.
    shared: String,
}

impl Header {
    /// The key of the header's line, which comes before those of all cells.
    pub(super) const KEY: &str = "!plan";
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// If it cannot be read, or is not a plan: with its line, and the key that is wrong.
    pub(super) fn from_file(path: &Path) -> Result<Self> {
        let name = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        Self::parse(&text, folder).with_context(|| format!("the plan {name} cannot be used"))
    }

    fn parse(text: &str, folder: PathBuf) -> Result<Self> {
        let mut file: PlanFile = toml::from_str(text)?;
        let kinds = [
            file.size.take().map(Kind::Size),
            file.quantisation.take().map(Kind::Quantisation),
            file.distribution.take().map(Kind::Distribution),
            file.loss.take().map(Kind::Loss),
            file.motion.take().map(Kind::Motion),
            file.latency.take().map(Kind::Latency),
            file.recovery.take().map(Box::new).map(Kind::Recovery),
        ];
        let mut kinds: Vec<Kind> = kinds.into_iter().flatten().collect();
        let (Some(kind), true) = (kinds.pop(), kinds.is_empty()) else {
            bail!(
                "a plan has one section, which says what is measured: [size], [quantisation], \
                 [distribution], [loss], [motion], [latency] or [recovery]"
            );
        };
        if file.model.is_some() != file.description.is_some() {
            bail!("`model` and `description` come together");
        }
        if file.labels.is_some() && file.images.is_none() {
            bail!("`labels` needs `images`");
        }
        if file.bundle.is_some() && file.swap {
            bail!("`bundle` and `swap` exclude each other");
        }
        let clip = file.clip;
        Ok(Self {
            file,
            folder,
            clip,
            kind,
        })
    }

    /// Number of images that are tested, at most.
    pub(super) fn limit(&self) -> usize {
        self.file.limit.map_or(usize::MAX, |limit| limit.0 as usize)
    }

    /// Where the losses begin.
    pub(super) const fn seed(&self) -> u64 {
        self.file.seed
    }

    fn path(&self, path: Option<&PathBuf>) -> Option<PathBuf> {
        path.map(|path| self.folder.join(path))
    }

    /// The model, to be split there.
    pub(super) fn model_options(&self, split: Option<&str>) -> ModelOptions {
        ModelOptions {
            model: self.path(self.file.model.as_ref()),
            description: self.path(self.file.description.as_ref()),
            split: split.map(str::to_owned),
        }
    }

    /// The images.
    pub(super) fn image_options(&self) -> ImageOptions {
        ImageOptions {
            images: self.path(self.file.images.as_ref()),
            labels: self.path(self.file.labels.as_ref()),
            rows: self.file.rows.0.clone(),
        }
    }

    /// What is evaluated at a split.
    pub(super) fn evaluation(&self, split: &str) -> EvaluationOptions {
        EvaluationOptions::new(
            self.model_options(Some(split)),
            self.image_options(),
            self.path(self.file.bundle.as_ref()),
            self.file.swap,
            self.file.limit.map(|limit| limit.0),
        )
    }

    /// What the cells have in common.
    pub(super) fn header(&self, loaded: &LoadedModel) -> Result<Header> {
        let images = loaded.images(&self.image_options())?.len();
        let path = |path: &Option<PathBuf>| match path {
            Some(path) => path.display().to_string(),
            None => "built in".to_owned(),
        };
        Ok(Header {
            experiment: self.kind.name().to_owned(),
            title: self.file.title.clone(),
            model: loaded.description.name.clone(),
            model_digest: loaded.model.digest().to_string(),
            images: format!("{}, rows {}", path(&self.file.images), self.file.rows.0),
            image_count: images.min(self.limit()),
            bundle: if self.file.swap {
                "each half calibrated on the other".to_owned()
            } else {
                path(&self.file.bundle)
            },
            clip: self.clip.to_string(),
            seed: self.file.seed,
            shared: self.kind.shared(),
        })
    }

    /// Every cell, in the order of their keys.
    ///
    /// # Errors
    /// If a split does not exist, or two cells are the same.
    pub(super) fn cells(&self, loaded: &LoadedModel) -> Result<Vec<Cell>> {
        let mut cells = vec![];
        let mut add = |split: &str, key: String, work: Work| {
            cells.push(Cell {
                key: format!("{} {key}", self.kind.name()),
                split: split.to_owned(),
                work,
            });
        };
        for split in self.splits(loaded)? {
            let split = split.as_str();
            match &self.kind {
                Kind::Size(plan) => plan
                    .cells(split)
                    .into_iter()
                    .for_each(|(key, cell)| add(split, key, Work::Size(cell))),
                Kind::Quantisation(plan) => plan
                    .cells(split)
                    .into_iter()
                    .for_each(|(key, cell)| add(split, key, Work::Quantisation(cell))),
                Kind::Distribution(_) => add(split, split.to_owned(), Work::Distribution),
                Kind::Loss(plan) => plan
                    .cells(split)?
                    .into_iter()
                    .for_each(|(key, cell)| add(split, key, Work::Loss(Box::new(cell)))),
                Kind::Motion(plan) => plan
                    .cells(split)
                    .into_iter()
                    .for_each(|(key, cell)| add(split, key, Work::Motion(cell))),
                Kind::Latency(plan) => plan
                    .cells(split)
                    .into_iter()
                    .for_each(|(key, cell)| add(split, key, Work::Latency(cell))),
                Kind::Recovery(plan) => {
                    let options = plan.options(self.evaluation(split), self.seed())?;
                    plan.cells(split, &options)?
                        .into_iter()
                        .for_each(|(key, cell)| add(split, key, Work::Recovery(Box::new(cell))));
                }
            }
        }
        let whole = Pictures::SPLIT;
        match &self.kind {
            Kind::Size(plan) => plan
                .input_cells()
                .into_iter()
                .for_each(|(key, cell)| add(whole, key, Work::Size(cell))),
            Kind::Latency(plan) => plan
                .whole_cells()
                .into_iter()
                .for_each(|(key, cell)| add(whole, key, Work::Latency(cell))),
            _ => {}
        }
        cells.sort_by(|a, b| a.key.cmp(&b.key));
        for (one, next) in cells.iter().zip(cells.iter().skip(1)) {
            if one.key == next.key {
                bail!("the plan has the cell `{}` twice", one.key);
            }
        }
        Ok(cells)
    }

    /// The splits of the plan by their names in the model.
    fn splits(&self, loaded: &LoadedModel) -> Result<Vec<String>> {
        let splits = self.kind.splits();
        if splits.is_empty() {
            return Ok(vec![loaded.split.clone()]);
        }
        let name = |split: &String| Ok(loaded.model.split_point(split)?.name.clone());
        splits.iter().map(name).collect()
    }
}

impl Kind {
    /// The name of its section.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Size(_) => "size",
            Self::Quantisation(_) => "quantisation",
            Self::Distribution(_) => "distribution",
            Self::Loss(_) => "loss",
            Self::Motion(_) => "motion",
            Self::Latency(_) => "latency",
            Self::Recovery(_) => "recovery",
        }
    }

    fn splits(&self) -> &[String] {
        match self {
            Self::Size(plan) => &plan.splits,
            Self::Quantisation(plan) => &plan.splits,
            Self::Distribution(plan) => &plan.splits,
            Self::Loss(plan) => &plan.splits,
            Self::Motion(plan) => &plan.splits,
            Self::Latency(plan) => &plan.splits,
            Self::Recovery(plan) => &plan.splits,
        }
    }

    /// What decides the cells besides their keys.
    fn shared(&self) -> String {
        match self {
            Self::Loss(plan) => plan.shared(),
            Self::Size(plan) => plan.shared(),
            Self::Distribution(plan) => plan.shared(),
            Self::Motion(plan) => plan.shared(),
            Self::Latency(plan) => plan.shared(),
            Self::Recovery(plan) => plan.shared(),
            Self::Quantisation(_) => String::new(),
        }
    }
}
