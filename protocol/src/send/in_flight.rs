//! One tensor on its way: its source packets, what became of them, and what it is short of.

use std::collections::VecDeque;
use std::time::Duration;

use super::fate::Steps;
use super::loss::Loss;
use super::outlook::Outlook;
use super::parity::Parity;
use crate::time::Time;

/// Probability of failing that each of the two parts of the last round of retransmission may have.
const PART_FAILS: f64 = 0.01;
/// Probability of losing all packets of a tensor from which on their silence is not waited out.
const PLAUSIBLE: f64 = 1e-4;

/// What waits to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    Source {
        tensor: u64,
        index: u32,
    },
    Repair {
        tensor: u64,
        block: u16,
        ahead: bool,
    },
}

impl Order {
    pub(super) const fn tensor(&self) -> u64 {
        match self {
            Self::Source { tensor, .. } | Self::Repair { tensor, .. } => *tensor,
        }
    }
}

#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Source {
    /// Copies on their way.
    pub(super) copies: u8,
    pub(super) arrived: bool,
    /// Whether a copy was lost.
    pub(super) missed: bool,
    /// How often it was taken for lost since the peer was last heard of.
    pub(super) blind: u8,
}

impl Source {
    pub(super) const fn is_lost(self) -> bool {
        self.copies == 0 && !self.arrived
    }
}

/// The REPAIR packets of one source block.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Block {
    /// Those made ahead, and those of them that are not known to be lost.
    pub(super) made_ahead: u8,
    pub(super) alive_ahead: u8,
    /// The same of those that were made on demand.
    pub(super) made: u8,
    pub(super) alive: u8,
    /// Those of the second part of the last repairs.
    pub(super) second: u8,
}

#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) id: u64,
    pub(super) deadline: Time,
    /// When its newest packet was sent.
    pub(super) newest: Time,
    /// Symbols of the source packets sent so far, one after another, and where each ends.
    pub(super) symbols: Vec<u8>,
    pub(super) ends: Vec<usize>,
    pub(super) sources: Vec<Source>,
    pub(super) blocks: Vec<Block>,
    /// Once all source packets are sent.
    pub(super) parity: Option<Parity>,
    /// Importance of the source packets up to each.
    pub(super) weights: Vec<f32>,
    /// Whether the receiver has released it. Kept only for blocks that span it.
    pub(super) ended: bool,
    /// Whether a loss is news.
    pub(super) dirty: bool,
    /// Whether it was taken for lost with all its packets.
    pub(super) silent: bool,
    /// When the second part of its last repairs is due.
    pub(super) second: Option<Time>,
    /// Whether lost packets are kept back until the peer is heard of.
    pub(super) muted: bool,
    /// Whether packets were taken for lost since the peer was last heard of.
    pub(super) blind: bool,
}

impl InFlight {
    pub(super) fn symbol(&self, index: usize) -> &[u8] {
        let start = index
            .checked_sub(1)
            .and_then(|before| self.ends.get(before))
            .copied()
            .unwrap_or(0);
        let end = self.ends.get(index).copied().unwrap_or(start);
        self.symbols.get(start..end).unwrap_or_default()
    }

    /// When it is taken for lost with all its packets, as no report tells of them: once one is overdue by the
    /// first of the waits. Only where nothing would arrive in time any more after the second, and where the
    /// path loses so many packets in a row now and then.
    pub(super) fn silent_from(
        &self,
        outlook: Outlook,
        [timeout, patience]: [Duration; 2],
    ) -> Option<Time> {
        let parity = self.parity?.packets;
        let from = self.newest + timeout;
        let hurries = outlook.arrives(from, self.deadline)
            && !outlook.arrives(self.newest + patience, self.deadline);
        if self.ended || self.silent || !hurries {
            return None;
        }
        let blocks = self.blocks.iter();
        let ahead: usize = blocks.map(|block| usize::from(block.made_ahead)).sum();
        let told = |source: &Source| source.arrived || source.missed;
        let unheard = ahead == parity && !self.sources.iter().any(told);
        let plausible = || outlook.loss.of_all(self.sources.len() + parity) >= PLAUSIBLE;
        (unheard && plausible()).then_some(from)
    }

