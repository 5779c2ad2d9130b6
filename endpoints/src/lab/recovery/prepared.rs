//! Tensors ready to be streamed: coded, and padded to the packets of a cell.

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use ndarray::Array3;
use tensorwire_codec::{
    ClipRange, Coder, Decoded, Decoder, Encoder, Format, Map, Quantiser, Shape,
};
use tensorwire_concealment::Bundle;
use tensorwire_protocol::{ReceivedTensor, Slices};

use crate::lab::evaluate::{Evaluation, Subject};

/// Levels of the quantiser: a byte an entry.
const LEVELS: u16 = 256;
/// Bytes of a packet that are not slices: header, lengths, trailer, and room for its repair symbol.
const NOT_SLICES: usize = 64;
/// Bytes of a slice to aim at.
const SLICE_BYTES: usize = Map::SLICE_BYTES;

/// The tensors of all images at the split.
#[derive(Debug)]
pub(super) struct Images {
    pub(super) tensors: Vec<Array3<f32>>,
    pub(super) labels: Vec<u32>,
    shape: Shape,
    range: ClipRange,
}

impl Images {
    /// The tensors of these images.
    pub(super) fn of(subjects: &[Subject], bundle: &Bundle) -> Result<Self> {
        let images = subjects.iter();
        let images = images.map(|subject| (subject.tensor.clone(), subject.label));
        let (tensors, labels): (Vec<_>, Vec<_>) = images.unzip();
        let first: &Array3<f32> = tensors.first().context("there are no images")?;
        let clip = bundle.clip();
        Ok(Self {
            shape: Shape::of(first.dim())?,
            range: ClipRange::new(clip.low, clip.high)?,
            tensors,
            labels,
        })
    }
}

/// The tensors of all images, each of `k` packets.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) slices: Vec<Slices>,
    /// Whether the class is found from the whole coded tensor.
    pub(super) right: Vec<bool>,
    /// Largest UDP payload.
    pub(super) mss: u16,
    format: Format,
    /// Bytes of each slice before it was padded.
    lengths: Vec<usize>,
}

impl Prepared {
    /// Codes the tensors in slices of a random map, one byte an entry, a multiple of `k` of them, and
    /// pads each slice with zeros so that the slices of one packet nearly fill `mss` bytes, or more
    /// where they have to.
    pub(super) fn new(images: &Images, evaluation: &Evaluation, k: u16, mss: u16) -> Result<Self> {
        let entries = images.shape.entries();
        let packets = usize::from(k);
        let each = entries.div_ceil(SLICE_BYTES).div_ceil(packets).max(1);
        let Ok(per_slice) = u32::try_from(entries.div_ceil(each * packets)) else {
            bail!("the tensor is too large for {k} packets");
        };
        let map = Map::Random {
            seed: 1,
            entries: per_slice,
        };
        let quantiser = Quantiser::new(images.range, LEVELS)?;
        let format = Format::new(images.shape, quantiser, map, Coder::Raw)?;
        if usize::from(format.slice_count()).div_ceil(each) != packets {
            bail!(
                "a tensor of {} cannot be cut into {k} like packets; choose another k",
                images.shape
            );
        }
        let least = each * per_slice as usize + NOT_SLICES;
        let mss = usize::from(mss).max(least);
        let padded = (mss - NOT_SLICES) / each;
        let mut encoder = Encoder::new(&format);
        let mut decoder = Decoder::new(&format);
        let mut decoded = Decoded::new(format.shape());
        let (mut slices, mut right, mut lengths) = (vec![], vec![], vec![]);
        for (tensor, label) in images.tensors.iter().zip(&images.labels) {
            let encoded = encoder.encode(tensor.view())?;
            decoder.decode_into(|slice| Some(encoded.slice(slice)), &mut decoded);
            right.push(evaluation.finds(*label, &decoded.tensor)?);
            lengths = encoded.iter().map(<[u8]>::len).collect();
            let mut bytes = Vec::with_capacity(padded * encoded.len());
            let mut ends = Vec::with_capacity(encoded.len());
            for slice in encoded.iter() {
                let end = bytes.len() + padded;
                bytes.extend_from_slice(slice);
                bytes.resize(end, 0);
                ends.push(u32::try_from(end)?);
            }
            slices.push(Slices::new(Bytes::from(bytes), ends)?);
        }
        Ok(Self {
            slices,
            right,
            mss: u16::try_from(mss).context("packets of more than 65,535 bytes")?,
            format,
            lengths,
        })
    }

    /// A decoder for [`decode`](Self::decode).
    pub(super) fn decoder(&self) -> (Decoder, Decoded) {
        (
            Decoder::new(&self.format),
            Decoded::new(self.format.shape()),
        )
    }

    /// Decodes what arrived of a tensor, padding off.
    pub(super) fn decode(
        &self,
        (decoder, decoded): &mut (Decoder, Decoded),
        received: &ReceivedTensor,
    ) {
        let whole = |slice: usize| {
            let bytes = received.slice(slice)?;
            bytes.get(..*self.lengths.get(slice)?)
        };
        decoder.decode_into(whole, decoded);
    }
}
