//! A line of the table, and what is kept of it to compare it with others.

use serde::{Deserialize, Serialize};
use tensorwire_concealment::Method;

use crate::lab::experiment::loss::{self, Measured};
use crate::statistics::Interval;

/// One method in one cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    #[serde(flatten)]
    pub(super) figures: loss::Row,
    /// Median time of the method on one thread.
    pub(super) us_per_tensor: f64,
}

impl Row {
    pub(super) fn is_method(&self, method: Method) -> bool {
        self.figures.method == method.name()
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
    /// Of so many losses drawn for each image.
    pub(super) fn new(measured: Measured, seeds: u16) -> Self {
        Self {
            row: Row {
                figures: measured.row,
                us_per_tensor: measured.us_per_tensor,
            },
            seeds,
            drops: measured.drops,
        }
    }

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
