//! How many REPAIR packets a tensor gets ahead, and which of its packets they cover.

use super::fate::Block;
use super::loss::Loss;
use crate::fec::MAX_SOURCE;
use crate::redundancy::{Adaptive, Redundancy};

/// Most source blocks of one tensor (wire-format.md, section 4).
const MAX_BLOCKS: usize = 256;
/// Shares of a tensor's packets, from the first on, that may be protected alone.
const PREFIXES: [f64; 4] = [1.0, 0.75, 0.5, 0.25];
/// Plans kept for as long as the loss stays the same.
const CACHED: usize = 16;
/// Where the target is out of reach, the share that is bought of what the most parity would gain.
const WORTHWHILE: f64 = 0.8;
/// Where the target is out of reach, the share of the drop that the most parity has to gain, or none is
/// bought: bursts that are much longer than a tensor take its parity with it.
const HELPS: f64 = 0.2;
/// The loss counts as the same while rate and burst stay within this factor.
const SAME: f64 = 1.05;

/// The parity of one tensor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Parity {
    /// Interleaved blocks; 0 if the tensor has too many packets for FEC.
    pub(crate) blocks: usize,
    /// Source packets that are protected ahead, from the first on.
    pub(crate) protected: usize,
    /// REPAIR packets that are sent ahead, over all blocks.
    pub(crate) packets: usize,
}

impl Parity {
    /// Source packets of block `block` among the first `packets`.
    pub(crate) const fn members(&self, packets: usize, block: usize) -> usize {
        (packets + self.blocks - 1 - block) / self.blocks
    }

    /// REPAIR packets that block `block` gets ahead: the first blocks get one more.
    pub(crate) const fn ahead(&self, block: usize) -> usize {
        (self.packets + self.blocks - 1 - block) / self.blocks
    }
}

/// What a plan depends on besides the loss.
#[derive(Clone, PartialEq, Debug)]
struct Case {
    packets: usize,
    rounds: u32,
    /// Importance of the packets of each of [`PREFIXES`], in 1/64 of that of all.
    weights: [u8; PREFIXES.len()],
}

/// Plans parity, and remembers its plans: a plan costs tens of microseconds where parity is a quarter
/// at most, some milliseconds where it is twice a full block, and the tensors of a stream are alike.
#[derive(Debug)]
pub(crate) struct ParityPlanner {
    redundancy: Redundancy,
    /// What rounding down has left over of a fixed ratio, in packets.
    owed: f64,
    made_for: Option<Loss>,
    made: Vec<(Case, Parity)>,
}

impl ParityPlanner {
    pub(crate) const fn new(redundancy: Redundancy) -> Self {
        Self {
            redundancy,
            owed: 0.0,
            made_for: None,
            made: Vec::new(),
        }
    }

    /// The parity of a tensor of `packets` source packets, at least one, for which `rounds` of
    /// retransmission fit before the deadline. `weight(n)` is the share of the importance of all
    /// packets that the first n have.
    pub(crate) fn plan(
        &mut self,
        packets: usize,
        loss: Loss,
        rounds: u32,
        weight: impl Fn(usize) -> f64,
    ) -> Parity {
        let blocks = packets.div_ceil(MAX_SOURCE);
        let none = Parity {
            blocks: if blocks > MAX_BLOCKS { 0 } else { blocks },
            protected: packets,
            packets: 0,
        };
        let adaptive = match &self.redundancy {
            Redundancy::Off => return none,
            _ if none.blocks == 0 => return none,
            Redundancy::Fixed { ratio } => {
                let due = packets as f64 * ratio + self.owed;
                let whole = rounded_down(due);
                self.owed = due - whole as f64;
                return Parity {
                    packets: whole.min(most_repairs(packets, blocks)),
                    ..none
                };
            }
            Redundancy::Adaptive(adaptive) => adaptive,
        };
        let near = |a: f64, b: f64| a <= b * SAME && b <= a * SAME;
        let same = |made: Loss| near(made.rate, loss.rate) && near(made.burst, loss.burst);
        if !self.made_for.is_some_and(same) {
            self.made.clear();
            self.made_for = Some(loss);
        }
        let case = Case {
            packets,
            rounds,
            weights: PREFIXES.map(|prefix| quantised(weight(share_of(packets, prefix)))),
        };
        if let Some((_, made)) = self.made.iter().find(|(other, _)| *other == case) {
            return *made;
        }
        let plan = fewest(adaptive, &case, none, loss);
        if self.made.len() == CACHED {
            self.made.remove(0);
        }
        self.made.push((case, plan));
        plan
    }
}

