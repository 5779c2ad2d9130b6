//! What decides when packets leave: pacer, window and circuit breaker, and what they are fed with.

use std::time::Duration;

use super::circuit::{Change, Circuit};
use super::delay::Delay;
use super::dispersion::Dispersion;
use super::loss_step::LossStep;
use super::pacer::Pacer;
use super::path::{IP_UDP_HEADER, Path, time_of};
use super::rivals::Rivals;
use super::window::{HEADROOM, INITIAL, Round, Window};
use super::{AdaptiveRate, RateControl};
use crate::config::Config;
use crate::recv::feedback::MAX_DELAY;
use crate::time::Time;
use crate::windowed_min::WindowedMin;
use crate::wire::Ecn;

/// How long a least round-trip time counts where it is doubted that the path has been empty since.
const SHORTEST: Duration = Duration::from_secs(60);
/// What was known of the path is forgotten when nothing was sent for so long.
const FORGET: Duration = Duration::from_secs(10);
/// Packets sent within this time left one after another, whatever the pace.
const TRAIN: Duration = Duration::from_millis(1);
/// Packets that leave back to back, less one, while the bottleneck is not known, to find it: all that the
/// first window holds.
const FIRST_TRAIN: usize = INITIAL - 1;
/// Packets that measure a bottleneck again: at 1 Mbit/s they take 40 ms.
const AGAIN: usize = 4;
/// Time from one measurement to the next at least.
const MEASURED: Duration = Duration::from_secs(1);
/// The queue is longer than this for no path.
const LONGEST: Duration = Duration::from_secs(10);
/// The queue may be taken for empty within this time of reports at least.
const STANDING: Duration = Duration::from_millis(15);

/// A packet of which a report has told for the first time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    pub(crate) number: u64,
    pub(crate) sent: Time,
    /// Bytes, IP and UDP headers included.
    pub(crate) size: usize,
    /// When it arrived by the peer's clock, microseconds; none if the report does not tell.
    pub(crate) arrival: Option<i64>,
    pub(crate) ecn: Ecn,
}

/// What a report has told, and what is known besides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report<'a> {
    pub(crate) now: Time,
    /// DATA and REPAIR packets that it tells of for the first time, in the order of their numbers.
    pub(crate) arrived: &'a [Arrived],
    /// Bytes in flight before it.
    pub(crate) in_flight: usize,
    /// The least round-trip time.
    pub(crate) least_rtt: Option<Duration>,
}

/// What is about to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    pub(crate) now: Time,
    /// Bytes in flight, and of the packets that wait.
    pub(crate) in_flight: usize,
    /// The rate at which the tensor that waits takes a frame interval, bits a second.
    pub(crate) spread: Option<u64>,
}

/// Decides when packets leave.
#[derive(Debug)]
pub(crate) struct Controller {
    control: RateControl,
    /// Bytes of a full packet, IP and UDP headers included.
    packet: usize,
    pacer: Pacer,
    circuit: Circuit,
    delay: Delay,
    dispersion: Dispersion,
    /// When packets were last sent to measure the bottleneck.
    measured: Option<Time>,
    losses: LossStep,
    /// The least round-trip time of the last minute.
    shortest: WindowedMin,
    /// When the path was nearly empty last.
    emptied: Time,
    /// Only of an adaptive rate.
    window: Option<Window>,
    /// The round-trip time of the empty path, reporting included, and the standing queue.
    base: Option<Duration>,
    queue: Duration,
    last_sent: Option<Time>,
}

impl Controller {
    pub(crate) fn new(config: &Config) -> Self {
        let packet = usize::from(config.mss) + IP_UDP_HEADER;
        let window = match config.rate {
            RateControl::Adaptive(bounds) => Some(Window::new(bounds, packet as f64)),
            _ => None,
        };
        Self {
            control: config.rate,
            packet,
            pacer: Pacer::default(),
            circuit: Circuit::default(),
            delay: Delay::default(),
            dispersion: Dispersion::default(),
            measured: None,
            losses: LossStep::default(),
            shortest: WindowedMin::new(SHORTEST),
            emptied: Time::ZERO,
            window,
            base: None,
            queue: Duration::ZERO,
            last_sent: None,
        }
    }

    /// The same for a session that goes on where this one is, with what is known of the path.
    pub(crate) fn following(&self, config: &Config) -> Self {
        let new = Self::new(config);
        let window = match (&self.window, config.rate) {
            (Some(window), RateControl::Adaptive(bounds)) => {
                Some(window.following(bounds, new.packet as f64))
            }
            _ => new.window,
        };
        Self {
            delay: self.delay.clone(),
            dispersion: self.dispersion.following(),
            losses: self.losses.clone(),
            shortest: self.shortest.clone(),
            emptied: self.emptied,
            window,
            base: self.base,
            queue: self.queue,
            last_sent: self.last_sent,
            ..new
        }
    }

