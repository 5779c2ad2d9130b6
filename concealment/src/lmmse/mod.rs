//! The conditional mean of the missing entries given those received.
//!
//! With the model of [`crate::covariance`], the white noise of a tensor is R = F_M x_M + F_R x_R,
//! F being the sparse inverse Cholesky factor, M the missing entries and R those received. The mean
//! of x_M given x_R is what makes its square least: one sparse least-squares problem for whatever is
//! missing, be it scattered entries, rows or channels. It is solved by conjugate gradients on the
//! normal equations (Hestenes and Stiefel 1952; CGLS), each unknown scaled by the norm of its
//! column, from zero, which is the dataset mean. Every round leaves a better estimate, so that
//! stopping early is safe.

mod index;
mod plan;
mod stencil;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use pulp::Arch;

use self::{index::Index, plan::Plan, stencil::Stencil};
use crate::{
    bundle::Bundle,
    covariance::Covariance,
    method::Holes,
    number::{dot, narrow},
};

/// Most rounds. Scattered entries need 4 to 10; lost rows and channels, for which estimates have to
/// travel from pixel to pixel, 8 to 25.
const ROUNDS: usize = 24;

/// Rounds end once the squared gradient has fallen to this share of the first. Measured: the squared
/// error is then within a hundredth of its limit, and ten times the share costs up to three more.
const TOLERANCE: f64 = 1e-4;

/// A received entry farther than this many scales from the mean is reckoned with as if it were so
/// far: it keeps every sum within f32, and no more can be learnt from it.
const FARTHEST: f32 = 1e6;

/// Squares that are summed in f32 before the sums are in f64.
const BLOCK: usize = 1024;

/// Fills missing entries with their conditional mean.
#[derive(Debug)]
pub(crate) struct Lmmse {
    side: Arc<Bundle>,
    solver: Option<Solver>,
}

impl Lmmse {
    /// For a bundle that has a covariance. Takes some milliseconds and 4 bytes a coefficient of it.
    pub(crate) fn new(side: Arc<Bundle>) -> Self {
        let solver = side.covariance().map(Solver::new);
        Self { side, solver }
    }

    /// Fills the entries that were not received. Received entries are finite and below 2⁵⁰ in
    /// magnitude; what is written may be anything but must not depend on what missing entries held.
    ///
    /// Costs (n + 1) C multiplications for each entry, n being the pixels of the window, and
    /// 2 (n + 1) C for each missing one and round, of which there are 4 to 24: with 20 % missing
    /// about 1 ms for 48×14×14 and 5 to 10 ms for 128×28×28, of scattered entries with fewer rounds and
    /// of rows and channels with faster ones. Memory is kept from tensor to tensor.
    pub(crate) fn fill(&mut self, holes: Holes<'_>) {
        if let Some(solver) = &mut self.solver {
            solver.fill(holes, self.side.mean());
        }
    }
}

/// The least-squares solver with its memory.
#[derive(Debug)]
struct Solver {
    arch: Arch,
    stencil: Stencil,
    scales: Vec<f32>,
    missing: Index,
    plan: Plan,
    /// Normalised deviations of all entries, pixel by pixel; zero where nothing was received.
    known: Vec<f32>,
    /// Those of the missing entries: what is sought.
    estimates: Vec<f32>,
    /// The gradient, then the same preconditioned, for each missing entry.
    gradient: Vec<f32>,
    direction: Vec<f32>,
    inverse_squares: Vec<f32>,
    /// For each row of the stencil: the noise left, and what the direction changes in it.
    noise: Vec<f32>,
    change: Vec<f32>,
    /// Working memory of matrix products.
    memory: Vec<f32>,
}

impl Solver {
    fn new(covariance: &Covariance) -> Self {
        Self {
            arch: Arch::new(),
            stencil: Stencil::new(covariance),
            scales: covariance.scales().to_vec(),
            missing: Index::default(),
            plan: Plan::default(),
            known: Vec::new(),
            estimates: Vec::new(),
            gradient: Vec::new(),
            direction: Vec::new(),
            inverse_squares: Vec::new(),
            noise: Vec::new(),
            change: Vec::new(),
            memory: Vec::new(),
        }
    }

    fn fill(&mut self, holes: Holes<'_>, mean: &[f32]) {
        let plane = holes.plane();
        self.missing.list(holes.received, plane, false);
        if self.missing.len() == 0 {
            return;
        }
        self.know(&holes, mean);
        self.solve();
        let estimates = self.missing.entries().zip(&self.estimates);
        for ((pixel, channel), &estimate) in estimates {
            let place = channel * plane + pixel;
            let scale = self.scales.get(channel).copied().unwrap_or(0.0);
            if let Some((entry, &mean)) = holes.entries.get_mut(place).zip(mean.get(place)) {
                *entry = scale * estimate + mean;
            }
        }
    }

