//! What computing several tensors at once gains.

use std::time::{Duration, Instant};

use ndarray::Array3;

use super::{BatchModel, CloudModel, ModelError};

/// Rounds in which single runs and a run of several take turns.
const ROUNDS: usize = 4;
/// Single runs in a round.
const SINGLES: usize = 2;
/// The largest difference of two scores, as a share of the largest score of the tensor (or of 1): the
/// order of sums differs.
const TOLERANCE: f32 = 1e-5;

/// The times of a tensor in single runs and in runs of several.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct Gain {
    /// Time of a tensor that runs alone.
    pub single: Duration,
    /// Time of a run of several, divided by their number.
    pub each: Duration,
    /// How many times the tensors are computed in the same time: `single` / `each`.
    pub factor: f64,
    /// The largest difference of a score, as a share of the largest of its tensor (or of 1).
    pub difference: f32,
}

/// Compares `batch` with `single`. Both are timed in turns, and the best time of each counts: what else the
/// machine does makes runs slower, never faster.
///
/// Fails if a run fails, or computes something else than single runs do.
pub(super) fn measure(single: &CloudModel, batch: &BatchModel) -> Result<Gain, ModelError> {
    let tensors: Vec<Array3<f32>> = (0..batch.size())
        .map(|seed| made_up(single, seed))
        .collect();
    let views: Vec<_> = tensors.iter().map(|tensor| tensor.view()).collect();
    let mut difference: f32 = 0.0;
    for (view, scores) in views.iter().zip(batch.run(&views)?) {
        difference = difference.max(apart(&single.run(*view)?, &scores?));
    }
    if difference > TOLERANCE {
        return Err(ModelError::Graph {
            stage: "run with several tensors at once",
            reason: format!("its scores differ by {difference} from those of each alone"),
        });
    }
    let (mut alone, mut together) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        for view in views.iter().take(SINGLES) {
            let start = Instant::now();
            single.run(*view)?;
            alone = alone.min(start.elapsed());
        }
        let start = Instant::now();
        batch.run(&views)?;
        together = together.min(start.elapsed());
    }
    let size = u32::try_from(batch.size()).unwrap_or(u32::MAX);
    let each = together / size;
    Ok(Gain {
        single: alone,
        each,
        factor: alone.as_secs_f64() / each.as_secs_f64().max(1e-9),
        difference,
    })
}

/// A tensor of −1 to 1 without a pattern that layers could mistake for one, other for each seed.
fn made_up(model: &CloudModel, seed: usize) -> Array3<f32> {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    Array3::from_shape_simple_fn(model.input().as_tuple(), || {
        // Knuth's MMIX generator: good enough in its upper bits.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let upper = u16::try_from(state >> 48).unwrap_or_default();
        f32::from(upper) / 32_768.0 - 1.0
    })
}

/// The largest difference of two rows of scores, as a share of the largest score (or of 1).
fn apart(a: &[f32], b: &[f32]) -> f32 {
    let largest = a.iter().fold(1.0, |most: f32, score| most.max(score.abs()));
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max) / largest
}
