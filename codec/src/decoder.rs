//! Any subset of slices to a tensor and a mask.

use ndarray::Array3;
use thiserror::Error;

use crate::bits::unpack;
use crate::entries::EntryMap;
use crate::format::{Coder, Format};
use crate::jpeg::PictureDecoder;
use crate::map::Map;
use crate::shape::Shape;

/// Turns slices of one format back into tensors.
///
/// Never fails for what a peer sent: a slice that is not valid counts as missing and is listed with
/// its reason, and every other entry is what it is without loss, bit for bit.
#[derive(Debug)]
pub struct Decoder {
    format: Format,
    entries: EntryMap,
    values: [f32; 256],
    levels: Vec<u8>,
    /// Made with the first format that needs it.
    picture: Option<PictureDecoder>,
}

/// A decoded tensor: what arrived, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// C×H×W; 0 where an entry is missing, which a fill is to replace.
    pub tensor: Array3<f32>,
    /// C×H×W; true where an entry was received.
    pub mask: Array3<bool>,
    /// Slices that were present but not valid, ascending; their entries are missing.
    pub refused: Vec<Refusal>,
    /// Slices that were neither missing nor refused.
    pub received: usize,
}

/// A slice that was present but not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// Index of the slice.
    pub slice: usize,
    /// What is wrong with it.
    pub error: SliceError,
}

/// Why a slice is refused. The peer's bytes are at fault (or a path that damaged them unnoticed),
/// but for [`SliceError::Library`]; nothing needs doing but to count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum SliceError {
    /// A raw slice, or a slice without entries, is not of its one possible length.
    #[error("{actual} bytes instead of {expected}")]
    Length {
        /// Bytes that such a slice has.
        expected: usize,
        /// Bytes that it has.
        actual: usize,
    },
    /// A raw level is above the quantiser's highest.
    #[error("level {level} is above {top}")]
    Level {
        /// The first such level.
        level: u8,
        /// The quantiser's highest.
        top: u8,
    },
    /// The bits that fill the last byte are not all 0 (raw) or all 1 (JPEG).
    #[error("the last byte is not padded as it must be")]
    Padding,
    /// A JPEG slice holds a marker: an FF that no 00 follows.
    #[error("a marker at byte {offset}")]
    Marker {
        /// Where in the slice.
        offset: usize,
    },
    /// A JPEG slice holds bits that are no Huffman code.
    #[error("no Huffman code in block {block}")]
    Code {
        /// The block of the slice, from 0.
        block: usize,
    },
    /// A JPEG slice codes a coefficient beyond the 63rd, or a run of zeros up to it.
    #[error("too many coefficients in block {block}")]
    Coefficients {
        /// The block of the slice, from 0.
        block: usize,
    },
    /// A JPEG slice takes the DC coefficient out of −1,024 to 1,023.
    #[error("DC coefficient out of range in block {block}")]
    Dc {
        /// The block of the slice, from 0.
        block: usize,
    },
    /// A JPEG slice ends before its last block does.
    #[error("ends in block {block}")]
    Truncated {
        /// The block of the slice, from 0.
        block: usize,
    },
    /// A JPEG slice goes on for a byte or more after its last block.
    #[error("{bytes} bytes after the last block")]
    Trailing {
        /// Whole bytes left over.
        bytes: usize,
    },
    /// The JPEG library refused slices that this crate found valid: a defect of either. All slices
    /// of the tensor count as missing.
    #[error("the JPEG library refused the picture")]
    Library,
}

