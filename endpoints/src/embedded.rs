//! The model, images and bundle that are built in: what runs where nothing else is asked for.
//!
//! A small residual classifier of our own, trained on Fashion-MNIST by `assets/train.py`, and the first
//! 1,000 of its test images; `assets/fashion/NOTICE.md` attributes them. The bundle was made from
//! training images only.

use crate::description::{Description, DescriptionError};
use crate::images::{Dataset, DatasetError};
use crate::model::{Model, ModelError};

const MODEL: &[u8] = include_bytes!("../assets/fashion/model.onnx");
const DESCRIPTION: &str = include_str!("../assets/fashion/description.toml");
const IMAGES: &[u8] = include_bytes!("../assets/fashion/images.idx3.gz");
const LABELS: &[u8] = include_bytes!("../assets/fashion/labels.idx1.gz");
const BUNDLE: &[u8] = include_bytes!("../assets/fashion/add_3.twb");

/// The classifier.
///
/// # Errors
/// None that a test would not have found.
pub fn model() -> Result<Model, ModelError> {
    Model::from_bytes(MODEL)
}

/// Its ONNX file.
#[must_use]
pub const fn model_file() -> &'static [u8] {
    MODEL
}

/// Its description.
///
/// # Errors
/// None that a test would not have found.
pub fn description() -> Result<Description, DescriptionError> {
    Description::from_toml(DESCRIPTION)
}

/// 1,000 test images with their classes.
///
/// # Errors
/// None that a test would not have found.
pub fn images() -> Result<Dataset, DatasetError> {
    Dataset::idx_from_bytes("the built-in images", IMAGES, Some(LABELS))
}

/// The bundle file of the default split.
#[must_use]
pub const fn bundle() -> &'static [u8] {
    BUNDLE
}
