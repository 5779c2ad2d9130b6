//! The whole share that arithmetic expects.

use crate::statistics::Interval;

/// The quantile of the normal distribution for 99.9 %, two-sided.
const Z: f64 = 3.290_526_731_491_895;

/// Probability that a tensor of `k` source packets with `repairs` REPAIR packets in the mean, some with one
/// more than others (wire-format.md, 4.5.2), is whole where each packet is lost with probability `rate`,
/// independently.
pub(super) fn whole(k: u32, repairs: f64, rate: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most twice 64, never below zero"
    )]
    let fewer = repairs as u32;
    let more = repairs.fract();
    with(k, fewer, rate) * (1.0 - more) + with(k, fewer + 1, rate) * more
}

/// The same of a tensor with `m` REPAIR packets: at most m of the k + m are lost.
fn with(k: u32, m: u32, rate: f64) -> f64 {
    let all = k + m;
    let mut probability = (1.0 - rate).powi(i32::try_from(all).unwrap_or(i32::MAX));
    let mut whole = 0.0;
    for lost in 0..=m {
        whole += probability;
        let odds = rate / (1.0 - rate);
        probability *= f64::from(all - lost) / f64::from(lost + 1) * odds;
    }
    whole.min(1.0)
}

/// The 99.9 % Wilson score interval of a share (Wilson, JASA 22, 1927).
pub(super) fn interval(share: f64, trials: usize) -> Interval {
    let n = trials.max(1) as f64;
    let centre = share + Z * Z / (2.0 * n);
    let reach = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    Interval {
        low: ((centre - reach) / scale).max(0.0),
        high: ((centre + reach) / scale).min(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_parity_every_packet_must_arrive() {
        assert!((whole(11, 0.0, 0.1) - 0.9_f64.powi(11)).abs() < 1e-12);
    }

    #[test]
    fn with_parity_as_many_may_be_lost() {
        // Σ C(5, i) 0.2^i 0.8^(5 − i) for i = 0, 1, 2.
        assert!((whole(3, 2.0, 0.2) - 0.942_08).abs() < 1e-9);
        assert!((whole(3, 3.0, 0.0) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn between_two_numbers_of_repairs_tensors_have_the_one_or_the_other() {
        let [two, three] = [2, 3].map(|m| with(11, m, 0.1));
        assert!((whole(11, 2.75, 0.1) - (two + 3.0 * three) / 4.0).abs() < 1e-12);
        // What binary fractions make of 0.3 is three tenths.
        assert!((whole(10, 10.0 * 0.3, 0.1) - with(10, 3, 0.1)).abs() < 1e-12);
    }

    #[test]
    fn the_interval_holds_the_share_and_has_a_width() {
        for share in [0.0, 0.5, 0.999, 1.0] {
            let interval = interval(share, 1_000);
            assert!(interval.low <= share && share <= interval.high);
            assert!(interval.high - interval.low > 0.005);
        }
    }
}
