//! Coders by name.

use std::fmt;
use std::str::FromStr;

use anyhow::Result;
use serde::Deserialize;
use tensorwire_codec::{ClipRange, Coder, Format, Map, Quantiser, Shape};

use super::values::by_name;
use crate::options::slice_bytes;

/// Levels of the quantiser before JPEG.
const JPEG_LEVELS: u16 = 256;

/// A coder with its parameter and its map: `raw:LEVELS:random`, `raw:LEVELS:rows`, `raw:LEVELS:mosaic` or
/// `jpeg:QUALITY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(in crate::lab) struct Coding {
    levels: u16,
    coder: Coder,
    map: Scatter,
}

by_name!(Coding);

/// Which entries share a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scatter {
    Random,
    Rows,
    Mosaic,
}

impl Coding {
    /// What a name may be.
    pub(super) const NAMES: &str =
        "raw:LEVELS:random, raw:LEVELS:rows, raw:LEVELS:mosaic or jpeg:QUALITY";

    /// The raw coder, whose slices are random samples of the tensor.
    pub(super) const fn raw(levels: u16) -> Self {
        Self {
            levels,
            coder: Coder::Raw,
            map: Scatter::Random,
        }
    }

    /// JPEG of the mosaic.
    pub(super) const fn jpeg(quality: u8) -> Self {
        Self {
            levels: JPEG_LEVELS,
            coder: Coder::Jpeg { quality },
            map: Scatter::Mosaic,
        }
    }

    /// The coder without its parameters.
    pub(super) const fn name(self) -> &'static str {
        match self.coder {
            Coder::Jpeg { .. } => "jpeg",
            _ => "raw",
        }
    }

    /// JPEG quality, or levels.
    pub(super) fn parameter(self) -> u16 {
        match self.coder {
            Coder::Jpeg { quality } => quality.into(),
            _ => self.levels,
        }
    }

    /// The format for tensors of this shape.
    pub(super) fn format(self, shape: Shape, range: ClipRange) -> Result<Format> {
        let Self { levels, coder, map } = self;
        let bytes = slice_bytes(None, coder);
        let map = match map {
            Scatter::Random => Map::random_for(1, shape, levels, bytes),
            Scatter::Rows => Map::rows_for(shape, levels, bytes),
            Scatter::Mosaic => Map::mosaic_for(shape, levels, coder, bytes),
        };
        let quantiser = Quantiser::new(range, levels)?;
        Ok(Format::new(shape, quantiser, map, coder)?)
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.coder {
            Coder::Jpeg { quality } => write!(f, "jpeg:{quality}"),
            _ => {
                let map = match self.map {
                    Scatter::Random => "random",
                    Scatter::Rows => "rows",
                    Scatter::Mosaic => "mosaic",
                };
                write!(f, "raw:{}:{map}", self.levels)
            }
        }
    }
}

impl FromStr for Coding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split(':').collect();
        let found = match parts[..] {
            ["jpeg", quality] => {
                let quality = quality.parse().ok().filter(|q| (1..=100).contains(q));
                quality.map(Self::jpeg)
            }
            ["raw", levels, map] => {
                let levels = levels.parse().ok().filter(|n| (2..=256).contains(n));
                let map = match map {
                    "random" => Some(Scatter::Random),
                    "rows" => Some(Scatter::Rows),
                    "mosaic" => Some(Scatter::Mosaic),
                    _ => None,
                };
                let raw = levels.map(Self::raw);
                raw.zip(map).map(|(raw, map)| Self { map, ..raw })
            }
            _ => None,
        };
        found.ok_or_else(|| format!("unknown coder `{text}`: {} is needed", Self::NAMES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_they_are_read() {
        for text in ["raw:256:random", "raw:16:rows", "raw:2:mosaic", "jpeg:80"] {
            assert_eq!(text.parse::<Coding>().unwrap().to_string(), text);
        }
        for text in ["", "jpeg", "jpeg:0", "raw:1:random", "raw:8", "raw:8:x"] {
            let error = text.parse::<Coding>().unwrap_err();
            assert!(error.contains("jpeg:QUALITY"), "{text}");
        }
    }
}