/// ⌊ratio × packets⌋.
fn share_of(packets: usize, ratio: f64) -> usize {
    rounded_down(packets as f64 * ratio)
}

/// ⌊packets⌋. A millionth is forgiven, so that 0.3 of 10 is 3.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most twice 65,536 and one, never below zero by more than a millionth"
)]
fn rounded_down(packets: f64) -> usize {
    (packets + 1e-6) as usize
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and 64"
)]
fn quantised(share: f64) -> u8 {
    (share.clamp(0.0, 1.0) * 64.0).round() as u8
}

/// The REPAIR packets that `blocks` blocks can have together: k + repair index stays within 254.
const fn most_repairs(packets: usize, blocks: usize) -> usize {
    (255 - packets.div_ceil(blocks)) * blocks
}

/// The fewest REPAIR packets with which the expected drop is within the target. Where no number within the
/// cap does it, the fewest that gain most of what the cap would: the rest would be spent for next to
/// nothing. None at all where even the cap would gain next to nothing.
fn fewest(adaptive: &Adaptive, case: &Case, none: Parity, loss: Loss) -> Parity {
    let cap = share_of(case.packets, adaptive.most).min(most_repairs(case.packets, none.blocks));
    let mut plans: Vec<(Parity, f64)> = Vec::new();
    let mut enough = cap + 1;
    for (prefix, weight) in PREFIXES.into_iter().zip(case.weights) {
        let protected = share_of(case.packets, prefix);
        if protected == 0 {
            continue;
        }
        let members = protected.div_ceil(none.blocks);
        let share = f64::from(weight) / 64.0;
        let parts = [members, (case.packets - protected).div_ceil(none.blocks)];
        let path = (loss, none.blocks);
        let mut block = Block::new(&adaptive.curve, parts, share, path, case.rounds);
        for packets in (0..=cap).step_by(none.blocks).take_while(|m| *m < enough) {
            if packets > 0 {
                block.repair();
            } else if protected < case.packets {
                // Without parity there is nothing to protect.
                continue;
            }
            let drop = block.expected_drop();
            let plan = Parity {
                protected,
                packets,
                ..none
            };
            plans.push((plan, drop));
            if drop <= adaptive.target {
                enough = packets;
                break;
            }
        }
    }
    let drops = || plans.iter().map(|(_, drop)| *drop);
    let least = drops().fold(f64::INFINITY, f64::min);
    let without = plans.first().map_or(least, |(_, drop)| *drop);
    let bearable = if least <= adaptive.target {
        adaptive.target
    } else if without - least < HELPS * without {
        without
    } else {
        without - WORTHWHILE * (without - least)
    };
    plans
        .into_iter()
        .filter(|(_, drop)| *drop <= bearable)
        .min_by_key(|(plan, _)| plan.packets)
        .map_or(none, |(plan, _)| plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redundancy::AccuracyCurve;

    fn independent(rate: f64) -> Loss {
        Loss {
            rate,
            burst: 1.0 / (1.0 - rate),
        }
    }

    fn adaptive(most: f64, target: f64) -> ParityPlanner {
        ParityPlanner::new(Redundancy::Adaptive(Adaptive {
            most,
            target,
            ..Adaptive::default()
        }))
    }

    fn even(packets: usize) -> impl Fn(usize) -> f64 {
        move |first| first as f64 / packets as f64
    }

    #[test]
    fn a_fixed_ratio_is_kept_to_from_tensor_to_tensor() {
        let mut planner = ParityPlanner::new(Redundancy::Fixed { ratio: 0.3 });
        let mut plan = |packets| {
            planner
                .plan(packets, independent(0.1), 0, even(packets))
                .packets
        };
        assert_eq!([11; 10].map(&mut plan), [3, 3, 3, 4, 3, 3, 4, 3, 3, 4]);
        assert_eq!([1; 10].map(&mut plan), [0, 0, 0, 1, 0, 0, 1, 0, 0, 1]);
        let (sources, repairs) = (1..=1_000).fold((0, 0), |(sources, repairs), packets| {
            (sources + packets, repairs + plan(packets))
        });
        assert_eq!(repairs, sources * 3 / 10);
    }

    #[test]
    fn parity_is_spread_over_the_blocks() {
        let mut planner = ParityPlanner::new(Redundancy::Fixed { ratio: 0.25 });
        let mut plan = |packets| planner.plan(packets, independent(0.1), 0, even(packets));
        let large = plan(130);
        assert_eq!((large.blocks, large.packets), (3, 32));
        assert_eq!([0, 1, 2].map(|b| large.ahead(b)), [11, 11, 10]);
        assert_eq!([0, 1, 2].map(|b| large.members(130, b)), [44, 43, 43]);
        assert_eq!(plan(20_000).blocks, 0, "beyond what REPAIR can number");
    }

    #[test]
    fn three_tenths_of_ten_are_three() {
        let mut planner = ParityPlanner::new(Redundancy::Fixed { ratio: 0.3 });
        assert_eq!(planner.plan(10, independent(0.1), 0, even(10)).packets, 3);
    }

    #[test]
    fn no_loss_that_matters_needs_no_parity() {
        let plan = adaptive(0.5, 0.5).plan(11, independent(0.001), 0, even(11));
        assert_eq!(plan.packets, 0);
    }

    #[test]
    fn more_loss_needs_more_parity_while_it_helps() {
        let parity = |rate| {
            adaptive(0.5, 0.5)
                .plan(32, independent(rate), 0, even(32))
                .packets
        };
        assert!(parity(0.1) > parity(0.06));
        assert!(parity(0.2) > parity(0.1));
        assert!(
            (1..16).contains(&parity(0.3)),
            "out of reach, most of the gain is bought"
        );
    }

    /// What EfficientNet-Lite0 at add_4 loses with LMMSE.
    fn photographs(most: f64) -> ParityPlanner {
        let points = [
            (0.3, 0.8),
            (0.5, 3.2),
            (0.6, 5.2),
            (0.75, 17.7),
            (0.9, 70.0),
        ];
        ParityPlanner::new(Redundancy::Adaptive(Adaptive {
            most,
            target: 0.5,
            curve: AccuracyCurve::new(&points).unwrap(),
        }))
    }

    #[test]
    fn parity_that_hardly_helps_is_not_bought() {
        let lost = |burst| Loss { rate: 0.05, burst };
        let mut planner = photographs(0.5);
        // A burst takes the parity with what it protects.
        assert_eq!(planner.plan(11, lost(100.0), 0, even(11)).packets, 0);
        assert!(planner.plan(11, lost(4.0), 0, even(11)).packets > 0);
    }

    #[test]
    fn in_bursts_as_long_as_a_tensor_the_first_packets_are_repeated_at_its_end() {
        let bursts = Loss {
            rate: 0.2,
            burst: 4.0,
        };
        // Of eleven protected packets, two REPAIR packets restore next to nothing; of the first two, both.
        let plan = photographs(0.25).plan(11, bursts, 0, even(11));
        assert_eq!((plan.protected, plan.packets), (2, 2));
    }

    #[test]
    fn a_smaller_target_costs_more() {
        let parity = |target| {
            adaptive(1.0, target)
                .plan(32, independent(0.1), 0, even(32))
                .packets
        };
        assert!(parity(0.01) > parity(0.1));
        assert!(parity(0.1) > parity(1.0));
    }

    #[test]
    fn rounds_of_retransmission_replace_parity() {
        let parity = |rounds| {
            adaptive(0.5, 0.1)
                .plan(11, independent(0.1), rounds, even(11))
                .packets
        };
        assert!(parity(1) < parity(0));
        assert_eq!(parity(4), 0);
    }

    #[test]
    fn what_matters_most_is_protected_alone() {
        let skewed = |first: usize| 1.0 - (1.0 - first as f64 / 32.0).powi(6);
        let plan = adaptive(0.5, 0.3).plan(32, independent(0.1), 0, skewed);
        let even = adaptive(0.5, 0.3).plan(32, independent(0.1), 0, even(32));
        assert!(plan.protected < 32, "{plan:?}");
        assert!(plan.packets <= even.packets, "{plan:?} {even:?}");
    }

    #[test]
    fn a_plan_is_remembered_until_the_loss_changes() {
        let mut planner = adaptive(0.5, 0.5);
        let first = planner.plan(11, independent(0.1), 0, even(11));
        assert_eq!(planner.plan(11, independent(0.102), 0, even(11)), first);
        assert_eq!(planner.made.len(), 1);
        planner.plan(11, independent(0.3), 0, even(11));
        assert_eq!(planner.made.len(), 1, "plans for another loss are gone");
    }
}
