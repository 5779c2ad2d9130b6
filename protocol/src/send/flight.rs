//! Tensors on their way, and what they are repaired with: parity ahead, retransmission on demand
//! (wire-format.md, section 8.5).

use std::collections::VecDeque;
use std::time::Duration;

use super::in_flight::{Block, InFlight, Order, Source};
use super::outlook::Outlook;
use super::parity::ParityPlanner;
use super::sent::{Acknowledged, Cargo};
use super::tensors::Written;
use crate::config::Config;
use crate::fec;
use crate::rate::IP_UDP_HEADER;
use crate::redundancy::Redundancy;
use crate::stats::Stats;
use crate::time::Time;
use crate::wire::{HEADER_LEN, MessageType, Repair, TensorId};

/// Tensors kept at most, of those that are neither delivered nor past their deadline.
const MOST: usize = 256;
/// Times that a source packet is sent again while the peer is silent.
const MOST_BLIND: u8 = 2;
/// The second part of the last repairs is sent after this share of the time in which they would arrive.
const SECOND: f64 = 0.75;

/// Bytes that a source packet leaves free, so that a REPAIR packet of it fits the MSS as well.
pub(crate) fn repair_room(config: &Config) -> u16 {
    if config.redundancy == Redundancy::Off {
        return 0;
    }
    // At most 8 + 16 + 3.
    u16::try_from(Repair::overhead(config.span) + fec::PREFIX).unwrap_or(u16::MAX)
}

/// The tensors on their way, oldest first.
#[derive(Debug)]
pub(crate) struct Flight {
    redundancy: Redundancy,
    retransmission: bool,
    pub(super) span: u8,
    deadline: Duration,
    mss: usize,
    planner: ParityPlanner,
    pub(super) tensors: VecDeque<InFlight>,
    /// Repairs of what was lost, before parity of what was just sent.
    urgent: VecDeque<Order>,
    ahead: VecDeque<Order>,
    pub(super) symbol: Vec<u8>,
    /// Forgotten tensors, whose memory the next ones take.
    spare: Vec<InFlight>,
}

