//! From a classifier's raw scores to probabilities and the best classes.

/// Softmax of `logits`: e^x / Σ e^x, shifted by the largest so that nothing overflows.
///
/// The result has as many entries, each in 0..=1, and sums to 1. An entry that is NaN or infinite
/// counts as absent and gets 0; if none is finite, all are 0.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let finite = || logits.iter().copied().filter(|x| x.is_finite());
    let largest = finite().fold(f32::NEG_INFINITY, f32::max);
    let exponential = |x: f32| f64::from(x - largest).exp();
    let sum: f64 = finite().map(exponential).sum();
    let share = |x: f32| {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "rounds a share of 0..=1 to f32"
        )]
        let share = (exponential(x) / sum) as f32;
        share
    };
    logits
        .iter()
        .map(|x| if x.is_finite() { share(*x) } else { 0.0 })
        .collect()
}

/// The `k` classes with the highest scores, best first, with their [`softmax`] probabilities.
///
/// Of equal scores the lower class index comes first. Fewer than `k` where there are fewer classes.
pub fn top_k(logits: &[f32], k: usize) -> Vec<(usize, f32)> {
    let mut classes: Vec<usize> = (0..logits.len()).collect();
    let score = |class: &usize| match logits.get(*class) {
        Some(x) if x.is_finite() => *x,
        _ => f32::NEG_INFINITY,
    };
    classes.sort_by(|a, b| score(b).total_cmp(&score(a)));
    classes.truncate(k);
    let probabilities = softmax(logits);
    let with_score = |class: usize| Some((class, *probabilities.get(class)?));
    classes.into_iter().filter_map(with_score).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hand_computed() {
        // e^0 : e^ln 3 = 1 : 3.
        let shares = softmax(&[0.0, 3_f32.ln()]);
        assert!((shares[0] - 0.25).abs() < 1e-6 && (shares[1] - 0.75).abs() < 1e-6);
    }

    #[test]
    fn best_first_and_ties_by_index() {
        let best = top_k(&[1.0, 5.0, 5.0, -2.0], 3);
        assert_eq!(
            best.iter().map(|(class, _)| *class).collect::<Vec<_>>(),
            [1, 2, 0]
        );
        assert_eq!(best[0].1, best[1].1);
        assert_eq!(top_k(&[1.0], 3).len(), 1);
        assert!(top_k(&[], 3).is_empty());
    }

    #[test]
    fn entries_that_are_not_finite_count_as_absent() {
        assert_eq!(softmax(&[f32::NAN, 1.0, f32::INFINITY]), [0.0, 1.0, 0.0]);
        assert_eq!(softmax(&[f32::NAN; 2]), [0.0, 0.0]);
        assert_eq!(top_k(&[f32::NAN, 1.0, f32::INFINITY], 1), [(1, 1.0)]);
    }

    proptest! {
        #[test]
        fn a_distribution(logits in proptest::collection::vec(-1e30_f32..1e30, 1..50)) {
            let shares = softmax(&logits);
            prop_assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-4);
            prop_assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
        }

        #[test]
        fn shift_changes_nothing(logits in proptest::collection::vec(-10_f32..10.0, 1..20)) {
            let shifted: Vec<f32> = logits.iter().map(|x| x + 100.0).collect();
            for (a, b) in softmax(&logits).iter().zip(softmax(&shifted)) {
                prop_assert!((a - b).abs() < 1e-4);
            }
        }
    }
}
