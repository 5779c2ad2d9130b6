//! What is lost together: units of the tensor, packets of a map, or packets of coded slices.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use ndarray::Array3;
use serde::Deserialize;
use tensorwire_codec::{ClipRange, Decoded, Decoder, EncodedTensor, Encoder, Shape};
use tensorwire_concealment::{Bundle, LossKind};

use crate::classifier::loss_kind;
use crate::lab::experiment::coding::Coding;
use crate::lab::experiment::values::by_name;
use crate::lab::loss::{LossMap, PacketMap, Units};

/// Bytes of a packet that are not slices: header, lengths, trailer, and room for its repair symbol.
const NOT_SLICES: usize = 64;

/// What is lost together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(in crate::lab) enum Lost {
    /// Units of the f32 tensor.
    Units(LossMap),
    /// So many rows of a channel.
    Rows(usize),
    /// Equal packets of the f32 tensor, in the order of a map of the codec.
    Packets(PacketMap),
    /// Packets of the slices that a coder makes.
    Coded(Coding),
}

by_name!(Lost);

impl Lost {
    pub(in crate::lab) fn units() -> impl Iterator<Item = Self> {
        LossMap::ALL.into_iter().map(Self::Units)
    }

    pub(in crate::lab) fn packets() -> impl Iterator<Item = Self> {
        PacketMap::ALL.into_iter().map(Self::Packets)
    }

    /// Ready to draw from, for tensors of this shape: `packets` of them where the tensor is cut into a
    /// number of packets, and packets of at most `mss` bytes where it is coded.
    pub(super) fn drawn(
        self,
        shape: (usize, usize, usize),
        packets: usize,
        mss: usize,
    ) -> Result<Drawn> {
        Ok(match self {
            Self::Units(map) => Drawn::Units(map.units(shape), map.kind()),
            Self::Rows(rows) => Drawn::Units(Units::tiles(shape, rows, shape.2), LossKind::Rows),
            Self::Packets(map) => Drawn::Units(map.units(shape, packets)?, map.kind()),
            Self::Coded(coding) => Drawn::Coded {
                coding,
                shape: Shape::of(shape)?,
                room: mss.saturating_sub(NOT_SLICES).max(1),
            },
        })
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Units(map) => f.write_str(map.name()),
            Self::Rows(rows) => write!(f, "rows:{rows}"),
            Self::Packets(map) => f.write_str(map.name()),
            Self::Coded(coding) => coding.fmt(f),
        }
    }
}

impl FromStr for Lost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::units().chain(Self::packets());
        if let Some(known) = known.into_iter().find(|known| known.to_string() == text) {
            return Ok(known);
        }
        let rows = text
            .strip_prefix("rows:")
            .and_then(|rows| rows.parse().ok());
        let rows = rows.filter(|rows| *rows > 0).map(Self::Rows);
        let coded = || text.parse().ok().map(Self::Coded);
        rows.or_else(coded).ok_or_else(|| {
            format!(
                "unknown map `{text}`: elements, rows, rows:N, channels, blocks, random-packets, \
                 row-packets, mosaic-packets, {} is needed",
                Coding::NAMES
            )
        })
    }
}

/// Losses to draw from, for tensors of one shape.
#[derive(Debug)]
pub(super) enum Drawn {
    Units(Units, LossKind),
    Coded {
        coding: Coding,
        shape: Shape,
        /// Bytes of slices that a packet has room for.
        room: usize,
    },
}

impl Drawn {
    /// What a method of concealment is told about the losses.
    pub(super) fn kind(&self) -> Option<LossKind> {
        match self {
            Self::Units(_, kind) => Some(*kind),
            Self::Coded { coding, shape, .. } => {
                let range = ClipRange::new(0.0, 1.0).ok()?;
                coding
                    .format(*shape, range)
                    .ok()
                    .as_ref()
                    .and_then(loss_kind)
            }
        }
    }

    /// What a thread needs for the images of a part, whose bundle gives the clip range.
    pub(super) fn codec(&self, bundle: Option<&Bundle>) -> Result<Option<Codec>> {
        let Self::Coded {
            coding,
            shape,
            room,
        } = self
        else {
            return Ok(None);
        };
        let Some(bundle) = bundle else {
            bail!("a coder needs a clip range, so a bundle or `swap`");
        };
        let range = ClipRange::new(bundle.clip().low, bundle.clip().high)?;
        let format = coding.format(*shape, range)?;
        Ok(Some(Codec {
            encoder: Encoder::new(&format),
            decoder: Decoder::new(&format),
            decoded: Decoded::new(*shape),
            room: *room,
        }))
    }

