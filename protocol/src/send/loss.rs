//! How much the path loses, and in bursts of what length.

/// Packets after which a past fate counts 1/e: three seconds of a stream of 30 × 12 kB.
const SLOW: f64 = 1_000.0;
/// The same of the average that notices a change.
const FAST: f64 = 100.0;
/// Before anything is known, a path is taken to lose this share of packets …
const PRIOR_RATE: f64 = 0.01;
/// … and that belief weighs as much as so many packets.
const PRIOR_PACKETS: f64 = 50.0;
/// As many bursts of independent loss are believed in before any is seen.
const PRIOR_BURSTS: f64 = 2.0;
/// Standard deviations by which the fast average must differ to replace the slow one.
const CHANGE: f64 = 3.0;

/// The loss of a path: the simple Gilbert model that fits what was seen (Gilbert, 1960).
#[derive(Clone, Copy, PartialEq, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the two parameters of the model")]
pub struct Loss {
    /// Share of packets lost, 0 to 1.
    pub rate: f64,
    /// Mean number of packets lost in a row, at least 1; 1/(1 − rate) where losses are independent.
    pub burst: f64,
}

impl Loss {
    /// The correlation of the fates of two packets that follow each other, 0 to 1.
    pub(crate) fn correlation(&self) -> f64 {
        (1.0 - 1.0 / (self.burst * (1.0 - self.rate))).clamp(0.0, 0.999)
    }

    /// The probability that so many packets in a row, at least one, are all lost.
    pub(crate) fn of_all(&self, packets: usize) -> f64 {
        let after_the_first = i32::try_from(packets.saturating_sub(1)).unwrap_or(i32::MAX);
        self.rate * (1.0 - 1.0 / self.burst).powi(after_the_first)
    }
}

/// Exponentially weighted counts.
#[derive(Clone, Copy, Debug)]
struct Counts {
    memory: f64,
    packets: f64,
    losses: f64,
    bursts: f64,
}

impl Counts {
    const fn new(memory: f64) -> Self {
        Self {
            memory,
            packets: 0.0,
            losses: 0.0,
            bursts: 0.0,
        }
    }

    fn add(&mut self, lost: bool, first: bool) {
        let keep = 1.0 - 1.0 / self.memory;
        self.packets = self.packets * keep + 1.0;
        self.losses = self.losses * keep + f64::from(u8::from(lost));
        self.bursts = self.bursts * keep + f64::from(u8::from(first));
    }

    fn loss(&self) -> Loss {
        let rate = (self.losses + PRIOR_RATE * PRIOR_PACKETS) / (self.packets + PRIOR_PACKETS);
        let independent = 1.0 / (1.0 - rate);
        let burst = (self.losses + PRIOR_BURSTS * independent) / (self.bursts + PRIOR_BURSTS);
        Loss {
            rate,
            burst: burst.max(1.0),
        }
    }
}

/// Estimates [`Loss`] from the fates of packets, told in the order of their numbers.
#[derive(Clone, Debug)]
pub(crate) struct LossEstimator {
    slow: Counts,
    fast: Counts,
    in_burst: bool,
}

impl Default for LossEstimator {
    fn default() -> Self {
        Self {
            slow: Counts::new(SLOW),
            fast: Counts::new(FAST),
            in_burst: false,
        }
    }
}

impl LossEstimator {
    pub(crate) fn add(&mut self, lost: bool) {
        let first = lost && !self.in_burst;
        self.in_burst = lost;
        self.slow.add(lost, first);
        self.fast.add(lost, first);
        if self.has_changed() {
            self.slow = Counts {
                memory: SLOW,
                ..self.fast
            };
        }
    }

    /// The loss as far as it is known. Before any fate is known, 1 % of independent loss.
    pub(crate) fn loss(&self) -> Loss {
        self.slow.loss()
    }

    /// Whether the newest packets fare otherwise than chance lets those before them fare.
    fn has_changed(&self) -> bool {
        if self.slow.packets < 2.0 * FAST {
            return false;
        }
        let loss = self.slow.loss();
        let rate = loss.rate;
        // Losses of a Gilbert chain correlate with ρ from packet to packet, which multiplies the
        // variance of their mean by (1 + ρ) / (1 − ρ).
        let correlation = loss.correlation().min(0.95);
        let inflation = (1.0 + correlation) / (1.0 - correlation);
        // An exponentially weighted mean of memory N averages over 2N.
        let variance = rate * (1.0 - rate) * inflation / (2.0 * FAST);
        let newest = self.fast.losses / self.fast.packets;
        (newest - rate).abs() > CHANGE * variance.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{LossModel, LossProcess};

    fn estimate(model: LossModel, seed: u64, packets: usize) -> LossEstimator {
        let mut process = LossProcess::new(model, seed);
        let mut estimator = LossEstimator::default();
        (0..packets).for_each(|_| estimator.add(process.next_is_lost()));
        estimator
    }

    #[test]
    fn nothing_known_is_a_little_loss() {
        let loss = LossEstimator::default().loss();
        assert!((loss.rate - 0.01).abs() < 1e-9);
        assert!((loss.burst - 1.0 / 0.99).abs() < 1e-9);
    }

    #[test]
    fn rate_and_burst_are_found_on_average() {
        for (rate, burst) in [(0.05, 1.0 / 0.95), (0.1, 4.0), (0.2, 2.0)] {
            let model = LossModel::gilbert(rate, burst).unwrap();
            let found: Vec<Loss> = (0..200)
                .map(|seed| estimate(model.clone(), seed, 2_000).loss())
                .collect();
            let mean = |part: fn(&Loss) -> f64| found.iter().map(part).sum::<f64>() / 200.0;
            // The prior pulls the rate by up to 5 %; bursts cut by a change of memory are shorter.
            assert!(
                (mean(|loss| loss.rate) / rate - 1.0).abs() < 0.1,
                "{rate} {burst}"
            );
            assert!(
                (mean(|loss| loss.burst) / burst - 1.0).abs() < 0.2,
                "{rate} {burst}"
            );
        }
    }

    #[test]
    fn a_change_is_noticed_within_a_hundred_packets() {
        let mut estimator = estimate(LossModel::independent(0.01).unwrap(), 3, 5_000);
        let mut worse = LossProcess::new(LossModel::independent(0.2).unwrap(), 4);
        (0..100).for_each(|_| estimator.add(worse.next_is_lost()));
        assert!(estimator.loss().rate > 0.08, "{:?}", estimator.loss());
        (0..400).for_each(|_| estimator.add(worse.next_is_lost()));
        (0..400).for_each(|_| estimator.add(false));
        assert!(estimator.loss().rate < 0.04, "{:?}", estimator.loss());
    }
}
