//! How a stream is sent: options.

use std::time::Duration;

use clap::{Args, ValueEnum};
use tensorwire_protocol::wire::InterleaverKind;

use crate::stream::StreamDescription;

/// How a stream is sent.
#[derive(Args, Clone, Debug)]
pub struct StreamOptions {
    /// Largest UDP payload, bytes, 576 to 65000
    #[arg(long, value_name = "BYTES", default_value_t = 1_200, value_parser = clap::value_parser!(u16).range(576..=65_000))]
    pub mss: u16,
    /// Longest time from capture to release, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub deadline_ms: u32,
    /// Order of the slices
    #[arg(long, value_enum, default_value_t = InterleaverName::Sequential)]
    pub interleaver: InterleaverName,
    /// Step of the stride interleaver
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub stride: u16,
    /// Seed of the random interleaver
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub interleaver_seed: u64,
    /// Release incomplete tensors as soon as their packets have passed: send nothing again
    #[arg(long)]
    pub no_retransmission: bool,
    /// Give up older tensors as soon as a newer one is released
    #[arg(long)]
    pub latest_only: bool,
}

/// Interleavers by name.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "an option of the command line")]
pub enum InterleaverName {
    /// Slices in order
    Sequential,
    /// Every s-th slice
    Stride,
    /// A seeded permutation
    Random,
    /// The slices that matter most first, by the bundle, so that parity can protect them alone
    Priority,
}

impl StreamOptions {
    /// Sets these options in a description.
    pub fn apply(&self, stream: &mut StreamDescription) {
        let kind = match self.interleaver {
            InterleaverName::Sequential => InterleaverKind::Sequential,
            InterleaverName::Stride => InterleaverKind::Stride,
            InterleaverName::Random => InterleaverKind::Random,
            InterleaverName::Priority => InterleaverKind::Priority,
        };
        stream.interleaver = kind as u8;
        stream.stride = self.stride;
        stream.seed = self.interleaver_seed;
        stream.mss = self.mss;
        stream.deadline_ms = self.deadline_ms;
        stream.latest_only = self.latest_only;
        stream.retransmission = !self.no_retransmission;
    }
}

/// Reads frames a second: 0, or 0.001 to 100,000.
///
/// # Errors
/// If the text is no such number.
pub fn parse_fps(text: &str) -> Result<f64, String> {
    let fps: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if fps == 0.0 || (0.001..=100_000.0).contains(&fps) {
        Ok(fps)
    } else {
        Err("0 for as fast as possible, or 0.001 to 100000 frames a second".to_owned())
    }
}

/// Frames a second as the time between them; 0 frames a second is as fast as possible.
#[must_use]
pub fn interval(fps: f64) -> Duration {
    Duration::try_from_secs_f64(1.0 / fps).unwrap_or_default()
}