    pub(super) fn weight(&self, first: usize) -> f64 {
        let all = self.weights.last().copied().unwrap_or(0.0);
        let part = first.checked_sub(1).and_then(|last| self.weights.get(last));
        if all > 0.0 {
            f64::from(part.copied().unwrap_or(0.0)) / f64::from(all)
        } else {
            first as f64 / self.sources.len() as f64
        }
    }
}

impl InFlight {
    pub(super) const fn empty() -> Self {
        Self {
            id: 0,
            deadline: Time::ZERO,
            newest: Time::ZERO,
            symbols: Vec::new(),
            ends: Vec::new(),
            sources: Vec::new(),
            blocks: Vec::new(),
            parity: None,
            weights: Vec::new(),
            ended: false,
            dirty: false,
            silent: false,
            second: None,
            muted: false,
            blind: false,
        }
    }

    pub(super) fn reset(&mut self, id: u64, deadline: Time) {
        (self.id, self.deadline) = (id, deadline);
        (self.parity, self.ended, self.second) = (None, false, None);
        (self.dirty, self.silent, self.muted, self.blind) = (false, false, false, false);
        self.symbols.clear();
        self.ends.clear();
        self.sources.clear();
        self.blocks.clear();
        self.weights.clear();
    }

    /// Orders, for every block, as many packets as it is short of: lost source packets, since each of
    /// them is worth something even where the block stays incomplete. `missing` packets of other tensors
    /// use up as many of the REPAIR packets that were sent ahead. `last` tells that there is no
    /// further round, and how the path loses: so many REPAIR packets are added that the round seldom
    /// fails, at most as many as the block has source packets (after Hairpin, NSDI'24), and as many packets in
    /// all are kept for a second part: a burst that takes the first is over by then. Few tensors come to their
    /// last round, so that this costs little, however long the bursts.
    pub(super) fn order_repairs(
        &mut self,
        urgent: &mut VecDeque<Order>,
        missing: usize,
        last: Option<Loss>,
    ) {
        let all = self.sources.len();
        let Some(parity) = self.parity else {
            // Some source packets are not even sent: what is lost of the others goes again.
            urgent.extend(self.lost(0, 1, all).map(|index| source(self.id, index)));
            return;
        };
        if parity.blocks == 0 {
            urgent.extend(self.lost(0, 1, all).map(|index| source(self.id, index)));
            return;
        }
        for number in 0..self.blocks.len() {
            let Some(block) = self.blocks.get(number) else {
                break;
            };
            let protected = self.lost(number, parity.blocks, parity.protected);
            let past = (parity.blocks + number - parity.protected % parity.blocks) % parity.blocks;
            let first = parity.protected + past;
            let others = self.lost(first, parity.blocks, all);
            let lost = [protected.clone().count(), others.clone().count()];
            let ahead = usize::from(block.alive_ahead).saturating_sub(missing);
            let one_code = missing == 0 && parity.protected == all;
            let deficit = short([ahead, usize::from(block.alive)], lost, one_code);
            let chosen = others.chain(protected).take(deficit);
            urgent.extend(chosen.map(|index| source(self.id, index)));
            let Some(loss) = last.filter(|_| deficit > 0) else {
                continue;
            };
            let members = parity.members(all, number);
            let extra = extra(deficit, members, loss);
            urgent.extend(repairs(self.id, number, extra));
            if let Some(block) = self.blocks.get_mut(number) {
                let second = usize::from(block.second) + deficit + extra;
                block.second = u8::try_from(second.min(members)).unwrap_or(u8::MAX);
            }
        }
    }

