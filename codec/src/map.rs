//! Which entries of a tensor share a slice.

use crate::format::{Coder, MAX_SLICES};
use crate::mosaic::Grid;
use crate::quantiser::bits_for;
use crate::shape::Shape;

/// The rule that assigns every entry to exactly one slice: a lost slice loses exactly its entries.
///
/// What is lost together is the map's choice: rows of a channel, neighbouring blocks of a mosaic
/// (which JPEG needs), or a random sample of the tensor, which a fill repairs best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Map {
    /// A slice is up to `rows` consecutive rows of one channel; channels in order.
    ChannelRows {
        /// Rows of a slice, 1 to the tensor's height. The last slice of a channel may have fewer.
        rows: u16,
    },
    /// Channels are the tiles of a mosaic, raster order, each padded to a multiple of 8 samples in
    /// both directions; a slice is `blocks` consecutive 8×8 blocks of the mosaic, raster order.
    Mosaic {
        /// Tiles side by side, 1 to the tensor's channels. 1 makes slices of one channel.
        columns: u16,
        /// Blocks of a slice, 1 to those of the mosaic. The last slice may have fewer.
        blocks: u16,
    },
    /// A slice is `entries` entries drawn from the whole tensor without replacement.
    Random {
        /// Names the permutation; the same for every tensor of a stream.
        seed: u64,
        /// Entries of a slice, 1 to those of the tensor. The last slice may have fewer.
        entries: u32,
    },
}

impl Map {
    /// A slice size, in bytes, of which eight fill a packet of the default MSS of 1,200 bytes.
    pub const SLICE_BYTES: usize = 144;

    /// A slice size to aim at with JPEG, in bytes. Its slices vary with the content and come out at a
    /// third to a half of it on average: a packet of the default MSS then holds about eight, whose
    /// lengths take few bytes.
    pub const JPEG_SLICE_BYTES: usize = 384;

    /// Channel rows whose raw slices are at most `slice_bytes` long, if a single row is.
    ///
    /// Of the numbers of rows that divide the height, so that all slices are of one size, it takes
    /// the one of which most entries go into a packet of eight times `slice_bytes`, and the greatest
    /// of those that are equal.
    #[must_use]
    pub fn rows_for(shape: Shape, levels: u16, slice_bytes: usize) -> Self {
        let (channels, height, width) = shape.dim();
        let most = (entries_in(slice_bytes, levels) / width).clamp(1, height);
        let fewest = height.div_ceil((MAX_SLICES / channels).max(1));
        let entries_in_packet = |rows: usize| {
            let slice = (rows * width * bits_for(levels) as usize).div_ceil(8);
            slice_bytes.saturating_mul(8) / slice * rows * width
        };
        let dividing = (fewest..=most).filter(|rows| height.is_multiple_of(*rows));
        let rows = dividing.max_by_key(|rows| entries_in_packet(*rows));
        let rows = rows.unwrap_or_else(|| most.max(fewest));
        Self::ChannelRows {
            rows: u16::try_from(rows).unwrap_or(u16::MAX),
        }
    }

    /// A random map whose raw slices are at most `slice_bytes` long and of nearly one size.
    ///
    /// Longer only where the tensor would need more than [`MAX_SLICES`] slices.
    #[must_use]
    pub fn random_for(seed: u64, shape: Shape, levels: u16, slice_bytes: usize) -> Self {
        let all = shape.entries();
        let slices = all
            .div_ceil(entries_in(slice_bytes, levels).clamp(1, all))
            .min(MAX_SLICES);
        Self::Random {
            seed,
            entries: u32::try_from(all.div_ceil(slices)).unwrap_or(u32::MAX),
        }
    }

    /// A nearly square mosaic with one slice for each row of blocks.
    #[must_use]
    pub fn mosaic(shape: Shape) -> Self {
        Self::mosaic_of(shape, usize::from(u16::MAX))
    }

