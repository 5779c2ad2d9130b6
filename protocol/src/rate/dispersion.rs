//! What the bottleneck takes, from how far apart packets arrive that left one after another.
//!
//! A bottleneck sends packets that reach it faster than it takes them one by one, as far apart as it
//! needs for each (Jacobson's packet pairs; trains of them after Dovrolis, Ramanathan and Moore,
//! INFOCOM 2001). Only neighbours count of which both have arrived: a lost packet between two, and
//! whether it took any time at the bottleneck, is not known.

use std::time::Duration;

use super::{Arrived, RateControl};
use crate::time::{Time, micros};

/// Pairs of neighbours that make a sample where they took so long …
const PAIRS: u32 = 8;
const LONG: f64 = 2_000.0;
/// … and that make one in any case. Shorter ones tell more of coarse times and jitter than of the path.
const ENOUGH: u32 = 64;
/// The same before anything is known: of packets that left within this time, so that whatever the path takes
/// is more than told by how far apart they left.
const FIRST_PAIRS: u32 = 2;
const AT_ONCE: Duration = Duration::from_micros(200);
/// Packets that arrive at this share of the rate they left at were not held up.
const NOT_HELD_UP: f64 = 0.9;
/// A sample of less than this share of the estimate is a fall, where the queue is longer than this. A path
/// that becomes slower queues; a receiver that is kept from its socket for a while only seems to.
const FALL: f64 = 0.75;
const QUEUED: Duration = Duration::from_millis(10);
/// How much of the difference a sample near the estimate moves it by.
const GAIN: f64 = 0.25;
/// Arrival times are told in units of this many microseconds.
const UNIT: f64 = 64.0;
/// A begun sample is forgotten after this time, and the estimate may have become wrong.
const STALE: Duration = Duration::from_secs(1);

/// Estimates the rate of the bottleneck.
#[derive(Debug, Default)]
pub(super) struct Dispersion {
    /// Bits a second.
    rate: Option<f64>,
    last: Option<Arrived>,
    pairs: u32,
    bytes: f64,
    /// Microseconds between the pairs' sending and between their arrival.
    sending: f64,
    arriving: f64,
    began: Time,
    fell: Option<Time>,
    /// When a sample last told what the path takes.
    told: Time,
    /// When the estimate was doubted, if the next sample is to be it.
    doubted: Option<Time>,
}

impl Dispersion {
    /// What is known of the bottleneck, for packets that are numbered anew.
    pub(super) fn following(&self) -> Self {
        Self {
            rate: self.rate,
            began: self.began,
            fell: self.fell,
            told: self.told,
            ..Self::default()
        }
    }

    /// Bits a second, IP and UDP headers included; none before a train has told.
    pub(super) const fn rate(&self) -> Option<f64> {
        self.rate
    }

    /// Whether trains have told nothing of a rate that is known for so long that it may have changed.
    pub(super) fn is_stale(&self, now: Time) -> bool {
        self.rate.is_some() && now - self.told >= STALE && !self.is_doubted(now)
    }

    /// The next packets that leave at once are to tell the rate anew.
    pub(super) const fn doubt(&mut self, now: Time) {
        self.begin(now);
        self.doubted = Some(now);
    }

    /// Whether packets that left at once since the rate was doubted have not told it yet.
    pub(super) fn is_doubted(&self, now: Time) -> bool {
        self.doubted.is_some_and(|doubted| now - doubted < STALE)
    }

    /// When a train told last that the rate has fallen.
    pub(super) const fn fell(&self) -> Option<Time> {
        self.fell
    }

    /// The packets that a report at `now` told of for the first time, in the order of their numbers. Those
    /// sent within `train` of each other left one after another; `queue` is the standing queue.
    pub(super) fn observe(
        &mut self,
        now: Time,
        arrived: &[Arrived],
        train: Duration,
        queue: Duration,
    ) {
        if now - self.began > STALE {
            self.begin(now);
        }
        let anew = self.rate.is_none() || self.is_doubted(now);
        for packet in arrived {
            let before = self.last.replace(*packet);
            let Some(before) = before else { continue };
            let (Some(earlier), Some(later)) = (before.arrival, packet.arrival) else {
                continue;
            };
            let apart = packet.sent - before.sent;
            let most = if anew { AT_ONCE } else { train };
            if packet.number != before.number + 1 || apart > most {
                continue;
            }
            self.pairs += 1;
            self.bytes += packet.size as f64;
            self.sending += micros(apart) as f64;
            // Jitter lets neighbours overtake each other: signed, the differences of a train add up.
            self.arriving += later.saturating_sub(earlier) as f64;
            let long = self.pairs >= PAIRS && self.arriving >= LONG;
            if long || self.pairs == ENOUGH {
                self.sample(now, queue);
            }
        }
        if anew && self.pairs >= FIRST_PAIRS {
            self.sample(now, queue);
        }
    }

