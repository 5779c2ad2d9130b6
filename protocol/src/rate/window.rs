//! How many bytes may be in flight: Copa (Arun and Balakrishnan, NSDI 2018), with what packet trains
//! tell of the bottleneck as its bound.

use std::time::Duration;

use super::AdaptiveRate;
use super::rivals::Rivals;
use crate::time::Time;

/// Packets in flight on a path of which nothing is known (RFC 6928).
pub(super) const INITIAL: usize = 10;
/// Packets in flight at most: of so many, and a few, a sender remembers what became of them.
const MOST_PACKETS: f64 = 4_000.0;
/// Packets that may always be in flight.
const LEAST: f64 = 4.0;
/// A queue that is no queue: what clocks drift in the memory of the empty path, and coarse arrival times.
const FORGIVEN: Duration = Duration::from_millis(1);
/// Rounds in one direction after which each is twice as fast as the one before (Copa, section 2.1).
const STEADY_ROUNDS: u32 = 3;
/// The greatest velocity: beyond it, the bounds of a step decide.
const MOST_VELOCITY: f64 = 65_536.0;
/// Beyond what the bottleneck takes in a round trip so much more may be in flight, and be sent …
pub(super) const HEADROOM: f64 = 1.25;
/// … but so much less while the queue is long.
const DRAIN: f64 = 0.8;
/// A long queue.
const LONG: Duration = Duration::from_millis(25);
/// What the path holds when it is empty, of which a stream that starts takes so much as soon as it knows.
const START: f64 = 0.5;
/// What is left of the window after a mark (RFC 8511), and of what was delivered after a step of losses.
const BACKOFF: f64 = 0.85;
/// A queue is nearly empty where it is no longer than this and so many packets' time: what one stream like
/// this keeps in it.
const EMPTY: Duration = Duration::from_millis(3);
const EMPTY_PACKETS: f64 = 2.0;

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
    /// The queue below which the path counts as empty.
    pub(super) fn nearly_empty(&self) -> Duration {
        let bits = EMPTY_PACKETS * self.packet * 8.0;
        let packets = self
            .bottleneck
            .map(|rate| Duration::try_from_secs_f64(bits / rate));
        EMPTY + packets.and_then(Result::ok).unwrap_or_default()
    }

    /// The round-trip time, queue included.
    pub(super) fn time(&self) -> Duration {
        self.base + self.queue
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Direction {
    Up,
    Down,
}

/// The bytes that may be in flight.
#[derive(Clone, Debug)]
pub(super) struct Window {
    bounds: AdaptiveRate,
    packet: f64,
    bytes: f64,
    /// Whether nothing has told yet that the path is full: the window doubles each round trip.
    starting: bool,
    velocity: f64,
    direction: Direction,
    steady: u32,
    round_began: Time,
    /// Most bytes in flight in this round and the one before.
    used: [usize; 2],
    /// Bytes acknowledged in this round so far, and a second in the one before.
    acked: f64,
    delivered: Option<f64>,
    backed_off: Option<Time>,
    rivals: Rivals,
}

impl Window {
    pub(super) fn new(bounds: AdaptiveRate, packet: f64) -> Self {
        Self {
            bounds,
            packet,
            bytes: INITIAL as f64 * packet,
            starting: true,
            velocity: 1.0,
            direction: Direction::Up,
            steady: 0,
            round_began: Time::ZERO,
            used: [0; 2],
            acked: 0.0,
            delivered: None,
            backed_off: None,
            rivals: Rivals::default(),
        }
    }

    /// The same between other bounds, for packets of another size.
    pub(super) fn following(&self, bounds: AdaptiveRate, packet: f64) -> Self {
        Self {
            bounds,
            packet,
            ..self.clone()
        }
    }

    /// Bytes that may be in flight, draining aside.
    pub(super) const fn bytes(&self) -> f64 {
        self.bytes
    }

    /// Bytes that may be in flight at `now`.
    pub(super) fn at(&self, now: Time) -> f64 {
        if self.rivals.is_draining(now) {
            self.bytes.min(LEAST * self.packet)
        } else {
            self.bytes
        }
    }

    /// Who else fills the queue.
    pub(super) const fn rivals(&self) -> &Rivals {
        &self.rivals
    }

    /// The same, to tell it of a loss.
    pub(super) const fn rivals_mut(&mut self) -> &mut Rivals {
        &mut self.rivals
    }

    /// What was known of the path does not hold any more.
    pub(super) fn restart(&mut self) {
        *self = Self {
            bytes: self.bytes.min(INITIAL as f64 * self.packet),
            ..Self::new(self.bounds, self.packet)
        };
    }

    /// The path was nearly empty at `emptied` last; the queue's least and greatest length of the last
    /// [`span`](Rivals::span) were these, where reports reach back so far.
    pub(super) fn watch(&mut self, round: &Round, emptied: Time, seen: Option<[Duration; 2]>) {
        let filled = self.is_filled();
        self.rivals.drain(round, emptied, filled);
        if let Some(seen) = seen {
            self.rivals.watch(round, seen, self.bytes);
        }
    }

    /// Whether the application fills the window. One that it does not fill tells nothing of the path: it
    /// may reach twice what is used.
    fn is_filled(&self) -> bool {
        self.bytes < 2.0 * self.used[0].max(self.used[1]) as f64
    }

    /// Packets have been reported.
    pub(super) fn advance(&mut self, round: &Round) {
        self.used[0] = self.used[0].max(round.in_flight);
        self.acked += round.acked as f64;
        let time = round.time();
        let queue = round.queue.saturating_sub(FORGIVEN).as_secs_f64();
        // Copa, equation 1, and the rate of this window.
        let target = self.rivals.queued() * round.packet / queue.max(1e-6);
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
        let packets = self.rivals.step(self.bytes / round.packet);
        let step = self.velocity * packets * round.packet * acked / self.bytes;
        match wanted {
            Direction::Up if !filled => {}
            Direction::Up if self.starting => {
                self.bytes += acked;
                self.fit(round);
            }
            Direction::Up => self.bytes += step.min(acked),
            Direction::Down => {
                self.starting = false;
                self.bytes -= step.min(acked / 2.0);
            }
        }
        self.bound(round);
    }

    /// The bottleneck is known, and was not before: the window is no less than a share of what the path holds.
    pub(super) fn fit(&mut self, round: &Round) {
        let path = round
            .bottleneck
            .map(|rate| rate / 8.0 * round.base.as_secs_f64());
        self.bytes = self.bytes.max(START * path.unwrap_or(0.0));
    }

    fn end_round(&mut self, round: &Round, filled: bool) {
        let took = (round.now - self.round_began).as_secs_f64();
        self.delivered = (took < 1.0).then_some(self.acked / took);
        self.acked = 0.0;
        self.round_began = round.now;
        self.used = [round.in_flight, self.used[0]];
        self.steady += 1;
        let competing = self.rivals.is_competing();
        if competing || (!filled && self.direction == Direction::Up) {
            (self.velocity, self.steady) = (1.0, 0);
        } else if self.steady > STEADY_ROUNDS {
            self.velocity = (self.velocity * 2.0).min(MOST_VELOCITY);
        }
        if filled {
            self.rivals.claim();
        }
    }

    fn bound(&mut self, round: &Round) {
        let base = round.base.as_secs_f64();
        let mut most = self.bounds.most as f64 / 8.0 * round.time().as_secs_f64();
        most = most.min(MOST_PACKETS * round.packet);
        if let Some(rate) = round.bottleneck {
            let rate = rate / 8.0;
            let fits = if self.rivals.is_competing() {
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
            self.bytes = (BACKOFF * self.bytes).max(LEAST * self.packet);
        }
    }

    /// More packets were lost than chance takes.
    pub(super) fn lost(&mut self, now: Time, time: Duration) {
        if self.backs_off(now, time) {
            let delivered = self.delivered.map(|rate| rate * time.as_secs_f64());
            let delivered = delivered.map_or(self.bytes, |bytes| bytes.min(self.bytes));
            self.bytes = (BACKOFF * delivered).max(LEAST * self.packet);
        }
    }

    /// Whether to back off at `now`: once a round trip.
    fn backs_off(&mut self, now: Time, time: Duration) -> bool {
        let again = self.backed_off.is_none_or(|before| now - before >= time);
        if again {
            self.backed_off = Some(now);
            self.starting = false;
            self.direction = Direction::Down;
            (self.velocity, self.steady) = (1.0, 0);
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: f64 = 1_250.0;

    /// A window after reports, every 10 ms for a second, of as much as it lets through; `queue` and
    /// `bottleneck` are what is measured.
    #[expect(clippy::cast_possible_truncation, reason = "some kilobytes")]
    fn after(queue_micros: u64, bottleneck: Option<f64>, used: f64) -> Window {
        let mut window = Window::new(AdaptiveRate::default(), PACKET);
        for report in 0..100 {
            let round = Round {
                now: Time::from_millis(report * 10),
                acked: (window.bytes() * used / 5.0) as usize,
                in_flight: (window.bytes() * used) as usize,
                base: Duration::from_millis(50),
                queue: Duration::from_micros(queue_micros),
                bottleneck,
                packet: PACKET,
            };
            window.advance(&round);
        }
        window
    }

    #[test]
    fn without_a_queue_it_doubles_up_to_what_the_bottleneck_takes_and_a_quarter() {
        let window = after(0, Some(40e6), 1.0);
        assert!((window.bytes() - (1.25 * 40e6 / 8.0 * 0.05 + 2.0 * PACKET)).abs() < 1.0);
    }

    #[test]
    fn it_settles_where_two_packets_of_it_queue() {
        // Two packets in 10 ms are 2 Mbit/s, of which 61 ms hold 15,250 bytes.
        let window = after(11_000, None, 1.0);
        assert!(
            (10_000.0..20_000.0).contains(&window.bytes()),
            "{}",
            window.bytes()
        );
    }

    #[test]
    fn a_long_queue_empties_it_below_what_the_bottleneck_takes() {
        let window = after(200_000, Some(3e6), 1.0);
        assert!(window.bytes() <= 0.8 * 3e6 / 8.0 * 0.05 + 2.0 * PACKET);
    }

    #[test]
    fn what_is_not_used_does_not_grow() {
        let window = after(0, None, 0.4);
        assert!(window.bytes() == INITIAL as f64 * PACKET);
    }

    #[test]
    fn a_mark_counts_once_a_round_trip() {
        let mut window = Window::new(AdaptiveRate::default(), PACKET);
        let time = Duration::from_millis(50);
        for millis in [100, 110, 140, 160] {
            window.marked(Time::from_millis(millis), time);
        }
        assert!((window.bytes() / (INITIAL as f64 * PACKET) - BACKOFF * BACKOFF).abs() < 1e-9);
    }
}
