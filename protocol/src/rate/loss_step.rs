//! Losses that are congestion: many more than a lossy path has.

/// What each packet is charged with: above the 10 % that a path may lose by chance without being taken for
/// congested, so that those never add up.
const CHARGE: f64 = 0.15;
/// Losses in excess of the charge that are no chance any more: neither 10 % of independent losses nor bursts
/// of a radio link add up to so many.
const EXCESS: f64 = 30.0;

/// Finds steps of loss: a cumulative sum of losses over what is tolerated (Page, 1954).
#[derive(Clone, Debug, Default)]
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

    fn steps(model: LossModel, packets: usize) -> usize {
        let mut process = LossProcess::new(model, 5);
        let mut step = LossStep::default();
        (0..packets)
            .filter(|_| step.add(process.next_is_lost()))
            .count()
    }

    #[test]
    fn what_is_tolerated_is_no_step() {
        let independent = LossModel::independent(0.1).unwrap();
        assert_eq!(steps(independent, 1_000_000), 0);
        let bursts = LossModel::gilbert(0.05, 4.0).unwrap();
        let steps = steps(bursts, 1_000_000);
        assert!(steps <= 5, "{steps}");
    }

    #[test]
    fn a_third_lost_is_noticed_within_two_hundred_packets() {
        let third = LossModel::independent(0.33).unwrap();
        assert!(steps(third, 2_000) >= 10);
    }
}
