//! Which entries of a tensor are lost.

use anyhow::Result;
use clap::ValueEnum;
use ndarray::Array3;
use rand_core::SeedableRng as _;
use rand_xoshiro::Xoshiro256PlusPlus;
use tensorwire_codec::{ClipRange, Coder, Format, Map, Quantiser, Shape};
use tensorwire_concealment::LossKind;
use tensorwire_protocol::link::{LossModel, LossProcess, uniform};

use crate::digest::Digest;

/// Channels, rows and columns of a tensor.
type Dim = (usize, usize, usize);

/// Sides of the block of entries that a block of a JPEG stands for.
const BLOCK: usize = 8;

/// What is lost together.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[expect(clippy::exhaustive_enums, reason = "an option of the command line")]
pub enum LossMap {
    /// Every entry by itself, independently of all others
    Elements,
    /// A quarter of a channel's rows, rounded up: 7 of 28, 4 of 14 (the last slice has fewer then)
    Rows,
    /// A whole channel
    Channels,
    /// The entries of a channel that a JPEG block of the channels' mosaic stands for: 8×8, fewer at the
    /// right and lower edges
    Blocks,
}

impl LossMap {
    /// Every map, in the order of the tables.
    pub const ALL: [Self; 4] = [Self::Elements, Self::Rows, Self::Channels, Self::Blocks];

    /// The name in options and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.kind().name()
    }

    /// What a method of concealment is told about the losses.
    #[must_use]
    pub const fn kind(self) -> LossKind {
        match self {
            Self::Elements => LossKind::Elements,
            Self::Rows => LossKind::Rows,
            Self::Channels => LossKind::Channels,
            Self::Blocks => LossKind::Blocks,
        }
    }

    /// Rows of a slice of [`LossMap::Rows`] in channels of `height` rows: a quarter of them, rounded
    /// up, and at least 1.
    #[must_use]
    pub const fn rows_of(height: usize) -> usize {
        let rows = height.div_ceil(4);
        if rows == 0 { 1 } else { rows }
    }

    /// What is lost together, for tensors of this shape.
    #[must_use]
    pub fn units(self, shape: Dim) -> Units {
        let (_, height, width) = shape;
        match self {
            Self::Elements => Units::elements(shape),
            Self::Rows => Units::tiles(shape, Self::rows_of(height), width),
            Self::Channels => Units::tiles(shape, height, width),
            Self::Blocks => Units::tiles(shape, BLOCK, BLOCK),
        }
    }

    /// Draws a mask, `true` being received: each unit of the map is lost with probability `missing`,
    /// independently of the others.
    ///
    /// The image's digest, `seed` and `missing` alone determine it, so neither the order of the images
    /// nor the number of threads matters, and every method meets the same losses.
    #[must_use]
    pub fn mask(self, shape: Dim, missing: f64, image: &Digest, seed: u64) -> Array3<bool> {
        self.units(shape).mask(draws(missing, image, seed))
    }
}

/// Whether the next unit is lost, of an image's losses.
fn draws(missing: f64, image: &Digest, seed: u64) -> impl FnMut() -> bool + use<> {
    let seed = seed_of(missing, None, image, seed);
    let mut random = Xoshiro256PlusPlus::from_seed(*seed.as_bytes());
    move || uniform(&mut random) < missing
}

/// What the draws of an image's losses begin with.
fn seed_of(missing: f64, burst: Option<f64>, image: &Digest, seed: u64) -> Digest {
    let mut key = image.as_bytes().to_vec();
    key.extend(seed.to_le_bytes());
    key.extend(missing.to_bits().to_le_bytes());
    key.extend(burst.iter().flat_map(|burst| burst.to_bits().to_le_bytes()));
    Digest::of(key)
}

