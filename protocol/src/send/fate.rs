//! What becomes of the packets of a block on a path that loses them one by one or in bursts.

use super::loss::Loss;
use crate::redundancy::AccuracyCurve;

/// A block on a path with Gilbert loss: its protected packets, then those that have no parity, then its
/// REPAIR packets. They fare together: a burst that takes the one takes the other.
pub(super) struct Block {
    path: Steps,
    /// Probability that a block which misses so many packets too many stays broken: that not each of as
    /// many retransmitted ones arrives in one of the rounds that are left.
    fails: Vec<f64>,
    /// By the number of protected packets lost, where the last source packet is lost, and where it is kept:
    /// the drop that is expected if they are recovered and if they are not, times the probability.
    drops: Vec<[Drops; 2]>,
    /// The same two cases: the probability of each number of REPAIR packets lost.
    repairs: [Vec<Fate>; 2],
}

/// Probabilities where the last packet is lost, and where it is kept.
pub(super) type Fate = [f64; 2];

/// Expected drops.
#[derive(Clone, Copy, Default)]
struct Drops {
    recovered: f64,
    broken: f64,
}

impl Block {
    /// A block of a tensor in `blocks` blocks that protects `sources` packets that have the share
    /// `protected` of all importance, beside `others` that have no parity, where there is time for `rounds`
    /// of retransmission.
    pub(super) fn new(
        curve: &AccuracyCurve,
        [sources, others]: [usize; 2],
        protected: f64,
        (loss, blocks): (Loss, usize),
        rounds: u32,
    ) -> Self {
        let path = Steps::new(loss, blocks);
        let retry = loss.rate.powi(rounds.try_into().unwrap_or(i32::MAX));
        let arrive = std::iter::successors(Some(1.0), |all| Some(all * (1.0 - retry)));
        let share = |lost: usize, of: usize| lost as f64 / of.max(1) as f64;
        let drops = path.sources(sources, others).into_iter().enumerate();
        let drops = drops.map(|(lost, by_others)| {
            let mut drops = [Drops::default(); 2];
            for (others_lost, fate) in by_others.into_iter().enumerate() {
                let missing = share(others_lost, others) * (1.0 - protected) * retry;
                let recovered = curve.drop_at(missing);
                let broken = curve.drop_at(missing + share(lost, sources) * protected);
                for (drops, probability) in drops.iter_mut().zip(fate) {
                    drops.recovered += probability * recovered;
                    drops.broken += probability * broken;
                }
            }
            drops
        });
        Self {
            drops: drops.collect(),
            path,
            fails: arrive.map(|all| 1.0 - all).take(sources + 1).collect(),
            repairs: [vec![[1.0, 0.0]], vec![[0.0, 1.0]]],
        }
    }

    /// One REPAIR packet more.
    pub(super) fn repair(&mut self) {
        for repairs in &mut self.repairs {
            *repairs = self.path.one_more(repairs);
        }
    }

    /// The expected drop in accuracy.
    pub(super) fn expected_drop(&self) -> f64 {
        let mut expected = 0.0;
        for (lost, drops) in self.drops.iter().enumerate() {
            for (drops, repairs) in drops.iter().zip(&self.repairs) {
                let sent = repairs.len() - 1;
                let fails: f64 = repairs
                    .iter()
                    .enumerate()
                    .map(|(repairs_lost, [gone, here])| {
                        (gone + here) * self.fails[(lost + repairs_lost).saturating_sub(sent)]
                    })
                    .sum();
                expected += fails * drops.broken + (1.0 - fails) * drops.recovered;
            }
        }
        expected
    }
}

/// The chain of the fates of the packets of a block.
pub(super) struct Steps {
    rate: f64,
    to_bad: f64,
    to_good: f64,
}

impl Steps {
    /// Of a block that has every `blocks`th of the packets of the path.
    pub(super) fn new(loss: Loss, blocks: usize) -> Self {
        let rate = loss.rate.clamp(0.0, 0.999);
        // The chain taken every `blocks` packets: its correlation is a power.
        let correlation = loss
            .correlation()
            .powi(i32::try_from(blocks).unwrap_or(i32::MAX));
        Self {
            rate,
            to_bad: rate * (1.0 - correlation),
            to_good: (1.0 - rate) * (1.0 - correlation),
        }
    }

