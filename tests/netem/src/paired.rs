//! How much better one case of a run was than another, frame by frame.

use serde::Serialize;

use crate::accuracy::AccuracyRow;
use crate::quantity::rounded;
use crate::share::Z;

/// The difference of two cases that stream the same frames over the same scenario.
#[derive(Serialize, Debug)]
pub(crate) struct Difference {
    pub(crate) scenario: String,
    pub(crate) carrier: String,
    pub(crate) congestion: String,
    pub(crate) loss: String,
    /// The first case of the scenario.
    pub(crate) case: String,
    pub(crate) against: String,
    /// Frames that both captured.
    pub(crate) frames: u64,
    /// Accuracy in time of `case`, less that of `against`: shares, -1 to 1.
    pub(crate) difference: f64,
    /// The 95 % interval: frames fail together where a queue is full, so that it comes from the
    /// differences of whole seconds; none of fewer than two.
    pub(crate) interval: Option<[f64; 2]>,
}

/// The first named case of each scenario, carrier and loss against each of the others.
pub(crate) fn differences(rows: &[AccuracyRow]) -> Vec<Difference> {
    let key = |row: &AccuracyRow| {
        let AccuracyRow {
            scenario,
            carrier,
            congestion,
            loss,
            ..
        } = row;
        [scenario, carrier, congestion, loss].map(String::clone)
    };
    let mut differences = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let mut before = rows.iter().take(index);
        if let Some(first) = before.find(|first| key(first) == key(row))
            && !first.case.is_empty()
        {
            differences.push(Difference::of(first, row));
        }
    }
    differences
}

impl Difference {
    fn of(first: &AccuracyRow, other: &AccuracyRow) -> Self {
        let each: Vec<f64> = first
            .right
            .iter()
            .zip(&other.right)
            .map(|(a, b)| f64::from(u8::from(*a)) - f64::from(u8::from(*b)))
            .collect();
        let second = usize::try_from(rounded(first.fps)).unwrap_or(1).max(1);
        Self {
            scenario: first.scenario.clone(),
            carrier: first.carrier.clone(),
            congestion: first.congestion.clone(),
            loss: first.loss.clone(),
            case: first.case.clone(),
            against: other.case.clone(),
            frames: each.len() as u64,
            difference: mean(&each),
            interval: interval(&each, second),
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The 95 % interval of the mean by means of batches (Conway, Management Science 10, 1963), the last
/// batch being left out where it is not full.
fn interval(values: &[f64], batch: usize) -> Option<[f64; 2]> {
    let means: Vec<f64> = values.chunks_exact(batch).map(mean).collect();
    let n = means.len() as f64;
    if n < 2.0 {
        return None;
    }
    let middle = mean(&means);
    let squares: f64 = means.iter().map(|x| (x - middle).powi(2)).sum();
    let half = Z * (squares / (n - 1.0) / n).sqrt();
    Some([middle - half, middle + half])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_count_seconds_and_not_frames() {
        // Ten frames a second; in every other second all are better.
        let values: Vec<f64> = (0..400).map(|i| f64::from(i / 10 % 2)).collect();
        let [low, high] = interval(&values, 10).unwrap();
        // 40 batches with a deviation of 0.506: ±0.157, and not ±0.049 of 400 frames.
        assert!((low - 0.343).abs() < 1e-3 && (high - 0.657).abs() < 1e-3);
        assert_eq!(interval(&values[..19], 10), None);
        assert_eq!(interval(&[1.0; 30], 10), Some([1.0, 1.0]));
        assert_eq!((mean(&values), mean(&[])), (0.5, 0.0));
    }
}
