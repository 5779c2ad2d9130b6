//! Maximum likelihood of the chain of two states, by expectation and maximisation.
//!
//! The method is that of Baum, Petrie, Soules and Weiss (Annals of Mathematical Statistics 41, 1970),
//! scaled as by Rabiner (Proceedings of the IEEE 77, 1989, section V.A): forwards the probability of the
//! bad state given the fates so far, backwards that given all. With two states, both are one number a
//! packet.

/// A chain of two states that loses packets in each with a probability of its own.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Chain {
    /// Probability that the first packet meets the bad state.
    pub(super) start_bad: f64,
    /// Probability of stepping from the good state to the bad one.
    pub(super) to_bad: f64,
    /// Probability of stepping from the bad state to the good one.
    pub(super) to_good: f64,
    /// Probability of loss in the good state.
    pub(super) loss_good: f64,
    /// Probability of loss in the bad state.
    pub(super) loss_bad: f64,
}

/// What is expected of the states, given all fates.
#[derive(Default)]
struct Expected {
    /// Packets in the state, and those of them that are lost.
    good: (f64, f64),
    bad: (f64, f64),
    /// Packets in the state that are followed by another packet, and how many of these by a step.
    from_good: (f64, f64),
    from_bad: (f64, f64),
    start_bad: f64,
}

/// The logarithm of a product of very many factors.
struct LogProduct {
    logarithm: f64,
    product: f64,
}

impl LogProduct {
    const fn new() -> Self {
        Self {
            logarithm: 0.0,
            product: 1.0,
        }
    }

    fn multiply(&mut self, factor: f64) {
        self.product *= factor;
        // A logarithm every few dozen factors, long before the product runs out of exponent. What is
        // left at zero says that the sequence is impossible.
        if self.product < 1e-100 {
            self.logarithm += self.product.ln();
            self.product = 1.0;
        }
    }

    fn get(&self) -> f64 {
        self.logarithm + self.product.ln()
    }
}

impl Chain {
    /// Probability of this fate in the good and in the bad state.
    const fn emits(&self, lost: bool) -> (f64, f64) {
        if lost {
            (self.loss_good, self.loss_bad)
        } else {
            (1.0 - self.loss_good, 1.0 - self.loss_bad)
        }
    }

    /// Probability of the bad state a packet after it had probability `bad`.
    const fn steps(&self, bad: f64) -> f64 {
        bad * (1.0 - self.to_good) + (1.0 - bad) * self.to_bad
    }

    /// The natural logarithm of the likelihood of these fates; −∞ if they cannot be. The probability
    /// of the bad state after each packet, given the fates up to it, goes to `filtered`.
    fn forward(&self, fates: impl Iterator<Item = bool>, mut filtered: impl FnMut(f64)) -> f64 {
        let mut likelihood = LogProduct::new();
        let mut predicted = self.start_bad;
        for lost in fates {
            let (good, bad) = self.emits(lost);
            let (good, bad) = ((1.0 - predicted) * good, predicted * bad);
            let both = good + bad;
            if both <= 0.0 {
                return f64::NEG_INFINITY;
            }
            likelihood.multiply(both);
            let now = bad / both;
            filtered(now);
            predicted = self.steps(now);
        }
        likelihood.get()
    }

    /// The natural logarithm of the likelihood of these fates; −∞ if they cannot be.
    pub(super) fn log_likelihood(&self, fates: impl Iterator<Item = bool>) -> f64 {
        self.forward(fates, |_| ())
    }

    /// The expectations, from the probabilities that `forward` gave.
    fn backward(&self, fates: &[bool], filtered: &[f64]) -> Expected {
        let mut expected = Expected::default();
        // Of the packet behind: the probability of the bad state given all fates.
        let mut after: Option<f64> = None;
        for (&lost, &now) in fates.iter().zip(filtered).rev() {
            let bad = match after {
                None => now,
                Some(after) => {
                    let predicted = self.steps(now);
                    let share = |joint: f64, of: f64| if of > 0.0 { joint / of } else { 0.0 };
                    // Both states now, given the state behind them, times the probability of that.
                    let turned_bad = share((1.0 - now) * self.to_bad, predicted) * after;
                    let stayed_bad = share(now * (1.0 - self.to_good), predicted) * after;
                    let turned_good = share(now * self.to_good, 1.0 - predicted) * (1.0 - after);
                    let bad = (stayed_bad + turned_good).clamp(0.0, 1.0);
                    expected.from_good.0 += 1.0 - bad;
                    expected.from_good.1 += turned_bad;
                    expected.from_bad.0 += bad;
                    expected.from_bad.1 += turned_good;
                    bad
                }
            };
            expected.good.0 += 1.0 - bad;
            expected.bad.0 += bad;
            if lost {
                expected.good.1 += 1.0 - bad;
                expected.bad.1 += bad;
            }
            expected.start_bad = bad;
            after = Some(bad);
        }
        expected
    }

