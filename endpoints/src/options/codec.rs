//! How tensors become bytes: options.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use tensorwire_codec::{ClipRange, Coder, Format, Map, Quantiser, Shape};

use crate::classifier::SideInformation;
use crate::model::Dimensions;

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

/// The size of slices to aim at, bytes: what was asked for, or what suits the coder.
#[must_use]
pub fn slice_bytes(asked: Option<usize>, coder: Coder) -> usize {
    asked.unwrap_or(match coder {
        Coder::Jpeg { .. } => Map::JPEG_SLICE_BYTES,
        _ => Map::SLICE_BYTES,
    })
}