    /// Orders what is kept for the second part of the last repairs.
    pub(super) fn order_second(&mut self, urgent: &mut VecDeque<Order>) {
        self.second = None;
        for (number, block) in self.blocks.iter_mut().enumerate() {
            let packets = std::mem::take(&mut block.second);
            urgent.extend(repairs(self.id, number, packets.into()));
        }
    }

    /// The indices below `end` of lost source packets, `first` and every `step`th after it.
    pub(super) fn lost(
        &self,
        first: usize,
        step: usize,
        end: usize,
    ) -> impl Iterator<Item = usize> + Clone {
        let sources = self.sources.iter().enumerate().take(end);
        sources
            .skip(first)
            .step_by(step)
            .filter(|(_, source)| source.is_lost())
            .map(|(index, _)| index)
    }
}

fn source(tensor: u64, index: usize) -> Order {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a tensor has at most 65,536 packets"
    )]
    Order::Source {
        tensor,
        index: index as u32,
    }
}

/// So many REPAIR packets of a block, on demand.
fn repairs(tensor: u64, block: usize, packets: usize) -> impl Iterator<Item = Order> {
    #[expect(clippy::cast_possible_truncation, reason = "at most 256 blocks")]
    let order = Order::Repair {
        tensor,
        block: block as u16,
        ahead: false,
    };
    std::iter::repeat_n(order, packets)
}

/// Source packets that a block needs to become whole: of the protected and the other ones as many are
/// `lost` as given, and as many REPAIR packets of the protected ones alone and of all are `alive`. Those
/// of two codes do not add up.
fn short(alive: [usize; 2], lost: [usize; 2], one_code: bool) -> usize {
    let ([ahead, demanded], [protected, others]) = (alive, lost);
    if one_code {
        (protected + others).saturating_sub(ahead + demanded)
    } else {
        let by_both = others + protected.saturating_sub(ahead);
        by_both.min((protected + others).saturating_sub(demanded))
    }
}

/// The fewest packets more, `most` at most, with which a part that needs `needed` to arrive fails rarely enough.
fn extra(needed: usize, most: usize, loss: Loss) -> usize {
    let path = Steps::new(loss, 1);
    let mut lost = path.none();
    for _ in 0..needed {
        lost = path.one_more(&lost);
    }
    let mut extra = 0;
    while extra < most && fails(&lost, extra) > PART_FAILS {
        lost = path.one_more(&lost);
        extra += 1;
    }
    extra
}

/// Probability that more than `extra` packets are lost, by the probability of each number of them.
fn fails(lost: &[[f64; 2]], extra: usize) -> f64 {
    lost.iter().skip(extra + 1).flatten().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_of_two_codes_do_not_add_up() {
        assert_eq!(short([1, 1], [2, 0], true), 0);
        assert_eq!(short([1, 1], [2, 0], false), 1);
        assert_eq!(short([2, 0], [2, 3], false), 3);
        assert_eq!(short([0, 3], [2, 2], false), 1);
    }

    #[test]
    fn a_part_gets_what_makes_it_seldom_fail() {
        let independent = |rate: f64| Loss {
            rate,
            burst: 1.0 / (1.0 - rate),
        };
        assert_eq!(extra(3, 12, independent(0.0)), 0);
        // Two of two are lost with a probability of 0.002, more than two of five with 0.009.
        assert_eq!(extra(1, 12, independent(0.05)), 1);
        assert_eq!(extra(1, 12, independent(0.009)), 0);
        assert_eq!(extra(3, 12, independent(0.1)), 2);
        assert_eq!(extra(3, 1, independent(0.1)), 1, "no more than allowed");
        // Bursts take longer to outlast than their mean: (3/4)^n.
        let bursts = Loss {
            rate: 0.05,
            burst: 4.0,
        };
        assert!((5..=8).contains(&extra(1, 64, bursts)));
    }
}
