//! Concealment: estimates of the tensor entries that did not arrive.
//!
//! A receiver holds a feature tensor of shape C×H×W (channels, rows, columns) and a mask of the
//! same shape in which `true` means that the entry was received. A [`Concealer`] writes an estimate
//! into every other entry, in place, by one [`Method`]. Two promises hold for every method, tensor
//! and mask:
//!
//! - a received entry keeps its value, bit for bit;
//! - a filled entry is finite, never NaN, whatever the received entries are.
//!
//! Some methods need [side information](Bundle): what the tensor looks like on average and how its
//! entries vary together, measured beforehand on images with [`Calibration`] and kept in a file
//! described in `spec/bundle-format.md`. A bundle knows which images it was made from, so that
//! nobody evaluates on them by mistake ([`Bundle::contains_image`]).
//!
//! ```
//! use std::sync::Arc;
//!
//! use ndarray::{Array3, array};
//! use tensorwire_concealment::{Calibration, ClipRule, Concealer, ImageDigest, Method};
//!
//! // Calibrate on two images' tensors of shape 1×2×2.
//! let mut calibration = Calibration::new((1, 2, 2))?;
//! let first = array![[[0.0, 2.0], [4.0, 6.0]]];
//! let second = array![[[2.0, 4.0], [6.0, 8.0]]];
//! calibration.add(first.view(), ImageDigest::from_sha256(&[1; 32]))?;
//! calibration.add(second.view(), ImageDigest::from_sha256(&[2; 32]))?;
//! let bundle = calibration.finish("add_4", [0; 32], ClipRule::MinMax)?;
//!
//! // Fill the entry that is missing from a third.
//! let mut concealer = Concealer::new(Method::DatasetMean, (1, 2, 2), Some(Arc::new(bundle)))?;
//! let mut tensor: Array3<f32> = array![[[3.0, 5.0], [7.0, 0.0]]];
//! let mask = array![[[true, true], [true, false]]];
//! let used = concealer.conceal(tensor.view_mut(), mask.view())?;
//! assert_eq!(used, Method::DatasetMean);
//! assert_eq!(tensor, array![[[3.0, 5.0], [7.0, 7.0]]]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A further method
//!
//! A new method is a variant of [`Method`] with a file of its own under `method/` and a line in
//! `concealer/tools.rs`; what it has to know beforehand is a further section of the bundle, which
//! older readers skip. The crate has no sockets, files, clock or threads.

#![forbid(unsafe_code)]

mod bundle;
mod calibration;
mod concealer;
mod covariance;
mod kind;
pub mod limits;
mod lmmse;
mod mask;
mod method;
mod metrics;
mod number;

pub use bundle::{
    AccuracyCurve, AccuracyPoint, AltecTable, Bundle, BundleError, ClipRange, CodingLadder,
    CodingStep, ImageDigest, Importance, Policy, PolicyRow, Section, SectionError, StepCoder,
    Summary,
};
pub use calibration::{Calibration, CalibrationError, ClipRule};
pub use concealer::{ConcealError, Concealer};
pub use covariance::Covariance;
pub use kind::LossKind;
pub use method::{Method, UnknownMethod};
pub use metrics::{Distortion, MetricError, nmse};