    /// Takes up the received entries.
    fn know(&mut self, holes: &Holes<'_>, mean: &[f32]) {
        let (channels, plane) = (self.scales.len(), holes.plane());
        self.known.clear();
        self.known.resize(channels * plane, 0.0);
        let of_channels = holes
            .entries
            .chunks_exact(plane)
            .zip(holes.received.chunks_exact(plane))
            .zip(mean.chunks_exact(plane))
            .zip(&self.scales);
        for (channel, (((entries, received), mean), scale)) in of_channels.enumerate() {
            let inverse = scale.recip();
            let known = self.known.iter_mut().skip(channel).step_by(channels);
            for (((known, entry), &received), mean) in known.zip(entries).zip(received).zip(mean) {
                if received {
                    let deviation = (entry - mean) * inverse;
                    *known = deviation.clamp(-FARTHEST, FARTHEST);
                }
            }
        }
    }

    fn solve(&mut self) {
        let unknowns = self.missing.len();
        for memory in [&mut self.estimates, &mut self.gradient, &mut self.direction] {
            memory.clear();
            memory.resize(unknowns, 0.0);
        }
        self.noise.resize(self.stencil.rows(), 0.0);
        self.change.resize(self.stencil.rows(), 0.0);
        self.inverse_squares.clear();
        self.inverse_squares.extend(
            self.missing
                .entries()
                .map(|(pixel, channel)| self.stencil.inverse_square(pixel, channel)),
        );
        self.stencil.plan(&self.missing, &mut self.plan);
        self.stencil
            .multiply(&self.known, &mut self.memory, &mut self.noise);
        let first = self.slope();
        let mut slope = first;
        self.turn(0.0);
        for _ in 0..ROUNDS {
            if slope <= first * TOLERANCE {
                break;
            }
            self.stencil.combine(
                (&self.missing, &self.plan),
                &self.direction,
                &mut self.memory,
                &mut self.change,
            );
            // Code for AVX ends by clearing the upper halves of the vector registers, which matrix
            // products do not. While they are in use, code for SSE takes twice as long.
            let length = slope
                / self.arch.dispatch(
                    #[inline(always)]
                    || sum_of_squares(&self.change),
                );
            if !length.is_finite() {
                break;
            }
            let length = narrow(length);
            for (sums, values) in [
                (&mut self.estimates, &self.direction),
                (&mut self.noise, &self.change),
            ] {
                self.arch.dispatch(
                    #[inline(always)]
                    || add(sums, length, values),
                );
            }
            let next = self.slope();
            self.turn(narrow(next / slope));
            slope = next;
        }
    }

    /// Computes the gradient of half the noise's square, downhill and preconditioned, and gives its
    /// squared length in the preconditioner's measure.
    fn slope(&mut self) -> f64 {
        self.stencil.correlate(
            (&self.missing, &self.plan),
            &self.noise,
            &mut self.memory,
            &mut self.gradient,
        );
        let (gradient, inverses) = (&mut self.gradient, &self.inverse_squares);
        self.arch.dispatch(
            #[inline(always)]
            || precondition(gradient, inverses),
        )
    }

    /// Turns the direction to the gradient plus this much of what it was.
    fn turn(&mut self, share: f32) {
        for (direction, gradient) in self.direction.iter_mut().zip(&self.gradient) {
            *direction = gradient + share * *direction;
        }
    }
}

/// Makes a gradient the step downhill, and gives their product.
#[inline(always)]
fn precondition(gradient: &mut [f32], inverses: &[f32]) -> f64 {
    let mut slope = 0.0;
    for (gradient, &inverse) in gradient.iter_mut().zip(inverses) {
        let steepest = -*gradient * inverse;
        slope -= f64::from(*gradient) * f64::from(steepest);
        *gradient = steepest;
    }
    slope
}

/// `sums` + `factor` · `values`.
#[inline(always)]
fn add(sums: &mut [f32], factor: f32, values: &[f32]) {
    for (sum, &value) in sums.iter_mut().zip(values) {
        *sum += factor * value;
    }
}

#[inline(always)]
fn sum_of_squares(values: &[f32]) -> f64 {
    let blocks = values.chunks(BLOCK);
    blocks.map(|block| f64::from(dot(block, block))).sum()
}
