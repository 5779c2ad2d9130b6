//! Coding a tensor by the step of the ladder that its bytes have room for.

use anyhow::{Context as _, Result};
use ndarray::ArrayView3;
use tensorwire_codec::{Chooser, EncodedTensor, Encoder, Format, Ladder};

/// A coder of one stream: always the same format, or of each tensor the best that fits its budget.
#[derive(Debug)]
pub struct Quality {
    ladder: Ladder,
    encoder: Encoder,
    /// None where there is nothing to choose from.
    chooser: Option<Chooser>,
}

/// A coded tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Coded {
    /// Its slices.
    pub tensor: EncodedTensor,
    /// The step of the ladder that they are coded by.
    pub step: u8,
}

impl Quality {
    /// Codes every tensor by this format.
    #[must_use]
    pub fn fixed(format: &Format) -> Self {
        Self {
            ladder: Ladder::from(*format),
            encoder: Encoder::new(format),
            chooser: None,
        }
    }

    /// Chooses among the steps of `ladder`, whose tensors take `bytes` each, and lose so many points of
    /// accuracy where that is known.
    ///
    /// # Errors
    /// If there are not as many of them as steps, or a step takes no fewer bytes than the one before.
    pub fn adaptive(ladder: Ladder, bytes: Vec<usize>, drops: Option<Vec<f64>>) -> Result<Self> {
        anyhow::ensure!(
            bytes.len() == ladder.formats().len(),
            "the bytes of every step are needed"
        );
        let chooser = Chooser::new(bytes)?;
        let chooser = match drops {
            None => chooser,
            Some(drops) => chooser.with_drops(drops)?,
        };
        Ok(Self {
            encoder: Encoder::new(ladder.best()),
            chooser: Some(chooser),
            ladder,
        })
    }

    /// The formats that tensors are coded by.
    #[must_use]
    pub const fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    /// Bytes that a tensor takes by the last step, where there is more than one.
    #[must_use]
    pub fn least_bytes(&self) -> Option<usize> {
        self.chooser.as_ref().map(Chooser::least)
    }

    /// Codes a tensor that may have `budget` bytes; none: as many as it likes.
    ///
    /// Where its bytes vary with what it holds and come out above the budget, it is coded again by the
    /// next step, until it fits or there is none: that takes the time of coding once more for each, for
    /// about one tensor in twenty by the bytes that a bundle tells.
    ///
    /// # Errors
    /// If the tensor is not of the ladder's shape, or has an entry that is not finite.
    pub fn encode(&mut self, tensor: ArrayView3<'_, f32>, budget: Option<usize>) -> Result<Coded> {
        let Some(chooser) = &mut self.chooser else {
            let tensor = self.encoder.encode(tensor)?;
            return Ok(Coded { tensor, step: 0 });
        };
        let mut step = chooser.choose(budget);
        loop {
            let format = self.ladder.format(step).context("a step of the ladder")?;
            self.encoder.switch(format);
            let coded = self.encoder.encode(tensor)?;
            let fits = budget.is_none_or(|budget| coded.bytes().len() <= budget);
            if fits || !chooser.lower() {
                let tensor = coded;
                return Ok(Coded { tensor, step });
            }
            step = chooser.current();
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;
    use tensorwire_codec::{ClipRange, Coder, Map, Quantiser, Shape, Step};

    use super::*;

    /// A ladder of JPEG whose bytes are said to be these.
    fn quality(bytes: Vec<usize>) -> Quality {
        let jpeg = |quality| Step {
            levels: 256,
            coder: Coder::Jpeg { quality },
        };
        let quantiser = Quantiser::new(ClipRange::new(-1.0, 1.0).unwrap(), 256).unwrap();
        let map = Map::Mosaic {
            columns: 2,
            blocks: 2,
        };
        let shape = Shape::new(4, 16, 16).unwrap();
        let best = Format::new(shape, quantiser, map, jpeg(95).coder).unwrap();
        let further: Vec<Step> = [60, 20].map(jpeg).to_vec();
        Quality::adaptive(Ladder::new(best, &further).unwrap(), bytes, None).unwrap()
    }

    fn noise(amplitude: f32) -> Array3<f32> {
        Array3::from_shape_fn((4, 16, 16), |(c, y, x)| {
            amplitude * (((c * 31 + y * 17 + x * 7) * (x + 3 * y + 1)) as f32).sin()
        })
    }

    #[test]
    fn a_tensor_is_coded_by_the_step_that_has_room() {
        let mut quality = quality(vec![1_500, 800, 300]);
        let tensor = noise(0.05);
        let mut sizes = vec![];
        for (budget, step) in [(None, 0), (Some(1_499), 1), (Some(700), 2), (Some(0), 2)] {
            let coded = quality.encode(tensor.view(), budget).unwrap();
            assert_eq!(coded.step, step, "{budget:?}");
            let format = quality.ladder().format(step).unwrap();
            let alone = Encoder::new(format).encode(tensor.view()).unwrap();
            assert_eq!(coded.tensor, alone);
            sizes.push(coded.tensor.bytes().len());
        }
        assert!(sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");
    }

    #[test]
    fn a_tensor_that_comes_out_too_large_is_coded_again() {
        // These are far from what such a tensor takes.
        let mut quality = quality(vec![30, 20, 10]);
        let tensor = noise(0.9);
        let whole = quality.encode(tensor.view(), None).unwrap();
        assert_eq!(whole.step, 0);
        let budget = whole.tensor.bytes().len() - 1;
        let next = quality.encode(tensor.view(), Some(budget)).unwrap();
        assert_eq!(next.step, 1);
        assert!(next.tensor.bytes().len() <= budget);
        let last = quality.encode(tensor.view(), Some(40)).unwrap();
        assert_eq!(last.step, 2);
        assert!(last.tensor.bytes().len() > 40, "nothing fits");
    }

    #[test]
    fn one_format_needs_no_budget() {
        let format = *quality(vec![3, 2, 1]).ladder().best();
        let mut fixed = Quality::fixed(&format);
        let coded = fixed.encode(noise(1.0).view(), Some(1)).unwrap();
        assert_eq!((coded.step, fixed.ladder().len()), (0, 1));
        assert_eq!(fixed.least_bytes(), None);
        assert_eq!(quality(vec![3, 2, 1]).least_bytes(), Some(1));
        assert!(Quality::adaptive(Ladder::from(format), vec![], None).is_err());
    }
}
