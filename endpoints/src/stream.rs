//! The stream description: what edge and cloud agree on before the first tensor.

mod room;

use std::sync::Arc;
use std::time::Duration;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use tensorwire_codec::{
    ClipRange, Coder, Format, FormatError, Ladder, Map, Quantiser, RangeError, Shape, Step,
};
use tensorwire_protocol::wire::InterleaverKind;
use tensorwire_protocol::{Config, ConfigError, Interleaving};

use self::room::Room;
use crate::digest::Digest;
use crate::hex;

pub use room::MAX_TENSOR_BYTES;

/// What the edge proposes at set-up (spec/control.md, section 4). Both sides make format and session
/// from it, so it alone decides what the bytes of the stream mean.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[non_exhaustive]
pub struct StreamDescription {
    /// Channels of the tensor.
    #[n(0)]
    pub channels: u32,
    /// Height of the tensor.
    #[n(1)]
    pub height: u32,
    /// Width of the tensor.
    #[n(2)]
    pub width: u32,
    /// Name of the tensor at which the model is split.
    #[n(3)]
    pub split: String,
    /// SHA-256 of the model file.
    #[cbor(n(4), with = "minicbor::bytes")]
    #[serde(with = "hex")]
    pub model: [u8; 32],
    /// SHA-256 of the side-information bundle that the edge uses, if it uses one.
    #[cbor(n(5), with = "minicbor::bytes")]
    #[serde(default, with = "hex::option")]
    pub bundle: Option<[u8; 32]>,
    /// Lowest value that is not clipped.
    #[n(6)]
    pub low: f32,
    /// Highest value that is not clipped.
    #[n(7)]
    pub high: f32,
    /// Levels of the quantiser, 2 to 256.
    #[n(8)]
    pub levels: u16,
    /// Which entries share a slice.
    #[n(9)]
    pub map: MapDescription,
    /// How slices become bytes.
    #[n(10)]
    pub coder: CoderDescription,
    /// Order of the slices: 0 sequential, 1 stride, 2 random, 3 priority.
    #[n(11)]
    pub interleaver: u8,
    /// Step of the stride interleaver.
    #[n(12)]
    pub stride: u16,
    /// Seed of the random interleaver.
    #[n(13)]
    pub seed: u64,
    /// Largest UDP payload, bytes.
    #[n(14)]
    pub mss: u16,
    /// Longest time from capture to release, milliseconds.
    #[n(15)]
    pub deadline_ms: u32,
    /// Whether a release gives up every older tensor.
    #[n(16)]
    pub latest_only: bool,
    /// Whether the edge sends lost packets again, so that the cloud waits for them.
    #[n(17)]
    pub retransmission: bool,
    /// Tensors that a source block spans, 1 to 16.
    #[n(18)]
    pub span: u8,
    /// The permutation of the priority interleaver: 16-bit slice indices, big-endian.
    #[cbor(n(19), with = "minicbor::bytes")]
    #[serde(default, with = "hex::option")]
    pub priority: Option<Vec<u8>>,
    /// The ladder, if tensors can be coded in more than one way: step 0 is what levels and coder say.
    #[n(20)]
    #[serde(default)]
    pub ladder: Option<Vec<StepDescription>>,
}

/// A step of the ladder on the wire: what its tensors have other than those of step 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StepDescription {
    /// Levels of the quantiser, 2 to 256.
    #[n(0)]
    pub levels: u16,
    /// How slices become bytes.
    #[n(1)]
    pub coder: CoderDescription,
}

/// A map on the wire (payload-format.md, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MapDescription {
    /// Consecutive rows of one channel.
    #[n(0)]
    ChannelRows {
        /// Rows of a slice.
        #[n(0)]
        rows: u16,
    },
    /// Consecutive blocks of a mosaic of all channels.
    #[n(1)]
    Mosaic {
        /// Tiles side by side.
        #[n(0)]
        columns: u16,
        /// Blocks of a slice.
        #[n(1)]
        blocks: u16,
    },
    /// A random sample of the tensor.
    #[n(2)]
    Random {
        /// Seed of the permutation.
        #[n(0)]
        seed: u64,
        /// Entries of a slice.
        #[n(1)]
        entries: u32,
    },
}

