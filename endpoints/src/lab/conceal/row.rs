//! A line of the table, and what is kept of it to compare it with others.

use serde::{Deserialize, Serialize};
use tensorwire_concealment::Method;

use crate::lab::tally::Accuracy;
use crate::statistics::Interval;

/// One method in one cell. Shares and probabilities are fractions, intervals 95 %.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) model: String,
    pub(super) split: String,
    pub(super) map: String,
    /// Probability with which each unit of the map is lost.
    pub(super) missing: f64,
    pub(super) method: String,
    pub(super) images: usize,
    #[serde(flatten)]
    pub(super) accuracy: Accuracy,
    /// Mean probability of the right class from the whole tensors, and from the repaired ones.
    pub(super) p_true_clean: f64,
    pub(super) p_true: f64,
    /// Of `p_true_clean − p_true`, by image.
    pub(super) p_true_drop_ci95: [f64; 2],
    /// Share of the entries that is missing.
    pub(super) missing_share: f64,
    /// Squared error of the missing entries over their energy; none if nothing is missing.
    pub(super) nmse: Option<f64>,
    /// Of the NMSE, by image.
    pub(super) nmse_ci95: Option<[f64; 2]>,
    /// Squared error of the missing entries over their squared distance from the dataset mean; none
    /// without a bundle.
    pub(super) variance_share: Option<f64>,
    /// Of the share of the variance, by image.
    pub(super) variance_share_ci95: Option<[f64; 2]>,
    /// Median time of the method on one thread.
    pub(super) us_per_tensor: f64,
    /// The methods that `auto` took, the most frequent first, with the share of the tensors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) took: Vec<(String, f64)>,
}

impl Row {
    pub(super) fn is_method(&self, method: Method) -> bool {
        self.method == method.name()
    }
}

/// A row, and what it takes to pair it with another on the same images.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) row: Row,
    /// Losses drawn for each image.
    pub(super) seeds: u16,
    /// Of each image, how many of its losses turned a right answer into a wrong one, less those that
    /// did the reverse.
    pub(super) drops: Vec<i32>,
}

impl Kept {
    /// The drop of each image, −1 to 1.
    pub(super) fn shares(&self) -> Vec<f64> {
        let seeds = f64::from(self.seeds);
        self.drops
            .iter()
            .map(|drop| f64::from(*drop) / seeds)
            .collect()
    }

    /// Of each image, the drop less that of another row on the same images and losses.
    pub(super) fn less(&self, other: &Self) -> Vec<f64> {
        let pairs = self.shares().into_iter().zip(other.shares());
        pairs.map(|(own, others)| own - others).collect()
    }
}

pub(super) const fn ends(interval: Interval) -> [f64; 2] {
    [interval.low, interval.high]
}
