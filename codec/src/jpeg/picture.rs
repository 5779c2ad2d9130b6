//! The picture of a tensor: levels to samples to JPEG intervals, and back.

use jpeg_encoder::ColorType;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::header::header;
use super::scan::{check, grey, intervals};
use crate::decoder::{Output, Refusal, SliceError};
use crate::encoder::{EncodeError, EncodedTensor};
use crate::entries::EntryMap;
use crate::format::{Format, MAX_MOSAIC_SIDE};
use crate::mosaic::{BLOCK, Grid};

/// Sample of the cells of the grid that have no channel: codes to the fewest bits.
const UNUSED: u8 = 128;

/// Channels to the tiles of a mosaic.
#[derive(Debug)]
struct Tiles {
    grid: Grid,
    channels: usize,
    height: usize,
    width: usize,
}

impl Tiles {
    const fn new(format: &Format, grid: Grid) -> Self {
        let (channels, height, width) = format.shape().dim();
        Self {
            grid,
            channels,
            height,
            width,
        }
    }

    fn blank(&self) -> Vec<u8> {
        let (height, width) = self.grid.sides();
        vec![UNUSED; height * width]
    }

    /// Height and width of the mosaic as JPEG has them: [`Format::new`] bounds them.
    fn sides(&self) -> (u16, u16) {
        let (height, width) = self.grid.sides();
        let side = |side: usize| u16::try_from(side).unwrap_or(u16::MAX);
        (side(height), side(width))
    }

    /// Where the rows of all channels start in a mosaic, in order of the entries.
    fn rows(&self) -> impl Iterator<Item = usize> {
        let (_, stride) = self.grid.sides();
        (0..self.channels).flat_map(move |channel| {
            let tile = self.grid.tile_offset(channel);
            (0..self.height).map(move |y| tile + y * stride)
        })
    }
}

/// Makes the intervals of a tensor.
#[derive(Debug)]
pub(crate) struct PictureEncoder {
    tiles: Tiles,
    quality: u8,
    interval: u16,
    /// Sample of every level.
    samples: [u8; 256],
    mosaic: Vec<u8>,
    jpeg: Vec<u8>,
}

impl PictureEncoder {
    pub(crate) fn new(format: &Format, grid: Grid, blocks: u16, quality: u8) -> Self {
        let tiles = Tiles::new(format, grid);
        let mosaic = tiles.blank();
        let samples = format.quantiser().samples();
        Self {
            tiles,
            quality,
            interval: blocks,
            samples,
            mosaic,
            jpeg: Vec::new(),
        }
    }

    /// Goes over to a format that differs in levels, clip range or quality alone.
    pub(crate) fn switch(&mut self, format: &Format, quality: u8) {
        self.quality = quality;
        self.samples = format.quantiser().samples();
    }

    /// Encodes the levels of all entries, in their order.
    pub(crate) fn encode(
        &mut self,
        levels: &[u8],
        entries: &EntryMap,
    ) -> Result<EncodedTensor, EncodeError> {
        self.fill(levels);
        self.jpeg.clear();
        let (height, width) = self.tiles.sides();
        let mut encoder = jpeg_encoder::Encoder::new(&mut self.jpeg, self.quality);
        encoder.set_restart_interval(self.interval);
        encoder
            .encode(&self.mosaic, width, height, ColorType::Luma)
            .map_err(|error| EncodeError::Jpeg(error.to_string()))?;
        let intervals = intervals(&self.jpeg);
        if intervals.len() != entries.slices() {
            let (made, slices) = (intervals.len(), entries.slices());
            return Err(EncodeError::Jpeg(format!(
                "{made} intervals for {slices} slices"
            )));
        }
        let mut bytes = Vec::with_capacity(self.jpeg.len());
        let mut ends = Vec::with_capacity(entries.slices());
        for (slice, interval) in intervals.into_iter().enumerate() {
            if !entries.slice(slice).is_empty() {
                bytes.extend_from_slice(interval);
            }
            ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        }
        Ok(EncodedTensor::new(bytes.into(), ends))
    }

    /// Writes the tiles, each row and column continued by its last sample to whole blocks.
    fn fill(&mut self, levels: &[u8]) {
        let (_, stride) = self.tiles.grid.sides();
        let width = self.tiles.width;
        let padded_width = width.next_multiple_of(BLOCK);
        let padding_rows = self.tiles.height.next_multiple_of(BLOCK) - self.tiles.height;
        for (row, (start, levels)) in self
            .tiles
            .rows()
            .zip(levels.chunks_exact(width))
            .enumerate()
        {
            let samples = &mut self.mosaic[start..start + padded_width];
            for (sample, &level) in samples.iter_mut().zip(levels) {
                *sample = self.samples[usize::from(level)];
            }
            let last = samples[width - 1];
            samples[width..].fill(last);
            if (row + 1).is_multiple_of(self.tiles.height) {
                for below in 1..=padding_rows {
                    let to = start + below * stride;
                    self.mosaic.copy_within(start..start + padded_width, to);
                }
            }
        }
    }
}

