//! Command-line options that the binaries share, and what they mean.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use tensorwire_codec::{ClipRange, Coder, Format, Map, Quantiser, Shape};
use tensorwire_concealment::{Bundle, ImageDigest};
use tensorwire_protocol::wire::InterleaverKind;

use crate::classifier::SideInformation;
use crate::description::Description;
use crate::digest::Digest;
use crate::embedded;
use crate::images::{Dataset, Rows};
use crate::model::{Dimensions, Model};
use crate::stream::StreamDescription;

/// Which model, and where it is split.
#[derive(Args, Clone, Debug)]
pub struct ModelOptions {
    /// ONNX classifier [default: the built-in Fashion-MNIST model]
    #[arg(long, value_name = "FILE", requires = "description")]
    pub model: Option<PathBuf>,
    /// Model description (TOML): input size, mean, std, labels
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
}

impl ModelOptions {
    /// Loads the model and checks that description and split fit it.
    ///
    /// # Errors
    /// If a file is missing or not what it should be, or the model has no such split.
    pub fn load(&self) -> Result<LoadedModel> {
        let (model, description, embedded) = match (&self.model, &self.description) {
            (Some(model), Some(description)) => (
                Model::from_file(model)?,
                Description::from_file(description)?,
                false,
            ),
            _ => (embedded::model()?, embedded::description()?, true),
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
            embedded,
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

/// How tensors become bytes.
#[derive(Args, Clone, Debug)]
pub struct CodecOptions {
    /// Coder of the slices
    #[arg(long, value_enum, default_value_t = CoderName::Raw)]
    pub coder: CoderName,
    /// JPEG quality, 1 to 100
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub quality: u8,
    /// Levels of the quantiser, 2 to 256
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(2..=256))]
    pub levels: u16,
    /// Clip range LOW,HIGH [default: the bundle's]
    #[arg(long, value_name = "LOW,HIGH", value_parser = parse_clip, allow_hyphen_values = true)]
    pub clip: Option<ClipRange>,
    /// Which entries share a slice [default: random for raw, mosaic for jpeg]
    #[arg(long, value_enum)]
    pub map: Option<MapName>,
    /// Size of a slice to aim at, bytes [default: 144 for raw; 384 for jpeg, whose slices come out at a
    /// third to a half of it on average]
    #[arg(long, value_name = "BYTES")]
    pub slice_bytes: Option<usize>,
    /// Seed of the random map
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub map_seed: u64,
}

/// Coders by name.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "an option of the command line")]
pub enum CoderName {
    /// Levels packed in as few bits as hold them; exact
    Raw,
    /// Baseline JPEG of the channels' mosaic, a restart interval a slice
    Jpeg,
}

/// Maps by name.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "an option of the command line")]
pub enum MapName {
    /// A slice is a random sample of the tensor
    Random,
    /// A slice is rows of one channel
    Rows,
    /// A slice is neighbouring blocks of the channels' mosaic
    Mosaic,
}

impl CodecOptions {
    /// The format for tensors of `shape`.
    ///
    /// # Errors
    /// If the options do not go together, or neither they nor the bundle give a clip range.
    pub fn format(&self, shape: Dimensions, side: Option<&SideInformation>) -> Result<Format> {
        let shape = Shape::of(shape.as_tuple())?;
        let range = match (self.clip, side) {
            (Some(range), _) => range,
            (None, Some(side)) => {
                let clip = side.bundle.clip();
                ClipRange::new(clip.low, clip.high)?
            }
            (None, None) => bail!(
                "no clip range: give --clip LOW,HIGH, or a bundle with --bundle (`tw-lab calibrate` \
                 makes one)"
            ),
        };
        let coder = match self.coder {
            CoderName::Raw => Coder::Raw,
            CoderName::Jpeg => Coder::Jpeg {
                quality: self.quality,
            },
        };
        let default = if self.coder == CoderName::Jpeg {
            MapName::Mosaic
        } else {
            MapName::Random
        };
        let levels = self.levels;
        let bytes = slice_bytes(self.slice_bytes, coder);
        let map = match self.map.unwrap_or(default) {
            MapName::Random => Map::random_for(self.map_seed, shape, levels, bytes),
            MapName::Rows => Map::rows_for(shape, levels, bytes),
            MapName::Mosaic => Map::mosaic_for(shape, levels, coder, bytes),
        };
        Ok(Format::new(
            shape,
            Quantiser::new(range, levels)?,
            map,
            coder,
        )?)
    }
}

pub(crate) fn parse_clip(text: &str) -> Result<ClipRange, String> {
    let number = |part: &str| {
        part.trim()
            .parse::<f32>()
            .map_err(|_| format!("`{part}` is no number"))
    };
    let (low, high) = text
        .split_once(',')
        .ok_or("two numbers are needed, as in -4,4")?;
    ClipRange::new(number(low)?, number(high)?).map_err(|error| error.to_string())
}

/// How a stream is sent.
#[derive(Args, Clone, Debug)]
pub struct StreamOptions {
    /// Largest UDP payload, bytes, 576 to 65000
    #[arg(long, value_name = "BYTES", default_value_t = 1_200, value_parser = clap::value_parser!(u16).range(576..=65_000))]
    pub mss: u16,
    /// Longest time from capture to release, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub deadline_ms: u32,
    /// Order of the slices
    #[arg(long, value_enum, default_value_t = InterleaverName::Sequential)]
    pub interleaver: InterleaverName,
    /// Step of the stride interleaver
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub stride: u16,
    /// Seed of the random interleaver
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub interleaver_seed: u64,
    /// Give up older tensors as soon as a newer one is released
    #[arg(long)]
    pub latest_only: bool,
}

/// Interleavers by name.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "an option of the command line")]
pub enum InterleaverName {
    /// Slices in order
    Sequential,
    /// Every s-th slice
    Stride,
    /// A seeded permutation
    Random,
}

impl StreamOptions {
    /// Sets these options in a description.
    pub fn apply(&self, stream: &mut StreamDescription) {
        let kind = match self.interleaver {
            InterleaverName::Sequential => InterleaverKind::Sequential,
            InterleaverName::Stride => InterleaverKind::Stride,
            InterleaverName::Random => InterleaverKind::Random,
        };
        stream.interleaver = kind as u8;
        stream.stride = self.stride;
        stream.seed = self.interleaver_seed;
        stream.mss = self.mss;
        stream.deadline_ms = self.deadline_ms;
        stream.latest_only = self.latest_only;
    }
}

/// The size of slices to aim at, bytes: what was asked for, or what suits the coder.
#[must_use]
pub fn slice_bytes(asked: Option<usize>, coder: Coder) -> usize {
    asked.unwrap_or(match coder {
        Coder::Jpeg { .. } => Map::JPEG_SLICE_BYTES,
        _ => Map::SLICE_BYTES,
    })
}

/// Reads frames a second: 0, or 0.001 to 100,000.
///
/// # Errors
/// If the text is no such number.
pub fn parse_fps(text: &str) -> Result<f64, String> {
    let fps: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if fps == 0.0 || (0.001..=100_000.0).contains(&fps) {
        Ok(fps)
    } else {
        Err("0 for as fast as possible, or 0.001 to 100000 frames a second".to_owned())
    }
}

/// Frames a second as the time between them; 0 frames a second is as fast as possible.
#[must_use]
pub fn interval(fps: f64) -> Duration {
    Duration::try_from_secs_f64(1.0 / fps).unwrap_or_default()
}
