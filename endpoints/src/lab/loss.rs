//! Which entries of a tensor are lost.

use clap::ValueEnum;
use ndarray::Array3;
use rand_core::SeedableRng as _;
use rand_xoshiro::Xoshiro256PlusPlus;
use tensorwire_protocol::link::uniform;

use crate::digest::Digest;

/// What is lost together.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "an option of the command line")]
pub enum LossMap {
    /// Every entry by itself, independently of all others
    Elements,
}

impl LossMap {
    /// The name in options and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Elements => "elements",
        }
    }

    /// Draws a mask, `true` being received: each entry is lost with probability `missing`.
    ///
    /// The image's digest, `seed` and `missing` alone determine it, so neither the order of the images
    /// nor the number of threads matters, and every fill meets the same losses.
    #[must_use]
    pub fn mask(
        self,
        shape: (usize, usize, usize),
        missing: f64,
        image: &Digest,
        seed: u64,
    ) -> Array3<bool> {
        let mut key = image.as_bytes().to_vec();
        key.extend(seed.to_le_bytes());
        key.extend(missing.to_bits().to_le_bytes());
        let mut random = Xoshiro256PlusPlus::from_seed(*Digest::of(key).as_bytes());
        match self {
            Self::Elements => {
                Array3::from_shape_simple_fn(shape, || uniform(&mut random) >= missing)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: (usize, usize, usize) = (80, 14, 14);

    fn mask(missing: f64, image: u8, seed: u64) -> Array3<bool> {
        LossMap::Elements.mask(SHAPE, missing, &Digest::from_bytes([image; 32]), seed)
    }

    #[test]
    fn image_seed_and_share_determine_the_mask() {
        assert_eq!(mask(0.1, 1, 1), mask(0.1, 1, 1));
        for other in [mask(0.1, 2, 1), mask(0.1, 1, 2), mask(0.2, 1, 1)] {
            assert_ne!(mask(0.1, 1, 1), other);
        }
    }

    #[test]
    fn the_share_is_as_asked_for() {
        for missing in [0.0, 0.05, 0.5, 1.0] {
            let lost = mask(missing, 3, 1)
                .iter()
                .filter(|received| !**received)
                .count();
            let expected = missing * 15_680.0;
            // Five standard deviations.
            let reach = 5.0 * (expected * (1.0 - missing)).sqrt();
            assert!((lost as f64 - expected).abs() <= reach, "{missing}: {lost}");
        }
    }
}
