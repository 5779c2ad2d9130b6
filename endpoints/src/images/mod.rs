//! Pictures, and sets of them with labels.
//!
//! [`Image::decode`] reads a JPEG or PNG file, [`Input::prepare`](crate::description::Input::prepare)
//! makes a model's input of it, and [`Dataset`] goes through a folder, a pair of IDX files, or a
//! pair of npy files.

mod dataset;
mod decode;
mod error;
mod folder;
mod idx;
mod npy;
mod prepare;
mod resize;
mod rows;

pub use self::dataset::{Dataset, Sample};
pub use self::error::{DatasetError, ImageError};
pub use self::rows::{ParseRowsError, Rows};

/// Largest width or height of an image, in pixels.
pub const MAX_SIDE: usize = 16_384;
/// Most pixels of an image: 2²⁶, which take 192 MiB as RGB.
pub const MAX_PIXELS: usize = 1 << 26;
/// Largest image file that is read, in bytes: 64 MiB.
pub const MAX_FILE_BYTES: u64 = 1 << 26;
/// Largest set of images in one file that is read, in bytes after decompression: 1 GiB.
pub const MAX_SET_BYTES: u64 = 1 << 30;

/// What a pixel is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// One byte, brightness.
    Grey,
    /// Three bytes, red, green, blue.
    Rgb,
}

impl Colour {
    /// Bytes of a pixel.
    pub const fn channels(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
        }
    }
}

/// An image of 8 bits a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    height: usize,
    width: usize,
    colour: Colour,
    pixels: Vec<u8>,
}

impl Image {
    /// An image of these pixels: rows from the top, pixels from the left, the channels of a pixel
    /// together.
    ///
    /// Fails if a side is 0 or beyond the limits of this module, or `pixels` has not exactly height
    /// × width × channels bytes.
    pub fn new(
        height: usize,
        width: usize,
        colour: Colour,
        pixels: Vec<u8>,
    ) -> Result<Self, ImageError> {
        let expected = check_size(height, width)? * colour.channels();
        if pixels.len() != expected {
            return Err(ImageError::Pixels {
                expected,
                found: pixels.len(),
            });
        }
        Ok(Self {
            height,
            width,
            colour,
            pixels,
        })
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// What a pixel is made of.
    pub fn colour(&self) -> Colour {
        self.colour
    }

    /// The bytes, in the order that [`new`](Self::new) takes.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The image in another colour: grey is repeated in all channels; colour becomes its brightness
    /// 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601, full range), rounded.
    pub fn into_colour(self, colour: Colour) -> Self {
        let pixels = match (self.colour, colour) {
            (Colour::Grey, Colour::Rgb) => self.pixels.iter().flat_map(|x| [*x; 3]).collect(),
            (Colour::Rgb, Colour::Grey) => self.pixels.chunks_exact(3).map(brightness).collect(),
            _ => return self,
        };
        Self {
            pixels,
            colour,
            ..self
        }
    }
}

/// Brightness of one RGB pixel.
fn brightness(pixel: &[u8]) -> u8 {
    // 65536 times the weights, which sum to 65536; half of it rounds.
    const WEIGHTS: [u32; 3] = [19_595, 38_470, 7_471];
    let sum: u32 = pixel
        .iter()
        .zip(WEIGHTS)
        .map(|(x, weight)| u32::from(*x) * weight)
        .sum();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a weighted mean of bytes is a byte"
    )]
    let brightness = ((sum + (1 << 15)) >> 16) as u8;
    brightness
}

/// Checks the sides and gives the number of pixels.
fn check_size(height: usize, width: usize) -> Result<usize, ImageError> {
    let sides = 1..=MAX_SIDE;
    let pixels = height.saturating_mul(width);
    if sides.contains(&height) && sides.contains(&width) && pixels <= MAX_PIXELS {
        Ok(pixels)
    } else {
        Err(ImageError::Size { height, width })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_checked() {
        assert!(Image::new(2, 3, Colour::Rgb, vec![0; 18]).is_ok());
        let wrong = Image::new(2, 3, Colour::Rgb, vec![0; 17]);
        assert!(matches!(
            wrong,
            Err(ImageError::Pixels {
                expected: 18,
                found: 17
            })
        ));
        for (height, width) in [(0, 3), (3, 0), (MAX_SIDE + 1, 1), (MAX_SIDE, MAX_SIDE)] {
            let result = Image::new(height, width, Colour::Grey, vec![]);
            assert!(
                matches!(result, Err(ImageError::Size { .. })),
                "{height}×{width}"
            );
        }
    }

    #[test]
    fn colours() {
        let rgb = vec![255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255];
        let image = Image::new(2, 2, Colour::Rgb, rgb).unwrap();
        let grey = image.into_colour(Colour::Grey);
        // 255 × 0.299 = 76.2, × 0.587 = 149.7, × 0.114 = 29.1.
        assert_eq!(grey.pixels(), [76, 150, 29, 255]);
        let again = grey.clone().into_colour(Colour::Rgb);
        assert_eq!(again.pixels()[..6], [76, 76, 76, 150, 150, 150]);
        assert_eq!(again.into_colour(Colour::Grey), grey);
    }
}