impl Decoder {
    /// A decoder of tensors of `format`. Builds the map's table: time and memory in proportion to
    /// the tensor.
    #[must_use]
    pub fn new(format: &Format) -> Self {
        Self {
            format: *format,
            entries: format.entry_map(),
            values: format.quantiser().values(),
            levels: Vec::new(),
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
        self.values = format.quantiser().values();
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

    /// Decodes what `slice` has of slices 0 to [`Format::slice_count`] − 1; `None` is a slice that
    /// did not arrive. It is asked once for each slice, in order.
    #[must_use]
    pub fn decode<'a>(&mut self, slice: impl Fn(usize) -> Option<&'a [u8]>) -> Decoded {
        let mut decoded = Decoded::new(self.format.shape());
        self.decode_into(slice, &mut decoded);
        decoded
    }

    /// As [`Decoder::decode`], but reuses the arrays of an earlier tensor; those of another shape
    /// are replaced.
    pub fn decode_into<'a>(
        &mut self,
        slice: impl Fn(usize) -> Option<&'a [u8]>,
        decoded: &mut Decoded,
    ) {
        decoded.reset(self.format.shape());
        let Decoded {
            tensor,
            mask,
            refused,
            received,
        } = decoded;
        let (Some(tensor), Some(mask)) = (tensor.as_slice_mut(), mask.as_slice_mut()) else {
            return;
        };
        let mut output = Output {
            tensor,
            mask,
            refused,
            received,
        };
        match (&mut self.picture, self.format.coder()) {
            (Some(picture), Coder::Jpeg { .. }) => {
                picture.decode(slice, &self.entries, &mut output);
            }
            _ => self.unpack(slice, &mut output),
        }
    }

    fn unpack<'a>(&mut self, slice: impl Fn(usize) -> Option<&'a [u8]>, output: &mut Output<'_>) {
        let quantiser = self.format.quantiser();
        let (bits, top) = (quantiser.bits(), quantiser.top());
        for index in 0..self.entries.slices() {
            let Some(bytes) = slice(index) else { continue };
            let entries = self.entries.slice(index);
            if let Err(error) = unpack(bytes, entries.len(), bits, top, &mut self.levels) {
                output.refused.push(Refusal {
                    slice: index,
                    error,
                });
                continue;
            }
            *output.received += 1;
            if let Some(stretch) = self.entries.stretch(index) {
                let tensor = output.tensor.get_mut(stretch.clone()).unwrap_or_default();
                for (x, &level) in tensor.iter_mut().zip(&self.levels) {
                    *x = self.values[usize::from(level)];
                }
                output.mask.get_mut(stretch).unwrap_or_default().fill(true);
            } else {
                for (&entry, &level) in entries.iter().zip(&self.levels) {
                    output.tensor[entry as usize] = self.values[usize::from(level)];
                    output.mask[entry as usize] = true;
                }
            }
        }
    }
}

/// What the JPEG coder needs; none with another.
fn picture(format: &Format) -> Option<PictureDecoder> {
    match (format.coder(), format.grid(), format.map()) {
        (Coder::Jpeg { quality }, Some(grid), Map::Mosaic { blocks, .. }) => {
            Some(PictureDecoder::new(format, grid, blocks, quality))
        }
        _ => None,
    }
}

impl Decoded {
    /// A tensor of which nothing arrived.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self {
            tensor: Array3::zeros(shape.dim()),
            mask: Array3::from_elem(shape.dim(), false),
            refused: Vec::new(),
            received: 0,
        }
    }

    /// Number of entries that are missing, 0 for a complete tensor.
    #[must_use]
    pub fn missing_entries(&self) -> usize {
        self.mask.iter().filter(|&&received| !received).count()
    }

    fn reset(&mut self, shape: Shape) {
        let standard = |layout: bool, dim| layout && dim == shape.dim();
        if standard(self.tensor.is_standard_layout(), self.tensor.dim())
            && standard(self.mask.is_standard_layout(), self.mask.dim())
        {
            self.tensor.fill(0.0);
            self.mask.fill(false);
            self.refused.clear();
            self.received = 0;
        } else {
            *self = Self::new(shape);
        }
    }
}

/// A [`Decoded`] under construction, its arrays flat.
pub(crate) struct Output<'a> {
    pub(crate) tensor: &'a mut [f32],
    pub(crate) mask: &'a mut [bool],
    pub(crate) refused: &'a mut Vec<Refusal>,
    pub(crate) received: &'a mut usize,
}

#[cfg(test)]
mod tests;
