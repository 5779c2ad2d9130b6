//! Shares of counts, with their intervals.

use serde::Serialize;

/// The 97.5 % point of the normal distribution.
pub(crate) const Z: f64 = 1.959_963_984_540_054;

/// So many of so many.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Share {
    /// 0 to 1.
    pub(crate) value: f64,
    /// The 95 % interval.
    pub(crate) interval: [f64; 2],
}

impl Share {
    /// `hits` of `trials` with the Wilson score interval (Wilson, JASA 22, 1927); none of nothing.
    pub(crate) fn of(hits: u64, trials: u64) -> Option<Self> {
        if trials == 0 {
            return None;
        }
        let (n, square) = (trials as f64, Z * Z);
        let value = hits as f64 / n;
        let middle = value + square / (2.0 * n);
        let half = Z * (value * (1.0 - value) / n + square / (4.0 * n * n)).sqrt();
        let scale = 1.0 + square / n;
        Some(Self {
            value,
            interval: [
                ((middle - half) / scale).max(0.0),
                ((middle + half) / scale).min(1.0),
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn by_hand() {
        // Wilson's interval of 9 of 10: 0.5958 to 0.9821.
        let share = Share::of(9, 10).unwrap();
        let [low, high] = share.interval;
        assert!((low - 0.5958).abs() < 1e-4 && (high - 0.9821).abs() < 1e-4);
        assert_eq!(Share::of(0, 0), None);
        let none = Share::of(0, 10).unwrap().interval;
        assert_eq!(none[0], 0.0);
        assert!((none[1] - 0.2775).abs() < 1e-4);
    }

    proptest! {
        #[test]
        fn the_share_is_within_its_interval(trials in 1_u64..1_000_000, part in 0.0..=1.0_f64) {
            let hits = crate::quantity::rounded(part * trials as f64);
            let Share { value, interval: [low, high] } = Share::of(hits, trials).unwrap();
            prop_assert!(0.0 <= low && low <= value + 1e-12 && value <= high + 1e-12 && high <= 1.0);
        }
    }
}
