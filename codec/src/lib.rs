//! Cuts a feature tensor into independently decodable *slices*, and decodes any subset of them to a
//! tensor and a *mask* of the entries that arrived.
//!
//! A [`Format`] (shape, quantiser, map, coder) is agreed once for a stream. It alone determines how
//! many slices a tensor has and which entries each stands for, so a receiver knows exactly what a
//! lost slice cost. What the bytes mean is specified in `spec/payload-format.md`; this crate knows
//! nothing of packets, and fills no holes.
//!
//! ```
//! use ndarray::Array3;
//! use tensorwire_codec::{ClipRange, Coder, Decoder, Encoder, Format, Map, Quantiser, Shape};
//!
//! let tensor = Array3::from_shape_fn((40, 28, 28), |(c, y, x)| ((c + y * x) as f32).sin());
//! let shape = Shape::of(tensor.dim())?;
//! let quantiser = Quantiser::new(ClipRange::sigma_of(tensor.view(), 3.0)?, 256)?;
//! let map = Map::random_for(1, shape, quantiser.levels(), Map::SLICE_BYTES);
//! let format = Format::new(shape, quantiser, map, Coder::Raw)?;
//!
//! let encoded = Encoder::new(&format).encode(tensor.view())?;
//! // Every tenth slice is lost on the way.
//! let arrived = |slice| (slice % 10 != 0).then(|| encoded.slice(slice));
//! let decoded = Decoder::new(&format).decode(arrived);
//!
//! assert_eq!(decoded.received, 196);
//! for ((index, &x), &arrived) in tensor.indexed_iter().zip(&decoded.mask) {
//!     let error = (decoded.tensor[index] - quantiser.range().clip(x)).abs();
//!     assert!(!arrived || error <= 0.501 * quantiser.step());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A stream whose path changes can have several formats, a [`Ladder`] that shares shape, clip range and
//! map: a [`Chooser`] says which of its steps a tensor's bytes have room for.
//!
//! Everything in slices is taken to be hostile: no bytes make a [`Decoder`] panic, allocate beyond
//! what the format needs, or change an entry of another slice.

#![forbid(unsafe_code)]

mod bits;
mod chooser;
mod classification;
mod decoder;
mod encoder;
mod entries;
mod format;
mod jpeg;
mod ladder;
mod map;
mod mosaic;
mod quantiser;
mod range;
mod shape;
mod shuffle;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;

pub use chooser::{Chooser, ChooserError};
pub use classification::{Classification, ClassificationError, MAX_CLASSES};
pub use decoder::{Decoded, Decoder, Refusal, SliceError};
pub use encoder::{EncodeError, EncodedTensor, Encoder};
pub use entries::EntryMap;
pub use format::{Coder, Format, FormatError, MAX_MOSAIC_SAMPLES, MAX_MOSAIC_SIDE, MAX_SLICES};
pub use ladder::{Ladder, Step};
pub use map::Map;
pub use quantiser::Quantiser;
pub use range::{ClipRange, RangeError};
pub use shape::{MAX_ENTRIES, Shape};
