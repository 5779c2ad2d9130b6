//! Sequences that can only rise.

/// The rising sequence of least squared distance, each value counting as often as its weight says, and
/// none below zero (pool adjacent violators: Ayer and others, Annals of Mathematical Statistics 26,
/// 1955): losing more never helps, and where it seems to, the measurement was too small to tell.
///
/// A value of weight 0 takes the value before it.
#[must_use]
pub fn rising(values: &[(f64, f64)]) -> Vec<f64> {
    // Runs of equal values: their sum, their weight and their number.
    let mut runs: Vec<(f64, f64, usize)> = vec![];
    let mean = |(sum, weight, _): (f64, f64, usize)| sum / weight;
    for &(value, weight) in values {
        let mut run = (value * weight, weight, 1);
        while let Some(before) = runs.pop() {
            if run.1 > 0.0 && (before.1 == 0.0 || mean(before) < mean(run)) {
                runs.push(before);
                break;
            }
            run = (before.0 + run.0, before.1 + run.1, before.2 + run.2);
        }
        runs.push(run);
    }
    let value = |run: (f64, f64, usize)| if run.1 > 0.0 { mean(run).max(0.0) } else { 0.0 };
    runs.into_iter()
        .flat_map(|run| std::iter::repeat_n(value(run), run.2))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn alike(values: &[f64]) -> Vec<f64> {
        let values = values.iter().map(|&value| (value, 1.0));
        rising(&values.collect::<Vec<_>>())
    }

    #[test]
    fn violators_are_pooled() {
        assert_eq!(alike(&[1.0, 3.0, 2.0, 4.0]), [1.0, 2.5, 2.5, 4.0]);
        assert_eq!(alike(&[3.0, 2.0, 1.0, 8.0]), [2.0, 2.0, 2.0, 8.0]);
        assert_eq!(alike(&[-0.5, 0.1, -0.2, 1.0]), [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(alike(&[]), [0.0; 0]);
        let weighed = [(1.0, 1.0), (4.0, 3.0), (0.0, 1.0), (9.0, 0.0)];
        assert_eq!(rising(&weighed), [1.0, 3.0, 3.0, 3.0]);
        let unknown = [(5.0, 0.0), (2.0, 1.0)];
        assert_eq!(rising(&unknown), [0.0, 2.0]);
    }

    proptest! {
        #[test]
        fn what_rises_stays_and_the_rest_rises(
            mut values in proptest::collection::vec((0.0..100.0_f64, 0.1..10.0_f64), 1..40),
        ) {
            let smooth = rising(&values);
            prop_assert_eq!(smooth.len(), values.len());
            prop_assert!(smooth.is_sorted());
            let sum: f64 = values.iter().map(|(value, weight)| value * weight).sum();
            let after: f64 = smooth.iter().zip(&values).map(|(value, (_, weight))| value * weight).sum();
            prop_assert!((sum - after).abs() < 1e-6);
            values.sort_by(|a, b| a.0.total_cmp(&b.0));
            for ((value, _), smooth) in values.iter().zip(rising(&values)) {
                prop_assert!((value - smooth).abs() < 1e-9);
            }
        }
    }
}