/// A coder on the wire (payload-format.md, sections 6 and 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CoderDescription {
    /// Packed levels.
    #[n(0)]
    Raw,
    /// Restart intervals of a JPEG.
    #[n(1)]
    Jpeg {
        /// 1 to 100.
        #[n(0)]
        quality: u8,
    },
}

/// Why a description does not describe a stream: the fault of whoever wrote it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// Shape, quantiser, map and coder do not go together.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The clip range is empty or not finite.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// A parameter of the session is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No such interleaver.
    #[error("interleaver {0}; known are 0 (sequential), 1 (stride), 2 (random) and 3 (priority)")]
    Interleaver(u8),
    /// The ladder has no step, or its first is not what levels and coder say.
    #[error("step 0 of the ladder must be what levels and coder say")]
    Ladder,
    /// A map or coder that has no description.
    #[error("this version cannot describe that {0}")]
    Unknown(&'static str),
}

impl StreamDescription {
    /// The description of a stream of `format`, split and digests, with the session's defaults.
    ///
    /// # Errors
    /// If the format has a map or coder that no description knows.
    pub fn new(
        format: &Format,
        split: &str,
        model: Digest,
        bundle: Option<Digest>,
    ) -> Result<Self, StreamError> {
        let defaults = Config::new(format.slice_count());
        let (shape, quantiser) = (format.shape(), format.quantiser());
        Ok(Self {
            channels: shape.channels(),
            height: shape.height(),
            width: shape.width(),
            split: split.to_owned(),
            model: *model.as_bytes(),
            bundle: bundle.map(|digest| *digest.as_bytes()),
            low: quantiser.range().low(),
            high: quantiser.range().high(),
            levels: quantiser.levels(),
            map: MapDescription::of(format.map())?,
            coder: CoderDescription::of(format.coder())?,
            interleaver: defaults.interleaving.kind as u8,
            stride: defaults.interleaving.stride,
            seed: defaults.interleaving.seed,
            mss: defaults.mss,
            deadline_ms: u32::try_from(defaults.deadline.as_millis()).unwrap_or(u32::MAX),
            latest_only: defaults.latest_only,
            retransmission: defaults.retransmission,
            span: defaults.span,
            priority: None,
            ladder: None,
        })
    }

    /// The description of a stream whose tensors are coded by the steps of `ladder`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_ladder(
        ladder: &Ladder,
        split: &str,
        model: Digest,
        bundle: Option<Digest>,
    ) -> Result<Self, StreamError> {
        let mut stream = Self::new(ladder.best(), split, model, bundle)?;
        if ladder.len() > 1 {
            let steps = ladder.formats().iter().map(StepDescription::of);
            stream.ladder = Some(steps.collect::<Result<_, _>>()?);
        }
        Ok(stream)
    }

    /// The formats of the tensors, by step.
    ///
    /// # Errors
    /// If one is none, or the first step is not what levels and coder say.
    pub fn ladder(&self) -> Result<Ladder, StreamError> {
        let best = self.format()?;
        let Some(steps) = &self.ladder else {
            return Ok(Ladder::from(best));
        };
        let further = match steps.split_first() {
            Some((first, further)) if first.step() == best.step() => further,
            _ => return Err(StreamError::Ladder),
        };
        let further: Vec<Step> = further.iter().map(StepDescription::step).collect();
        Ok(Ladder::new(best, &further)?)
    }

    /// The format of the tensors of step 0.
    ///
    /// # Errors
    /// If shape, quantiser, map and coder do not go together.
    pub fn format(&self) -> Result<Format, StreamError> {
        let shape = Shape::new(self.channels, self.height, self.width)?;
        let quantiser = Quantiser::new(ClipRange::new(self.low, self.high)?, self.levels)?;
        let map = match self.map {
            MapDescription::ChannelRows { rows } => Map::ChannelRows { rows },
            MapDescription::Mosaic { columns, blocks } => Map::Mosaic { columns, blocks },
            MapDescription::Random { seed, entries } => Map::Random { seed, entries },
        };
        Ok(Format::new(shape, quantiser, map, self.coder.coder())?)
    }

    /// The configuration of the session, connection IDs aside.
    ///
    /// # Errors
    /// If a format is none, or a parameter is out of range.
    pub fn config(&self) -> Result<Config, StreamError> {
        let ladder = self.ladder()?;
        let slices = ladder.best().slice_count();
        let mut config = Config::new(slices);
        config.steps = ladder.len();
        let room = Room::new(self, &ladder);
        config.limits.tensor_bytes = room.tensor;
        config.limits.bytes_in_progress = room.in_progress;
        let kind = match self.interleaver {
            0 => InterleaverKind::Sequential,
            1 => InterleaverKind::Stride,
            2 => InterleaverKind::Random,
            3 => InterleaverKind::Priority,
            other => return Err(StreamError::Interleaver(other)),
        };
        config.interleaving = Interleaving {
            kind,
            stride: self.stride,
            seed: self.seed,
        };
        config.mss = self.mss;
        config.deadline = Duration::from_millis(u64::from(self.deadline_ms));
        config.latest_only = self.latest_only;
        config.retransmission = self.retransmission;
        config.span = self.span;
        config.priority = self.priority.as_deref().map(permutation).transpose()?;
        config.validate()?;
        Ok(config)
    }
}

