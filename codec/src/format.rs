//! The stream's payload format: everything a receiver must know to decode slices.

use thiserror::Error;

use crate::entries::EntryMap;
use crate::ladder::Step;
use crate::map::Map;
use crate::mosaic::Grid;
use crate::quantiser::Quantiser;
use crate::shape::Shape;

/// The largest number of slices of a tensor: slice indices are 16 bits on the wire.
pub const MAX_SLICES: usize = 65_535;

/// The largest number of samples of a mosaic, padding included: 16 Mi, one byte each.
pub const MAX_MOSAIC_SAMPLES: usize = 1 << 24;

/// The longest side of a mosaic, samples: JPEG's 65,535, in whole blocks.
pub const MAX_MOSAIC_SIDE: usize = 65_528;

/// The most bytes that JPEG can take for one block: 20 bits of DC, 63 coefficients of 26 bits, and
/// every byte stuffed.
const JPEG_BLOCK_BYTES: usize = 2 * (20 + 63 * 26_usize).div_ceil(8);

/// How the levels of a slice become bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Coder {
    /// Levels packed in ⌈log₂ levels⌉ bits each. Exact, any map, fixed slice sizes.
    Raw,
    /// One restart interval of a baseline JPEG of the mosaic. Needs [`Map::Mosaic`].
    Jpeg {
        /// Scales the quantisation table as libjpeg does: 1 (smallest) to 100 (best).
        quality: u8,
    },
}

/// Shape, quantiser, map and coder of a stream's tensors, valid together.
///
/// Number, order and entries of the slices follow from it alone, never from a tensor's content.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Format {
    shape: Shape,
    quantiser: Quantiser,
    map: Map,
    coder: Coder,
    slices: u16,
}

/// Why a format does not exist. Whoever wrote it is at fault: our caller, or the peer that sent the
/// stream description, which is then to be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// A side is zero, or the tensor has more than [`MAX_ENTRIES`](crate::MAX_ENTRIES) entries.
    #[error(
        "a tensor of {channels}×{height}×{width} is empty or has more than {limit} entries",
        limit = crate::MAX_ENTRIES
    )]
    Shape {
        /// Channels asked for.
        channels: u32,
        /// Rows asked for.
        height: u32,
        /// Columns asked for.
        width: u32,
    },
    /// The number of levels is not 2 to 256.
    #[error("a quantiser has 2 to 256 levels, not {0}")]
    Levels(u16),
    /// The rows of a slice are not 1 to the tensor's height.
    #[error("a slice of {rows} rows does not fit channels of {height}")]
    Rows {
        /// Rows asked for.
        rows: u16,
        /// The tensor's height.
        height: u32,
    },
    /// The columns of the mosaic are not 1 to the tensor's channels.
    #[error("a mosaic of {columns} columns does not fit {channels} channels")]
    Columns {
        /// Columns asked for.
        columns: u16,
        /// The tensor's channels.
        channels: u32,
    },
    /// The blocks of a slice are not 1 to those of the mosaic.
    #[error("a slice of {blocks} blocks does not fit a mosaic of {mosaic}")]
    Blocks {
        /// Blocks asked for.
        blocks: u16,
        /// Blocks of the mosaic.
        mosaic: usize,
    },
    /// The entries of a random slice are not 1 to those of the tensor.
    #[error("a slice of {entries} entries does not fit a tensor of {tensor}")]
    Entries {
        /// Entries asked for.
        entries: u32,
        /// Entries of the tensor.
        tensor: usize,
    },
    /// The mosaic is longer than [`MAX_MOSAIC_SIDE`] or larger than [`MAX_MOSAIC_SAMPLES`]: choose
    /// other columns.
    #[error("a mosaic of {height}×{width} samples is too large")]
    Mosaic {
        /// Height of the mosaic, samples.
        height: usize,
        /// Width of the mosaic, samples.
        width: usize,
    },
    /// The JPEG quality is not 1 to 100.
    #[error("JPEG quality is 1 to 100, not {0}")]
    Quality(u8),
    /// JPEG codes blocks of a mosaic, and the map makes none.
    #[error("the JPEG coder needs the mosaic map")]
    JpegNeedsMosaic,
    /// The tensor would have more than [`MAX_SLICES`] slices: choose larger ones.
    #[error("{0} slices are more than {limit}", limit = MAX_SLICES)]
    Slices(usize),
    /// The ladder would have more than [`Ladder::MAX_STEPS`](crate::Ladder::MAX_STEPS) steps.
    #[error("{0} steps of a ladder are more than {limit}", limit = crate::Ladder::MAX_STEPS)]
    Steps(usize),
}

