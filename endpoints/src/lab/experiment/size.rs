//! Accuracy against compressed size: the input as JPEG and JPEG 2000, and tensors at several splits by each
//! coder.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use jpeg_encoder::{ColorType, Encoder as JpegEncoder};
use serde::{Deserialize, Serialize};
use tensorwire_codec::{ClipRange, Decoded, Decoder, Encoder, Shape};

use super::bench::{Bench, Picture, Pictures};
use super::coding::Coding;
use super::jpeg2000::{self, Mosaic};
use super::pool::each;
use super::quantisation::range;
use super::values::{Levels, Quality, Ratio, Width};
use crate::images::{Colour, Image};
use crate::lab::evaluate::{Part, Subject};
use crate::lab::tally::{Accuracy, Tally};
use crate::statistics::Percentiles;

/// Bins for each factor of ten in size.
const BINS_A_DECADE: f64 = 10.0;

/// The section `[size]` of a plan.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SizePlan {
    /// Tensors at which the model is split; none: the description's.
    #[serde(default)]
    pub(super) splits: Vec<String>,
    /// JPEG qualities of the input, where the server does everything.
    #[serde(default)]
    input_qualities: Vec<Quality>,
    /// Compression ratios of JPEG 2000 of the input.
    #[serde(default)]
    input_jpeg2000_ratios: Vec<Ratio>,
    /// JPEG qualities of the tensor's mosaic.
    #[serde(default)]
    jpeg_qualities: Vec<Quality>,
    /// Compression ratios of JPEG 2000 of the mosaic.
    #[serde(default)]
    jpeg2000_ratios: Vec<Ratio>,
    /// Levels of the raw coder.
    #[serde(default)]
    raw_levels: Vec<Levels>,
    /// The clip range.
    #[serde(default = "width")]
    width: Width,
}

const fn width() -> Width {
    Width::Sigma(4.0)
}

/// What is sent, and how it is coded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    way: Way,
    width: Width,
}

/// How something is coded.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// By a coder of the product, or as JPEG.
    Product(Coding),
    /// As JPEG 2000, at this compression ratio.
    Jpeg2000(u16),
}

/// What bytes buy. Shares are fractions, intervals 95 %.
#[derive(Clone, Debug, Serialize)]
struct Row {
    model: String,
    /// `input` where the whole image is sent.
    split: String,
    coder: &'static str,
    /// JPEG quality, compression ratio of JPEG 2000, or levels.
    parameter: u16,
    images: usize,
    /// Entries of the tensor, or bytes of the image before compression.
    entries: usize,
    /// Bytes of what differs from image to image: slices, the scan of the input's JPEG, or the packets of a
    /// codestream.
    bytes_mean: f64,
    bytes_p10: f64,
    bytes_p90: f64,
    /// Bytes of a file that are the same for all: tables and headers. A stream says them once.
    header_bytes: f64,
    #[serde(flatten)]
    accuracy: Accuracy,
    /// Images by size: bin b holds those of 10^(b/10) to 10^((b + 1)/10) bytes.
    bins: Vec<Bin>,
}

/// Images of about one size.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Bin {
    bin: i32,
    images: usize,
    right_clean: usize,
    right: usize,
}

/// What became of one image.
#[derive(Clone, Copy, Debug)]
struct Coded {
    clean: bool,
    right: bool,
    bytes: usize,
    header: usize,
}

impl SizePlan {
    /// The cells in which the input is sent, with their keys.
    pub(super) fn input_cells(&self) -> Vec<(String, Cell)> {
        ways(&self.input_qualities, &self.input_jpeg2000_ratios, &[])
            .map(|way| self.cell(Pictures::SPLIT, way))
            .collect()
    }

    /// The cells of a split, with their keys.
    pub(super) fn cells(&self, split: &str) -> Vec<(String, Cell)> {
        ways(
            &self.jpeg_qualities,
            &self.jpeg2000_ratios,
            &self.raw_levels,
        )
        .map(|way| self.cell(split, way))
        .collect()
    }

    pub(super) fn shared(&self) -> String {
        format!("width {}", self.width)
    }

    fn cell(&self, split: &str, way: Way) -> (String, Cell) {
        let width = self.width;
        let key = format!("{split} {} {:03}", way.name(), way.parameter());
        (key, Cell { way, width })
    }
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::Product(coding) => coding.name(),
            Self::Jpeg2000(_) => "jpeg2000",
        }
    }

    fn parameter(self) -> u16 {
        match self {
            Self::Product(coding) => coding.parameter(),
            Self::Jpeg2000(ratio) => ratio,
        }
    }
}

