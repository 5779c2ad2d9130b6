//! What recent frames took, as a percentile.

use std::collections::VecDeque;

/// Samples kept: a second of frames at 30 a second.
const KEPT: usize = 32;
/// The share of the samples that the estimate is not below.
const PERCENT: usize = 90;

/// The newest samples of something, of which nine in ten are at most the estimate.
///
/// A mean would be exceeded by half of what comes; the maximum would let one hiccup decide for a second.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent {
    samples: VecDeque<u64>,
}

impl Recent {
    pub(super) fn add(&mut self, sample: u64) {
        if self.samples.len() == KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    pub(super) fn forget(&mut self) {
        self.samples.clear();
    }

    /// The nearest-rank percentile; zero without samples.
    pub(super) fn estimate(&self) -> u64 {
        let mut sorted: Vec<u64> = self.samples.iter().copied().collect();
        sorted.sort_unstable();
        let rank = (sorted.len() * PERCENT).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_in_ten_of_the_newest_are_at_most_the_estimate() {
        let mut recent = Recent::default();
        assert_eq!(recent.estimate(), 0);
        recent.add(7);
        assert_eq!(recent.estimate(), 7);
        (1..=100).for_each(|sample| recent.add(sample));
        // 69 to 100 are kept; the 29th of these 32 is 97.
        assert_eq!(recent.estimate(), 97);
        // One hiccup in ten does not decide.
        let mut recent = Recent::default();
        (0..20).for_each(|i| recent.add(if i % 10 == 0 { 500 } else { 5 }));
        assert_eq!(recent.estimate(), 5);
        recent.forget();
        assert_eq!(recent.estimate(), 0);
    }
}
