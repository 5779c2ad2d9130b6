//! How many bytes may be in flight: Copa (Arun and Balakrishnan, NSDI 2018), with what packet trains
//! tell of the bottleneck as its bound.

use std::time::Duration;

use super::AdaptiveRate;
use crate::time::Time;

/// Packets in flight on a path of which nothing is known (RFC 6928).
const INITIAL: f64 = 10.0;
/// Packets that may always be in flight.
const LEAST: f64 = 4.0;
/// 1/δ: packets that a sender keeps in the queue (Copa's default, δ = 0.5).
const POLITE: f64 = 2.0;
/// The most of it beside senders that fill the queue.
const MOST_COMPETING: f64 = 500.0;
/// A queue that is no queue: what clocks drift in the memory of the empty path, and coarse arrival times.
const FORGIVEN: Duration = Duration::from_millis(1);
/// Rounds in one direction after which each is twice as fast as the one before (Copa, section 2.1).
const STEADY_ROUNDS: u32 = 3;
/// Beyond what the bottleneck takes in a round trip so much more may be in flight, and be sent …
pub(super) const HEADROOM: f64 = 1.25;
/// … but so much less while the queue is long.
const DRAIN: f64 = 0.8;
/// A long queue.
const LONG: Duration = Duration::from_millis(25);
/// What is left of the window after a mark (RFC 8511), and of what was delivered after a step of losses.
const BACKOFF: f64 = 0.85;
/// Round trips without the queue nearly empty after which others are known to fill it (Copa, section
/// 2.2) …
const COMPETING_ROUNDS: u32 = 5;
/// … but not before so long.
const COMPETING_AFTER: Duration = Duration::from_millis(500);
/// Time without the path nearly empty after which the queue is drained: half of the memory of the empty
/// path.
const DRAIN_AFTER: Duration = Duration::from_secs(3);
/// Others that fill the queue are believed in for so long after it was drained in vain.
const RIVALS_MEMORY: Duration = Duration::from_secs(15);
/// A queue whose greatest length was less is not full when a packet is lost.
const FULL: Duration = Duration::from_millis(10);
/// A queue is nearly empty below this share of its greatest …
const NEARLY_EMPTY: f64 = 0.1;
/// … or this, and a packet's time.
const EMPTY: Duration = Duration::from_millis(3);

/// What the window is changed by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    pub(super) now: Time,
    /// Bytes that are newly reported received.
    pub(super) acked: usize,
    /// Bytes in flight before this report.
    pub(super) in_flight: usize,
    /// The round-trip time of the empty path, reporting included.
    pub(super) base: Duration,
    /// The standing queue.
    pub(super) queue: Duration,
    /// The rate of the bottleneck, bits a second.
    pub(super) bottleneck: Option<f64>,
    /// Bytes of a full packet.
    pub(super) packet: f64,
}

