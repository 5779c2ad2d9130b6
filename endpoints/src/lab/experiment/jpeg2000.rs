//! JPEG 2000 of pictures and of the mosaic of a tensor, as the published comparison has it: one codestream
//! each, which nothing can be lost of.

use anyhow::{Context as _, Result};
use ndarray::Array3;
use tensorwire_codec::{ClipRange, Map, Quantiser, Shape};
use tensorwire_jpeg2000::{self as jpeg2000, Shape as Sides};

use crate::images::{Colour, Image};

/// Levels of the quantiser before the coder: its samples have eight bits.
const LEVELS: u16 = 256;
/// What the cells of the mosaic hold that no channel needs.
const UNUSED: u8 = 128;

/// What became of samples.
#[derive(Clone, Debug)]
pub(super) struct Coded<T> {
    pub(super) decoded: T,
    /// Bytes of the packets.
    pub(super) bytes: usize,
    /// Bytes of the headers.
    pub(super) header: usize,
}

/// The channels of a tensor side by side in a nearly square picture, raster order, with no samples between
/// them: there are no blocks to align to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mosaic {
    dim: (usize, usize, usize),
    /// Channels side by side.
    columns: usize,
    sides: Sides,
    quantiser: Quantiser,
}

impl Mosaic {
    /// For tensors of this shape, clipped to this range.
    pub(super) fn new(shape: Shape, range: ClipRange) -> Result<Self> {
        let (channels, height, width) = shape.dim();
        let columns = match Map::mosaic(shape) {
            Map::Mosaic { columns, .. } => usize::from(columns),
            _ => channels,
        };
        Ok(Self {
            dim: shape.dim(),
            columns,
            sides: Sides {
                width: u32::try_from(columns * width)?,
                height: u32::try_from(channels.div_ceil(columns) * height)?,
                components: 1,
            },
            quantiser: Quantiser::new(range, LEVELS)?,
        })
    }

    /// Encodes a tensor to about an eighth of its entries' bits divided by `ratio` in bytes, and decodes it.
    pub(super) fn code(&self, tensor: &Array3<f32>, ratio: u16) -> Result<Coded<Array3<f32>>> {
        let mut samples = vec![UNUSED; self.sides.samples()?];
        for (index, x) in tensor.indexed_iter() {
            let place = samples.get_mut(self.place(index));
            *place.context("the tensor has another shape")? = self.quantiser.quantise(*x);
        }
        let coded = code(&samples, self.sides, ratio)?;
        let decoded = Array3::from_shape_fn(self.dim, |index| {
            let level = coded.decoded.get(self.place(index)).copied();
            self.quantiser.dequantise(level.unwrap_or(UNUSED))
        });
        Ok(Coded {
            decoded,
            bytes: coded.bytes,
            header: coded.header,
        })
    }

    /// Where an entry's sample is.
    const fn place(&self, (channel, y, x): (usize, usize, usize)) -> usize {
        let (_, height, width) = self.dim;
        let (row, column) = (channel / self.columns, channel % self.columns);
        (row * height + y) * self.columns * width + column * width + x
    }
}

/// Encodes a picture to about its bytes divided by `ratio`, and decodes it.
pub(super) fn picture(image: &Image, ratio: u16) -> Result<Coded<Image>> {
    let (height, width, colour) = (image.height(), image.width(), image.colour());
    let sides = Sides {
        width: u32::try_from(width)?,
        height: u32::try_from(height)?,
        components: match colour {
            Colour::Grey => 1,
            Colour::Rgb => 3,
        },
    };
    let coded = code(image.pixels(), sides, ratio)?;
    Ok(Coded {
        decoded: Image::new(height, width, colour, coded.decoded)?,
        bytes: coded.bytes,
        header: coded.header,
    })
}

fn code(samples: &[u8], sides: Sides, ratio: u16) -> Result<Coded<Vec<u8>>> {
    let codestream = jpeg2000::encode(samples, sides, ratio)?;
    let header = jpeg2000::header_bytes(&codestream).context("the encoder wrote no codestream")?;
    Ok(Coded {
        decoded: jpeg2000::decode(&codestream, sides)?,
        bytes: codestream.len().saturating_sub(header),
        header,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mosaic(tensor: &Array3<f32>) -> Mosaic {
        let shape = Shape::of(tensor.dim()).unwrap();
        Mosaic::new(shape, ClipRange::new(-2.0, 2.0).unwrap()).unwrap()
    }

    #[test]
    fn every_entry_has_a_sample_of_its_own() {
        let mosaic = mosaic(&Array3::zeros((5, 3, 4)));
        let (mut places, all) = (vec![], mosaic.sides.samples().unwrap());
        for index in ndarray::indices(mosaic.dim) {
            places.push(mosaic.place(index));
        }
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 60);
        assert!(places.iter().all(|place| *place < all), "{places:?}");
    }

    #[test]
    fn tensors_come_back_and_the_ratio_is_kept() {
        let tensor = Array3::from_shape_fn((7, 20, 18), |(c, y, x)| {
            (0.2 * (c + y) as f32).sin() + (0.3 * x as f32).cos() * 0.9
        });
        let (mosaic, mut last) = (mosaic(&tensor), (usize::MAX, 0.0));
        for ratio in [1, 4, 16] {
            let coded = mosaic.code(&tensor, ratio).unwrap();
            let furthest = coded.decoded.iter().zip(&tensor);
            let furthest = furthest.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(ratio > 1 || furthest < 0.03, "{furthest}");
            assert!(coded.bytes < last.0 && furthest > last.1, "{ratio}");
            let most = mosaic.sides.samples().unwrap() / usize::from(ratio);
            assert!(coded.bytes <= most, "{} of {most}", coded.bytes);
            last = (coded.bytes, furthest);
        }
    }

    #[test]
    fn pictures_come_back() {
        for colour in [Colour::Grey, Colour::Rgb] {
            let count = 40 * 30 * if colour == Colour::Rgb { 3 } else { 1 };
            let pixels: Vec<u8> = (0..count)
                .map(|at| u8::try_from(at / 60).unwrap())
                .collect();
            let image = Image::new(40, 30, colour, pixels).unwrap();
            let coded = picture(&image, 1).unwrap();
            let pairs = coded.decoded.pixels().iter().zip(image.pixels());
            assert!(pairs.into_iter().all(|(a, b)| a.abs_diff(*b) < 4));
            assert_eq!(coded.decoded.colour(), colour);
            assert!((80..200).contains(&coded.header), "{}", coded.header);
        }
    }
}
