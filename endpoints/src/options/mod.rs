//! Command-line options that the binaries share, and what they mean.

mod capture;
mod carrier;
mod codec;
mod identity;
mod importance;
mod policy;
mod quality;
mod rate;
mod recovery;
mod schedule;
mod stream;
mod upload;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use tensorwire_concealment::{Bundle, ImageDigest};

use crate::classifier::SideInformation;
use crate::description::Description;
use crate::digest::Digest;
use crate::embedded;
use crate::images::{Dataset, Rows};
use crate::model::{Dimensions, Model};

pub use capture::CaptureOptions;
pub use carrier::CarrierOptions;
pub(crate) use codec::parse_clip;
pub use codec::{CodecOptions, CoderName, MapName, slice_bytes};
pub use identity::{CloudIdentityOptions, EdgeIdentityOptions, verified_words};
pub use policy::PolicyOptions;
pub(crate) use quality::{JPEG_LEVELS, LEVELS, QUALITIES};
pub use quality::{QualityOptions, describe};
pub use rate::{DropRuleName, RateName, RateOptions, parse_rate};
pub use recovery::{Fec, ParityOptions, RecoveryOptions};
pub(crate) use recovery::{curve as accuracy_curve, parse_ratio};
pub use schedule::ScheduleOptions;
pub use stream::{InterleaverName, StreamOptions, interval, parse_fps};
pub use upload::{OfferOptions, TakenUploads, UploadOptions};

/// Which model, and where it is split.
#[derive(Args, Clone, Debug)]
pub struct ModelOptions {
    /// ONNX classifier [default: the built-in Fashion-MNIST model]
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Model description (TOML): input size, mean, std, labels [default: the file beside the model with
    /// the ending .toml; where there is none, pixels are scaled to 0..1, and classes are called by their
    /// numbers]
    #[arg(long, value_name = "FILE", requires = "model")]
    pub description: Option<PathBuf>,
    /// Tensor at which the model is split [default: the description's; `tw-lab split` lists them]
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,
}

/// Which images.
#[derive(Args, Clone, Debug)]
pub struct ImageOptions {
    /// Folder of JPEG or PNG images (with labels.csv), or an IDX or npy file [default: the built-in
    /// 1,000 images]
    #[arg(long, value_name = "PATH")]
    pub images: Option<PathBuf>,
    /// Labels, where the images are an IDX or npy file
    #[arg(long, value_name = "FILE", requires = "images")]
    pub labels: Option<PathBuf>,
    /// Rows to use: all, even, odd, or A..B (from 0, B not included)
    #[arg(long, value_name = "ROWS", default_value = "all")]
    pub rows: Rows,
}

/// A model with everything that belongs to it.
#[derive(Debug)]
#[non_exhaustive]
pub struct LoadedModel {
    /// The model.
    pub model: Arc<Model>,
    /// What its images look like.
    pub description: Description,
    /// Where it is split.
    pub split: String,
    /// Whether it is the built-in one.
    pub embedded: bool,
    /// Its file, if it is not built in.
    pub path: Option<PathBuf>,
    /// Whether the description is a guess, since there was none.
    pub guessed: bool,
}

impl ModelOptions {
    /// Loads the model and checks that description and split fit it.
    ///
    /// # Errors
    /// If a file is missing or not what it should be, or the model has no such split.
    pub fn load(&self) -> Result<LoadedModel> {
        let Some(path) = &self.model else {
            return self.finish(embedded::model()?, Some(embedded::description()?));
        };
        let model = Model::from_file(path)?;
        let beside = path.with_extension("toml");
        let described = match &self.description {
            Some(description) => Some(Description::from_file(description)?),
            None if beside.exists() => Some(Description::from_file(beside)?),
            None => None,
        };
        self.finish(model, described)
    }

    /// Checks that what belongs to the model fits it.
    fn finish(&self, model: Model, described: Option<Description>) -> Result<LoadedModel> {
        let guessed = described.is_none();
        let description = match (described, &self.model) {
            (Some(description), _) => description,
            (None, path) => {
                let name = path.as_deref().and_then(Path::file_name);
                let name = name.map(|name| name.to_string_lossy());
                Description::plain(name.unwrap_or_default(), &model)
            }
        };
        description.check(&model)?;
        let split = self
            .split
            .clone()
            .or_else(|| description.default_split.clone());
        let Some(split) = split else {
            bail!(
                "the description names no default split; choose one with --split (`tw-lab split` lists them)"
            );
        };
        let split = model.split_point(&split)?.name.clone();
        Ok(LoadedModel {
            model: Arc::new(model),
            description,
            split,
            embedded: self.model.is_none(),
            path: self.model.clone(),
            guessed,
        })
    }
}

impl LoadedModel {
    /// Shape of the tensor at the split.
    ///
    /// # Errors
    /// None: the split was checked when the model was loaded.
    pub fn shape(&self) -> Result<Dimensions> {
        Ok(self.model.split_point(&self.split)?.shape)
    }

    /// The bundle in `path`, or the built-in one where it fits; none if there is neither.
    ///
    /// # Errors
    /// If the file is missing, damaged, or made for another model or split.
    pub fn bundle(&self, path: Option<&Path>) -> Result<Option<SideInformation>> {
        let (bytes, name) = match path {
            Some(path) => {
                let bytes = fs::read(path);
                let bytes =
                    bytes.with_context(|| format!("cannot read the bundle {}", path.display()));
                (bytes?, path.display().to_string())
            }
            None if self.embedded => (embedded::bundle().to_vec(), "built in".to_owned()),
            None => return Ok(None),
        };
        let bundle = Bundle::from_bytes(&bytes)
            .with_context(|| format!("the bundle {name} cannot be used"))?;
        let fits =
            bundle.split() == self.split && bundle.model_digest() == self.model.digest().as_bytes();
        if fits {
            let side = SideInformation {
                digest: Digest::of(&bytes),
                bundle: Arc::new(bundle),
            };
            return Ok(Some(side));
        }
        if path.is_none() {
            return Ok(None);
        }
        let (made_for, split) = (bundle.split(), &self.split);
        bail!(
            "the bundle {name} was made for the split `{made_for}` of the model {}, not for `{split}` \
             of {}; make one with `tw-lab calibrate`",
            Digest::from_bytes(*bundle.model_digest()),
            self.model.digest()
        );
    }

    /// The images that the options name.
    ///
    /// # Errors
    /// If they cannot be read, or there are none.
    pub fn images(&self, options: &ImageOptions) -> Result<Dataset> {
        let dataset = match &options.images {
            Some(path) => Dataset::open(path, options.labels.as_deref(), &self.description.labels)?,
            None if self.embedded => embedded::images()?,
            None => bail!("a model of your own needs images of your own: give --images"),
        };
        Ok(dataset.select(&options.rows)?)
    }
}

/// Refuses images that a bundle was made from: what is measured on them would flatter.
///
/// # Errors
/// If the bundle was made from the image with this digest.
pub fn check_unseen(bundle: Option<&SideInformation>, name: &str, image: &Digest) -> Result<()> {
    let digest = ImageDigest::from_sha256(image.as_bytes());
    if bundle.is_some_and(|side| side.bundle.contains_image(&digest)) {
        bail!(
            "the bundle was made from the image {name}; measure on others (--rows odd where it was \
             made from --rows even)"
        );
    }
    Ok(())
}
