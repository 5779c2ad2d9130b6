//! The sparse inverse Cholesky factor, laid out for products with few of its columns.

use std::ops::Range;

use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use pulp::{Arch, Simd, WithSimd};

use super::{index::Index, plan::Plan};
use crate::covariance::{Covariance, window::Layout};

/// Columns are padded to a multiple of this many entries, a whole number of vectors everywhere.
const PADDING: usize = 16;

/// The matrix that turns the normalised deviations of a tensor into white noise: for each pixel C
/// rows, whose columns are the entries of the pixel's window and of the pixel itself.
#[derive(Debug)]
pub(super) struct Stencil {
    arch: Arch,
    channels: usize,
    /// Length of a column: the channels, padded.
    rows: usize,
    situations: Vec<Situation>,
    /// The situation of each pixel.
    of_pixel: Vec<usize>,
    /// For each entry, pixel by pixel, the inverse of the squared norm of its column.
    inverse_squares: Vec<f32>,
}

/// Pixels whose rows are computed in one matrix product.
const BATCH: usize = 64;

#[derive(Debug)]
struct Situation {
    pixels: Vec<usize>,
    /// Steps back to each pixel of the window, then zero.
    steps: Vec<usize>,
    /// For each of these pixels and each channel, the column.
    columns: Vec<f32>,
}

impl Stencil {
    /// Takes 4 bytes a coefficient and some milliseconds.
    pub(super) fn new(covariance: &Covariance) -> Self {
        let (channels, height, width) = covariance.shape();
        let layout = Layout::new(height, width, covariance.reach());
        let rows = channels.next_multiple_of(PADDING);
        let mut situations: Vec<Situation> = layout
            .windows()
            .iter()
            .zip(covariance.factors())
            .map(|(window, factor)| {
                let steps: Vec<usize> = (window.iter().map(|&offset| layout.steps_back(offset)))
                    .chain([0])
                    .collect();
                let mut columns = vec![0.0; steps.len() * channels * rows];
                for (row, (window, own)) in factor.rows().enumerate() {
                    for (column, value) in columns.chunks_exact_mut(rows).zip(window.chain(own)) {
                        if let Some(slot) = column.get_mut(row) {
                            *slot = value;
                        }
                    }
                }
                Situation {
                    pixels: Vec::new(),
                    steps,
                    columns,
                }
            })
            .collect();
        let of_pixel: Vec<usize> = layout.situations().collect();
        for (pixel, &situation) in of_pixel.iter().enumerate() {
            if let Some(situation) = situations.get_mut(situation) {
                situation.pixels.push(pixel);
            }
        }
        let mut squares = vec![0.0; of_pixel.len() * channels];
        for (pixel, &situation) in of_pixel.iter().enumerate() {
            let Some(situation) = situations.get(situation) else {
                continue;
            };
            for (step, block) in situation.blocks(channels * rows) {
                let start = (pixel - step) * channels;
                let sums = squares.iter_mut().skip(start).take(channels);
                for (sum, column) in sums.zip(block.chunks_exact(rows)) {
                    *sum += column.iter().map(|value| value * value).sum::<f32>();
                }
            }
        }
        Self {
            arch: Arch::new(),
            channels,
            rows,
            situations,
            of_pixel,
            inverse_squares: squares.into_iter().map(f32::recip).collect(),
        }
    }

    /// Number of rows of the matrix, padding included.
    pub(super) const fn rows(&self) -> usize {
        self.of_pixel.len() * self.rows
    }

    /// The inverse of the squared norm of an entry's column; positive.
    pub(super) fn inverse_square(&self, pixel: usize, channel: usize) -> f32 {
        let place = pixel * self.channels + channel;
        self.inverse_squares.get(place).copied().unwrap_or(1.0)
    }

    /// The product of the matrix with the deviations of all entries, pixel by pixel. `memory` is
    /// working memory.
    ///
    /// (n + 1) C multiplications for each entry, n being the pixels of the window, at the speed of
    /// a matrix product.
    pub(super) fn multiply(&self, deviations: &[f32], memory: &mut Vec<f32>, products: &mut [f32]) {
        for situation in &self.situations {
            let side = situation.steps.len() * self.channels;
            let columns = MatRef::from_column_major_slice(&situation.columns, self.rows, side);
            for pixels in situation.pixels.chunks(BATCH) {
                memory.clear();
                for &pixel in pixels {
                    for step in &situation.steps {
                        let start = (pixel - step) * self.channels;
                        let values = deviations.get(start..start + self.channels);
                        memory.extend_from_slice(values.unwrap_or_default());
                    }
                }
                let samples = memory.len();
                memory.resize(samples + pixels.len() * self.rows, 0.0);
                let (windows, sums) = memory.split_at_mut(samples);
                matmul(
                    MatMut::from_column_major_slice_mut(sums, self.rows, pixels.len()),
                    Accum::Replace,
                    columns,
                    MatRef::from_column_major_slice(windows, side, pixels.len()),
                    1.0,
                    Par::Seq,
                );
                for (&pixel, sums) in pixels.iter().zip(sums.chunks_exact(self.rows)) {
                    let start = pixel * self.rows;
                    if let Some(products) = products.get_mut(start..start + self.rows) {
                        products.copy_from_slice(sums);
                    }
                }
            }
        }
    }