    /// What arrives of a tensor, and where. Missing entries are NaN, so that no method profits from
    /// what they were.
    pub(super) fn damage(
        &self,
        codec: Option<&mut Codec>,
        tensor: &Array3<f32>,
        lost: impl FnMut() -> bool,
    ) -> Result<(Array3<f32>, Array3<bool>)> {
        let (mut tensor, mask) = match self {
            Self::Units(units, _) => (tensor.clone(), units.mask(lost)),
            Self::Coded { .. } => {
                let codec = codec.context("there is no coder")?;
                codec.damage(tensor, lost)?
            }
        };
        tensor.zip_mut_with(&mask, |x, received| {
            *x = if *received { *x } else { f32::NAN }
        });
        Ok((tensor, mask))
    }
}

/// A coder, and the packets of what it makes.
#[derive(Debug)]
pub(super) struct Codec {
    encoder: Encoder,
    decoder: Decoder,
    decoded: Decoded,
    room: usize,
}

impl Codec {
    fn damage(
        &mut self,
        tensor: &Array3<f32>,
        mut lost: impl FnMut() -> bool,
    ) -> Result<(Array3<f32>, Array3<bool>)> {
        let encoded = self.encoder.encode(tensor.view())?;
        let packets = packets(&encoded, self.room);
        let fates: Vec<bool> = (0..packets.last().map_or(0, |last| last + 1))
            .map(|_| lost())
            .collect();
        let is_lost = |slice: usize| {
            let packet = packets.get(slice).copied().unwrap_or_default();
            fates.get(packet).copied().unwrap_or(false)
        };
        let slice = |slice| (!is_lost(slice)).then(|| encoded.slice(slice));
        self.decoder.decode_into(slice, &mut self.decoded);
        if !self.decoded.refused.is_empty() {
            bail!("the decoder refused slices of the encoder");
        }
        Ok((self.decoded.tensor.clone(), self.decoded.mask.clone()))
    }
}

/// The packet of each slice: whole slices in their order, as many as there is room for. A slice that is
/// larger than a packet counts as one.
fn packets(encoded: &EncodedTensor, room: usize) -> Vec<usize> {
    let (mut packet, mut filled) = (0, 0);
    let place = |slice: &[u8]| {
        if filled > 0 && filled + slice.len() > room {
            packet += 1;
            filled = 0;
        }
        filled += slice.len();
        packet
    };
    encoded.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_they_are_read() {
        for text in [
            "elements",
            "rows",
            "rows:8",
            "channels",
            "blocks",
            "random-packets",
            "row-packets",
            "mosaic-packets",
            "raw:256:random",
            "raw:16:rows",
            "raw:2:mosaic",
            "jpeg:80",
        ] {
            assert_eq!(text.parse::<Lost>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "rows:0",
            "rows:x",
            "jpeg",
            "jpeg:0",
            "raw:1:random",
            "raw:8",
            "raw:8:x",
        ] {
            let error = text.parse::<Lost>().unwrap_err();
            assert!(error.contains("jpeg:QUALITY"), "{text}");
        }
    }

    #[test]
    fn a_lost_packet_takes_its_slices_and_no_others() {
        let shape = (8, 16, 16);
        let tensor = Array3::from_shape_fn(shape, |(c, y, x)| ((c * 7 + y * 3 + x) as f32).sin());
        let range = ClipRange::new(-1.0, 1.0).unwrap();
        for name in ["raw:256:random", "raw:16:rows", "raw:256:mosaic", "jpeg:90"] {
            let lost: Lost = name.parse().unwrap();
            let Lost::Coded(coding) = lost else {
                panic!("{name}")
            };
            let drawn = lost.drawn(shape, 1, 400).unwrap();
            let format = coding.format(Shape::of(shape).unwrap(), range).unwrap();
            let mut codec = Codec {
                encoder: Encoder::new(&format),
                decoder: Decoder::new(&format),
                decoded: Decoded::new(format.shape()),
                room: 336,
            };
            let mut turn = 0;
            let second = || {
                turn += 1;
                turn == 2
            };
            let (damaged, mask) = drawn.damage(Some(&mut codec), &tensor, second).unwrap();
            let missing = mask.iter().filter(|received| !**received).count();
            assert!(
                turn > 2 && missing > 0 && missing < mask.len() / 2,
                "{name}: {turn}"
            );
            for ((x, damaged), received) in tensor.iter().zip(&damaged).zip(&mask) {
                assert_eq!(damaged.is_nan(), !received);
                assert!(
                    !received || (x - damaged).abs() < 0.4,
                    "{name}: {x} {damaged}"
                );
            }
            let (whole, mask) = drawn.damage(Some(&mut codec), &tensor, || false).unwrap();
            assert!(mask.iter().all(|received| *received));
            assert!(whole.iter().all(|x| x.is_finite()));
        }
    }
}
