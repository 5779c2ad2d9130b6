//! From second moments to factors.

use faer::{Mat, MatRef, Par, Side, linalg::triangular_solve::solve_upper_triangular_in_place};

use super::{
    Covariance,
    factor::{Factor, Row},
    window::{Offset, Reach},
};

/// Share of each entry's variance that is taken to be its own, in the limit of many images. Measured
/// on two models: between 0.001 and 0.01 the result hardly differs, and the larger it is the faster
/// the solver converges.
const RIDGE: f64 = 0.003;

/// The same as a share of the channel's variance, for entries that hardly vary at some border.
const FLOOR: f64 = 1e-5;

/// The statistics of a situation weigh as much as those of the richest one when there are this many
/// samples for each of its variables.
const SAMPLES_A_VARIABLE: f64 = 4.0;

/// How often the ridge is raised tenfold before a covariance that has no Cholesky factor is given
/// up. Rounding alone needs none.
const ATTEMPTS: u32 = 4;

/// Moments about the mean of one situation, the pixel itself last.
pub(super) struct Moments {
    pub(super) covariance: Mat<f64>,
    pub(super) samples: f64,
}

/// The covariance of the tensor from those of its windows. The last window is the richest.
pub(super) fn fit(
    shape: (usize, usize, usize),
    reach: Reach,
    windows: &[Vec<Offset>],
    mut moments: Vec<Moments>,
    images: f64,
) -> Covariance {
    let channels = shape.0;
    let scales = scales(channels, &moments);
    for moments in &mut moments {
        normalise(&mut moments.covariance, &scales);
    }
    let richest = windows.last().zip(moments.last());
    // With few images their deviations from their own mean say too little.
    let ridge = RIDGE + images.recip();
    let factors = windows
        .iter()
        .zip(&moments)
        .map(|(window, moments)| {
            let pooled = richest
                .and_then(|(rich, prior)| select(prior.covariance.as_ref(), rich, window, channels))
                .map_or_else(
                    || moments.covariance.clone(),
                    |prior| moments.pooled_with(&prior),
                );
            factor(&pooled, ridge, channels)
                .unwrap_or_else(|| Factor::white(channels, window.len()))
        })
        .collect();
    Covariance {
        shape,
        reach,
        scales,
        factors,
    }
}

impl Moments {
    fn pooled_with(&self, prior: &Mat<f64>) -> Mat<f64> {
        let variables = crate::number::count(self.covariance.nrows());
        let weight = self.samples / (self.samples + SAMPLES_A_VARIABLE * variables);
        faer::Scale(weight) * &self.covariance + faer::Scale(1.0 - weight) * prior
    }
}

/// Standard deviation of each channel over all pixels; one for a channel that does not vary.
fn scales(channels: usize, moments: &[Moments]) -> Vec<f32> {
    let samples: f64 = moments.iter().map(|moments| moments.samples).sum();
    (0..channels)
        .map(|channel| {
            let variance = moments.iter().map(|moments| {
                let place = moments.covariance.nrows() - channels + channel;
                moments.samples * moments.covariance[(place, place)]
            });
            let scale = crate::number::narrow((variance.sum::<f64>() / samples).sqrt());
            if scale.is_normal() { scale } else { 1.0 }
        })
        .collect()
}

/// Divides by the scales. What is not finite, of values whose squares are beyond f32, becomes zero.
fn normalise(covariance: &mut Mat<f64>, scales: &[f32]) {
    let side = covariance.nrows();
    let scale = |place: usize| f64::from(scales[place % scales.len()]);
    *covariance = Mat::from_fn(side, side, |row, column| {
        let value = covariance[(row, column)] / (scale(row) * scale(column));
        if value.is_finite() { value } else { 0.0 }
    });
}

/// The part of a richer window's covariance that a window calls for, if it has all its pixels.
fn select(
    covariance: MatRef<'_, f64>,
    rich: &[Offset],
    window: &[Offset],
    channels: usize,
) -> Option<Mat<f64>> {
    let mut places = Vec::with_capacity((window.len() + 1) * channels);
    for offset in window {
        let place = rich.iter().position(|other| other == offset)?;
        places.extend(place * channels..(place + 1) * channels);
    }
    places.extend(rich.len() * channels..(rich.len() + 1) * channels);
    Some(Mat::from_fn(places.len(), places.len(), |row, column| {
        covariance[(places[row], places[column])]
    }))
}

/// The last rows of the inverse Cholesky factor.
fn factor(covariance: &Mat<f64>, ridge: f64, channels: usize) -> Option<Factor> {
    let side = covariance.nrows();
    let window = side - channels;
    let root = (0..ATTEMPTS).find_map(|attempt| {
        let ridge = ridge * f64::from(10_u32.pow(attempt));
        let regularised = Mat::from_fn(side, side, |row, column| {
            let value = covariance[(row, column)];
            if row == column {
                value.max(0.0) * (1.0 + ridge) + FLOOR
            } else {
                value
            }
        });
        regularised.llt(Side::Lower).ok()
    })?;
    // Column c solves Lᵀ x = e: the row of L⁻¹ for channel c of the pixel itself.
    let mut rows = Mat::from_fn(side, channels, |row, channel| {
        if row == window + channel { 1.0 } else { 0.0 }
    });
    solve_upper_triangular_in_place(root.L().transpose(), rows.as_mut(), Par::Seq);
    let is_sound = rows
        .col_iter()
        .all(|row| row.iter().all(|value| value.is_finite()));
    is_sound.then(|| Factor {
        rows: (0..channels)
            .map(|channel| {
                let row: Vec<f64> = (0..=window + channel)
                    .map(|place| rows[(place, channel)])
                    .collect();
                let (before, own) = row.split_at(window);
                Row::quantise(before, own)
            })
            .collect(),
    })
}