/// Turns intervals back into entries.
#[derive(Debug)]
pub(crate) struct PictureDecoder {
    tiles: Tiles,
    /// Value of every sample.
    values: [f32; 256],
    /// Blocks of a slice, as the picture has them.
    interval: u16,
    /// Blocks of a slice, and of the last.
    blocks: (usize, usize),
    /// A slice of grey blocks, and the last.
    grey: (Vec<u8>, Vec<u8>),
    /// Length of the header that `jpeg` keeps.
    header: usize,
    jpeg: Vec<u8>,
    mosaic: Vec<u8>,
    /// A slice without stuffing.
    unstuffed: Vec<u8>,
    /// Slices that are neither missing nor refused.
    accepted: Vec<bool>,
}

impl PictureDecoder {
    pub(crate) fn new(format: &Format, grid: Grid, blocks: u16, quality: u8) -> Self {
        let tiles = Tiles::new(format, grid);
        let (height, width) = tiles.sides();
        let mut jpeg = Vec::new();
        header(height, width, quality, blocks, &mut jpeg);
        let interval = blocks;
        let blocks = usize::from(blocks);
        let slices = usize::from(format.slice_count());
        let last = grid.blocks() - (slices - 1) * blocks;
        Self {
            values: format.quantiser().sample_values(),
            interval,
            blocks: (blocks, last),
            grey: (grey(blocks), grey(last)),
            header: jpeg.len(),
            jpeg,
            mosaic: tiles.blank(),
            unstuffed: Vec::new(),
            accepted: Vec::with_capacity(slices),
            tiles,
        }
    }

    /// Goes over to a format that differs in levels, clip range or quality alone.
    pub(crate) fn switch(&mut self, format: &Format, quality: u8) {
        let (height, width) = self.tiles.sides();
        self.values = format.quantiser().sample_values();
        self.jpeg.clear();
        header(height, width, quality, self.interval, &mut self.jpeg);
        self.header = self.jpeg.len();
    }

    /// Decodes the valid ones of the slices into `output`, which holds nothing yet.
    pub(crate) fn decode<'a>(
        &mut self,
        slice: impl Fn(usize) -> Option<&'a [u8]>,
        entries: &EntryMap,
        output: &mut Output<'_>,
    ) {
        self.assemble(slice, entries, output);
        let received = self.accepted.iter().filter(|&&accepted| accepted).count();
        if received == 0 {
            return;
        }
        if self.decompress().is_err() {
            let accepted = self
                .accepted
                .iter()
                .enumerate()
                .filter(|(_, accepted)| **accepted);
            output.refused.extend(accepted.map(|(slice, _)| Refusal {
                slice,
                error: SliceError::Library,
            }));
            output.refused.sort_unstable_by_key(|refusal| refusal.slice);
            return;
        }
        *output.received = received;
        for (start, row) in self
            .tiles
            .rows()
            .zip(output.tensor.chunks_exact_mut(self.tiles.width))
        {
            for (x, &sample) in row.iter_mut().zip(&self.mosaic[start..]) {
                *x = self.values[usize::from(sample)];
            }
        }
        output.mask.fill(true);
        for (slice, _) in self
            .accepted
            .iter()
            .enumerate()
            .filter(|&(_, &accepted)| !accepted)
        {
            for &entry in entries.slice(slice) {
                output.tensor[entry as usize] = 0.0;
                output.mask[entry as usize] = false;
            }
        }
    }

    /// Makes a JPEG file of the valid slices, with grey ones for the rest.
    fn assemble<'a>(
        &mut self,
        slice: impl Fn(usize) -> Option<&'a [u8]>,
        entries: &EntryMap,
        output: &mut Output<'_>,
    ) {
        self.jpeg.truncate(self.header);
        self.accepted.clear();
        let slices = entries.slices();
        for index in 0..slices {
            let last = index + 1 == slices;
            let (blocks, grey) = if last {
                (self.blocks.1, &self.grey.1)
            } else {
                (self.blocks.0, &self.grey.0)
            };
            let bytes = slice(index);
            let empty = entries.slice(index).is_empty();
            let checked = bytes.map(|bytes| match bytes.len() {
                0 if empty => Ok(()),
                actual if empty => Err(SliceError::Length {
                    expected: 0,
                    actual,
                }),
                _ => check(bytes, blocks, &mut self.unstuffed),
            });
            if let Some(Err(error)) = checked {
                output.refused.push(Refusal {
                    slice: index,
                    error,
                });
            }
            let accepted = matches!(checked, Some(Ok(())));
            self.accepted.push(accepted);
            match bytes {
                Some(bytes) if accepted && !empty => self.jpeg.extend_from_slice(bytes),
                _ => self.jpeg.extend_from_slice(grey),
            }
            let marker = if last { 0xD9 } else { restart_marker(index) };
            self.jpeg.extend_from_slice(&[0xFF, marker]);
        }
    }

    /// Decodes the file to the mosaic.
    fn decompress(&mut self) -> Result<(), ()> {
        // Strict, so that a defect shows as an error instead of as other blocks' samples.
        let options = DecoderOptions::default()
            .set_max_width(MAX_MOSAIC_SIDE)
            .set_max_height(MAX_MOSAIC_SIDE)
            .set_strict_mode(true)
            .jpeg_set_out_colorspace(ColorSpace::Luma);
        JpegDecoder::new_with_options(ZCursor::new(&self.jpeg), options)
            .decode_into(&mut self.mosaic)
            .map_err(drop)
    }
}

/// The second byte of the marker after a slice: RST0 to RST7 in turn.
#[expect(clippy::cast_possible_truncation, reason = "three bits")]
const fn restart_marker(slice: usize) -> u8 {
    0xD0 | (slice & 7) as u8
}
