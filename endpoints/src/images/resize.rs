//! Scales an image and cuts out its middle.

use fast_image_resize::images::Image as Canvas;
use fast_image_resize::images::ImageRef;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::{Colour, Image, ImageError, check_size};

impl Image {
    /// The image in exactly `height` × `width` pixels.
    ///
    /// One of that size is given back as it is. Any other is scaled, keeping its proportions, until
    /// its shorter side has `shorter_side` pixels (`None`, or too few: until it just covers the
    /// size), and the middle is cut out; of an odd rest, the larger half goes at the bottom and at
    /// the right. Scaling is bilinear over the whole area that an output pixel stands for, so that
    /// shrinking does not alias.
    pub fn into_size(
        self,
        height: usize,
        width: usize,
        shorter_side: Option<usize>,
    ) -> Result<Self, ImageError> {
        check_size(height, width)?;
        if (self.height, self.width) == (height, width) {
            return Ok(self);
        }
        let wanted = shorter_side.unwrap_or(0) as f64 / self.height.min(self.width) as f64;
        let scale_y = height as f64 / self.height as f64;
        let scale_x = width as f64 / self.width as f64;
        let scale = wanted.max(scale_y).max(scale_x);
        let scaled_height = scaled(self.height, scale).max(height);
        let scaled_width = scaled(self.width, scale).max(width);
        self.scale(scaled_height, scaled_width)?.crop(height, width)
    }

    fn scale(self, height: usize, width: usize) -> Result<Self, ImageError> {
        check_size(height, width)?;
        let failed = |reason: String| ImageError::Scaling { reason };
        let side = |side: usize| u32::try_from(side).map_err(|error| failed(error.to_string()));
        let kind = match self.colour {
            Colour::Grey => PixelType::U8,
            Colour::Rgb => PixelType::U8x3,
        };
        let source = ImageRef::new(side(self.width)?, side(self.height)?, &self.pixels, kind)
            .map_err(|error| failed(error.to_string()))?;
        let mut target = Canvas::new(side(width)?, side(height)?, kind);
        let filter = ResizeAlg::Convolution(FilterType::Bilinear);
        Resizer::new()
            .resize(
                &source,
                &mut target,
                &ResizeOptions::new().resize_alg(filter),
            )
            .map_err(|error| failed(error.to_string()))?;
        Self::new(height, width, self.colour, target.into_vec())
    }

    fn crop(self, height: usize, width: usize) -> Result<Self, ImageError> {
        let top = self.height.saturating_sub(height) / 2;
        let left = self.width.saturating_sub(width) / 2;
        let channels = self.colour.channels();
        let rows = self
            .pixels
            .chunks_exact(self.width * channels)
            .skip(top)
            .take(height);
        let pixels = rows.flat_map(|row| row.iter().skip(left * channels).take(width * channels));
        Self::new(height, width, self.colour, pixels.copied().collect())
    }
}

/// A side times a positive factor, rounded, at least 1.
fn scaled(side: usize, scale: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates, and sizes are checked after"
    )]
    let scaled = (side as f64 * scale).round() as usize;
    scaled.max(1)
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers made here")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grey(height: usize, width: usize, pixel: impl Fn(usize, usize) -> u8) -> Image {
        let pixels = (0..height * width)
            .map(|i| pixel(i / width, i % width))
            .collect();
        Image::new(height, width, Colour::Grey, pixels).unwrap()
    }

    #[test]
    fn the_right_size_is_left_alone() {
        let image = grey(5, 7, |y, x| (y * 31 + x * 17) as u8);
        assert_eq!(image.clone().into_size(5, 7, Some(200)).unwrap(), image);
    }

    #[test]
    fn the_middle_is_cut_out() {
        // The shorter side already has 4 pixels, so nothing is scaled: columns 1..5 of 7.
        let image = grey(4, 7, |y, x| (y * 10 + x) as u8);
        let cut = image.into_size(4, 4, None).unwrap();
        assert_eq!(cut.pixels()[..8], [1, 2, 3, 4, 11, 12, 13, 14]);
    }

    #[test]
    fn shrinking_averages() {
        // Black and white stripes a pixel wide become grey, as they do not when one pixel of four is
        // taken.
        let image = grey(64, 64, |_, x| if x % 2 == 0 { 0 } else { 255 });
        let small = image.into_size(16, 16, None).unwrap();
        assert!(
            small.pixels().iter().all(|x| (112..=144).contains(x)),
            "{:?}",
            small.pixels()
        );
    }

    #[test]
    fn the_shorter_side_decides_how_much_is_cut() {
        // A white frame of 32 around black, 256×256: with shorter side 256 the crop of 192 is black.
        let inside = |i: usize| (32..224).contains(&i);
        let frame = grey(
            256,
            256,
            |y, x| if inside(y) && inside(x) { 0 } else { 255 },
        );
        let black = frame.clone().into_size(192, 192, Some(256)).unwrap();
        assert!(black.pixels().iter().all(|x| *x == 0));
        let framed = frame.into_size(192, 192, None).unwrap();
        assert_eq!(framed.pixels()[0], 255);
    }

    #[test]
    fn a_size_beyond_the_limits_is_an_error() {
        // 1×4096 to cover 4096×4096 would take 2²⁴ columns.
        let thin = grey(1, 4096, |_, _| 0);
        assert!(matches!(
            thin.into_size(4096, 4096, None),
            Err(ImageError::Size { .. })
        ));
    }

    proptest! {
        #[test]
        fn always_the_size_asked_for(
            (height, width) in (1_usize..60, 1_usize..60),
            (to_height, to_width) in (1_usize..60, 1_usize..60),
            side in proptest::option::of(1_usize..80),
            colour in prop_oneof![Just(Colour::Grey), Just(Colour::Rgb)],
            value: u8,
        ) {
            let pixels = vec![value; height * width * colour.channels()];
            let image = Image::new(height, width, colour, pixels).unwrap();
            let sized = image.into_size(to_height, to_width, side).unwrap();
            prop_assert_eq!((sized.height(), sized.width()), (to_height, to_width));
            prop_assert!(sized.pixels().iter().all(|x| *x == value));
        }
    }
}
