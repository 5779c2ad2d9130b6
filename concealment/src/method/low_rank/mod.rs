//! Low-rank completion of the tensor over its three unfoldings (Liu, Musialski, Wonka and Ye,
//! "Tensor completion for estimating missing values in visual data", TPAMI 2013).
//!
//! The unfoldings are C×HW, H×CW and W×CH. Both methods repeat the soft-thresholding of the singular
//! values of each, in which a value σ becomes max(σ − τ, 0), and put what comes out into the missing
//! entries:
//!
//! - SiLRTC relaxes the coupling of the three: with a fixed τ, the missing entries become the mean
//!   of the three thresholded unfoldings (their algorithm 1);
//! - HaLRTC solves the coupled problem by the alternating direction method of multipliers: τ = α/ρ
//!   with α = ⅓, ρ from 10⁻⁶ growing by 1.2 each time (their algorithm 4).
//!
//! Fifty iterations, fewer if nothing moves any more. Their constants are for pictures: here values
//! count in units in which the received entries have a root mean square of 128, so that results do
//! not depend on the tensor's scale. A channel of which nothing arrived takes its ground, since the
//! completion of least rank would be zero.

mod shrink;

use super::{Holes, holes::fill_from};
use crate::number::{count, dot, narrow};
use shrink::{Shrinker, Unfolding};

const ITERATIONS: usize = 50;

/// The root mean square in whose units the constants are given.
const PICTURE: f64 = 128.0;

/// Weight of each unfolding.
const ALPHA: f64 = 1.0 / 3.0;

/// HaLRTC: the first penalty, and its growth at each iteration.
const RHO: f64 = 1e-6;
const GROWTH: f64 = 1.2;

/// SiLRTC: the threshold as a share of the Frobenius norm of the tensor. Of .003, .01 and .03 the
/// last two were the best by turns (EfficientNet-Lite0 `add_2`, five kinds of loss, 20 %).
const THRESHOLD: f64 = 0.02;

/// HaLRTC: until the threshold is below this share of the norm, little passes it, and a standstill
/// means nothing.
const PASSED: f64 = 0.01;

/// Settled when the missing entries move by less than this share of the tensor's norm.
const SETTLED: f64 = 1e-5;

/// Memory of both methods.
#[derive(Debug, Default)]
pub(crate) struct LowRank {
    /// The tensor as it is completed so far.
    completed: Vec<f32>,
    /// The sum of what the unfoldings say of each entry.
    sum: Vec<f32>,
    /// What is thresholded, and the outcome.
    input: Vec<f32>,
    low_rank: Vec<f32>,
    /// HaLRTC: the multipliers of each unfolding, divided by ρ.
    multipliers: [Vec<f32>; 3],
    /// HaLRTC: each unfolding's outcome.
    parts: [Vec<f32>; 3],
    shrinker: Shrinker,
}

impl LowRank {
    /// Fills by SiLRTC, from the ground on.
    pub(crate) fn silrtc(&mut self, holes: Holes<'_>, ground: &[f32]) {
        self.start(&holes, ground);
        let norm = norm(&self.completed);
        let threshold = THRESHOLD * norm;
        for _ in 0..ITERATIONS {
            self.sum.clear();
            self.sum.resize(self.completed.len(), 0.0);
            for unfolding in Unfolding::ALL {
                let kept = self.shrinker.shrink(
                    unfolding,
                    holes.shape,
                    threshold,
                    &self.completed,
                    &mut self.low_rank,
                );
                if kept {
                    self.sum
                        .iter_mut()
                        .zip(&self.low_rank)
                        .for_each(|(sum, &value)| *sum += value / 3.0);
                }
            }
            if self.advance(holes.received) <= SETTLED * norm {
                break;
            }
        }
        self.finish(holes, ground);
    }

    /// Fills by HaLRTC.
    pub(crate) fn halrtc(&mut self, holes: Holes<'_>, ground: &[f32]) {
        self.start(&holes, ground);
        for (entry, &received) in self.completed.iter_mut().zip(holes.received) {
            *entry = if received { *entry } else { 0.0 };
        }
        let received = holes.received.iter().filter(|&&received| received).count();
        let norm = norm(&self.completed);
        let scale = norm / count(received.max(1)).sqrt() / PICTURE;
        for buffer in self.multipliers.iter_mut().chain(&mut self.parts) {
            buffer.clear();
            buffer.resize(holes.entries.len(), 0.0);
        }
        let mut rho = RHO;
        for _ in 0..ITERATIONS {
            let threshold = ALPHA / rho * scale;
            self.sum.clear();
            self.sum.resize(self.completed.len(), 0.0);
            for ((unfolding, multipliers), part) in Unfolding::ALL
                .into_iter()
                .zip(&self.multipliers)
                .zip(&mut self.parts)
            {
                self.input.clear();
                let values = self.completed.iter().zip(multipliers);
                self.input
                    .extend(values.map(|(&entry, &multiplier)| entry + multiplier));
                self.shrinker
                    .shrink(unfolding, holes.shape, threshold, &self.input, part);
                let values = part.iter().zip(multipliers);
                self.sum
                    .iter_mut()
                    .zip(values)
                    .for_each(|(sum, (&value, &multiplier))| *sum += (value - multiplier) / 3.0);
            }
            let moved = self.advance(holes.received);
            for (multipliers, part) in self.multipliers.iter_mut().zip(&self.parts) {
                let values = part.iter().zip(&self.completed);
                for (multiplier, (&value, &entry)) in multipliers.iter_mut().zip(values) {
                    // Y ← Y − ρ(M − X), then divided by the next ρ.
                    *multiplier = (*multiplier - (value - entry)) * narrow(1.0 / GROWTH);
                }
            }
            rho *= GROWTH;
            if threshold <= PASSED * norm && moved <= SETTLED * norm {
                break;
            }
        }
        self.finish(holes, ground);
    }

    fn start(&mut self, holes: &Holes<'_>, ground: &[f32]) {
        self.completed.clear();
        self.completed.extend_from_slice(holes.entries);
        fill_from(&mut self.completed, holes.received, ground);
    }

    /// Takes the sum over into the missing entries; returns the norm of the change.
    fn advance(&mut self, received: &[bool]) -> f64 {
        let mut moved = 0.0_f64;
        let values = self.completed.iter_mut().zip(&self.sum).zip(received);
        for ((entry, &value), &received) in values {
            let change = if received { 0.0 } else { value - *entry };
            *entry += change;
            moved += f64::from(change) * f64::from(change);
        }
        moved.sqrt()
    }

    fn finish(&self, holes: Holes<'_>, ground: &[f32]) {
        let plane = holes.plane();
        let sources = self
            .completed
            .chunks_exact(plane)
            .zip(ground.chunks_exact(plane));
        for ((entries, received), (completed, ground)) in holes.channels().zip(sources) {
            let is_lost = !received.contains(&true);
            fill_from(entries, received, if is_lost { ground } else { completed });
        }
    }
}

fn norm(entries: &[f32]) -> f64 {
    f64::from(dot(entries, entries)).sqrt()
}
