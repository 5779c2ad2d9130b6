//! What comes of one cell.

use serde::{Deserialize, Serialize};

use crate::lab::tally::Accuracy;

/// A loss, repaired in one way, over all images. Shares and probabilities are fractions, intervals 95 %.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::lab) struct Row {
    pub(in crate::lab) model: String,
    pub(in crate::lab) split: String,
    pub(in crate::lab) map: String,
    /// Probability with which each unit of the map is lost.
    pub(in crate::lab) missing: f64,
    /// Mean number lost in a row; none where losses are independent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::lab) burst: Option<f64>,
    pub(in crate::lab) method: String,
    pub(in crate::lab) images: usize,
    #[serde(flatten)]
    pub(in crate::lab) accuracy: Accuracy,
    /// Mean probability of the right class from the whole tensors, and from the repaired ones.
    pub(in crate::lab) p_true_clean: f64,
    pub(in crate::lab) p_true: f64,
    /// Of `p_true_clean − p_true`, by image.
    pub(in crate::lab) p_true_drop_ci95: [f64; 2],
    /// Share of the entries that is missing.
    pub(in crate::lab) missing_share: f64,
    /// Squared error of the missing entries over their energy; none if nothing is missing.
    pub(in crate::lab) nmse: Option<f64>,
    /// Of the NMSE, by image.
    pub(in crate::lab) nmse_ci95: Option<[f64; 2]>,
    /// Squared error of the missing entries over their squared distance from the dataset mean; none
    /// without a bundle.
    pub(in crate::lab) variance_share: Option<f64>,
    /// Of the share of the variance, by image.
    pub(in crate::lab) variance_share_ci95: Option<[f64; 2]>,
    /// The methods that `auto` took, the most frequent first, with the share of the tensors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::lab) took: Vec<(String, f64)>,
}