/// The slice indices of a priority permutation. That it is one is for [`Config::validate`] to check.
fn permutation(bytes: &[u8]) -> Result<Arc<[u16]>, StreamError> {
    match bytes.as_chunks() {
        (indices, []) => Ok(indices
            .iter()
            .map(|pair| u16::from_be_bytes(*pair))
            .collect()),
        _ => Err(ConfigError::Priority.into()),
    }
}

impl MapDescription {
    fn of(map: Map) -> Result<Self, StreamError> {
        Ok(match map {
            Map::ChannelRows { rows } => Self::ChannelRows { rows },
            Map::Mosaic { columns, blocks } => Self::Mosaic { columns, blocks },
            Map::Random { seed, entries } => Self::Random { seed, entries },
            _ => return Err(StreamError::Unknown("map")),
        })
    }
}

impl CoderDescription {
    fn of(coder: Coder) -> Result<Self, StreamError> {
        Ok(match coder {
            Coder::Raw => Self::Raw,
            Coder::Jpeg { quality } => Self::Jpeg { quality },
            _ => return Err(StreamError::Unknown("coder")),
        })
    }

    const fn coder(self) -> Coder {
        match self {
            Self::Raw => Coder::Raw,
            Self::Jpeg { quality } => Coder::Jpeg { quality },
        }
    }
}

impl StepDescription {
    fn of(format: &Format) -> Result<Self, StreamError> {
        let Step { levels, coder } = format.step();
        let coder = CoderDescription::of(coder)?;
        Ok(Self { levels, coder })
    }