/// The fates of units in their order, `true` being lost: each is lost with probability `missing`,
/// independently, or with `burst` so many in a row on average (the simple Gilbert model).
///
/// The image's digest, `seed`, `missing` and `burst` alone determine them.
///
/// # Errors
/// If there is no such chain: bursts of less than 1, or so short that they cannot lose as much.
pub fn fates(
    missing: f64,
    burst: Option<f64>,
    image: &Digest,
    seed: u64,
) -> Result<Box<dyn FnMut() -> bool>> {
    let Some(burst) = burst.filter(|_| missing > 0.0) else {
        return Ok(Box::new(draws(missing, image, seed)));
    };
    let seed = seed_of(missing, Some(burst), image, seed);
    let first = seed.as_bytes().first_chunk().copied().unwrap_or_default();
    let model = LossModel::gilbert(missing, burst)?;
    let mut process = LossProcess::new(model, u64::from_le_bytes(first));
    Ok(Box::new(move || process.next_is_lost()))
}

/// Which entries of a tensor are lost together, in the order in which units are sent.
#[derive(Clone, Debug)]
pub struct Units {
    unit: Array3<u32>,
    count: usize,
}

impl Units {
    /// Every entry by itself, C×H×W.
    fn elements(shape: Dim) -> Self {
        let mut next = 0;
        let unit = Array3::from_shape_simple_fn(shape, || {
            next += 1;
            next - 1
        });
        let count = unit.len();
        Self { unit, count }
    }

    /// Tiles of so many rows and columns of a channel, fewer at the lower and right edges; channel by
    /// channel, row by row.
    #[must_use]
    pub fn tiles(shape: Dim, rows: usize, columns: usize) -> Self {
        let (rows, columns) = (rows.max(1), columns.max(1));
        let (high, wide) = (shape.1.div_ceil(rows), shape.2.div_ceil(columns));
        let unit = Array3::from_shape_fn(shape, |(c, y, x)| {
            u32::try_from((c * high + y / rows) * wide + x / columns).unwrap_or(u32::MAX)
        });
        let count = shape.0 * high * wide;
        Self { unit, count }
    }

    /// Number of units.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// A mask, `true` being received; `lost` tells the fates of the units in order.
    #[must_use]
    pub fn mask(&self, mut lost: impl FnMut() -> bool) -> Array3<bool> {
        let received: Vec<bool> = (0..self.count).map(|_| !lost()).collect();
        self.unit
            .map(|unit| received.get(*unit as usize).copied().unwrap_or(true))
    }
}

/// How the codec spreads a tensor over packets: the maps that can be compared at equal packet loss.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[expect(clippy::exhaustive_enums, reason = "an option of the command line")]
pub enum PacketMap {
    /// The codec's random map, raw slices of 144 bytes
    #[value(name = "random-packets")]
    Random,
    /// The codec's map of channel rows, raw slices of 144 bytes
    #[value(name = "row-packets")]
    Rows,
    /// The codec's mosaic, with the slices that JPEG has at quality 80
    #[value(name = "mosaic-packets")]
    Mosaic,
}

impl PacketMap {
    /// Packets of a tensor unless something else is asked for.
    pub const COUNT: u16 = 11;
    /// Every map, in the order of the tables.
    pub const ALL: [Self; 3] = [Self::Random, Self::Rows, Self::Mosaic];

