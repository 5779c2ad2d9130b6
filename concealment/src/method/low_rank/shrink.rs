//! Soft-thresholding of the singular values of an unfolding.
//!
//! With A = U Σ Vᵀ an unfolding of few rows, A Aᵀ = U Σ² Uᵀ is small, and the thresholded unfolding
//! is U diag(max(1 − τ/σ, 0)) Uᵀ A: one small eigendecomposition and two products, and V is never
//! needed. No unfolding is ever written out: its rows lie in the tensor at a stride.

use faer::{Accum, Mat, MatMut, MatRef, Par, Side, linalg::matmul::matmul};

use crate::number::{dot, narrow};

/// The sides along which a tensor is unfolded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfolding {
    /// C×HW.
    Channels,
    /// H×CW.
    Rows,
    /// W×CH.
    Columns,
}

impl Unfolding {
    pub(super) const ALL: [Self; 3] = [Self::Channels, Self::Rows, Self::Columns];

    /// The tensor as matrices one after the other, so many of so many rows and columns, and whether
    /// the unfolding runs along their rows.
    const fn matrices(
        self,
        (channels, height, width): (usize, usize, usize),
    ) -> (usize, usize, bool) {
        match self {
            Self::Channels => (channels, height * width, true),
            Self::Rows => (height, width, true),
            Self::Columns => (channels * height, width, false),
        }
    }
}

/// Memory of the operation.
#[derive(Debug)]
pub(super) struct Shrinker {
    gram: Mat<f32>,
    projector: Mat<f32>,
}

impl Default for Shrinker {
    fn default() -> Self {
        Self {
            gram: Mat::new(),
            projector: Mat::new(),
        }
    }
}

impl Shrinker {
    /// Writes the unfolding of `input` with thresholded singular values into `output`, in the
    /// tensor's own order. `false` if none is above the threshold, or the eigenvalues do not
    /// converge; the output is zero then.
    pub(super) fn shrink(
        &mut self,
        unfolding: Unfolding,
        shape: (usize, usize, usize),
        threshold: f64,
        input: &[f32],
        output: &mut Vec<f32>,
    ) -> bool {
        output.clear();
        output.resize(input.len(), 0.0);
        // No singular value is above the norm.
        if f64::from(dot(input, input)).sqrt() <= threshold {
            return false;
        }
        let (rows, columns, along_rows) = unfolding.matrices(shape);
        let side = if along_rows { rows } else { columns };
        self.gram.resize_with(side, side, |_, _| 0.0);
        self.gram.as_mut().fill(0.0);
        for matrix in input.chunks_exact(rows * columns) {
            let matrix = MatRef::from_row_major_slice(matrix, rows, columns);
            let (left, right) = if along_rows {
                (matrix, matrix.transpose())
            } else {
                (matrix.transpose(), matrix)
            };
            matmul(self.gram.as_mut(), Accum::Add, left, right, 1.0, Par::Seq);
        }
        if !self.project(threshold) {
            return false;
        }
        let matrices = input
            .chunks_exact(rows * columns)
            .zip(output.chunks_exact_mut(rows * columns));
        for (input, output) in matrices {
            let input = MatRef::from_row_major_slice(input, rows, columns);
            let output = MatMut::from_row_major_slice_mut(output, rows, columns);
            let projector = self.projector.as_ref();
            if along_rows {
                matmul(output, Accum::Replace, projector, input, 1.0, Par::Seq);
            } else {
                matmul(output, Accum::Replace, input, projector, 1.0, Par::Seq);
            }
        }
        true
    }

    /// U diag(max(1 − τ/σ, 0)) Uᵀ of the Gram matrix; `false` if it is zero or there is none.
    fn project(&mut self, threshold: f64) -> bool {
        let side = self.gram.nrows();
        let wide = Mat::<f64>::from_fn(side, side, |i, j| f64::from(self.gram[(i, j)]));
        if !wide.norm_max().is_finite() {
            return false;
        }
        let Ok(eigen) = wide.self_adjoint_eigen(Side::Lower) else {
            return false;
        };
        let values = eigen.S().column_vector();
        let factor = |index: usize| {
            let sigma = values[index].max(0.0).sqrt();
            if sigma > threshold {
                1.0 - threshold / sigma
            } else {
                0.0
            }
        };
        // Ascending, so those above the threshold are the last.
        let first = (0..side).find(|&index| factor(index) > 0.0).unwrap_or(side);
        if first == side {
            return false;
        }
        let vectors = eigen.U().subcols(first, side - first);
        let scaled = Mat::<f64>::from_fn(side, side - first, |i, j| {
            vectors[(i, j)] * factor(first + j)
        });
        let product = &scaled * vectors.transpose();
        self.projector.resize_with(side, side, |_, _| 0.0);
        for j in 0..side {
            for i in 0..side {
                self.projector[(i, j)] = narrow(product[(i, j)]);
            }
        }
        true
    }
}