impl Cell {
    /// Codes the tensors of a split.
    pub(super) fn measure(&self, bench: &Bench) -> Result<serde_json::Value> {
        let shape = Shape::of(bench.evaluation.shape())?;
        let range = |part: &Part| {
            let bundle = part.bundle().context(
                "a clip range is measured on other images: a bundle that fits the split is needed, or \
                 `swap = true`",
            )?;
            range(bundle, self.width)
        };
        let ranges = bench.evaluation.parts().iter().map(range);
        let ranges = ranges.collect::<Result<Vec<_>>>()?;
        let coded = match self.way {
            Way::Product(coding) => by_slices(bench, coding, &ranges)?,
            Way::Jpeg2000(ratio) => by_mosaic(bench, ratio, &ranges)?,
        };
        let loaded = bench.evaluation.loaded();
        self.sum_up(
            &loaded.description.name,
            (&loaded.split, shape.entries()),
            &coded,
        )
    }

    /// Codes the images themselves.
    pub(super) fn measure_input(&self, pictures: &Pictures) -> Result<serde_json::Value> {
        let one = |(): &mut (), picture: &Picture| {
            let (image, bytes, header) = match self.way {
                Way::Product(coding) => {
                    let (file, header) = jpeg(&picture.image, u8::try_from(coding.parameter())?)?;
                    (Image::decode(&file)?, file.len() - header, header)
                }
                Way::Jpeg2000(ratio) => {
                    let coded = jpeg2000::picture(&picture.image, ratio)?;
                    (coded.decoded, coded.bytes, coded.header)
                }
            };
            Ok(Coded {
                clean: picture.right,
                right: pictures.finds(picture.label, image)?,
                bytes,
                header,
            })
        };
        let coded = each(&pictures.pictures, || Ok(()), one)?;
        let first = pictures.pictures.first().context("there are no images")?;
        let of = (Pictures::SPLIT, first.image.pixels().len());
        self.sum_up(pictures.model(), of, &coded)
    }

    fn sum_up(
        &self,
        model: &str,
        (split, entries): (&str, usize),
        coded: &[Coded],
    ) -> Result<serde_json::Value> {
        let mut tally = Tally::default();
        let mut bins = BTreeMap::new();
        for one in coded {
            tally.add(one.clean, &[one.right]);
            let bin = bin(one.bytes);
            let bin = bins.entry(bin).or_insert_with(|| Bin {
                bin,
                ..Bin::default()
            });
            bin.images += 1;
            bin.right_clean += usize::from(one.clean);
            bin.right += usize::from(one.right);
        }
        let mean = |of: fn(&Coded) -> usize| {
            coded.iter().map(of).sum::<usize>() as f64 / coded.len().max(1) as f64
        };
        let bytes = Percentiles::of(coded.iter().map(|one| one.bytes as f64).collect());
        let percentile = |percent| bytes.at(percent).unwrap_or_default();
        Ok(serde_json::to_value(Row {
            model: model.to_owned(),
            split: split.to_owned(),
            coder: self.way.name(),
            parameter: self.way.parameter(),
            images: coded.len(),
            entries,
            bytes_mean: mean(|one| one.bytes),
            bytes_p10: percentile(10.0),
            bytes_p90: percentile(90.0),
            header_bytes: mean(|one| one.header),
            accuracy: tally.accuracy().context("there are no images")?,
            bins: bins.into_values().collect(),
        })?)
    }
}

/// The ways to code something by these settings.
fn ways(qualities: &[Quality], ratios: &[Ratio], levels: &[Levels]) -> impl Iterator<Item = Way> {
    let jpeg = qualities
        .iter()
        .map(|Quality(quality)| Coding::jpeg(*quality));
    let raw = levels.iter().map(|Levels(levels)| Coding::raw(*levels));
    let jpeg2000 = ratios.iter().map(|Ratio(ratio)| Way::Jpeg2000(*ratio));
    jpeg.chain(raw).map(Way::Product).chain(jpeg2000)
}

