//! From an image to a model's input.

use ndarray::{Array3, ArrayView3, Axis, Zip};

use super::{Colour, Image, ImageError};
use crate::description::{ChannelOrder, Input};

impl Input {
    /// Makes the model's input of an image: its size, its channels, and (x / 255 − mean) / std.
    ///
    /// Gives channels × height × width. Fails if the image is so narrow that scaling it would exceed
    /// the limits of [`images`](crate::images).
    pub fn prepare(&self, image: Image) -> Result<Array3<f32>, ImageError> {
        let colour = match self.channels {
            ChannelOrder::Grey => Colour::Grey,
            ChannelOrder::Rgb | ChannelOrder::Bgr => Colour::Rgb,
        };
        let image = image.into_size(self.height, self.width, self.shorter_side)?;
        let image = image.into_colour(colour);
        let (height, width, channels) = (self.height, self.width, colour.channels());
        let pixels = ArrayView3::from_shape((height, width, channels), image.pixels());
        let expected = height * width * channels;
        let found = image.pixels().len();
        let pixels = pixels.map_err(|_| ImageError::Pixels { expected, found })?;

        let mut prepared = Array3::zeros((channels, height, width));
        let normalisation = self.mean.iter().zip(&self.std);
        for (index, (mut channel, (mean, std))) in prepared
            .axis_iter_mut(Axis(0))
            .zip(normalisation)
            .enumerate()
        {
            let source = match self.channels {
                ChannelOrder::Bgr => channels - 1 - index,
                ChannelOrder::Rgb | ChannelOrder::Grey => index,
            };
            let values = normalised(*mean, *std);
            let bytes = pixels.index_axis(Axis(2), source);
            Zip::from(&mut channel).and(&bytes).for_each(|value, byte| {
                *value = values.get(usize::from(*byte)).copied().unwrap_or_default();
            });
        }
        Ok(prepared)
    }
}

/// The value of each byte. Computed in f64 and rounded once.
fn normalised(mean: f64, std: f64) -> [f32; 256] {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounds to the precision of the model"
    )]
    std::array::from_fn(|byte| ((byte as f64 / 255.0 - mean) / std) as f32)
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::description::Description;

    fn input(text: &str) -> Input {
        Description::from_toml(text).unwrap().input
    }

    #[test]
    fn channels_and_values() {
        let text = "name = 'x'\n[input]\nheight = 1\nwidth = 2\nchannels = 'rgb'\n\
                    mean = [0.0, 0.2, 1.0]\nstd = [1.0, 0.5, 2.0]";
        let image = Image::new(1, 2, Colour::Rgb, vec![0, 51, 255, 255, 102, 0]).unwrap();
        let rgb = input(text).prepare(image.clone()).unwrap();
        assert_eq!(rgb, array![[[0.0, 1.0]], [[0.0, 0.4]], [[0.0, -0.5]]]);
        let bgr = input(&text.replace("rgb", "bgr")).prepare(image).unwrap();
        assert_eq!(bgr, array![[[1.0, 0.0]], [[0.0, 0.4]], [[-0.5, 0.0]]]);
    }

    #[test]
    fn grey_and_colour_meet_either_model() {
        let text = "name = 'x'\n[input]\nheight = 1\nwidth = 1\nchannels = 'grey'\n\
                    mean = [0.0]\nstd = [1.0]";
        let red = Image::new(1, 1, Colour::Rgb, vec![255, 0, 0]).unwrap();
        assert_eq!(input(text).prepare(red).unwrap(), array![[[76.0 / 255.0]]]);
        let text = text
            .replace("grey", "rgb")
            .replace("[0.0]", "[0.0, 0.0, 0.0]");
        let text = text.replace("[1.0]", "[1.0, 1.0, 1.0]");
        let grey = Image::new(1, 1, Colour::Grey, vec![51]).unwrap();
        assert_eq!(
            input(&text).prepare(grey).unwrap(),
            array![[[0.2]], [[0.2]], [[0.2]]]
        );
    }

    #[test]
    fn efficientnet_lite_takes_x_less_127_over_128() {
        let input = input(include_str!("../../models/efficientnet-lite0.toml"));
        for (mean, std) in input.mean.iter().zip(&input.std) {
            for (byte, value) in normalised(*mean, *std).into_iter().enumerate() {
                let expected = (byte as f32 - 127.0) / 128.0;
                assert!(
                    (value - expected).abs() <= 1e-7,
                    "{byte}: {value} {expected}"
                );
            }
        }
    }
}