    /// The name in options and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Random => "random-packets",
            Self::Rows => "row-packets",
            Self::Mosaic => "mosaic-packets",
        }
    }

    /// What a method of concealment is told about the losses.
    #[must_use]
    pub const fn kind(self) -> LossKind {
        match self {
            Self::Random => LossKind::Elements,
            Self::Rows => LossKind::Rows,
            Self::Mosaic => LossKind::Blocks,
        }
    }

    /// The packets of tensors of this shape: the slices of the map in order, in `count` runs of as nearly
    /// as possible equally many entries; as many as there are slices if there are fewer.
    ///
    /// # Errors
    /// If the codec has no such format for tensors of this shape.
    pub fn units(self, shape: Dim, count: usize) -> Result<Units> {
        const LEVELS: u16 = 256;
        let tensor = Shape::of(shape)?;
        let (map, coder) = match self {
            Self::Random => {
                let map = Map::random_for(1, tensor, LEVELS, Map::SLICE_BYTES);
                (map, Coder::Raw)
            }
            Self::Rows => (Map::rows_for(tensor, LEVELS, Map::SLICE_BYTES), Coder::Raw),
            Self::Mosaic => {
                let coder = Coder::Jpeg { quality: 80 };
                let map = Map::mosaic_for(tensor, LEVELS, coder, Map::JPEG_SLICE_BYTES);
                (map, coder)
            }
        };
        let quantiser = Quantiser::new(ClipRange::new(0.0, 1.0)?, LEVELS)?;
        let entries = Format::new(tensor, quantiser, map, coder)?.entry_map();
        let count = count.clamp(1, entries.slices().max(1));
        let mut unit = vec![0; tensor.entries()];
        let mut before = 0;
        for slice in (0..entries.slices()).map(|slice| entries.slice(slice)) {
            // By entries, not by slices: those at edges are smaller.
            let number = u32::try_from(before * count / tensor.entries())?;
            before += slice.len();
            for entry in slice {
                if let Some(of_entry) = unit.get_mut(*entry as usize) {
                    *of_entry = number;
                }
            }
        }
        let unit = Array3::from_shape_vec(shape, unit)?;
        Ok(Units { unit, count })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SHAPE: Dim = (80, 14, 14);

    fn mask(map: LossMap, missing: f64, image: u8, seed: u64) -> Array3<bool> {
        map.mask(SHAPE, missing, &Digest::from_bytes([image; 32]), seed)
    }

    #[test]
    fn image_seed_and_share_determine_the_mask() {
        for map in LossMap::ALL {
            let draw = |missing, image, seed| mask(map, missing, image, seed);
            assert_eq!(draw(0.1, 1, 1), draw(0.1, 1, 1));
            for other in [draw(0.1, 2, 1), draw(0.1, 1, 2), draw(0.2, 1, 1)] {
                assert_ne!(draw(0.1, 1, 1), other);
            }
        }
    }

    #[test]
    fn the_share_is_as_asked_for() {
        for (map, units) in LossMap::ALL.into_iter().zip([15_680.0, 320.0, 80.0, 320.0]) {
            for missing in [0.0, 0.05, 0.5, 1.0] {
                let images = 40;
                let lost = (0..images)
                    .flat_map(|image| mask(map, missing, image, 1))
                    .filter(|received| !received)
                    .count() as f64;
                let share = lost / (15_680.0 * f64::from(images));
                // Five standard deviations; twice for units of unequal size.
                let reach = 10.0 * (missing * (1.0 - missing) / units / f64::from(images)).sqrt();
                assert!(
                    (share - missing).abs() <= reach,
                    "{map:?} {missing}: {share}"
                );
            }
        }
    }

    /// Entries that some draw tells apart from the first entry of channel 3 lie outside its unit.
    fn unit(map: LossMap) -> Vec<(usize, usize)> {
        let together = |y: usize, x: usize| {
            (0..60).all(|image| {
                let mask = mask(map, 0.5, image, 1);
                mask[[3, 0, 0]] == mask[[3, y, x]]
            })
        };
        (0..14)
            .flat_map(|y| (0..14).map(move |x| (y, x)))
            .filter(|&(y, x)| together(y, x))
            .collect()
    }

    #[test]
    fn units_are_lost_whole() {
        let sides = |rows, columns| -> Vec<(usize, usize)> {
            (0..rows)
                .flat_map(|y| (0..columns).map(move |x| (y, x)))
                .collect()
        };
        assert_eq!(unit(LossMap::Elements), [(0, 0)]);
        assert_eq!(unit(LossMap::Rows), sides(4, 14));
        assert_eq!(unit(LossMap::Channels), sides(14, 14));
        assert_eq!(unit(LossMap::Blocks), sides(8, 8));
        assert_eq!(
            [28, 14, 7, 4, 3, 1, 0].map(LossMap::rows_of),
            [7, 4, 2, 1, 1, 1, 1]
        );
    }

    #[test]
    fn blocks_are_those_of_the_codec() {
        for shape in [SHAPE, (40, 28, 28), (5, 7, 9)] {
            let tensor = Shape::of(shape).unwrap();
            let Map::Mosaic { columns, .. } = Map::mosaic(tensor) else {
                panic!("a mosaic");
            };
            let map = Map::Mosaic { columns, blocks: 1 };
            let quantiser = Quantiser::new(ClipRange::new(0.0, 1.0).unwrap(), 256).unwrap();
            let coder = Coder::Jpeg { quality: 80 };
            let entries = Format::new(tensor, quantiser, map, coder)
                .unwrap()
                .entry_map();
            let mask = LossMap::Blocks.mask(shape, 0.5, &Digest::from_bytes([7; 32]), 1);
            let mask = mask.as_slice().unwrap();
            for slice in 0..entries.slices() {
                let states: BTreeSet<bool> = entries
                    .slice(slice)
                    .iter()
                    .map(|entry| mask[*entry as usize])
                    .collect();
                assert!(states.len() <= 1, "{shape:?}, slice {slice}");
            }
        }
    }

    #[test]
    fn packets_are_equally_large_and_lost_whole() {
        for map in PacketMap::ALL {
            let packets = map.units((48, 14, 14), PacketMap::COUNT.into()).unwrap();
            assert_eq!(packets.count(), 11);
            let mut sizes = [0_usize; 11];
            packets
                .unit
                .iter()
                .for_each(|packet| sizes[*packet as usize] += 1);
            // A packet holds whole slices, of which the mosaic has no more than two for each.
            let mean = 48 * 14 * 14 / 11;
            let fits = |size: &usize| 2 * size > mean && 2 * size < 3 * mean;
            assert!(sizes.iter().all(fits), "{map:?}: {sizes:?}");
            let mask = packets.mask(draws(0.3, &Digest::from_bytes([5; 32]), 1));
            let lost: BTreeSet<u32> = packets
                .unit
                .iter()
                .zip(&mask)
                .filter_map(|(packet, received)| (!received).then_some(*packet))
                .collect();
            let kept: BTreeSet<u32> = packets
                .unit
                .iter()
                .zip(&mask)
                .filter_map(|(packet, received)| received.then_some(*packet))
                .collect();
            assert!(!lost.is_empty() && lost.is_disjoint(&kept), "{map:?}");
        }
        // A tensor of few slices has no more packets than those.
        assert_eq!(PacketMap::Rows.units((3, 4, 4), 11).unwrap().count(), 3);
    }
    #[test]
    fn bursts_lose_the_same_share_in_longer_runs() {
        let runs = |burst: Option<f64>| {
            let (mut lost, mut ends, all) = (0.0, 0.0, 200 * 500);
            for image in 0..200 {
                let mut fate = fates(0.2, burst, &Digest::from_bytes([image; 32]), 1).unwrap();
                let mut before = false;
                for _ in 0..500 {
                    let now = fate();
                    lost += f64::from(u8::from(now));
                    ends += f64::from(u8::from(before && !now));
                    before = now;
                }
            }
            (lost / f64::from(all), lost / ends)
        };
        for (burst, mean) in [(None, 1.25), (Some(1.0), 1.0), (Some(4.0), 4.0)] {
            let (share, run) = runs(burst);
            assert!((share - 0.2).abs() < 0.01, "{burst:?}: {share}");
            assert!((run / mean - 1.0).abs() < 0.05, "{burst:?}: {run}");
        }
        let image = Digest::from_bytes([1; 32]);
        assert!(
            fates(0.9, Some(1.0), &image, 1).is_err() && fates(0.0, Some(1.0), &image, 1).is_ok()
        );
    }
}
