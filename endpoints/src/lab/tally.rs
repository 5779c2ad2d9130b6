//! Accuracy against that of the whole tensors, image by image.

use serde::{Deserialize, Serialize};

use crate::statistics::{Interval, mean_interval};

/// Which images were classified rightly, from the whole tensor and from another.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    images: usize,
    samples: usize,
    clean: usize,
    found: usize,
    /// Of each image: 1 if it was right from the whole tensor, less the share that was from the others.
    drops: Vec<f64>,
}

impl Tally {
    /// Adds an image: whether it was `right` from the whole tensor, and from each of the others.
    pub fn add(&mut self, right: bool, others: &[bool]) {
        let found = others.iter().filter(|right| **right).count();
        self.images += 1;
        self.samples += others.len();
        self.clean += usize::from(right);
        self.found += found;
        let share = if others.is_empty() {
            0.0
        } else {
            found as f64 / others.len() as f64
        };
        self.drops.push(f64::from(u8::from(right)) - share);
    }

    /// The accuracies; `None` without images.
    #[must_use]
    pub fn accuracy(&self) -> Option<Accuracy> {
        let Interval { low, high } = mean_interval(&self.drops)?;
        let top1_clean = self.clean as f64 / self.images as f64;
        Some(Accuracy {
            samples: self.samples,
            top1_clean,
            top1: self.found as f64 / self.samples as f64,
            drop: self.drops.iter().sum::<f64>() / self.images as f64,
            ci95: [low, high],
        })
    }
}

/// Accuracy against that of the whole tensors; shares as fractions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Accuracy {
    /// Classifications: images, times the losses drawn for each.
    pub samples: usize,
    /// Share of the images whose class is found from the whole tensor.
    pub top1_clean: f64,
    /// Share of the samples whose class is found.
    pub top1: f64,
    /// `top1_clean − top1`; negative where losing entries helped.
    pub drop: f64,
    /// 95 % interval of the drop. It pairs the images and counts losses of one image together.
    pub ci95: [f64; 2],
}

impl Accuracy {
    /// The 95 % interval of the drop.
    #[must_use]
    pub const fn interval(&self) -> Interval {
        let [low, high] = self.ci95;
        Interval { low, high }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        let mut tally = Tally::default();
        assert_eq!(tally.accuracy(), None);
        tally.add(true, &[true, false]);
        tally.add(true, &[true, true]);
        tally.add(false, &[false, false]);
        tally.add(false, &[true, false]);
        let found = tally.accuracy().unwrap();
        assert_eq!((found.samples, found.top1_clean, found.top1), (8, 0.5, 0.5));
        assert_eq!(found.drop, 0.0);
        assert_eq!(
            found.interval(),
            mean_interval(&[0.5, 0.0, 0.0, -0.5]).unwrap()
        );
    }
}