impl Format {
    /// Checks that the parts fit each other.
    ///
    /// # Errors
    /// A [`FormatError`] that names the first part that does not.
    pub fn new(
        shape: Shape,
        quantiser: Quantiser,
        map: Map,
        coder: Coder,
    ) -> Result<Self, FormatError> {
        let slices = match map {
            Map::ChannelRows { rows } => {
                if rows == 0 || u32::from(rows) > shape.height() {
                    return Err(FormatError::Rows {
                        rows,
                        height: shape.height(),
                    });
                }
                shape.channels() as usize * shape.height().div_ceil(u32::from(rows)) as usize
            }
            Map::Mosaic { columns, blocks } => {
                if columns == 0 || u32::from(columns) > shape.channels() {
                    return Err(FormatError::Columns {
                        columns,
                        channels: shape.channels(),
                    });
                }
                let grid = Grid::new(shape, columns);
                let (height, width) = grid.sides();
                let long = height.max(width) > MAX_MOSAIC_SIDE;
                if long || height * width > MAX_MOSAIC_SAMPLES {
                    return Err(FormatError::Mosaic { height, width });
                }
                if blocks == 0 || usize::from(blocks) > grid.blocks() {
                    return Err(FormatError::Blocks {
                        blocks,
                        mosaic: grid.blocks(),
                    });
                }
                grid.blocks().div_ceil(usize::from(blocks))
            }
            Map::Random { entries, .. } => {
                let tensor = shape.entries();
                if entries == 0 || entries as usize > tensor {
                    return Err(FormatError::Entries { entries, tensor });
                }
                tensor.div_ceil(entries as usize)
            }
        };
        if let Coder::Jpeg { quality } = coder {
            if !matches!(map, Map::Mosaic { .. }) {
                return Err(FormatError::JpegNeedsMosaic);
            }
            if !(1..=100).contains(&quality) {
                return Err(FormatError::Quality(quality));
            }
        }
        let slices = u16::try_from(slices).map_err(|_| FormatError::Slices(slices))?;
        Ok(Self {
            shape,
            quantiser,
            map,
            coder,
            slices,
        })
    }

    /// The same format with the levels and the coder of another step.
    ///
    /// # Errors
    /// If there are no such levels, or no such coder with this map.
    pub fn with_step(&self, step: Step) -> Result<Self, FormatError> {
        let quantiser = Quantiser::new(self.quantiser.range(), step.levels)?;
        Self::new(self.shape, quantiser, self.map, step.coder)
    }

    /// Levels and coder.
    #[must_use]
    pub const fn step(&self) -> Step {
        Step {
            levels: self.quantiser.levels(),
            coder: self.coder,
        }
    }

    /// Whether tensors of both have the same shape, and their slices the same entries.
    pub(crate) fn shares_map(&self, other: &Self) -> bool {
        (self.shape, self.map) == (other.shape, other.map)
    }

    /// The shape of every tensor.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// The quantiser of every entry.
    #[must_use]
    pub const fn quantiser(&self) -> Quantiser {
        self.quantiser
    }

    /// Which entries share a slice.
    #[must_use]
    pub const fn map(&self) -> Map {
        self.map
    }

    /// How a slice becomes bytes.
    #[must_use]
    pub const fn coder(&self) -> Coder {
        self.coder
    }

    /// Slices of every tensor, 1 to [`MAX_SLICES`].
    #[must_use]
    pub const fn slice_count(&self) -> u16 {
        self.slices
    }

    /// The entries of every slice. Takes time and memory in proportion to the tensor: make it once
    /// a stream, or take that of an [`Encoder`](crate::Encoder) or a
    /// [`Decoder`](crate::Decoder).
    #[must_use]
    pub fn entry_map(&self) -> EntryMap {
        EntryMap::new(self)
    }

    /// The entries of one slice, numbered in row-major order, in the order in which the raw coder
    /// packs them; none for a slice that does not exist.
    ///
    /// The random map costs a whole permutation: for many slices use [`Format::entry_map`].
    #[must_use]
    pub fn slice_entries(&self, slice: usize) -> Vec<u32> {
        self.entry_map().slice(slice).to_vec()
    }

    /// The longest slice that a receiver accepts, bytes: exact for the raw coder, and for JPEG a
    /// bound that no valid slice reaches.
    #[must_use]
    pub fn max_slice_bytes(&self) -> usize {
        let entries = match (self.map, self.coder) {
            (Map::Mosaic { blocks, .. }, Coder::Jpeg { .. }) => {
                return usize::from(blocks) * JPEG_BLOCK_BYTES;
            }
            (Map::Mosaic { .. }, Coder::Raw) => {
                let map = self.entry_map();
                (0..map.slices())
                    .map(|slice| map.slice(slice).len())
                    .max()
                    .unwrap_or(0)
            }
            (Map::ChannelRows { rows }, _) => usize::from(rows) * self.shape.width() as usize,
            (Map::Random { entries, .. }, _) => entries as usize,
        };
        raw_bytes(entries, self.quantiser.bits())
    }

    /// The bytes of every tensor, where all have as many: with the raw coder. Costs as much as
    /// [`Format::entry_map`].
    #[must_use]
    pub fn tensor_bytes(&self) -> Option<usize> {
        let bits = self.quantiser.bits();
        match self.coder {
            Coder::Jpeg { .. } => None,
            Coder::Raw => {
                let map = self.entry_map();
                let slices = (0..map.slices()).map(|slice| raw_bytes(map.slice(slice).len(), bits));
                Some(slices.sum())
            }
        }
    }

