//! A seeded model of a bad network: loss, rate, queue, delay and jitter, in whatever time the caller
//! keeps.
//!
//! This is no part of the protocol. It lives beside the core so that the tests on a virtual clock, the
//! simulator and the link emulator between real sockets all share one model.

mod codel;
mod loss;
mod queue;

use std::collections::BinaryHeap;
use std::time::Duration;

use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

pub use codel::CoDel;
pub use loss::{
    Fit, Fitted, LossError, LossModel, LossProcess, LossSpecError, LossTrace, NetemError,
    TraceError, fit, uniform,
};

use crate::time::Time;
use crate::wire::Ecn;
use queue::{Bottleneck, Waiting};

/// One direction of a path.
#[derive(Clone, PartialEq, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by the caller, field by field"
)]
pub struct LinkConfig {
    /// Which packets are lost. They use the link's rate all the same: they are lost behind it.
    pub loss: LossModel,
    /// Propagation time of every packet.
    pub delay: Duration,
    /// Further delay, uniform from zero to this; packets may overtake each other.
    pub jitter: Duration,
    /// Bits a second of the bottleneck, counting UDP payload and `overhead`; none: no limit.
    pub rate: Option<u64>,
    /// Bytes that wait before the bottleneck; a packet that does not fit is dropped (tail drop).
    pub queue: usize,
    /// Active management of that queue; default none.
    pub codel: Option<CoDel>,
    /// Bytes that each packet takes on the link beyond its UDP payload: 28 for IPv4 and UDP.
    pub overhead: usize,
    /// Seed of loss and jitter. With seed 0 a recorded trace is replayed from its first packet.
    pub seed: u64,
}

impl Default for LinkConfig {
    /// A perfect link: no loss, delay, jitter or limit of rate; a queue of 256 KiB.
    fn default() -> Self {
        Self {
            loss: LossModel::None,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            rate: None,
            queue: 256 << 10,
            codel: None,
            overhead: 28,
            seed: 0,
        }
    }
}

/// What became of the packets of a link.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct LinkStats {
    /// Packets put in.
    pub offered: u64,
    /// Packets handed out.
    pub delivered: u64,
    /// Packets lost by the loss model.
    pub lost: u64,
    /// Packets that did not fit into the queue, or that CoDel dropped.
    pub overflowed: u64,
    /// Packets that were marked instead of dropped.
    pub marked: u64,
}

/// One direction of a path at work, carrying packets of type `P`.
#[derive(Debug)]
pub struct Link<P> {
    config: LinkConfig,
    loss: LossProcess,
    random: Xoshiro256PlusPlus,
    /// None while the rate has no limit.
    bottleneck: Option<Bottleneck<P>>,
    in_flight: BinaryHeap<InFlight<P>>,
    order: u64,
    stats: LinkStats,
}

#[derive(Debug)]
struct InFlight<P> {
    arrival: Time,
    order: u64,
    ecn: Ecn,
    packet: P,
}

impl<P: AsRef<[u8]>> Link<P> {
    /// A link that is empty at the epoch.
    pub fn new(config: LinkConfig) -> Self {
        Self {
            loss: LossProcess::new(config.loss.clone(), config.seed),
            random: Xoshiro256PlusPlus::seed_from_u64(config.seed ^ 0x6A09_E667_F3BC_C908),
            bottleneck: bottleneck(&config),
            config,
            in_flight: BinaryHeap::new(),
            order: 0,
            stats: LinkStats::default(),
        }
    }

    /// From the next packet on, losses are those of another model: the path has changed.
    pub fn set_loss(&mut self, loss: LossModel, seed: u64) {
        self.loss = LossProcess::new(loss.clone(), seed);
        self.config.loss = loss;
    }

    /// From `now` on the bottleneck has another rate: what waits is sent at that.
    pub fn set_rate(&mut self, now: Time, rate: Option<u64>) {
        self.advance(now);
        self.config.rate = rate;
        match (&mut self.bottleneck, rate) {
            (Some(bottleneck), Some(rate)) => bottleneck.set_rate(now, rate),
            (Some(waiting), None) => {
                waiting.set_rate(now, u64::MAX);
                // A bit takes no time, but the whole microsecond that a packet takes is rounded up.
                while let Some((_, packet)) =
                    self.bottleneck.as_mut().and_then(|b| b.pop(Time::MAX))
                {
                    self.depart(now, packet);
                }
                self.advance(now);
                self.bottleneck = None;
            }
            (None, _) => self.bottleneck = bottleneck(&self.config),
        }
    }