impl Flight {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            redundancy: config.redundancy.clone(),
            retransmission: config.retransmission,
            span: config.span,
            deadline: config.deadline,
            mss: usize::from(config.mss),
            planner: ParityPlanner::new(config.redundancy.clone()),
            tensors: VecDeque::new(),
            urgent: VecDeque::new(),
            ahead: VecDeque::new(),
            symbol: Vec::new(),
            spare: Vec::new(),
        }
    }

    fn is_idle(&self) -> bool {
        self.redundancy == Redundancy::Off && !self.retransmission
    }

    /// A source packet was written at `now`: `datagram` up to its trailer.
    pub(crate) fn sent(&mut self, now: Time, written: &Written, datagram: &[u8], outlook: Outlook) {
        if self.is_idle() {
            return;
        }
        if written.index == 0 {
            self.begin(written);
        }
        let Some(tensor) = self.tensors.back_mut().filter(|t| t.id == written.tensor) else {
            return;
        };
        let [flags, body] = [datagram.get(1..2), datagram.get(HEADER_LEN..)];
        if let (Some([flags]), Some(body)) = (flags, body) {
            fec::put_symbol(*flags, body, &mut tensor.symbols);
        }
        tensor.ends.push(tensor.symbols.len());
        tensor.newest = now;
        let before = tensor.weights.last().copied().unwrap_or(0.0);
        tensor.weights.push(before + written.weight);
        tensor.sources.push(Source {
            copies: 1,
            ..Source::default()
        });
        if written.index + 1 < written.count {
            return;
        }
        let rounds = if self.retransmission {
            outlook.rounds(now, tensor.deadline)
        } else {
            0
        };
        let packets = tensor.sources.len();
        let parity = self
            .planner
            .plan(packets, outlook.loss, rounds, |first| tensor.weight(first));
        tensor.parity = Some(parity);
        tensor.blocks.resize(parity.blocks, Block::default());
        for nth in 0..parity.packets {
            let block = nth % parity.blocks;
            self.ahead.push_back(Order::Repair {
                tensor: tensor.id,
                #[expect(clippy::cast_possible_truncation, reason = "at most 256 blocks")]
                block: block as u16,
                ahead: true,
            });
        }
    }

    fn begin(&mut self, written: &Written) {
        if self.tensors.len() == MOST
            && let Some(oldest) = self.tensors.pop_front()
        {
            self.spare.push(oldest);
        }
        let mut tensor = self.spare.pop().unwrap_or_else(InFlight::empty);
        tensor.reset(written.tensor, written.captured + self.deadline);
        self.tensors.push_back(tensor);
    }

    /// A packet has arrived.
    pub(crate) fn arrived(&mut self, packet: &Acknowledged) {
        match packet.cargo {
            Cargo::Source { tensor, index } => {
                if let Some(tensor) = self.tensor(tensor)
                    && let Some(source) = tensor.sources.get_mut(index as usize)
                {
                    source.arrived = true;
                    source.copies = source.copies.saturating_sub(1);
                }
            }
            Cargo::Repair {
                tensor,
                block,
                ahead,
            } if packet.was_lost => {
                if let Some(alive) = self.alive(tensor, block, ahead) {
                    *alive += 1;
                }
            }
            Cargo::Repair { .. } | Cargo::Probe | Cargo::Other => {}
        }
    }

    /// How many REPAIR packets of a block are not known to be lost.
    fn alive(&mut self, tensor: u64, block: u16, ahead: bool) -> Option<&mut u8> {
        let block = self.tensor(tensor)?.blocks.get_mut(usize::from(block))?;
        Some(if ahead {
            &mut block.alive_ahead
        } else {
            &mut block.alive
        })
    }

    /// No report has told of a packet. It is taken for lost, but while the peer is silent a source packet is
    /// sent again only [`MOST_BLIND`] times: silence must not be answered with a flood.
    pub(crate) fn unreported(&mut self, cargo: Cargo) {
        if let Cargo::Source { tensor, index } = cargo
            && let Some(tensor) = self.tensor(tensor)
            && let Some(source) = tensor.sources.get_mut(index as usize)
        {
            if source.blind == MOST_BLIND {
                source.copies = source.copies.saturating_sub(1);
                tensor.muted = true;
                return;
            }
            source.blind += 1;
            tensor.blind = true;
        }
        self.lost(cargo);
    }

    /// When a tensor of which no report has told is taken for lost with all its packets; `waits` as for
    /// [`InFlight::silent_from`].
    pub(crate) fn silent_from(&self, outlook: Outlook, waits: [Duration; 2]) -> Option<Time> {
        let silent = self.tensors.iter();
        silent
            .filter_map(|tensor| tensor.silent_from(outlook, waits))
            .min()
    }

    /// Whether there is such a tensor at `now`. It is not told of again.
    pub(crate) fn take_silent(
        &mut self,
        now: Time,
        outlook: Outlook,
        waits: [Duration; 2],
    ) -> bool {
        let mut found = false;
        for tensor in &mut self.tensors {
            let due = tensor.silent_from(outlook, waits);
            tensor.silent |= due.is_some_and(|from| from <= now);
            found |= due.is_some() && tensor.silent;
        }
        found
    }

    /// The peer is heard of: what silence kept back is sent after all, and silence begins anew.
    pub(crate) fn heard(&mut self) {
        for tensor in &mut self.tensors {
            tensor.dirty |= std::mem::take(&mut tensor.muted);
            if std::mem::take(&mut tensor.blind) {
                tensor
                    .sources
                    .iter_mut()
                    .for_each(|source| source.blind = 0);
            }
        }
    }

    /// A packet was lost.
    pub(crate) fn lost(&mut self, cargo: Cargo) {
        match cargo {
            Cargo::Other | Cargo::Probe => {}
            Cargo::Source { tensor, index } => {
                if let Some(tensor) = self.tensor(tensor)
                    && let Some(source) = tensor.sources.get_mut(index as usize)
                {
                    source.copies = source.copies.saturating_sub(1);
                    source.missed = true;
                    tensor.dirty = true;
                }
            }
            Cargo::Repair {
                tensor,
                block,
                ahead,
            } => {
                if let Some(alive) = self.alive(tensor, block, ahead) {
                    *alive = alive.saturating_sub(1);
                }
                if let Some(tensor) = self.tensor(tensor) {
                    tensor.dirty = true;
                }
            }
        }
    }

    /// The receiver has released a tensor: it is never repaired again.
    pub(crate) fn ended(&mut self, tensor: TensorId) {
        if let Some(tensor) = self.tensor(tensor.0) {
            tensor.ended = true;
        }
        self.forget();
    }

    /// Forgets the tensors whose deadline has passed.
    pub(crate) fn expire(&mut self, now: Time) {
        for tensor in &mut self.tensors {
            tensor.ended |= tensor.deadline <= now;
        }
        self.forget();
    }

    /// Drops tensors that have ended and are no longer spanned by a block to come.
    fn forget(&mut self) {
        let newest = self.tensors.back().map_or(0, |tensor| tensor.id);
        while let Some(oldest) = self.tensors.front()
            && oldest.ended
            && (oldest.id + u64::from(self.span) <= newest || self.span == 1)
        {
            self.spare.extend(self.tensors.pop_front());
        }
        self.spare.truncate(4);
    }

    /// Bytes of repairs that wait, IP and UDP headers included; a little more than they are.
    pub(crate) fn waiting(&self) -> usize {
        (self.urgent.len() + self.ahead.len()) * (self.mss + IP_UDP_HEADER)
    }

    /// REPAIR packets for a source packet that the newest tensor had ahead.
    pub(crate) fn parity_share(&self) -> f64 {
        let newest = self.tensors.iter().rev().find_map(|tensor| {
            let parity = tensor.parity?;
            Some(parity.packets as f64 / tensor.sources.len().max(1) as f64)
        });
        newest.unwrap_or(0.0)
    }

    /// Whether a tensor waits for news of its packets.
    pub(crate) fn is_waiting(&self) -> bool {
        self.retransmission && self.tensors.iter().any(|tensor| !tensor.ended)
    }

    /// Orders what repairs the losses that are news, where it can still arrive in time.
    pub(crate) fn repair(&mut self, now: Time, outlook: Outlook) {
        if !self.retransmission {
            return;
        }
        for place in 0..self.tensors.len() {
            // The news stays until it can be acted on: the path may be known better by then.
            let acts = |tensor: &InFlight| {
                tensor.dirty && !tensor.ended && outlook.arrives(now, tensor.deadline)
            };
            if !self.tensors.get(place).is_some_and(acts) {
                continue;
            }
            let missing = self.missing_before(place);
            let Some(tensor) = self.tensors.get_mut(place) else {
                break;
            };
            tensor.dirty = false;
            let last = outlook.rounds(now, tensor.deadline) == 0;
            // What is sent for silence alone may have arrived.
            let last = last && !tensor.blind && self.redundancy.most() > 0.0;
            tensor.order_repairs(&mut self.urgent, missing, last.then_some(outlook.loss));
            let left = (tensor.deadline - now).saturating_sub(outlook.one_way.unwrap_or_default());
            if last {
                tensor
                    .second
                    .get_or_insert_with(|| now + left.mul_f64(SECOND));
            }
        }
    }

    /// When the second part of the last repairs of a tensor is due.
    pub(crate) fn second_due(&self) -> Option<Time> {
        self.tensors.iter().filter_map(|tensor| tensor.second).min()
    }

    /// Orders the second part of last repairs where it is due.
    pub(crate) fn repair_again(&mut self, now: Time) {
        for tensor in &mut self.tensors {
            if tensor.second.is_some_and(|due| due <= now) {
                tensor.order_second(&mut self.urgent);
            }
        }
    }

    /// Source packets of the tensors before this one that its blocks span, that were lost and have not
    /// arrived since: they use up its parity.
    fn missing_before(&self, place: usize) -> usize {
        let Some(newest) = self.tensors.get(place).filter(|_| self.span > 1) else {
            return 0;
        };
        let before = self.tensors.iter().take(place);
        before
            .filter(|tensor| newest.id - tensor.id < u64::from(self.span))
            .map(|tensor| {
                tensor
                    .sources
                    .iter()
                    .filter(|s| s.missed && !s.arrived)
                    .count()
            })
            .sum()
    }

    /// Writes the next repair, header to trailer, into `out`; none if nothing waits.
    pub(crate) fn write(
        &mut self,
        now: Time,
        out: &mut Vec<u8>,
        config: &Config,
        packet_number: u32,
        one_way: Option<Duration>,
        stats: &mut Stats,
    ) -> Option<(MessageType, Cargo)> {
        loop {
            let (order, urgent) = match self.urgent.pop_front() {
                Some(order) => (order, true),
                None => (self.ahead.pop_front()?, false),
            };
            let place = self.place(order.tensor());
            let Some(tensor) = place.and_then(|place| self.tensors.get(place)) else {
                continue;
            };
            let in_time = now + one_way.unwrap_or_default() <= tensor.deadline;
            if tensor.ended || tensor.deadline <= now || (urgent && !in_time) {
                continue;
            }
            let written = match order {
                Order::Source { tensor, index } => {
                    self.write_source(tensor, index, out, config, packet_number)
                }
                Order::Repair {
                    tensor,
                    block,
                    ahead,
                } => self.write_repair(tensor, block, ahead, out, config, packet_number),
            };
            if let Some(tensor) = self.tensor(order.tensor()).filter(|_| written.is_some()) {
                tensor.newest = now;
            }
            match written {
                Some((MessageType::Data, _)) => stats.packets_retransmitted += 1,
                Some(_) => stats.repairs_sent += 1,
                None => continue,
            }
            return written;
        }
    }

    pub(super) fn place(&self, id: u64) -> Option<usize> {
        self.tensors
            .binary_search_by_key(&id, |tensor| tensor.id)
            .ok()
    }

    pub(super) fn tensor(&mut self, id: u64) -> Option<&mut InFlight> {
        let place = self.place(id)?;
        self.tensors.get_mut(place)
    }
}