    /// Plans the products with the columns of the entries listed.
    pub(super) fn plan(&self, entries: &Index, plan: &mut Plan) {
        plan.clear();
        for situation in &self.situations {
            for &step in &situation.steps {
                plan.add(entries, &situation.pixels, step);
            }
        }
    }

    /// The columns of the entries listed, each times its value, summed. The plan is that of the
    /// entries; `memory` is working memory.
    ///
    /// C multiplications for each entry and pixel of the window; at the speed of a matrix product where
    /// pixels next to each other lack the same channels.
    pub(super) fn combine(
        &self,
        (entries, plan): (&Index, &Plan),
        values: &[f32],
        memory: &mut Vec<f32>,
        sums: &mut [f32],
    ) {
        sums.fill(0.0);
        self.for_runs(entries, plan, memory, |columns, run, places| {
            let of_run = sums.get_mut(run.start * self.rows..run.end * self.rows);
            if let (Some(sums), Some(values)) = (of_run, values.get(places)) {
                matmul(
                    MatMut::from_column_major_slice_mut(sums, self.rows, run.len()),
                    Accum::Add,
                    columns,
                    MatRef::from_column_major_slice(values, columns.ncols(), run.len()),
                    1.0,
                    Par::Seq,
                );
            }
        });
        self.arch.dispatch(Combine {
            stencil: self,
            entries,
            plan,
            values,
            sums,
        });
    }

    /// The product of each column of the entries listed with `rows`. As costly as
    /// [`combine`](Self::combine).
    pub(super) fn correlate(
        &self,
        (entries, plan): (&Index, &Plan),
        rows: &[f32],
        memory: &mut Vec<f32>,
        products: &mut [f32],
    ) {
        products.fill(0.0);
        self.for_runs(entries, plan, memory, |columns, run, places| {
            let of_run = rows.get(run.start * self.rows..run.end * self.rows);
            if let (Some(rows), Some(products)) = (of_run, products.get_mut(places)) {
                matmul(
                    MatMut::from_column_major_slice_mut(products, columns.ncols(), run.len()),
                    Accum::Add,
                    columns.transpose(),
                    MatRef::from_column_major_slice(rows, self.rows, run.len()),
                    1.0,
                    Par::Seq,
                );
            }
        });
        self.arch.dispatch(Correlate {
            stencil: self,
            entries,
            plan,
            rows,
            products,
        });
    }

    /// Calls a function for each run of the plan: with the columns of the entries, the run, and the
    /// places of its entries in the list.
    fn for_runs(
        &self,
        entries: &Index,
        plan: &Plan,
        memory: &mut Vec<f32>,
        mut call: impl FnMut(MatRef<'_, f32>, &Range<usize>, Range<usize>),
    ) {
        for (block, runs) in self.blocks(entries, plan) {
            let mut gathered: &[usize] = &[];
            for run in runs {
                let first = entries.of_pixel(run.start - block.step);
                let places = first.start..first.start + run.len() * first.len();
                let channels = entries.channels(first);
                if channels != gathered {
                    memory.clear();
                    for &channel in channels {
                        memory.extend_from_slice(block.column(channel).unwrap_or_default());
                    }
                    gathered = channels;
                }
                let columns = MatRef::from_column_major_slice(memory, self.rows, channels.len());
                call(columns, run, places);
            }
        }
    }
}

impl Situation {
    /// The steps back to each pixel with its columns.
    fn blocks(&self, size: usize) -> impl Iterator<Item = (usize, &[f32])> {
        self.steps
            .iter()
            .copied()
            .zip(self.columns.chunks_exact(size))
    }
}

/// Calls a function with the largest number of vectors that is still to be done, until none is.
macro_rules! in_tiles {
    ($vectors:expr, |$at:ident, $tile:ident| $body:expr) => {
        let mut $at = 0;
        while $at < $vectors {
            $at += match $vectors - $at {
                8.. => {
                    const $tile: usize = 8;
                    $body;
                    $tile
                }
                6..=7 => {
                    const $tile: usize = 6;
                    $body;
                    $tile
                }
                4..=5 => {
                    const $tile: usize = 4;
                    $body;
                    $tile
                }
                2..=3 => {
                    const $tile: usize = 2;
                    $body;
                    $tile
                }
                _ => {
                    const $tile: usize = 1;
                    $body;
                    $tile
                }
            };
        }
    };
}

/// Vectors `at` to `at + TILE` of a column.
#[inline(always)]
fn tile_of<S: Simd, const TILE: usize>(column: &[f32], at: usize) -> Option<&[S::f32s; TILE]> {
    let (vectors, _) = S::as_simd_f32s(column);
    vectors.get(at..)?.first_chunk()
}

/// Columns of one pixel of a window, small enough for the innermost cache, and where they apply.
#[derive(Clone, Copy)]
struct Block<'a> {
    entries: &'a Index,
    /// The pixels whose windows they belong to, one by one.
    pixels: &'a [usize],
    /// Steps back to the pixel whose entries they stand for.
    step: usize,
    columns: &'a [f32],
    rows: usize,
}