    /// Before the first packet, so that it is lost at the mean rate.
    pub(super) fn none(&self) -> Vec<Fate> {
        vec![[self.rate, 1.0 - self.rate]]
    }

    /// Where the next packet goes.
    fn step(&self, [lost, kept]: Fate) -> Fate {
        [
            lost * (1.0 - self.to_good) + kept * self.to_bad,
            lost * self.to_good + kept * (1.0 - self.to_bad),
        ]
    }

    /// The probability of each number of packets lost, from that of one packet less.
    pub(super) fn one_more(&self, before: &[Fate]) -> Vec<Fate> {
        let mut after = vec![[0.0; 2]; before.len() + 1];
        for (number, &fate) in before.iter().enumerate() {
            let [gone, here] = self.step(fate);
            after[number + 1][0] += gone;
            after[number][1] += here;
        }
        after
    }

    /// The probability of losing so many of the first `sources` packets and so many of the `others` that
    /// follow them, by the one and then the other.
    fn sources(&self, sources: usize, others: usize) -> Vec<Vec<Fate>> {
        let mut first = self.none();
        for _ in 0..sources {
            first = self.one_more(&first);
        }
        let follow = |fate: Fate| {
            let mut following = vec![fate];
            for _ in 0..others {
                following = self.one_more(&following);
            }
            following
        };
        first.into_iter().map(follow).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{LossModel, LossProcess};

    #[test]
    fn the_chain_agrees_with_the_process() {
        const RUNS: usize = 100_000;
        let loss = Loss {
            rate: 0.1,
            burst: 3.0,
        };
        let curve = AccuracyCurve::new(&[(1e-9, 100.0)]).unwrap();
        let mut block = Block::new(&curve, [10, 0], 1.0, (loss, 1), 0);
        (0..3).for_each(|_| block.repair());
        let model = LossModel::gilbert(loss.rate, loss.burst).unwrap();
        let mut fails = 0;
        for seed in 0..RUNS as u64 {
            let mut process = LossProcess::new(model.clone(), seed);
            let lost: Vec<bool> = (0..13).map(|_| process.next_is_lost()).collect();
            let sources = lost[..10].iter().filter(|lost| **lost).count();
            let all = lost.iter().filter(|lost| **lost).count();
            fails += usize::from(sources > 0 && all > 3);
        }
        let (expected, measured) = (block.expected_drop() / 100.0, fails as f64 / RUNS as f64);
        // Five standard deviations of the measurement.
        let reach = 5.0 * (expected / RUNS as f64).sqrt();
        assert!((expected - measured).abs() < reach, "{expected} {measured}");
    }

    #[test]
    fn what_is_protected_and_what_is_not_fare_together() {
        const RUNS: usize = 100_000;
        let loss = Loss {
            rate: 0.1,
            burst: 4.0,
        };
        // Only the loss of nearly everything costs.
        let curve = AccuracyCurve::new(&[(0.79, 0.0), (0.8, 100.0), (1.0, 100.0)]).unwrap();
        let mut block = Block::new(&curve, [5, 5], 0.5, (loss, 1), 0);
        (0..2).for_each(|_| block.repair());
        let model = LossModel::gilbert(loss.rate, loss.burst).unwrap();
        let mut ruined = 0;
        for seed in 0..RUNS as u64 {
            let mut process = LossProcess::new(model.clone(), seed);
            let lost: Vec<bool> = (0..12).map(|_| process.next_is_lost()).collect();
            let count = |part: &[bool]| part.iter().filter(|lost| **lost).count();
            let (first, others, repairs) =
                (count(&lost[..5]), count(&lost[5..10]), count(&lost[10..]));
            let first = if first + repairs > 2 { first } else { 0 };
            ruined += usize::from(first + others >= 8);
        }
        let (expected, measured) = (block.expected_drop() / 100.0, ruined as f64 / RUNS as f64);
        let reach = 5.0 * (expected / RUNS as f64).sqrt();
        assert!((expected - measured).abs() < reach, "{expected} {measured}");
    }
}