    /// What leaves the bottleneck after `now` has another way to go.
    pub fn set_delay(&mut self, now: Time, delay: Duration) {
        self.advance(now);
        self.config.delay = delay;
    }

    /// Puts a packet in at `now` that is not ECN-capable.
    pub fn send(&mut self, now: Time, packet: P) {
        self.send_marked(now, packet, Ecn::NotEct);
    }

    /// Puts a packet in at `now`, its IP header having the ECN codepoint `ecn`.
    pub fn send_marked(&mut self, now: Time, packet: P, ecn: Ecn) {
        self.advance(now);
        self.stats.offered += 1;
        let lost = self.loss.next_is_lost();
        let waiting = Waiting {
            size: packet.as_ref().len() + self.config.overhead,
            packet,
            ecn,
            lost,
            entered: now,
        };
        match &mut self.bottleneck {
            None => self.depart(now, waiting),
            Some(bottleneck) => {
                if !bottleneck.push(now, waiting) {
                    self.stats.overflowed += 1;
                }
            }
        }
    }

    /// Lets everything leave the bottleneck that has by `now`.
    fn advance(&mut self, now: Time) {
        while let Some((at, packet)) = self.bottleneck.as_mut().and_then(|b| b.pop(now)) {
            self.depart(at, packet);
        }
        if let Some(bottleneck) = &mut self.bottleneck {
            let (marked, dropped) = bottleneck.take_managed();
            self.stats.marked += marked;
            self.stats.overflowed += dropped;
        }
    }

    fn depart(&mut self, departure: Time, left: Waiting<P>) {
        if left.lost {
            self.stats.lost += 1;
            return;
        }
        let jitter = self.config.jitter.mul_f64(uniform(&mut self.random));
        let arrival = departure + self.config.delay + jitter;
        self.in_flight.push(InFlight {
            arrival,
            order: self.order,
            ecn: left.ecn,
            packet: left.packet,
        });
        self.order += 1;
    }

    /// Bytes that wait before the bottleneck at `now`.
    pub fn backlog(&mut self, now: Time) -> usize {
        self.advance(now);
        self.bottleneck.as_ref().map_or(0, |b| b.backlog(now))
    }

    /// When to ask for the next packet: it arrives then, or, where it is lost or has jitter, not yet.
    pub fn next_arrival(&self) -> Option<Time> {
        let leaves = self
            .bottleneck
            .as_ref()
            .and_then(Bottleneck::next_departure);
        let arrives = self.in_flight.peek().map(|next| next.arrival);
        let leaves = leaves.map(|at| at + self.config.delay);
        leaves.into_iter().chain(arrives).min()
    }

    /// The next packet that has arrived by `now`, and when it did.
    pub fn receive(&mut self, now: Time) -> Option<(Time, P)> {
        let (at, packet, _) = self.receive_marked(now)?;
        Some((at, packet))
    }

    /// The next packet that has arrived by `now`, when it did, and with which ECN codepoint.
    pub fn receive_marked(&mut self, now: Time) -> Option<(Time, P, Ecn)> {
        self.advance(now);
        if self.in_flight.peek()?.arrival > now {
            return None;
        }
        let InFlight {
            arrival,
            packet,
            ecn,
            ..
        } = self.in_flight.pop()?;
        self.stats.delivered += 1;
        Some((arrival, packet, ecn))
    }

    /// What became of the packets so far.
    pub const fn stats(&self) -> &LinkStats {
        &self.stats
    }
}

fn bottleneck<P>(config: &LinkConfig) -> Option<Bottleneck<P>> {
    let rate = config.rate?;
    Some(Bottleneck::new(rate, config.queue, config.codel))
}

impl<P> Ord for InFlight<P> {
    /// The earliest arrival is the greatest: a heap hands out its greatest.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.arrival, other.order).cmp(&(self.arrival, self.order))
    }
}