    /// The mosaic's geometry, where the map has one.
    pub(crate) fn grid(&self) -> Option<Grid> {
        match self.map {
            Map::Mosaic { columns, .. } => Some(Grid::new(self.shape, columns)),
            _ => None,
        }
    }
}

/// Bytes of a raw slice of `entries` entries.
pub(crate) const fn raw_bytes(entries: usize, bits: u32) -> usize {
    (entries * bits as usize).div_ceil(8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClipRange;

    fn format(shape: (u32, u32, u32), map: Map, coder: Coder) -> Result<Format, FormatError> {
        let shape = Shape::new(shape.0, shape.1, shape.2).unwrap();
        let quantiser = Quantiser::new(ClipRange::new(0.0, 1.0).unwrap(), 256).unwrap();
        Format::new(shape, quantiser, map, coder)
    }

    const JPEG: Coder = Coder::Jpeg { quality: 80 };

    #[test]
    fn slices_follow_from_the_format() {
        let shape = (5, 10, 7);
        for (map, slices) in [
            (Map::ChannelRows { rows: 1 }, 50),
            (Map::ChannelRows { rows: 3 }, 20),
            (Map::ChannelRows { rows: 10 }, 5),
            (
                Map::Mosaic {
                    columns: 3,
                    blocks: 1,
                },
                12,
            ),
            (
                Map::Mosaic {
                    columns: 3,
                    blocks: 5,
                },
                3,
            ),
            (
                Map::Random {
                    seed: 0,
                    entries: 350,
                },
                1,
            ),
            (
                Map::Random {
                    seed: 0,
                    entries: 349,
                },
                2,
            ),
        ] {
            assert_eq!(
                format(shape, map, Coder::Raw).unwrap().slice_count(),
                slices,
                "{map:?}"
            );
        }
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let shape = (5, 10, 7);
        for (map, error) in [
            (
                Map::ChannelRows { rows: 0 },
                FormatError::Rows {
                    rows: 0,
                    height: 10,
                },
            ),
            (
                Map::ChannelRows { rows: 11 },
                FormatError::Rows {
                    rows: 11,
                    height: 10,
                },
            ),
            (
                Map::Mosaic {
                    columns: 0,
                    blocks: 1,
                },
                FormatError::Columns {
                    columns: 0,
                    channels: 5,
                },
            ),
            (
                Map::Mosaic {
                    columns: 6,
                    blocks: 1,
                },
                FormatError::Columns {
                    columns: 6,
                    channels: 5,
                },
            ),
            (
                Map::Mosaic {
                    columns: 3,
                    blocks: 0,
                },
                FormatError::Blocks {
                    blocks: 0,
                    mosaic: 12,
                },
            ),
            (
                Map::Mosaic {
                    columns: 3,
                    blocks: 13,
                },
                FormatError::Blocks {
                    blocks: 13,
                    mosaic: 12,
                },
            ),
            (
                Map::Random {
                    seed: 0,
                    entries: 0,
                },
                FormatError::Entries {
                    entries: 0,
                    tensor: 350,
                },
            ),
            (
                Map::Random {
                    seed: 0,
                    entries: 351,
                },
                FormatError::Entries {
                    entries: 351,
                    tensor: 350,
                },
            ),
        ] {
            assert_eq!(format(shape, map, Coder::Raw), Err(error));
        }
    }

    #[test]
    fn jpeg_needs_a_mosaic_and_a_quality() {
        for map in [
            Map::ChannelRows { rows: 1 },
            Map::Random {
                seed: 0,
                entries: 9,
            },
        ] {
            assert_eq!(
                format((5, 10, 7), map, JPEG),
                Err(FormatError::JpegNeedsMosaic)
            );
        }
        let map = Map::Mosaic {
            columns: 3,
            blocks: 2,
        };
        for quality in [0, 101, 255] {
            let coder = Coder::Jpeg { quality };
            assert_eq!(
                format((5, 10, 7), map, coder),
                Err(FormatError::Quality(quality))
            );
        }
        assert!(format((5, 10, 7), map, JPEG).is_ok());
    }

    #[test]
    fn limits_of_size() {
        let wide = Map::Mosaic {
            columns: 1,
            blocks: 1,
        };
        assert!(format((1, 1, 65_528), wide, JPEG).is_ok());
        assert_eq!(
            format((1, 1, 65_529), wide, JPEG),
            Err(FormatError::Mosaic {
                height: 8,
                width: 65_536
            })
        );
        // 300,000 channels of one entry would take 64 samples each.
        let padded = Map::Mosaic {
            columns: 600,
            blocks: 600,
        };
        assert!(matches!(
            format((300_000, 1, 1), padded, JPEG),
            Err(FormatError::Mosaic { .. })
        ));
        let many = Map::Random {
            seed: 0,
            entries: 1,
        };
        assert!(format((1, 1, 65_535), many, Coder::Raw).is_ok());
        assert_eq!(
            format((1, 1, 65_536), many, Coder::Raw),
            Err(FormatError::Slices(65_536))
        );
    }
}
