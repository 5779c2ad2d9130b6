//! The edge's frames where there is no model: pseudo-random tensors, made in microseconds.

use std::sync::Arc;

use anyhow::Result;

use super::{content, monotonic};
use crate::edge::{Captured, Computed, Encoded, FrameSource};

/// So many frames of so many bytes.
#[derive(Clone, Copy, Debug)]
pub struct StandInSource {
    bytes: usize,
    frames: u64,
}

impl StandInSource {
    /// `frames` tensors of `bytes` bytes each.
    #[must_use]
    pub const fn new(bytes: usize, frames: u64) -> Self {
        Self { bytes, frames }
    }
}

impl FrameSource for StandInSource {
    fn capture(self: Arc<Self>, number: u64) -> Result<Option<Captured>> {
        if number >= self.frames {
            return Ok(None);
        }
        let slices = content::tensor(self.bytes, monotonic())?;
        Ok(Some(Captured::new(number.to_string(), None, move || {
            Ok(Computed::new(move |_| Ok(Encoded { step: 0, slices })))
        })))
    }

    fn is_quick(&self) -> bool {
        true
    }
}