    /// Whether anything bounds what is sent.
    pub(crate) fn is_on(&self) -> bool {
        self.control != RateControl::Off
    }

    /// Whether the bottleneck is to be measured, and is not known.
    const fn is_unmeasured(&self) -> bool {
        self.window.is_some() && self.dispersion.rate().is_none()
    }

    /// How many packets are to leave at once to measure the bottleneck; 0 where that is not wanted, or it was
    /// measured, or told by trains, within a second.
    pub(crate) fn measure(&mut self, now: Time) -> usize {
        let known = !self.is_unmeasured() && !self.dispersion.is_stale(now);
        let lately = self.measured.is_some_and(|at| now - at < MEASURED);
        if self.window.is_none() || known || lately {
            return 0;
        }
        self.measured = Some(now);
        if self.is_unmeasured() {
            return INITIAL;
        }
        self.dispersion.doubt(now);
        if let Some(rate) = self.pace(now, None) {
            self.pacer.allow(now, (AGAIN - 1) * self.packet, rate);
        }
        AGAIN
    }

    /// Bits a second at which packets leave; none: at once.
    fn pace(&self, now: Time, spread: Option<u64>) -> Option<u64> {
        let bounds = match self.control {
            RateControl::Off => return None,
            RateControl::Fixed { bits_per_second } => return Some(bits_per_second),
            RateControl::Adaptive(bounds) => bounds,
        };
        let AdaptiveRate { start, least, most } = bounds;
        let spread = spread.unwrap_or(0);
        let pace = match self.dispersion.rate() {
            None => start.max(spread),
            Some(rate) if self.is_falling(now) => spread.clamp(whole(rate), whole(rate * HEADROOM)),
            Some(rate) if self.is_refilling(now) => whole(rate),
            Some(rate) => whole(rate * HEADROOM),
        };
        Some(pace.clamp(least, most))
    }

    /// Whether the bottleneck has become slower within the last round trip.
    fn is_falling(&self, now: Time) -> bool {
        let time = self.base.unwrap_or_default() + self.queue;
        self.dispersion.fell().is_some_and(|fell| now - fell < time)
    }

    /// Whether the window is being filled again after the queue was drained: no time to probe.
    fn is_refilling(&self, now: Time) -> bool {
        let Some(window) = &self.window else {
            return false;
        };
        let time = self.base.unwrap_or_default() + self.queue;
        window.rivals().is_refilling(now, time)
    }

    /// A datagram of so many bytes of UDP payload leaves; `paced` tells those that wait for the pacer.
    pub(crate) fn sent(&mut self, sending: &Sending, size: usize, paced: bool) {
        let now = sending.now;
        if paced {
            if self.last_sent.is_some_and(|before| now - before > FORGET) {
                self.forget();
            }
            self.last_sent = Some(now);
            if self.is_on() {
                self.circuit.sent(now);
            }
        }
        if let Some(rate) = self.pace(now, sending.spread) {
            let burst = if self.is_unmeasured() || self.dispersion.is_doubted(now) {
                FIRST_TRAIN * self.packet
            } else {
                0
            };
            self.pacer.sent(now, size + IP_UDP_HEADER, rate, burst);
            if !paced {
                self.pacer.forgive(now);
            }
        }
    }

    fn forget(&mut self) {
        self.dispersion = Dispersion::default();
        if let Some(window) = &mut self.window {
            window.restart();
        }
    }

    /// When the pacer lets the next DATA or REPAIR packet leave.
    pub(crate) const fn next(&self) -> Time {
        self.pacer.next()
    }

    /// Tells the pacer whether packets wait for it, and for nothing else.
    pub(crate) const fn hold(&mut self, holds: bool) {
        self.pacer.hold(holds);
    }

    /// Whether the window has room for a packet, and the circuit is closed.
    pub(crate) fn has_room(&self, now: Time, in_flight: usize) -> bool {
        let fits = self
            .window
            .as_ref()
            .is_none_or(|window| (in_flight + self.packet) as f64 <= window.at(now));
        fits && !self.circuit.is_open()
    }

    /// Whether the circuit is open.
    pub(crate) const fn is_silent(&self) -> bool {
        self.circuit.is_open()
    }

    /// The peer's time whose low bits are `timestamp`, microseconds.
    pub(crate) fn peer_time(&mut self, timestamp: u32) -> i64 {
        self.delay.peer_time(timestamp)
    }

