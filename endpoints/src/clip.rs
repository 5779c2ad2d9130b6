//! The clip range of a model that nobody has calibrated.

use anyhow::{Result, bail};
use tensorwire_codec::ClipRange;

use crate::images::Dataset;
use crate::lab::calibrate::ClipOptions;
use crate::options::LoadedModel;

/// Images that a range is measured on: entries are many in each, and an edge wants to start.
const IMAGES: usize = 16;

/// A clip range measured on the first images of a set, and how many they were: the mean of all entries
/// ± 4 standard deviations, the rule of a calibration.
///
/// # Errors
/// If an image cannot be read, the model does not run, or the tensors never change.
pub fn of_first_images(loaded: &LoadedModel, dataset: &Dataset) -> Result<(ClipRange, usize)> {
    let model = loaded.model.edge(&loaded.split)?;
    let images = dataset.len().min(IMAGES);
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for index in 0..images {
        let image = loaded
            .description
            .input
            .prepare(dataset.get(index)?.image)?;
        for value in model.run(image.view())? {
            let value = f64::from(value);
            count += 1.0;
            sum += value;
            squares += value * value;
        }
    }
    let mean = sum / count;
    let spread = f64::from(ClipOptions::SIGMA) * (squares / count - mean * mean).max(0.0).sqrt();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "of the size of the values that it is measured on"
    )]
    let range = ClipRange::new((mean - spread) as f32, (mean + spread) as f32);
    match range {
        Ok(range) => Ok((range, images)),
        Err(_) => bail!(
            "the tensors of `{}` are all the same on the first {images} images; give --clip LOW,HIGH",
            loaded.split
        ),
    }
}