    /// One step: the likelihood of this chain, and a chain that is at least as likely. `filtered` is
    /// scratch.
    pub(super) fn improved(&self, fates: &[bool], filtered: &mut Vec<f64>) -> (f64, Self) {
        filtered.clear();
        let likelihood = self.forward(fates.iter().copied(), |bad| filtered.push(bad));
        if likelihood == f64::NEG_INFINITY {
            return (likelihood, *self);
        }
        let expected = self.backward(fates, filtered);
        // A state that is never visited keeps its figures.
        let share = |(of, part): (f64, f64), kept: f64| {
            if of > 0.0 {
                (part / of).clamp(0.0, 1.0)
            } else {
                kept
            }
        };
        let better = Self {
            start_bad: expected.start_bad,
            to_bad: share(expected.from_good, self.to_bad),
            to_good: share(expected.from_bad, self.to_good),
            loss_good: share(expected.good, self.loss_good),
            loss_bad: share(expected.bad, self.loss_bad),
        };
        (likelihood, better)
    }

    /// The likeliest chain that can be climbed to from these, the one that looks best after a few
    /// steps being followed. Takes 8 bytes a packet, and at most `MOST_STEPS` and a few passes over
    /// the fates.
    pub(super) fn climb(starts: &[Self], fates: &[bool]) -> Option<Self> {
        /// Steps from each start before one is chosen.
        const FIRST_STEPS: usize = 20;
        /// Steps from there.
        const MOST_STEPS: usize = 500;
        /// A gain of the logarithm of the likelihood below this is none.
        const GAIN: f64 = 1e-5;

        let mut filtered = Vec::with_capacity(fates.len());
        let mut best: Option<(f64, Self)> = None;
        for start in starts {
            let mut chain = *start;
            for _ in 0..FIRST_STEPS {
                chain = chain.improved(fates, &mut filtered).1;
            }
            let likelihood = chain.log_likelihood(fates.iter().copied());
            if best.is_none_or(|(before, _)| likelihood > before) {
                best = Some((likelihood, chain));
            }
        }
        let (mut before, mut chain) = best?;
        for step in 0..MOST_STEPS {
            let (likelihood, better) = chain.improved(fates, &mut filtered);
            if step > 0 && likelihood - before < GAIN {
                break;
            }
            (before, chain) = (likelihood, better);
        }
        Some(chain.bad_is_worse())
    }

    /// The same chain, the bad state being the one that loses more.
    const fn bad_is_worse(self) -> Self {
        if self.loss_bad >= self.loss_good {
            return self;
        }
        Self {
            start_bad: 1.0 - self.start_bad,
            to_bad: self.to_good,
            to_good: self.to_bad,
            loss_good: self.loss_bad,
            loss_bad: self.loss_good,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHAIN: Chain = Chain {
        start_bad: 0.3,
        to_bad: 0.1,
        to_good: 0.4,
        loss_good: 0.05,
        loss_bad: 0.7,
    };

    fn arb_chain() -> impl Strategy<Value = Chain> {
        let share = || prop_oneof![8 => 0.0..=1.0, 1 => Just(0.0), 1 => Just(1.0)];
        (share(), share(), share(), share(), share()).prop_map(|figures| Chain {
            start_bad: figures.0,
            to_bad: figures.1,
            to_good: figures.2,
            loss_good: figures.3,
            loss_bad: figures.4,
        })
    }

    /// The likelihood by summing over all paths through the states.
    fn over_all_paths(chain: &Chain, fates: &[bool]) -> f64 {
        let mut sum = 0.0;
        for path in 0..1_u32 << fates.len() {
            let bad = |at: usize| path >> at & 1 == 1;
            let mut product = 1.0;
            for (at, lost) in fates.iter().enumerate() {
                let to_bad = match at.checked_sub(1) {
                    None => chain.start_bad,
                    Some(before) if bad(before) => 1.0 - chain.to_good,
                    Some(_) => chain.to_bad,
                };
                let loss = if bad(at) {
                    chain.loss_bad
                } else {
                    chain.loss_good
                };
                product *= if bad(at) { to_bad } else { 1.0 - to_bad };
                product *= if *lost { loss } else { 1.0 - loss };
            }
            sum += product;
        }
        sum
    }

    #[test]
    fn long_sequences_do_not_underflow() {
        let fates: Vec<bool> = (0..100_000).map(|i| i % 7 < 2).collect();
        let likelihood = CHAIN.log_likelihood(fates.iter().copied());
        assert!(
            likelihood.is_finite() && likelihood < -20_000.0,
            "{likelihood}"
        );
    }

    proptest! {
        #[test]
        fn the_likelihood_is_the_sum_over_all_paths(
            chain in arb_chain(),
            fates in proptest::collection::vec(any::<bool>(), 1..10),
        ) {
            let (got, expected) =
                (chain.log_likelihood(fates.iter().copied()).exp(), over_all_paths(&chain, &fates));
            prop_assert!((got - expected).abs() <= 1e-12, "{} {}", got, expected);
        }

        /// The theorem of Baum and others, section 3: no step makes the fates less likely.
        #[test]
        fn no_step_loses_likelihood(
            start in arb_chain(),
            fates in proptest::collection::vec(prop_oneof![3 => Just(false), 1 => Just(true)], 1..200),
        ) {
            let mut filtered = vec![];
            let (mut before, mut chain) = start.improved(&fates, &mut filtered);
            for _ in 0..30 {
                let (likelihood, better) = chain.improved(&fates, &mut filtered);
                prop_assert!(likelihood >= before - 1e-9 * before.abs().max(1.0), "{:?}", chain);
                for figure in [better.to_bad, better.to_good, better.loss_good, better.loss_bad] {
                    prop_assert!((0.0..=1.0).contains(&figure), "{:?}", better);
                }
                (before, chain) = (likelihood, better);
            }
        }
    }
}
