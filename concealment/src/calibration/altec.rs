//! Trains the weights of ALTeC (Bragilevsky and Bajić, IEEE Access 2020).
//!
//! For each packet i of channel c, x ∈ R^{rW}, the matrix X holds as rows the packets i of all other
//! channels and the packets i − 1 and i + 1 of channel c, zeros where there is none. The weights are
//! the mean of pinv(X)ᵀ x over all packets of the channel and all images.

use faer::{Col, Mat, MatRef, Side};
use ndarray::ArrayView3;

use crate::{
    bundle::{AltecTable, SectionError},
    number::{count, narrow},
};

/// Singular values below this share of the largest count as zero.
const RANK_TOLERANCE: f64 = 1e-5;

/// Sums of the weights over packets and images.
#[derive(Debug, Clone)]
pub(super) struct Trainer {
    rows: usize,
    shape: (usize, usize, usize),
    /// Channels + 1 for each channel.
    sums: Vec<f64>,
    /// Packets that each channel's sums are of.
    packets: Vec<usize>,
}

impl Trainer {
    pub(super) fn new(shape: (usize, usize, usize), rows: usize) -> Self {
        Self {
            rows,
            shape,
            sums: vec![0.0; shape.0 * (shape.0 + 1)],
            packets: vec![0; shape.0],
        }
    }

    /// Adds the packets of a tensor whose entries are finite.
    pub(super) fn add(&mut self, tensor: ArrayView3<'_, f32>) {
        let (channels, height, width) = self.shape;
        let rows = self.rows;
        for first in (0..height).step_by(rows) {
            let size = rows.min(height - first) * width;
            let at = |channel: usize, from: Option<usize>, entry: usize| {
                let row = from.map(|from| from + entry / width);
                row.and_then(|row| tensor.get((channel, row, entry % width)))
                    .map_or(0.0, |&value| f64::from(value))
            };
            let channel_sums = self.sums.chunks_exact_mut(channels + 1);
            for ((channel, sums), packets) in channel_sums.enumerate().zip(&mut self.packets) {
                let neighbours = Mat::from_fn(channels + 1, size, |row, entry| {
                    if row + 1 < channels {
                        at(row + usize::from(row >= channel), Some(first), entry)
                    } else if row + 1 == channels {
                        at(channel, first.checked_sub(rows), entry)
                    } else {
                        at(channel, Some(first + rows), entry)
                    }
                });
                let own = Col::from_fn(size, |entry| at(channel, Some(first), entry));
                if let Some(weights) = weights(neighbours.as_ref(), &own) {
                    let weights = weights.iter();
                    sums.iter_mut().zip(weights).for_each(|(sum, w)| *sum += w);
                    *packets += 1;
                }
            }
        }
    }

    pub(super) fn finish(self) -> Result<AltecTable, SectionError> {
        let channels = self.shape.0;
        let means = self
            .sums
            .chunks_exact(channels + 1)
            .zip(&self.packets)
            .flat_map(|(sums, &packets)| {
                let packets = count(packets.max(1));
                sums.iter().map(move |sum| narrow(sum / packets))
            });
        AltecTable::new(self.rows, channels, means.collect())
    }
}

/// pinv(X)ᵀ x, through the smaller of the two Gram matrices of X; `None` if its eigenvalues do not
/// converge.
fn weights(neighbours: MatRef<'_, f64>, own: &Col<f64>) -> Option<Col<f64>> {
    let transposed = neighbours.transpose();
    if neighbours.nrows() <= neighbours.ncols() {
        let gram = neighbours * transposed;
        solve(gram.as_ref(), &(neighbours * own))
    } else {
        let gram = transposed * neighbours;
        Some(neighbours * solve(gram.as_ref(), own)?)
    }
}

/// Least-norm solution of a system whose matrix is symmetric and has no negative eigenvalues.
fn solve(gram: MatRef<'_, f64>, right: &Col<f64>) -> Option<Col<f64>> {
    let eigen = gram.self_adjoint_eigen(Side::Lower).ok()?;
    let values = eigen.S().column_vector();
    // Ascending: the last is the largest.
    let largest = values.iter().next_back().copied()?;
    let least = RANK_TOLERANCE * RANK_TOLERANCE * largest;
    let mut coordinates = eigen.U().transpose() * right;
    for (coordinate, &value) in coordinates.iter_mut().zip(values.iter()) {
        *coordinate = if value > least && value > 0.0 {
            *coordinate / value
        } else {
            0.0
        };
    }
    Some(eigen.U() * coordinates)
}