    /// A report has come; whether that closes the circuit.
    pub(crate) fn reported(&mut self, report: &Report<'_>) -> Option<Change> {
        let now = report.now;
        let change = self.circuit.heard();
        if change.is_some() {
            self.forget();
        }
        self.delay.observe(now, report.arrived);
        let rtt = report.least_rtt.unwrap_or_default();
        let standing = self.delay.least(now, (rtt / 2).max(STANDING));
        self.queue = standing.min(LONGEST);
        let train = self
            .pace(now, None)
            .map_or(TRAIN, |rate| TRAIN.max(time_of(self.packet, rate) * 2));
        let doubted = self.dispersion.is_doubted(now);
        self.dispersion
            .observe(now, report.arrived, train, self.queue);
        let anew = doubted && !self.dispersion.is_doubted(now);
        let Some(least) = report.least_rtt else {
            return change;
        };
        let base = least + MAX_DELAY;
        self.base = Some(base);
        let micros = i64::try_from(least.as_micros()).unwrap_or(i64::MAX);
        self.shortest.push(now, micros);
        // A path that got longer, or a queue that has stood for longer than the empty path is remembered.
        let forgotten = self.shortest.get().map_or(0, |shortest| micros - shortest);
        let forgotten = Duration::from_micros(forgotten.unsigned_abs());
        let Some(window) = &mut self.window else {
            return change;
        };
        let round = Round {
            now,
            acked: report.arrived.iter().map(|packet| packet.size).sum(),
            in_flight: report.in_flight,
            base,
            queue: self.queue,
            bottleneck: self.dispersion.rate(),
            packet: self.packet as f64,
        };
        let time = base + self.queue;
        if report.arrived.iter().any(|packet| packet.ecn == Ecn::Ce) {
            window.marked(now, time);
        }
        let span = Rivals::span(time);
        let remembered = self.delay.since(now) >= span;
        let seen = remembered.then(|| [self.delay.least(now, span), self.delay.most(now, span)]);
        let newest = self.delay.newest();
        let empty = round.nearly_empty();
        // PINGs are short and take a little less time than what is compared with them.
        if !report.arrived.is_empty() && newest <= empty && forgotten <= empty {
            self.emptied = now;
        }
        window.watch(&round, self.emptied, seen);
        if anew {
            window.fit(&round);
        }
        window.advance(&round);
        change
    }

    /// What was sent before this time has met its fate at `now`: half a round trip after a report of it was
    /// due, so that packets that overtake each other are not taken for losses.
    pub(crate) fn settles(&self, now: Time) -> Option<Time> {
        let time = self.base? + self.queue;
        Some(now - time * 3 / 2)
    }

    /// What became of a DATA or REPAIR packet is settled.
    pub(crate) fn settled(&mut self, now: Time, lost: bool) {
        let step = self.losses.add(lost);
        let (Some(window), Some(base)) = (&mut self.window, self.base) else {
            return;
        };
        let time = base + self.queue;
        if step {
            window.lost(now, time);
        }
        if lost {
            let most = self.delay.most(now, Rivals::span(time));
            if self.queue * 2 > most {
                window.rivals_mut().lost_in_queue(now, time, most);
            }
        }
    }

    /// When the circuit breaker has to be looked at, a report taking `timeout` at most.
    pub(crate) fn circuit_due(&self, timeout: Duration) -> Option<Time> {
        self.circuit.due(timeout)
    }

    /// Opens the circuit breaker if that is due.
    pub(crate) fn expire(&mut self, now: Time, timeout: Duration) -> Option<Change> {
        self.circuit.expire(now, timeout)
    }

    /// What is known of the path.
    pub(crate) fn path(
        &self,
        sending: &Sending,
        waiting: usize,
        least_rtt: Option<Duration>,
    ) -> Path {
        let now = sending.now;
        let pace = self.pace(now, sending.spread);
        let time = self.base.map(|base| base + self.queue);
        let rate = match (&self.window, time) {
            (None, _) => pace,
            (Some(_), None) => pace,
            (Some(window), Some(time)) => Some(whole(window.bytes() * 8.0 / time.as_secs_f64())),
        };
        Path {
            rate,
            bottleneck: self.dispersion.rate().map(whole),
            pace,
            queue_delay: self.queue,
            one_way: least_rtt.map(|rtt| rtt / 2),
            waiting,
            in_flight: sending.in_flight,
            window: self.window.as_ref().map(|window| bytes(window.at(now))),
            ready: waiting == 0 && self.next() <= now && self.has_room(now, sending.in_flight),
            competing: self
                .window
                .as_ref()
                .is_some_and(|window| window.rivals().is_competing()),
            silent: self.circuit.is_open(),
        }
    }
}

/// A rate in whole bits a second.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and is never below zero"
)]
const fn whole(rate: f64) -> u64 {
    rate as u64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and is never below zero"
)]
const fn bytes(window: f64) -> usize {
    window as usize
}
