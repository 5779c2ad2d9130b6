//! Why nothing was concealed.

use thiserror::Error;

use crate::{bundle::Section, method::Method};

/// Why nothing was concealed. Every variant is the caller's to correct.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConcealError {
    /// The tensor's shape is not the concealer's: make a concealer for each stream and split.
    #[error("tensor of shape {given:?} for a concealer of shape {expected:?} (C, H, W)")]
    TensorShape {
        /// Shape of the concealer as (channels, rows, columns).
        expected: (usize, usize, usize),
        /// Shape of the tensor as (channels, rows, columns).
        given: (usize, usize, usize),
    },
    /// The mask's shape is not the tensor's: pass the mask that was decoded with the tensor.
    #[error("mask of shape {mask:?} for a tensor of shape {tensor:?} (C, H, W)")]
    MaskShape {
        /// Shape of the tensor as (channels, rows, columns).
        tensor: (usize, usize, usize),
        /// Shape of the mask as (channels, rows, columns).
        mask: (usize, usize, usize),
    },
    /// The bundle's shape is not the tensor's: pass a bundle made at the same split.
    #[error("side information of shape {bundle:?} for a tensor of shape {tensor:?} (C, H, W)")]
    BundleShape {
        /// Shape of the tensor as (channels, rows, columns).
        tensor: (usize, usize, usize),
        /// Shape of the bundle as (channels, rows, columns).
        bundle: (usize, usize, usize),
    },
    /// The method cannot work without a bundle: calibrate one, or choose a method that needs none.
    #[error(
        "the method {method} needs side information: give a bundle, or use a method that needs \
         none, such as spatial or channel-mean"
    )]
    NeedsBundle {
        /// The method that was asked for.
        method: Method,
    },
    /// The bundle lacks a section that the method needs: calibrate again with it, or choose
    /// another method.
    #[error(
        "the method {method} needs the section {section}, which the bundle does not have: \
         calibrate again with it, or use another method"
    )]
    MissingSection {
        /// The method that was asked for.
        method: Method,
        /// The section it needs.
        section: Section,
    },
}
