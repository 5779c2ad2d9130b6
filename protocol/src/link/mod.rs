//! A seeded model of a bad network: loss, rate, queue, delay and jitter, in whatever time the caller
//! keeps.
//!
//! This is no part of the protocol. It lives beside the core so that the tests on a virtual clock, the
//! simulator and the link emulator between real sockets all share one model.

mod loss;

use std::collections::BinaryHeap;
use std::time::Duration;

use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

pub use loss::{
    Fit, Fitted, LossError, LossModel, LossProcess, LossSpecError, LossTrace, NetemError,
    TraceError, fit, uniform,
};

use crate::time::Time;

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
    /// Packets that did not fit into the queue.
    pub overflowed: u64,
}

/// One direction of a path at work, carrying packets of type `P`.
#[derive(Debug)]
pub struct Link<P> {
    config: LinkConfig,
    loss: LossProcess,
    random: Xoshiro256PlusPlus,
    /// When the bottleneck has sent everything it has taken.
    busy_until: Time,
    in_flight: BinaryHeap<InFlight<P>>,
    order: u64,
    stats: LinkStats,
}

#[derive(Debug)]
struct InFlight<P> {
    arrival: Time,
    order: u64,
    packet: P,
}

impl<P: AsRef<[u8]>> Link<P> {
    /// A link that is empty at the epoch.
    pub fn new(config: LinkConfig) -> Self {
        Self {
            loss: LossProcess::new(config.loss.clone(), config.seed),
            random: Xoshiro256PlusPlus::seed_from_u64(config.seed ^ 0x6A09_E667_F3BC_C908),
            config,
            busy_until: Time::ZERO,
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

    /// Puts a packet in at `now`.
    pub fn send(&mut self, now: Time, packet: P) {
        self.stats.offered += 1;
        let lost = self.loss.next_is_lost();
        let size = packet.as_ref().len() + self.config.overhead;
        let mut departure = now;
        if let Some(rate) = self.config.rate {
            let rate = rate.max(1);
            let waiting = self.busy_until - now;
            if bytes_in(waiting, rate) + size as u64 > self.config.queue as u64 {
                self.stats.overflowed += 1;
                return;
            }
            let time = Duration::from_micros((size as u64 * 8_000_000).div_ceil(rate));
            departure = self.busy_until.max(now) + time;
            self.busy_until = departure;
        }
        if lost {
            self.stats.lost += 1;
            return;
        }
        let jitter = self.config.jitter.mul_f64(uniform(&mut self.random));
        let arrival = departure + self.config.delay + jitter;
        self.in_flight.push(InFlight {
            arrival,
            order: self.order,
            packet,
        });
        self.order += 1;
    }

    /// When the next packet arrives.
    pub fn next_arrival(&self) -> Option<Time> {
        self.in_flight.peek().map(|next| next.arrival)
    }

    /// The next packet that has arrived by `now`, and when it did.
    pub fn receive(&mut self, now: Time) -> Option<(Time, P)> {
        if self.next_arrival()? > now {
            return None;
        }
        let InFlight {
            arrival, packet, ..
        } = self.in_flight.pop()?;
        self.stats.delivered += 1;
        Some((arrival, packet))
    }

    /// What became of the packets so far.
    pub const fn stats(&self) -> &LinkStats {
        &self.stats
    }
}

/// Bytes that a link of `rate` bits a second sends in `time`.
fn bytes_in(time: Duration, rate: u64) -> u64 {
    let bits = u128::from(rate) * time.as_micros() / 1_000_000;
    u64::try_from(bits / 8).unwrap_or(u64::MAX)
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
}
