//! JPEG 2000 of 8-bit pictures, a coder to compare others with in experiments: a safe interface to
//! OpenJPEG, whose C sources the dependency brings along.
//!
//! Nothing else in the project uses it. OpenJPEG is a large library in C: decode only what [`encode`] has
//! made, never bytes of a peer.
//!
//! ```
//! use tensorwire_jpeg2000::{Shape, decode, encode};
//!
//! let shape = Shape { width: 64, height: 48, components: 1 };
//! let samples: Vec<u8> = (0..64 * 48).map(|at| (at % 64 * 3) as u8).collect();
//! let codestream = encode(&samples, shape, 10)?;
//! assert!(codestream.len() < 64 * 48 / 9);
//! assert_eq!(decode(&codestream, shape)?.len(), samples.len());
//! # Ok::<(), tensorwire_jpeg2000::Error>(())
//! ```

mod codestream;
#[expect(
    unsafe_code,
    reason = "OpenJPEG is in C, and no crate that is maintained encodes at a rate without unsafe code or a \
              safe interface that can be reached"
)]
mod openjpeg;

use thiserror::Error;

pub use codestream::header_bytes;

/// The longest side of a picture, samples.
pub const MAX_SIDE: u32 = 8_192;

/// The highest compression ratio.
pub const MAX_RATIO: u16 = 1_000;

/// What a picture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Samples of a row, 1 to [`MAX_SIDE`].
    pub width: u32,
    /// Rows, 1 to [`MAX_SIDE`].
    pub height: u32,
    /// Samples of a pixel, side by side: 1 (grey) or 3 (red, green, blue).
    pub components: u8,
}

/// Why a picture cannot be encoded or decoded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller's shape.
    #[error(
        "a picture of {}×{} with {} components cannot be JPEG 2000 here: sides are 1 to {MAX_SIDE}, components \
         1 or 3",
        .0.width, .0.height, .0.components
    )]
    Shape(Shape),
    /// The caller's samples do not fit the shape.
    #[error("the picture has {found} samples, but its shape needs {needed}")]
    Samples {
        /// How many there are.
        found: usize,
        /// Width × height × components.
        needed: usize,
    },
    /// The caller's compression ratio.
    #[error("a compression ratio is 1 to {MAX_RATIO}, not {0}")]
    Ratio(u16),
    /// The bytes to decode are no whole codestream, or OpenJPEG found no memory.
    #[error("OpenJPEG cannot {task}: {said}")]
    Refused {
        /// What was asked of it.
        task: &'static str,
        /// What it said to that.
        said: String,
    },
    /// The codestream is that of another picture than the caller expects.
    #[error("the codestream is of a picture of another shape or depth")]
    Another,
}

impl Shape {
    /// Samples of the picture.
    ///
    /// # Errors
    /// [`Error::Shape`] if it is no shape of a picture.
    pub fn samples(self) -> Result<usize, Error> {
        let sides = 1..=MAX_SIDE;
        let fits = sides.contains(&self.width)
            && sides.contains(&self.height)
            && matches!(self.components, 1 | 3);
        if !fits {
            return Err(Error::Shape(self));
        }
        Ok(self.width as usize * self.height as usize * usize::from(self.components))
    }
}

/// Encodes a picture, row by row, into a codestream of about its samples' bytes divided by `ratio`.
///
/// One tile and one layer, the wavelet transform 9-7 in at most five levels, code blocks of 64×64, colours
/// decorrelated, and the rate met by choosing where to cut each code block for the least squared error. The
/// bytes of the headers count towards the rate. At ratio 1 nothing is cut: what is left of the error is that
/// of the quantiser. A codestream is longer than `ratio` asks where not even its headers fit.
///
/// # Errors
/// [`Error::Shape`], [`Error::Samples`] or [`Error::Ratio`]; [`Error::Refused`] if memory is short.
pub fn encode(samples: &[u8], shape: Shape, ratio: u16) -> Result<Vec<u8>, Error> {
    let needed = shape.samples()?;
    if samples.len() != needed {
        let found = samples.len();
        return Err(Error::Samples { found, needed });
    }
    if !(1..=MAX_RATIO).contains(&ratio) {
        return Err(Error::Ratio(ratio));
    }
    openjpeg::encode(samples, shape, ratio)
}

/// Decodes what [`encode`] has made of a picture of this shape.
///
/// # Errors
/// [`Error::Refused`] if it is damaged, [`Error::Another`] if it is of a picture of another shape.
pub fn decode(codestream: &[u8], shape: Shape) -> Result<Vec<u8>, Error> {
    shape.samples()?;
    openjpeg::decode(codestream, shape)
}

#[cfg(test)]
mod tests;
