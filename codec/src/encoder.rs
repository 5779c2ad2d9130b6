//! Tensor to slices.

use bytes::Bytes;
use ndarray::ArrayView3;
use thiserror::Error;

use crate::bits::pack;
use crate::entries::EntryMap;
use crate::format::{Coder, Format, raw_bytes};
use crate::jpeg::PictureEncoder;
use crate::map::Map;
use crate::quantiser::Kernel;

/// Cuts tensors of one format into slices.
///
/// Holds the tables and buffers of a stream, so that a tensor costs one allocation (its bytes) with
/// the raw coder, and few with JPEG.
#[derive(Debug)]
pub struct Encoder {
    format: Format,
    entries: EntryMap,
    kernel: Kernel,
    levels: Vec<u8>,
    /// Made with the first format that needs it.
    picture: Option<PictureEncoder>,
}

/// The slices of one tensor, in order, in one buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedTensor {
    bytes: Bytes,
    ends: Vec<u32>,
}

/// Why a tensor cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Our caller gave a tensor of another shape than the format's.
    #[error("a tensor of {actual:?} is not of the format's shape {expected:?}")]
    Shape {
        /// The format's (channels, height, width).
        expected: (usize, usize, usize),
        /// The tensor's (channels, height, width).
        actual: (usize, usize, usize),
    },
    /// Our caller gave a tensor with an entry that is NaN or infinite: its model is broken.
    #[error("the entry at channel {channel}, row {y}, column {x} is not finite")]
    NotFinite {
        /// Channel of the first such entry.
        channel: usize,
        /// Its row.
        y: usize,
        /// Its column.
        x: usize,
    },
    /// The JPEG encoder failed or made another number of intervals than the format has slices: a
    /// defect of this crate or that library.
    #[error("the JPEG encoder failed: {0}")]
    Jpeg(String),
}

impl Encoder {
    /// An encoder of tensors of `format`. Builds the map's table: time and memory in proportion to
    /// the tensor.
    #[must_use]
    pub fn new(format: &Format) -> Self {
        Self {
            format: *format,
            entries: format.entry_map(),
            kernel: format.quantiser().kernel(),
            levels: vec![0; format.shape().entries()],
            picture: picture(format),
        }
    }

    /// Goes over to another format. One of the same shape and map, such as another step of a
    /// [`Ladder`](crate::Ladder), keeps the tables and buffers, and costs next to nothing.
    pub fn switch(&mut self, format: &Format) {
        if self.format == *format {
            return;
        }
        if !self.format.shares_map(format) {
            *self = Self::new(format);
            return;
        }
        match (&mut self.picture, format.coder()) {
            (Some(picture), Coder::Jpeg { quality }) => picture.switch(format, quality),
            (None, Coder::Jpeg { .. }) => self.picture = picture(format),
            (_, Coder::Raw) => {}
        }
        self.kernel = format.quantiser().kernel();
        self.format = *format;
    }

    /// The format of the tensors.
    #[must_use]
    pub const fn format(&self) -> &Format {
        &self.format
    }

    /// The entries of every slice.
    #[must_use]
    pub const fn entries(&self) -> &EntryMap {
        &self.entries
    }

    /// Encodes one tensor: exactly [`Format::slice_count`] slices. Entries beyond the clip range
    /// are clipped. Fastest for a tensor in standard layout.
    ///
    /// # Errors
    /// [`EncodeError::Shape`] and [`EncodeError::NotFinite`] for a tensor that the format does not
    /// fit; the encoder stays usable.
    pub fn encode(&mut self, tensor: ArrayView3<'_, f32>) -> Result<EncodedTensor, EncodeError> {
        let expected = self.format.shape().dim();
        if tensor.dim() != expected {
            return Err(EncodeError::Shape {
                expected,
                actual: tensor.dim(),
            });
        }
        let finite = match tensor.as_slice() {
            Some(entries) => self.quantise(entries.iter()),
            None => self.quantise(tensor.iter()),
        };
        if !finite {
            let not_finite = tensor.indexed_iter().find(|(_, x)| !x.is_finite());
            if let Some(((channel, y, x), _)) = not_finite {
                return Err(EncodeError::NotFinite { channel, y, x });
            }
        }
        match (&mut self.picture, self.format.coder()) {
            (Some(picture), Coder::Jpeg { .. }) => picture.encode(&self.levels, &self.entries),
            _ => Ok(self.pack()),
        }
    }

    /// Quantises the entries in row-major order; false if one is not finite.
    fn quantise<'a>(&mut self, entries: impl Iterator<Item = &'a f32>) -> bool {
        let kernel = self.kernel;
        let mut finite = true;
        for (level, &x) in self.levels.iter_mut().zip(entries) {
            *level = kernel.level(x);
            finite &= x.is_finite();
        }
        finite
    }

    fn pack(&self) -> EncodedTensor {
        let bits = self.format.quantiser().bits();
        let slices = self.entries.slices();
        // Every slice rounds up to whole bytes.
        let mut bytes = Vec::with_capacity(raw_bytes(self.levels.len(), bits) + slices);
        let mut ends = Vec::with_capacity(slices);
        for slice in 0..slices {
            match self
                .entries
                .stretch(slice)
                .and_then(|stretch| self.levels.get(stretch))
            {
                Some(levels) => pack(levels.iter().copied(), bits, &mut bytes),
                None => {
                    let entries = self.entries.slice(slice).iter();
                    let levels = entries.map(|&entry| self.levels[entry as usize]);
                    pack(levels, bits, &mut bytes);
                }
            }
            ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        }
        EncodedTensor::new(bytes.into(), ends)
    }
}