impl<'a> Block<'a> {
    #[inline(always)]
    fn column(&self, channel: usize) -> Option<&'a [f32]> {
        let start = channel * self.rows;
        self.columns.get(start..start + self.rows)
    }

    /// Vectors `at` to `at + TILE` of the column of a channel.
    #[inline(always)]
    fn tile<S: Simd, const TILE: usize>(
        &self,
        channel: usize,
        at: usize,
    ) -> Option<&[S::f32s; TILE]> {
        tile_of::<S, TILE>(self.column(channel)?, at)
    }
}

impl Stencil {
    /// The matrix in blocks, so that each is read from memory once and used for all its pixels; and
    /// the runs of each.
    #[inline(always)]
    fn blocks<'a>(
        &'a self,
        entries: &'a Index,
        plan: &'a Plan,
    ) -> impl Iterator<Item = (Block<'a>, &'a [Range<usize>])> {
        let blocks = self
            .situations
            .iter()
            .flat_map(|situation| situation.blocks(self.channels * self.rows));
        let parts = blocks.zip(plan.blocks());
        parts.map(move |((step, columns), (pixels, runs))| {
            let block = Block {
                entries,
                pixels,
                step,
                columns,
                rows: self.rows,
            };
            (block, runs)
        })
    }
}

struct Combine<'a> {
    stencil: &'a Stencil,
    entries: &'a Index,
    plan: &'a Plan,
    values: &'a [f32],
    sums: &'a mut [f32],
}

impl WithSimd for Combine<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let vectors = self.stencil.rows / S::F32_LANES;
        for (block, _) in self.stencil.blocks(self.entries, self.plan) {
            in_tiles!(vectors, |at, TILE| {
                combine_tile::<S, TILE>(simd, block, self.values, self.sums, at)
            });
        }
    }
}

#[inline(always)]
fn combine_tile<S: Simd, const TILE: usize>(
    simd: S,
    block: Block<'_>,
    values: &[f32],
    sums: &mut [f32],
    at: usize,
) {
    for &pixel in block.pixels {
        let places = block.entries.of_pixel(pixel - block.step);
        let start = pixel * block.rows;
        let sums = sums.get_mut(start..start + block.rows).unwrap_or_default();
        let (sums, _) = S::as_mut_simd_f32s(sums);
        let sums = sums.get_mut(at..).and_then(|sums| sums.first_chunk_mut());
        let Some((sums, values)) = sums.zip(values.get(places.clone())) else {
            continue;
        };
        let mut tile: [S::f32s; TILE] = *sums;
        for (&channel, &value) in block.entries.channels(places).iter().zip(values) {
            if let Some(column) = block.tile::<S, TILE>(channel, at) {
                let value = simd.splat_f32s(value);
                for (sum, &part) in tile.iter_mut().zip(column) {
                    *sum = simd.mul_add_e_f32s(value, part, *sum);
                }
            }
        }
        *sums = tile;
    }
}

struct Correlate<'a> {
    stencil: &'a Stencil,
    entries: &'a Index,
    plan: &'a Plan,
    rows: &'a [f32],
    products: &'a mut [f32],
}

impl WithSimd for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let vectors = self.stencil.rows / S::F32_LANES;
        for (block, _) in self.stencil.blocks(self.entries, self.plan) {
            in_tiles!(vectors, |at, TILE| {
                correlate_tile::<S, TILE>(simd, block, self.rows, self.products, at)
            });
        }
    }
}

#[inline(always)]
fn correlate_tile<S: Simd, const TILE: usize>(
    simd: S,
    block: Block<'_>,
    rows: &[f32],
    products: &mut [f32],
    at: usize,
) {
    for &pixel in block.pixels {
        let places = block.entries.of_pixel(pixel - block.step);
        let start = pixel * block.rows;
        let rows = rows.get(start..start + block.rows).unwrap_or_default();
        let tile = tile_of::<S, TILE>(rows, at);
        let Some((&tile, products)) = tile.zip(products.get_mut(places.clone())) else {
            continue;
        };
        for (&channel, product) in block.entries.channels(places).iter().zip(products) {
            if let Some(column) = block.tile::<S, TILE>(channel, at) {
                // Two sums, so that additions do not wait for each other.
                let mut sums = [simd.splat_f32s(0.0); 2];
                for (pair, parts) in tile.chunks(2).zip(column.chunks(2)) {
                    for ((sum, &row), &part) in sums.iter_mut().zip(pair).zip(parts) {
                        *sum = simd.mul_add_e_f32s(row, part, *sum);
                    }
                }
                let [even, odd] = sums;
                *product += simd.reduce_sum_f32s(simd.add_f32s(even, odd));
            }
        }
    }
}