/// Tensors in the slices of a coder, all of which arrive.
fn by_slices(bench: &Bench, coding: Coding, ranges: &[ClipRange]) -> Result<Vec<Coded>> {
    let shape = Shape::of(bench.evaluation.shape())?;
    let formats = ranges.iter().map(|range| coding.format(shape, *range));
    let formats = formats.collect::<Result<Vec<_>>>()?;
    let coders = || {
        let coder = |format| {
            let decoded = Decoded::new(shape);
            (Encoder::new(format), Decoder::new(format), decoded)
        };
        Ok(formats.iter().map(coder).collect::<Vec<_>>())
    };
    let one = |coders: &mut Vec<(Encoder, Decoder, Decoded)>, subject: &Subject| {
        let coder = coders.get_mut(subject.part);
        let (encoder, decoder, decoded) = coder.context("there is no such part")?;
        let encoded = encoder.encode(subject.tensor.view())?;
        decoder.decode_into(|slice| Some(encoded.slice(slice)), decoded);
        if decoded.received != encoded.len() {
            bail!("the decoder refused slices of the encoder");
        }
        Ok(Coded {
            clean: subject.right,
            right: bench.evaluation.finds(subject.label, &decoded.tensor)?,
            bytes: encoded.bytes().len(),
            header: 0,
        })
    };
    each(&bench.subjects, coders, one)
}

/// Tensors as JPEG 2000 of their mosaic.
fn by_mosaic(bench: &Bench, ratio: u16, ranges: &[ClipRange]) -> Result<Vec<Coded>> {
    let shape = Shape::of(bench.evaluation.shape())?;
    let mosaics = ranges.iter().map(|range| Mosaic::new(shape, *range));
    let mosaics = mosaics.collect::<Result<Vec<_>>>()?;
    let one = |(): &mut (), subject: &Subject| {
        let mosaic = mosaics.get(subject.part);
        let mosaic = mosaic.context("there is no such part")?;
        let coded = mosaic.code(&subject.tensor, ratio)?;
        Ok(Coded {
            clean: subject.right,
            right: bench.evaluation.finds(subject.label, &coded.decoded)?,
            bytes: coded.bytes,
            header: coded.header,
        })
    };
    each(&bench.subjects, || Ok(()), one)
}

/// The bin of a size.
fn bin(bytes: usize) -> i32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a logarithm of at most 2⁶⁴ is small"
    )]
    let bin = ((bytes.max(1) as f64).log10() * BINS_A_DECADE).floor() as i32;
    bin
}

/// A JPEG file of the picture (with colour at half the resolution below quality 90, as encoders do by
/// default), and how many of its bytes are not its scan.
pub(super) fn jpeg(image: &Image, quality: u8) -> Result<(Vec<u8>, usize)> {
    let colour = match image.colour() {
        Colour::Grey => ColorType::Luma,
        Colour::Rgb => ColorType::Rgb,
    };
    let mut file = vec![];
    let (width, height) = (
        u16::try_from(image.width())?,
        u16::try_from(image.height())?,
    );
    JpegEncoder::new(&mut file, quality).encode(image.pixels(), width, height, colour)?;
    let header = scan_start(&file).context("the JPEG encoder wrote no scan")? + END.len();
    Ok((file, header))
}

/// The marker at the end of a JPEG file.
const END: [u8; 2] = [0xff, 0xd9];

/// Where the entropy-coded bytes of a JPEG file begin: behind the first segment SOS (T.81, B.1.1).
fn scan_start(file: &[u8]) -> Option<usize> {
    const SOS: u8 = 0xda;
    let mut at = 2;
    loop {
        let [0xff, marker, high, low] = *file.get(at..)?.first_chunk::<4>()? else {
            return None;
        };
        at += 2 + usize::from(u16::from_be_bytes([high, low]));
        if marker == SOS {
            return (at <= file.len()).then_some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_tenths_of_a_decade() {
        assert_eq!([1, 9, 10, 99, 100, 1_000].map(bin), [0, 9, 10, 19, 20, 30]);
        assert_eq!(bin(1_258), 30);
        assert_eq!(bin(1_260), 31);
        assert_eq!(bin(0), 0);
    }

    #[test]
    fn a_jpeg_is_headers_and_scan() {
        let pixels = (0..24 * 16 * 3).map(|i| (i * 37 % 251) as u8).collect();
        let image = Image::new(16, 24, Colour::Rgb, pixels).unwrap();
        let [(coarse, header), (fine, same)] = [20, 90].map(|q| jpeg(&image, q).unwrap());
        assert_eq!(header, same);
        assert!((400..900).contains(&header), "{header}");
        assert!(coarse.len() < fine.len() && coarse.len() > header);
        let decoded = Image::decode(&fine).unwrap();
        assert_eq!((decoded.height(), decoded.width()), (16, 24));
        assert_eq!(scan_start(&fine[..200]), None);
        assert_eq!(scan_start(b"no JPEG"), None);
    }
}
