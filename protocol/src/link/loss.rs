//! Models of packet loss.

use std::fmt;

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// How packets are lost.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub enum LossModel {
    /// None is lost.
    None,
    /// Each is lost on its own.
    Independent {
        /// Probability of loss, 0 to 1.
        rate: f64,
    },
    /// A chain of two states, after Gilbert (1960) and Elliott (1963). The chain steps once a packet,
    /// before its loss is drawn.
    GilbertElliott {
        /// Probability of stepping from the good state to the bad one.
        to_bad: f64,
        /// Probability of stepping from the bad state to the good one.
        to_good: f64,
        /// Probability of loss in the good state.
        loss_good: f64,
        /// Probability of loss in the bad state.
        loss_bad: f64,
    },
}

/// Why a loss model cannot be: the caller is at fault.
#[derive(Clone, Copy, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LossError {
    /// Not a probability.
    #[error("{name} of {value}; a probability is 0 to 1")]
    Probability {
        /// The parameter.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// Bursts are at least one packet long, and so long that the rate can be reached.
    #[error(
        "bursts of {burst} packets at a loss of {rate}; they must be at least 1 long, and long enough for the chain to reach the rate (rate / (1 − rate))"
    )]
    Burst {
        /// Mean length of a burst, packets.
        burst: f64,
        /// Share of packets lost.
        rate: f64,
    },
}

impl LossModel {
    /// Independent loss of a share `rate` of the packets.
    ///
    /// # Errors
    /// If the rate is not a probability.
    pub fn independent(rate: f64) -> Result<Self, LossError> {
        probability("rate", rate)?;
        Ok(if rate == 0.0 {
            Self::None
        } else {
            Self::Independent { rate }
        })
    }

    /// Gilbert's model by share of packets lost and mean length of a burst: everything is lost in
    /// the bad state, nothing in the good one. p(bad→good) = 1/burst and
    /// p(good→bad) = rate / (burst · (1 − rate)).
    ///
    /// # Errors
    /// If the rate is not a probability below 1, or no such chain exists.
    pub fn gilbert(rate: f64, burst: f64) -> Result<Self, LossError> {
        probability("rate", rate)?;
        let to_bad = rate / (burst * (1.0 - rate));
        if !burst.is_finite() || burst < 1.0 || !(0.0..=1.0).contains(&to_bad) {
            return Err(LossError::Burst { burst, rate });
        }
        Self::gilbert_elliott(to_bad, 1.0 / burst, 0.0, 1.0)
    }

    /// The general model by its four probabilities.
    ///
    /// # Errors
    /// If one of them is not a probability.
    pub fn gilbert_elliott(
        to_bad: f64,
        to_good: f64,
        loss_good: f64,
        loss_bad: f64,
    ) -> Result<Self, LossError> {
        probability("p(good→bad)", to_bad)?;
        probability("p(bad→good)", to_good)?;
        probability("loss in the good state", loss_good)?;
        probability("loss in the bad state", loss_bad)?;
        Ok(Self::GilbertElliott {
            to_bad,
            to_good,
            loss_good,
            loss_bad,
        })
    }

    /// The share of packets lost in the long run.
    pub fn rate(&self) -> f64 {
        match *self {
            Self::None => 0.0,
            Self::Independent { rate } => rate,
            Self::GilbertElliott {
                to_bad,
                to_good,
                loss_good,
                loss_bad,
            } => {
                let bad = self.share_bad(to_bad, to_good);
                bad * loss_bad + (1.0 - bad) * loss_good
            }
        }
    }

    fn share_bad(&self, to_bad: f64, to_good: f64) -> f64 {
        if to_bad == 0.0 {
            0.0
        } else {
            to_bad / (to_bad + to_good)
        }
    }
}

impl fmt::Display for LossModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no loss"),
            Self::Independent { rate } => write!(f, "{} % i.i.d.", rate * 100.0),
            Self::GilbertElliott {
                to_bad,
                to_good,
                loss_good,
                loss_bad,
            } => write!(
                f,
                "Gilbert–Elliott p={to_bad:.4} r={to_good:.4} loss good {loss_good} bad {loss_bad}"
            ),
        }
    }
}

