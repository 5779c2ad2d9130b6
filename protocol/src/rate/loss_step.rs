//! Losses that are congestion: many more than a lossy path has.

/// What each packet is charged with: above the 10 % that a path may lose by chance without being taken for
/// congested, so that those never add up.
const CHARGE: f64 = 0.15;
/// Losses in excess of the charge that are no chance any more. At 10 % of independent losses they add up
/// to so many once in a hundred thousand packets.
const EXCESS: f64 = 10.0;

/// Finds steps of loss: a cumulative sum of losses over what is tolerated (Page, 1954).
#[derive(Debug, Default)]
pub(super) struct LossStep {
    excess: f64,
}

impl LossStep {
    /// A packet has met its fate; true if with it the losses are too many.
    pub(super) fn add(&mut self, lost: bool) -> bool {
        self.excess = (self.excess + f64::from(u8::from(lost)) - CHARGE).max(0.0);
        let step = self.excess > EXCESS;
        if step {
            self.excess = 0.0;
        }
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{LossModel, LossProcess};

    fn steps(loss: f64, packets: usize) -> usize {
        let mut process = LossProcess::new(LossModel::independent(loss).unwrap(), 5);
        let mut step = LossStep::default();
        (0..packets)
            .filter(|_| step.add(process.next_is_lost()))
            .count()
    }

    #[test]
    fn what_is_tolerated_is_no_step() {
        assert!(steps(0.1, 100_000) <= 3);
        assert_eq!(steps(0.05, 100_000), 0);
    }

    #[test]
    fn a_third_lost_is_noticed_within_a_hundred_packets() {
        assert!(steps(0.33, 1_000) >= 10);
    }
}