/// What the JPEG coder needs; none with another.
fn picture(format: &Format) -> Option<PictureEncoder> {
    match (format.coder(), format.grid(), format.map()) {
        (Coder::Jpeg { quality }, Some(grid), Map::Mosaic { blocks, .. }) => {
            Some(PictureEncoder::new(format, grid, blocks, quality))
        }
        _ => None,
    }
}

impl EncodedTensor {
    /// Slices that end in `bytes` at `ends`, ascending.
    pub(crate) const fn new(bytes: Bytes, ends: Vec<u32>) -> Self {
        Self { bytes, ends }
    }

    /// Number of slices.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "a tensor has at least one slice"
    )]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of a slice.
    ///
    /// # Panics
    /// Where `slice` is not below [`EncodedTensor::len`], as indexing does.
    #[must_use]
    pub fn slice(&self, slice: usize) -> &[u8] {
        &self.bytes[self.span(slice)]
    }

    /// The bytes of a slice, sharing this tensor's buffer; none for a slice that does not exist.
    #[must_use]
    pub fn get(&self, slice: usize) -> Option<Bytes> {
        (slice < self.len()).then(|| self.bytes.slice(self.span(slice)))
    }

    /// All slices in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|slice| self.slice(slice))
    }

    /// All slices, one after another.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Where each slice ends in [`EncodedTensor::bytes`], ascending.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    fn span(&self, slice: usize) -> std::ops::Range<usize> {
        let start = slice.checked_sub(1).map_or(0, |before| self.ends[before]);
        start as usize..self.ends[slice] as usize
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;
    use crate::{ClipRange, Quantiser, Shape};

    fn encoder(map: Map, coder: Coder) -> Encoder {
        let quantiser = Quantiser::new(ClipRange::new(0.0, 7.0).unwrap(), 8).unwrap();
        let shape = Shape::new(2, 2, 3).unwrap();
        Encoder::new(&Format::new(shape, quantiser, map, coder).unwrap())
    }

    fn ramp() -> Array3<f32> {
        Array3::from_shape_fn((2, 2, 3), |(c, y, x)| (c * 6 + y * 3 + x) as f32)
    }

    #[test]
    fn slices_lie_one_after_another() {
        let mut encoder = encoder(Map::ChannelRows { rows: 1 }, Coder::Raw);
        let encoded = encoder.encode(ramp().view()).unwrap();
        assert_eq!(encoded.len(), 4);
        assert_eq!(encoded.ends(), [2, 4, 6, 8]);
        // 0 1 2 and 3 4 5; 8 to 11 are clipped to 7.
        assert_eq!(encoded.slice(0), [0b0000_0101, 0b0000_0000]);
        assert_eq!(encoded.slice(1), [0b0111_0010, 0b1000_0000]);
        assert_eq!(encoded.slice(3), [0b1111_1111, 0b1000_0000]);
        assert_eq!(encoded.get(1).unwrap(), encoded.slice(1));
        assert_eq!(encoded.get(4), None);
        assert_eq!(
            encoded.iter().collect::<Vec<_>>().concat(),
            *encoded.bytes()
        );
    }

    #[test]
    fn layout_of_the_array_does_not_matter() {
        let mut encoder = encoder(
            Map::Random {
                seed: 9,
                entries: 5,
            },
            Coder::Raw,
        );
        let tensor = ramp();
        let mut other = Array3::zeros((3, 2, 2));
        other.assign(&tensor.view().reversed_axes());
        let transposed = other.reversed_axes();
        assert!(transposed.as_slice().is_none());
        let expected = encoder.encode(tensor.view()).unwrap();
        assert_eq!(encoder.encode(transposed.view()).unwrap(), expected);
    }

    #[test]
    fn a_broken_tensor_is_named_and_harmless() {
        for coder in [Coder::Raw, Coder::Jpeg { quality: 90 }] {
            let mut encoder = encoder(
                Map::Mosaic {
                    columns: 2,
                    blocks: 1,
                },
                coder,
            );
            let expected = encoder.encode(ramp().view()).unwrap();
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut tensor = ramp();
                tensor[[1, 0, 2]] = bad;
                let error = EncodeError::NotFinite {
                    channel: 1,
                    y: 0,
                    x: 2,
                };
                assert_eq!(encoder.encode(tensor.view()), Err(error));
            }
            let other = Array3::zeros((2, 3, 2));
            let error = EncodeError::Shape {
                expected: (2, 2, 3),
                actual: (2, 3, 2),
            };
            assert_eq!(encoder.encode(other.view()), Err(error));
            assert_eq!(encoder.encode(ramp().view()), Ok(expected));
        }
    }
}
