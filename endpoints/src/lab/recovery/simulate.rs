//! A stream over an emulated path, in virtual time.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tensorwire_protocol::link::Link;
use tensorwire_protocol::wire::{ConnectionId, FrameNumber};
use tensorwire_protocol::{Event, OutgoingTensor, ReceivedTensor, Session, Slices, Stats, Time};

use super::cell::{Cell, Common};

/// Time for the last tensors to meet their end, beyond their deadline.
const AFTERMATH: Duration = Duration::from_secs(1);

/// A tensor at the end of its way.
#[derive(Debug)]
pub(super) struct Ended {
    /// Which of the stream's tensors.
    pub(super) number: u64,
    /// What arrived of it; none if nothing did.
    pub(super) tensor: Option<ReceivedTensor>,
}

/// What a stream took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    /// The edge's counters, the tensors before the counted ones left out.
    pub(super) repairs: u64,
    pub(super) retransmitted: u64,
    pub(super) sources: u64,
}

/// Streams `warm_up` tensors, during which the edge learns the path, and then `counted` ones. Tensor n
/// is `tensors[n mod their number]`. `tell` hears of each counted one once.
pub(super) fn stream(
    cell: &Cell,
    common: &Common,
    tensors: &[Slices],
    mss: u16,
    [warm_up, counted]: [u64; 2],
    mut tell: impl FnMut(Ended) -> Result<()>,
) -> Result<Spent> {
    let slices = u16::try_from(tensors.first().context("there are no tensors")?.len())?;
    let mut pair = Pair::new(cell, common, slices, mss)?;
    let all = warm_up + counted;
    let interval = Duration::from_secs_f64(1.0 / common.fps);
    let phases = cell.losses.rates.len() as u64;
    let mut before = *pair.edge.stats();
    let mut phase = 0;
    for (number, slices) in (0..all).zip(tensors.iter().cycle()) {
        if number == warm_up {
            before = *pair.edge.stats();
        }
        // The warm-up belongs to the first phase.
        let now_in = (number.saturating_sub(warm_up)) * phases / counted.max(1);
        if now_in != phase {
            phase = now_in;
            pair.change_losses(cell, common, usize::try_from(phase)?)?;
        }
        pair.edge.send_tensor(
            pair.now,
            OutgoingTensor {
                frame: FrameNumber(number),
                captured: pair.now,
                step: 0,
                slices: slices.clone(),
            },
        )?;
        let until = pair.now + interval;
        pair.run_until(until, warm_up, &mut tell)?;
    }
    let deadline = Duration::from_millis(cell.deadline_ms.into());
    let until = pair.now + deadline + AFTERMATH;
    pair.run_until(until, warm_up, &mut tell)?;
    let spent = |count: fn(&Stats) -> u64| count(pair.edge.stats()) - count(&before);
    Ok(Spent {
        repairs: spent(|stats| stats.repairs_sent),
        retransmitted: spent(|stats| stats.packets_retransmitted),
        sources: u64::from(cell.k) * counted,
    })
}

/// Edge and cloud, and the path between them.
struct Pair {
    now: Time,
    edge: Session,
    cloud: Session,
    up: Link<Vec<u8>>,
    down: Link<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Pair {
    fn new(cell: &Cell, common: &Common, slices: u16, mss: u16) -> Result<Self> {
        let (mut edge, mut cloud) = cell.configs(common, slices, mss);
        let (at_edge, at_cloud) = (ConnectionId::new(1), ConnectionId::new(2));
        (edge.local_connection, edge.remote_connection) = (at_edge, at_cloud);
        (cloud.local_connection, cloud.remote_connection) = (at_cloud, at_edge);
        let [up, down] = cell.path(common)?;
        Ok(Self {
            now: Time::ZERO,
            edge: Session::new(edge, Time::ZERO)?,
            cloud: Session::new(cloud, Time::ZERO)?,
            up: Link::new(up),
            down: Link::new(down),
            buffer: Vec::new(),
        })
    }

    fn change_losses(&mut self, cell: &Cell, common: &Common, phase: usize) -> Result<()> {
        let seed = common.seed.wrapping_add(phase as u64).wrapping_mul(2);
        self.up.set_loss(cell.losses.model(phase)?, seed);
        self.down.set_loss(cell.losses.model(phase)?, seed + 1);
        Ok(())
    }

    /// Does everything that is due up to a moment, and waits there.
    fn run_until(
        &mut self,
        until: Time,
        first: u64,
        tell: &mut impl FnMut(Ended) -> Result<()>,
    ) -> Result<()> {
        loop {
            self.exchange();
            while let Some(event) = self.cloud.poll_event() {
                for ended in ended(event) {
                    if ended.number >= first {
                        tell(ended)?;
                    }
                }
            }
            while self.edge.poll_event().is_some() {}
            let timeouts = [&self.edge, &self.cloud].map(Session::poll_timeout);
            let arrivals = [self.up.next_arrival(), self.down.next_arrival()];
            let timeouts = timeouts.into_iter().flatten().map(|(at, _)| at);
            let next = timeouts.chain(arrivals.into_iter().flatten()).min();
            let Some(next) = next.filter(|next| *next <= until) else {
                break;
            };
            self.now = self.now.max(next);
            self.edge.handle_timeout(self.now);
            self.cloud.handle_timeout(self.now);
        }
        self.now = until;
        Ok(())
    }

    /// Takes what has arrived and sends what is due.
    fn exchange(&mut self) {
        let now = self.now;
        // Nothing on the way is damaged, so a refusal would be counted and show as a loss.
        while let Some((_, datagram)) = self.up.receive(now) {
            let _ = self.cloud.handle_datagram(now, &datagram);
        }
        while let Some((_, datagram)) = self.down.receive(now) {
            let _ = self.edge.handle_datagram(now, &datagram);
        }
        while self.edge.poll_transmit(now, &mut self.buffer).is_some() {
            self.up.send(now, self.buffer.clone());
        }
        while self.cloud.poll_transmit(now, &mut self.buffer).is_some() {
            self.down.send(now, self.buffer.clone());
        }
    }
}

/// The tensors that an event ends.
fn ended(event: Event) -> Vec<Ended> {
    match event {
        Event::Tensor(tensor) => vec![Ended {
            number: tensor.info().id.0,
            tensor: Some(tensor),
        }],
        Event::Lost { first, count } => (first.0..first.0 + count)
            .map(|number| Ended {
                number,
                tensor: None,
            })
            .collect(),
        _ => vec![],
    }
}