    const fn step(&self) -> Step {
        Step {
            levels: self.levels,
            coder: self.coder.coder(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> StreamDescription {
        let shape = Shape::new(48, 14, 14).unwrap();
        let quantiser = Quantiser::new(ClipRange::new(-4.0, 4.0).unwrap(), 64).unwrap();
        let map = Map::Random {
            seed: 3,
            entries: 144,
        };
        let format = Format::new(shape, quantiser, map, Coder::Raw).unwrap();
        StreamDescription::new(&format, "add_3", Digest::from_bytes([7; 32]), None).unwrap()
    }

    #[test]
    fn both_sides_make_the_same_format_and_session_of_it() {
        let stream = description();
        let format = stream.format().unwrap();
        assert_eq!(format.shape().dim(), (48, 14, 14));
        assert_eq!(
            format.map(),
            Map::Random {
                seed: 3,
                entries: 144
            }
        );
        assert_eq!(stream.config().unwrap().slices, format.slice_count());
        let again =
            StreamDescription::new(&format, "add_3", Digest::from_bytes([7; 32]), None).unwrap();
        assert_eq!(again, stream);
    }

    fn on_mosaic() -> Ladder {
        let shape = Shape::new(48, 14, 14).unwrap();
        let quantiser = Quantiser::new(ClipRange::new(-4.0, 4.0).unwrap(), 256).unwrap();
        let jpeg = |quality| Coder::Jpeg { quality };
        let map = Map::mosaic_for(shape, 256, jpeg(95), Map::JPEG_SLICE_BYTES);
        let best = Format::new(shape, quantiser, map, jpeg(95)).unwrap();
        let step = |levels, coder| Step { levels, coder };
        let further = [
            step(256, jpeg(40)),
            step(16, Coder::Raw),
            step(256, jpeg(7)),
        ];
        Ladder::new(best, &further).unwrap()
    }

    #[test]
    fn both_sides_make_the_same_ladder_of_it() {
        let ladder = on_mosaic();
        let digest = Digest::from_bytes([7; 32]);
        let stream = StreamDescription::with_ladder(&ladder, "add_3", digest, None).unwrap();
        assert_eq!(stream.ladder().unwrap(), ladder);
        assert_eq!(stream.format().unwrap(), *ladder.best());
        let config = stream.config().unwrap();
        assert_eq!(
            (config.steps, config.slices),
            (4, ladder.best().slice_count())
        );
        // A ladder of one step goes without saying.
        let single = Ladder::from(*ladder.best());
        let plain = StreamDescription::with_ladder(&single, "add_3", digest, None).unwrap();
        assert_eq!(plain.ladder, None);
        assert_eq!(plain.ladder().unwrap(), single);
        assert_eq!(plain.config().unwrap().steps, 1);
    }

    #[test]
    fn a_ladder_that_cannot_be_is_refused() {
        let ladder = on_mosaic();
        let digest = Digest::from_bytes([7; 32]);
        let stream = StreamDescription::with_ladder(&ladder, "add_3", digest, None).unwrap();
        let changes: [fn(&mut StreamDescription, &mut Vec<StepDescription>); 6] = [
            |_, steps| steps.clear(),
            |_, steps| steps.swap(0, 1),
            |_, steps| steps[2].levels = 257,
            |_, steps| steps[3].coder = CoderDescription::Jpeg { quality: 101 },
            |_, steps| steps.extend([steps[1]; 125]),
            |stream, _| stream.map = MapDescription::ChannelRows { rows: 7 },
        ];
        for (i, change) in changes.into_iter().enumerate() {
            let mut stream = stream.clone();
            let mut steps = stream.ladder.take().unwrap();
            change(&mut stream, &mut steps);
            stream.ladder = Some(steps);
            assert!(stream.config().is_err(), "change {i}");
        }
    }

    #[test]
    fn the_largest_tensor_fits_into_the_limits() {
        let shape = Shape::new(256, 128, 128).unwrap();
        let quantiser = Quantiser::new(ClipRange::new(-4.0, 4.0).unwrap(), 256).unwrap();
        let map = Map::random_for(1, shape, 256, Map::SLICE_BYTES);
        let format = Format::new(shape, quantiser, map, Coder::Raw).unwrap();
        let stream =
            StreamDescription::new(&format, "x", Digest::from_bytes([7; 32]), None).unwrap();
        let config = stream.config().unwrap();
        assert!(config.limits.tensor_bytes > shape.entries() + 12 * usize::from(config.slices));
    }

    #[test]
    fn what_a_peer_may_not_ask_for_is_refused() {
        let changes: [fn(&mut StreamDescription); 13] = [
            |s| s.channels = 0,
            |s| s.width = u32::MAX,
            |s| s.low = f32::NAN,
            |s| s.high = s.low,
            |s| s.levels = 257,
            |s| s.interleaver = 3,
            |s| s.interleaver = 4,
            |s| s.priority = Some(vec![0; 3]),
            |s| s.priority = Some(vec![0; 132]),
            |s| s.span = 17,
            |s| s.stride = 0,
            |s| s.mss = 500,
            |s| s.deadline_ms = 0,
        ];
        for (i, change) in changes.into_iter().enumerate() {
            let mut stream = description();
            change(&mut stream);
            assert!(stream.config().is_err(), "change {i}");
        }
    }
}
