//! The edge's frames where there is no model: pseudo-random tensors, made in microseconds.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{content, monotonic};
use crate::edge::{FrameSource, Produced};

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
    fn produce(&self, number: u64) -> Result<Option<Produced>> {
        if number >= self.frames {
            return Ok(None);
        }
        let start = Instant::now();
        let slices = content::tensor(self.bytes, monotonic())?;
        Ok(Some(Produced {
            name: number.to_string(),
            label: None,
            slices,
            model: Duration::ZERO,
            encode: start.elapsed(),
        }))
    }
}