impl<P> PartialOrd for InFlight<P> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<P> PartialEq for InFlight<P> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<P> Eq for InFlight<P> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(link: &mut Link<Vec<u8>>) -> Vec<(u64, u8)> {
        let far = Time::from_millis(1_000_000);
        std::iter::from_fn(|| link.receive(far))
            .map(|(t, p)| (t.as_micros(), p[0]))
            .collect()
    }

    #[test]
    fn a_packet_takes_its_size_over_the_rate_and_the_delay() {
        let mut link = Link::new(LinkConfig {
            rate: Some(20_000_000),
            delay: Duration::from_millis(20),
            ..LinkConfig::default()
        });
        link.send(Time::ZERO, vec![1; 1_222]);
        link.send(Time::ZERO, vec![2; 1_222]);
        assert_eq!(link.receive(Time::from_micros(20_499)), None);
        assert_eq!(drain(&mut link), [(20_500, 1), (21_000, 2)]);
    }

    #[test]
    fn what_does_not_fit_into_the_queue_is_dropped_at_the_tail() {
        let mut link = Link::new(LinkConfig {
            rate: Some(8_000_000),
            queue: 3_000,
            overhead: 0,
            ..LinkConfig::default()
        });
        (0..5).for_each(|i| link.send(Time::ZERO, vec![i; 1_000]));
        assert_eq!(
            drain(&mut link).iter().map(|(_, i)| *i).collect::<Vec<_>>(),
            [0, 1, 2]
        );
        assert_eq!(link.stats().overflowed, 2);
        link.send(Time::from_millis(3), vec![9; 1_000]);
        assert_eq!(link.stats().overflowed, 2, "the queue has drained");
    }

    #[test]
    fn jitter_reorders_within_its_bound() {
        let jitter = Duration::from_millis(5);
        let mut link = Link::new(LinkConfig {
            jitter,
            seed: 3,
            ..LinkConfig::default()
        });
        (0..100).for_each(|i| link.send(Time::from_millis(u64::from(i)), vec![i]));
        let got = drain(&mut link);
        assert!(!got.is_sorted_by_key(|(_, i)| *i), "some overtake");
        for (at, i) in got {
            assert!((0..5_000).contains(&(at - u64::from(i) * 1_000)));
        }
    }

    #[test]
    fn every_packet_is_accounted_for_and_a_seed_decides_its_fate() {
        let config = LinkConfig {
            loss: LossModel::gilbert(0.2, 3.0).unwrap(),
            jitter: Duration::from_millis(2),
            seed: 11,
            ..LinkConfig::default()
        };
        let run = || {
            let mut link = Link::new(config.clone());
            (0..200).for_each(|i| link.send(Time::from_millis(u64::from(i)), vec![i]));
            let got = drain(&mut link);
            (got, *link.stats())
        };
        let (got, stats) = run();
        assert_eq!(
            stats.offered,
            stats.delivered + stats.lost + stats.overflowed
        );
        assert!(stats.lost > 0);
        assert_eq!(run(), (got, stats));
    }

    #[test]
    fn what_waits_is_sent_at_the_rate_of_the_time() {
        let mut link = Link::new(LinkConfig {
            rate: Some(8_000_000),
            overhead: 0,
            ..LinkConfig::default()
        });
        (0..3).for_each(|i| link.send(Time::ZERO, vec![i; 1_000]));
        assert_eq!(link.backlog(Time::from_micros(500)), 2_500);
        link.set_rate(Time::from_micros(1_500), Some(4_000_000));
        assert_eq!(link.backlog(Time::from_micros(2_500)), 1_000);
        assert_eq!(drain(&mut link), [(1_000, 0), (2_500, 1), (4_500, 2)]);
        link.send(Time::from_millis(10), vec![7; 1_000]);
        link.set_rate(Time::from_millis(10), None);
        link.send(Time::from_millis(10), vec![8; 1_000]);
        assert_eq!(drain(&mut link), [(10_000, 7), (10_000, 8)]);
    }

    #[test]
    fn codel_marks_what_asks_for_it_and_drops_the_rest() {
        for ecn in [Ecn::Ect0, Ecn::NotEct] {
            let mut link = Link::new(LinkConfig {
                rate: Some(8_000_000),
                codel: Some(CoDel::default()),
                overhead: 0,
                ..LinkConfig::default()
            });
            let (mut marked, mut got) = (0, 0);
            for ms in 0..1_000 {
                let now = Time::from_millis(ms);
                (0..2).for_each(|_| link.send_marked(now, vec![0; 600], ecn));
                while let Some((_, _, ecn)) = link.receive_marked(now) {
                    got += 1;
                    marked += u64::from(ecn == Ecn::Ce);
                }
            }
            let stats = link.stats();
            assert_eq!((stats.delivered, stats.marked), (got, marked));
            assert_eq!(marked > 0, ecn == Ecn::Ect0);
            assert_eq!(stats.overflowed > 0, ecn == Ecn::NotEct);
        }
    }
}