    fn sample(&mut self, now: Time, queue: Duration) {
        let bits = self.bytes * 8e6;
        let arrived = bits / self.arriving.max(UNIT);
        let sent = bits / self.sending.max(1.0);
        self.begin(now);
        let known = self.rate.filter(|_| !self.is_doubted(now));
        self.doubted = None;
        // Packets that left slower than the path takes them say nothing of how much it takes.
        if known.is_none_or(|rate| sent >= rate) {
            self.told = now;
        }
        let rate = match known {
            None => arrived,
            Some(rate) if arrived >= NOT_HELD_UP * sent => rate.max(arrived.min(sent)),
            Some(rate) if arrived < FALL * rate && queue > QUEUED => {
                self.fell = Some(now);
                arrived
            }
            Some(rate) => rate + GAIN * (arrived - rate),
        };
        // What a peer tells is not always so.
        self.rate = Some(rate.clamp(RateControl::LEAST as f64, RateControl::MOST as f64));
    }

    const fn begin(&mut self, now: Time) {
        (self.pairs, self.bytes) = (0, 0.0);
        (self.sending, self.arriving) = (0.0, 0.0);
        self.began = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{Link, LinkConfig, LossModel};
    use crate::wire::Ecn;
    use proptest::prelude::*;

    /// Tensors of eleven packets, thirty a second, spaced as by `pace`, over a link; the estimate after
    /// each.
    fn estimates(config: LinkConfig, tensors: u64, pace: impl Fn(Option<f64>) -> f64) -> Vec<f64> {
        let mut link = Link::new(config);
        let mut dispersion = Dispersion::default();
        let mut sent = Vec::new();
        (0..tensors)
            .map(|tensor| {
                let start = Time::from_micros(tensor * 33_333);
                let gap = 1_228.0 * 8e6 / pace(dispersion.rate());
                for index in 0..11_u32 {
                    // The first four leave at once while nothing is known.
                    let waits = if dispersion.rate().is_some() {
                        index
                    } else {
                        index.saturating_sub(3)
                    };
                    let at = start + Duration::from_secs_f64(gap * f64::from(waits) / 1e6);
                    let number = sent.len() as u64;
                    link.send(at, number.to_be_bytes().repeat(150));
                    sent.push(at);
                }
                let end = start + Duration::from_millis(33);
                let mut arrived: Vec<Arrived> = std::iter::from_fn(|| link.receive(end))
                    .map(|(at, packet)| {
                        let number = u64::from_be_bytes(packet[..8].try_into().unwrap());
                        Arrived {
                            number,
                            sent: sent[usize::try_from(number).unwrap()],
                            size: 1_228,
                            arrival: Some((at.as_micros() / 64 * 64).cast_signed()),
                            ecn: Ecn::NotEct,
                        }
                    })
                    .collect();
                arrived.sort_by_key(|packet| packet.number);
                let train = Duration::from_secs_f64(2.0 * gap / 1e6).max(Duration::from_millis(1));
                dispersion.observe(end, &arrived, train, Duration::ZERO);
                dispersion.rate().unwrap_or(0.0)
            })
            .collect()
    }

    fn link(rate: u64) -> LinkConfig {
        LinkConfig {
            rate: Some(rate),
            delay: Duration::from_millis(10),
            ..LinkConfig::default()
        }
    }

    fn probing(rate: Option<f64>) -> f64 {
        rate.map_or(2e6, |rate| rate * 1.25)
    }

    #[test]
    fn a_burst_tells_the_rate_at_once() {
        let all = estimates(link(20_000_000), 3, |_| 1e9);
        assert!(
            all.iter().all(|rate| (rate / 20e6 - 1.0).abs() < 0.03),
            "{all:?}"
        );
    }

    #[test]
    fn the_first_packets_tell_what_a_slow_start_would_not() {
        let all = estimates(link(20_000_000), 1, probing);
        assert!((all[0] / 20e6 - 1.0).abs() < 0.1, "{all:?}");
    }

    #[test]
    fn lies_are_bounded() {
        let mut dispersion = Dispersion::default();
        for (number, arrival) in [(0, i64::MIN), (1, i64::MAX), (2, i64::MIN), (3, 0)] {
            let lie = Arrived {
                number,
                sent: Time::ZERO,
                size: 1_228,
                arrival: Some(arrival),
                ecn: Ecn::Ce,
            };
            dispersion.observe(Time::ZERO, &[lie], Duration::MAX, Duration::MAX);
        }
        let rate = dispersion.rate().unwrap();
        assert!((1e4..=1e11).contains(&rate), "{rate}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// Loss and jitter of a packet's time do not mislead it by more than a fifth.
        #[test]
        fn losses_and_jitter_do_not_mislead(
            seed in 1_u64..1_000,
            loss in 0.0_f64..0.15,
            mbps in 2_u64..50,
            jitter in 0_u64..400,
        ) {
            let config = LinkConfig {
                loss: LossModel::independent(loss).unwrap(),
                jitter: Duration::from_micros(jitter),
                seed,
                ..link(mbps * 1_000_000)
            };
            let all = estimates(config, 60, probing);
            let late = &all[40..];
            let mean = late.iter().sum::<f64>() / late.len() as f64;
            prop_assert!((mean / (mbps as f64 * 1e6) - 1.0).abs() < 0.2, "{mbps} {late:?}");
        }
    }
}