    /// A nearly square mosaic with slices of about `slice_bytes`, at most one row of blocks each.
    ///
    /// Exact for the raw coder. For JPEG, where the size depends on the content, the quality gives a
    /// cautious estimate, which few slices of a busy tensor exceed.
    #[must_use]
    pub fn mosaic_for(shape: Shape, levels: u16, coder: Coder, slice_bytes: usize) -> Self {
        let bits_of_block = match coder {
            Coder::Raw => 64 * bits_for(levels) as usize,
            Coder::Jpeg { quality } => 64 * jpeg_tenths_of_bits(quality) / 10,
        };
        Self::mosaic_of(
            shape,
            (slice_bytes.saturating_mul(8) / bits_of_block).max(1),
        )
    }

    /// A nearly square mosaic with `blocks` blocks a slice, at most a row of blocks, but enough
    /// for the slices to be numbered.
    fn mosaic_of(shape: Shape, blocks: usize) -> Self {
        let columns = Grid::square_columns(shape);
        let grid = Grid::new(shape, columns);
        let fewest = grid.blocks().div_ceil(MAX_SLICES);
        let blocks = blocks.min(grid.block_columns()).max(fewest);
        Self::Mosaic {
            columns,
            blocks: u16::try_from(blocks).unwrap_or(u16::MAX),
        }
    }
}

/// Entries of raw slices of at most `bytes` bytes.
fn entries_in(bytes: usize, levels: u16) -> usize {
    bytes.saturating_mul(8) / bits_for(levels) as usize
}

/// About how many tenths of a bit an entry takes at a JPEG quality, in the busier parts of a tensor:
/// 1.8 times what noise of short correlation, clipped at 4σ, takes on average.
const fn jpeg_tenths_of_bits(quality: u8) -> usize {
    match quality {
        0..=29 => 16,
        30..=49 => 25,
        50..=69 => 33,
        70..=84 => 48,
        85..=92 => 64,
        93..=97 => 85,
        _ => 120,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{ClipRange, Format, Quantiser};

    #[test]
    fn slices_of_an_eighth_of_a_packet() {
        let shape = Shape::new(80, 14, 14).unwrap();
        let rows = |levels| Map::rows_for(shape, levels, Map::SLICE_BYTES);
        // 41 slices of 28 bytes fill 1,148 of 1,152; 8 of 140 would fill 1,120.
        assert_eq!(rows(256), Map::ChannelRows { rows: 2 });
        // 31 slices of 37 bytes.
        assert_eq!(rows(7), Map::ChannelRows { rows: 7 });
        let random = |levels| Map::random_for(7, shape, levels, Map::SLICE_BYTES);
        assert_eq!(
            random(256),
            Map::Random {
                seed: 7,
                entries: 144
            }
        );
        assert_eq!(
            random(7),
            Map::Random {
                seed: 7,
                entries: 383
            }
        );
        assert_eq!(
            Map::mosaic(shape),
            Map::Mosaic {
                columns: 10,
                blocks: 20
            }
        );
        let mosaic = Map::mosaic_for(shape, 256, Coder::Raw, Map::SLICE_BYTES);
        assert_eq!(
            mosaic,
            Map::Mosaic {
                columns: 10,
                blocks: 2
            }
        );
    }

    proptest! {
        #[test]
        fn helpers_make_valid_formats_of_small_slices(
            c in 1u32..300, h in 1u32..60, w in 1u32..60, levels in 2u16..=256,
            bytes in 0usize..2000, quality in 1u8..=100,
        ) {
            let shape = Shape::new(c, h, w).unwrap();
            let quantiser = Quantiser::new(ClipRange::new(0.0, 1.0).unwrap(), levels).unwrap();
            let jpeg = Coder::Jpeg { quality };
            for (map, coder, least) in [
                (Map::rows_for(shape, levels, bytes), Coder::Raw, w as usize),
                (Map::random_for(1, shape, levels, bytes), Coder::Raw, 1),
                (Map::mosaic_for(shape, levels, Coder::Raw, bytes), Coder::Raw, 64),
                (Map::mosaic_for(shape, levels, jpeg, bytes), jpeg, 64),
                (Map::mosaic(shape), jpeg, 64),
            ] {
                let format = Format::new(shape, quantiser, map, coder).unwrap();
                let least = (least * quantiser.bits() as usize).div_ceil(8);
                let numbered = usize::from(format.slice_count()) * 2 < MAX_SLICES;
                if coder == Coder::Raw && numbered {
                    prop_assert!(format.max_slice_bytes() <= bytes.max(least), "{:?}", map);
                }
            }
        }
    }
}