impl Round {
    fn time(&self) -> Duration {
        self.base + self.queue
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Direction {
    Up,
    Down,
}

/// The bytes that may be in flight.
#[derive(Debug)]
pub(super) struct Window {
    bounds: AdaptiveRate,
    packet: f64,
    bytes: f64,
    /// Whether nothing has told yet that the path is full: the window doubles each round trip.
    starting: bool,
    /// 1/δ.
    packets_queued: f64,
    competing: bool,
    velocity: f64,
    direction: Direction,
    steady: u32,
    round_began: Time,
    /// Most bytes in flight in this round and the one before.
    used: [usize; 2],
    /// Bytes acknowledged in this round so far, and a second in the one before.
    acked: f64,
    delivered: Option<f64>,
    lost_at: Option<Time>,
    /// When the queue was drained in vain last.
    rivals: Option<Time>,
    /// Until when it gives way, to see whether the queue empties, and the 1/δ it had before.
    truce: Time,
    before_truce: f64,
    /// When it began to drain the queue last, and until when.
    drained: Time,
    draining: Time,
}

impl Window {
    pub(super) fn new(bounds: AdaptiveRate, packet: f64) -> Self {
        Self {
            bounds,
            packet,
            bytes: INITIAL * packet,
            starting: true,
            packets_queued: POLITE,
            competing: false,
            velocity: 1.0,
            direction: Direction::Up,
            steady: 0,
            round_began: Time::ZERO,
            used: [0; 2],
            acked: 0.0,
            delivered: None,
            lost_at: None,
            rivals: None,
            truce: Time::ZERO,
            before_truce: POLITE,
            drained: Time::ZERO,
            draining: Time::ZERO,
        }
    }

    pub(super) const fn bytes(&self) -> f64 {
        self.bytes
    }

    /// Bytes that may be in flight at `now`.
    pub(super) fn at(&self, now: Time) -> f64 {
        if now < self.draining {
            self.bytes.min(LEAST * self.packet)
        } else {
            self.bytes
        }
    }

    /// The path was nearly empty at `emptied` last. Where that is long ago the window is closed for a round
    /// trip, so that the queue is not taken for the path (BBR's ProbeRTT). Those that share the queue have
    /// seen it empty at the same time, and so do this at the same time.
    pub(super) fn drain(&mut self, round: &Round, emptied: Time) {
        let over = self.draining > Time::ZERO && self.draining + round.base <= round.now;
        if over {
            self.draining = Time::ZERO;
            if emptied < self.drained {
                self.rivals = Some(round.now);
            }
        }
        let due = emptied.max(self.drained) + DRAIN_AFTER;
        if due <= round.now && self.is_filled() {
            self.drained = round.now;
            self.draining = round.now + round.time() * 3 / 2;
        }
    }

    /// Whether the application fills the window. One that it does not fill tells nothing of the path: it
    /// may reach twice what is used.
    fn is_filled(&self) -> bool {
        self.bytes < 2.0 * self.used[0].max(self.used[1]) as f64
    }

    /// Whether the queue is filled by others.
    pub(super) const fn is_competing(&self) -> bool {
        self.competing
    }

    /// How far back the queue decides whether others fill it.
    pub(super) fn competition_span(time: Duration) -> Duration {
        (time * COMPETING_ROUNDS).max(COMPETING_AFTER)
    }

    /// What was known of the path does not hold any more.
    pub(super) fn restart(&mut self) {
        *self = Self {
            bytes: self.bytes.min(INITIAL * self.packet),
            ..Self::new(self.bounds, self.packet)
        };
    }

    /// Finds out whether others fill the queue, its least and its greatest length of the last rounds being
    /// these. Streams like this one keep it short, and drain it together with this one where it never
    /// empties: only where that was in vain there are others.
    pub(super) fn compete(&mut self, round: &Round, least: Duration, most: Duration) {
        let empty = nearly_empty(round.packet, round.bottleneck);
        let empty = empty.as_secs_f64().max(NEARLY_EMPTY * most.as_secs_f64());
        let rivals = self.rivals.is_some_and(|at| round.now - at < RIVALS_MEMORY);
        if !rivals {
            self.before_truce = POLITE;
        }
        let competing = least.as_secs_f64() > empty && rivals && round.now >= self.truce;
        if competing && !self.competing {
            // From the share that it has now, or had before the truce.
            let rate = self.bytes / round.time().as_secs_f64();
            let queued = rate * round.queue.as_secs_f64() / round.packet;
            self.packets_queued = queued.max(self.before_truce).clamp(POLITE, MOST_COMPETING);
        } else if !competing {
            self.packets_queued = POLITE;
        }
        self.competing = competing;
    }

    /// A packet was lost at `now` while the queue was long, its greatest length of the last rounds being
    /// `most`.
    pub(super) fn lost_in_queue(&mut self, now: Time, time: Duration, most: Duration) {
        if most < FULL {
            return;
        }
        if std::mem::take(&mut self.competing) {
            // All that share the queue lose packets when it is full. If all give way then, and none fills
            // it, it empties. Else half of 1/δ goes on (Copa, section 2.2).
            self.before_truce = (self.packets_queued / 2.0).max(POLITE);
            self.packets_queued = POLITE;
            self.truce = now + time * 2;
        }
    }

    /// Packets have been reported.
    pub(super) fn advance(&mut self, round: &Round) {
        self.used[0] = self.used[0].max(round.in_flight);
        self.acked += round.acked as f64;
        let time = round.time();
        let queue = round.queue.saturating_sub(FORGIVEN).as_secs_f64();
        // Copa, equation 1, and the rate of this window.
        let target = self.packets_queued * round.packet / queue.max(1e-6);
        let rate = self.bytes / time.as_secs_f64();
        let wanted = if rate <= target {
            Direction::Up
        } else {
            Direction::Down
        };
        if wanted != self.direction {
            self.direction = wanted;
            (self.velocity, self.steady) = (1.0, 0);
        }
        let filled = self.is_filled();
        if round.now - self.round_began >= time {
            self.end_round(round, filled);
        }
        let acked = round.acked as f64;
        let step = self.velocity
            * self
                .packets_queued
                .min(POLITE.max(self.bytes / round.packet / 4.0))
            * round.packet
            * acked
            / self.bytes;
        match wanted {
            Direction::Up if !filled => {}
            Direction::Up if self.starting => self.bytes += acked,
            Direction::Up => self.bytes += step.min(acked),
            Direction::Down => {
                self.starting = false;
                self.bytes -= step.min(acked / 2.0);
            }
        }
        self.bound(round);
    }

    fn end_round(&mut self, round: &Round, filled: bool) {
        let took = (round.now - self.round_began).as_secs_f64();
        self.delivered = (took < 1.0).then_some(self.acked / took);
        self.acked = 0.0;
        self.round_began = round.now;
        self.used = [round.in_flight, self.used[0]];
        self.steady += 1;
        if !filled && self.direction == Direction::Up || self.competing {
            (self.velocity, self.steady) = (1.0, 0);
        } else if self.steady > STEADY_ROUNDS {
            self.velocity *= 2.0;
        }
        if self.competing && filled {
            // Increase of 1/δ: additive as in Copa, section 2.2, but in proportion where it is large, as CUBIC
            // grows faster than by a packet a round trip on a path that holds many.
            let more = 1.0 + self.packets_queued / 32.0;
            self.packets_queued = (self.packets_queued + more).min(MOST_COMPETING);
        }
    }

    fn bound(&mut self, round: &Round) {
        let base = round.base.as_secs_f64();
        let mut most = self.bounds.most as f64 / 8.0 * round.time().as_secs_f64();
        if let Some(rate) = round.bottleneck {
            let rate = rate / 8.0;
            let fits = if self.competing {
                HEADROOM * rate * round.time().as_secs_f64()
            } else if round.queue > LONG {
                DRAIN * rate * base
            } else {
                HEADROOM * rate * base
            };
            most = most.min(fits + 2.0 * round.packet);
        }
        let least = (LEAST * round.packet).max(self.bounds.least as f64 / 8.0 * base);
        self.bytes = self.bytes.min(most).max(least);
    }

    /// A packet was marked.
    pub(super) fn marked(&mut self, now: Time, time: Duration) {
        if self.backs_off(now, time) {
            self.bytes *= BACKOFF;
        }
    }

    /// More packets were lost than chance takes.
    pub(super) fn lost(&mut self, now: Time, time: Duration) {
        if self.backs_off(now, time) {
            let delivered = self.delivered.map(|rate| rate * time.as_secs_f64());
            self.bytes = BACKOFF * delivered.map_or(self.bytes, |bytes| bytes.min(self.bytes));
        }
    }

    /// Whether to back off at `now`: once a round trip.
    fn backs_off(&mut self, now: Time, time: Duration) -> bool {
        let again = self.lost_at.is_none_or(|before| now - before >= time);
        if again {
            self.lost_at = Some(now);
            self.starting = false;
            self.direction = Direction::Down;
            (self.velocity, self.steady) = (1.0, 0);
        }
        again
    }
}

/// A queue that is nearly empty whatever its greatest length.
pub(super) fn nearly_empty(packet: f64, bottleneck: Option<f64>) -> Duration {
    EMPTY + packet_time(packet, bottleneck)
}

/// Time that a packet takes at the bottleneck.
fn packet_time(packet: f64, bottleneck: Option<f64>) -> Duration {
    bottleneck.map_or(Duration::ZERO, |rate| {
        Duration::try_from_secs_f64(packet * 8.0 / rate).unwrap_or_default()
    })
}