fn probability(name: &'static str, value: f64) -> Result<(), LossError> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(LossError::Probability { name, value })
    }
}

/// A loss model at work: the fate of packet after packet, the same for the same seed.
#[derive(Clone, Debug)]
pub struct LossProcess {
    model: LossModel,
    random: Xoshiro256PlusPlus,
    bad: bool,
}

impl LossProcess {
    /// The process of `model` with this seed. The first state is drawn from the long-run shares.
    pub fn new(model: LossModel, seed: u64) -> Self {
        let mut process = Self {
            model,
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            bad: false,
        };
        if let LossModel::GilbertElliott {
            to_bad, to_good, ..
        } = model
        {
            process.bad = process.draw(model.share_bad(to_bad, to_good));
        }
        process
    }

    /// Whether the next packet is lost.
    pub fn next_is_lost(&mut self) -> bool {
        match self.model {
            LossModel::None => false,
            LossModel::Independent { rate } => self.draw(rate),
            LossModel::GilbertElliott {
                to_bad,
                to_good,
                loss_good,
                loss_bad,
            } => {
                let step = self.draw(if self.bad { to_good } else { to_bad });
                self.bad ^= step;
                self.draw(if self.bad { loss_bad } else { loss_good })
            }
        }
    }

    fn draw(&mut self, probability: f64) -> bool {
        uniform(&mut self.random) < probability
    }
}

/// A number of [0, 1) with 53 random bits.
pub fn uniform(random: &mut impl Rng) -> f64 {
    (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(model: LossModel, seed: u64, n: usize) -> Vec<bool> {
        let mut process = LossProcess::new(model, seed);
        (0..n).map(|_| process.next_is_lost()).collect()
    }

    /// Mean length of the runs of lost packets.
    fn mean_burst(fates: &[bool]) -> f64 {
        let bursts = fates.chunk_by(|a, b| a == b).filter(|run| run[0]).count();
        fates.iter().filter(|lost| **lost).count() as f64 / bursts as f64
    }

    #[test]
    fn independent_loss_has_its_rate_and_no_memory() {
        let model = LossModel::independent(0.1).unwrap();
        let fates = fates(model, 1, 200_000);
        let rate = fates.iter().filter(|lost| **lost).count() as f64 / fates.len() as f64;
        // Five standard deviations: sqrt(0.09 / 200,000) = 0.00067.
        assert!((rate - 0.1).abs() < 0.0034, "{rate}");
        assert!((mean_burst(&fates) - 1.0 / 0.9).abs() < 0.02);
    }

    #[test]
    fn gilbert_has_its_rate_and_burst_length() {
        for (rate, burst) in [(0.05, 4.0), (0.2, 2.0), (0.3, 7.0)] {
            let model = LossModel::gilbert(rate, burst).unwrap();
            assert!((model.rate() - rate).abs() < 1e-12);
            let fates = fates(model, 7, 400_000);
            let measured = fates.iter().filter(|lost| **lost).count() as f64 / fates.len() as f64;
            assert!((measured - rate).abs() < 0.01, "{measured} for {rate}");
            assert!(
                (mean_burst(&fates) - burst).abs() < 0.15,
                "{} for {burst}",
                mean_burst(&fates)
            );
        }
    }

    #[test]
    fn a_seed_decides_everything() {
        let model = LossModel::gilbert(0.1, 3.0).unwrap();
        assert_eq!(fates(model, 5, 1_000), fates(model, 5, 1_000));
        assert_ne!(fates(model, 5, 1_000), fates(model, 6, 1_000));
    }

    #[test]
    fn what_is_no_probability_is_refused() {
        assert!(LossModel::independent(1.1).is_err());
        assert!(LossModel::independent(f64::NAN).is_err());
        assert!(LossModel::gilbert(0.1, 0.5).is_err());
        assert!(LossModel::gilbert(1.0, 4.0).is_err());
        assert!(
            LossModel::gilbert(0.9, 2.0).is_err(),
            "the chain cannot be bad so often"
        );
        assert!(LossModel::gilbert_elliott(0.1, 0.2, -0.1, 1.0).is_err());
    }
}
