//! A bulk transfer under CUBIC (RFC 9438), as the rival of a stream: congestion control and loss
//! detection of TCP, nothing else of it.

use std::collections::VecDeque;
use std::time::Duration;

use tensorwire_protocol::Time;

const C: f64 = 0.4;
const BETA: f64 = 0.7;
/// Later packets that have to arrive before one is taken for lost.
const REORDERING: u64 = 3;
const LEAST_TIMEOUT: Duration = Duration::from_millis(200);

/// The sender of an endless transfer of full packets, each acknowledged for itself.
#[derive(Debug)]
pub struct Cubic {
    window: f64,
    threshold: f64,
    most: f64,
    friendly: f64,
    epoch: Option<Time>,
    next: u64,
    /// First packet that may be in flight, and the packets from there on: when sent, whether in flight.
    first: u64,
    sent: VecDeque<(Time, bool)>,
    in_flight: u64,
    greatest: u64,
    recover: u64,
    rtt: Option<Duration>,
    heard: Time,
}

impl Default for Cubic {
    fn default() -> Self {
        Self {
            window: 10.0,
            threshold: f64::INFINITY,
            most: 0.0,
            friendly: 0.0,
            epoch: None,
            next: 0,
            first: 0,
            sent: VecDeque::new(),
            in_flight: 0,
            greatest: 0,
            recover: 0,
            rtt: None,
            heard: Time::ZERO,
        }
    }
}

impl Cubic {
    /// The number of the next packet to send at `now`; none while the window is full.
    pub fn poll_transmit(&mut self, now: Time) -> Option<u64> {
        if self.in_flight as f64 + 1.0 > self.window {
            return None;
        }
        if self.in_flight == 0 {
            self.heard = now;
        }
        self.sent.push_back((now, true));
        self.in_flight += 1;
        self.next += 1;
        Some(self.next - 1)
    }

    /// When to call [`timeout`](Self::timeout).
    pub fn poll_timeout(&self) -> Option<Time> {
        let timeout = self
            .rtt
            .map_or(LEAST_TIMEOUT * 5, |rtt| rtt * 2 + LEAST_TIMEOUT);
        (self.in_flight > 0).then(|| self.heard + timeout)
    }

    /// Nothing was heard for long: everything in flight is lost.
    pub fn timeout(&mut self, now: Time) {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.reduce();
            self.window = 1.0;
            (self.in_flight, self.first) = (0, self.next);
            self.sent.clear();
            self.heard = now;
        }
    }

    /// The acknowledgement of a packet arrives at `now`.
    pub fn acknowledged(&mut self, now: Time, number: u64) {
        self.heard = now;
        self.greatest = self.greatest.max(number);
        if let Some(at) = number.checked_sub(self.first)
            && let Some((sent, flies)) = self.sent.get_mut(usize::try_from(at).unwrap())
            && std::mem::take(flies)
        {
            let sample = now - *sent;
            self.rtt = Some(self.rtt.map_or(sample, |rtt| (rtt * 7 + sample) / 8));
            self.in_flight -= 1;
            self.grow(now);
        }
        let mut lost = false;
        while let Some((_, flies)) = self.sent.front().copied() {
            if flies && self.first + REORDERING > self.greatest {
                break;
            }
            lost |= flies && self.first >= self.recover;
            self.in_flight -= u64::from(flies);
            self.sent.pop_front();
            self.first += 1;
        }
        if lost {
            self.reduce();
        }
    }

    fn reduce(&mut self) {
        self.recover = self.next;
        // Fast convergence (RFC 9438, section 4.7).
        self.most = if self.window < self.most {
            self.window * (1.0 + BETA) / 2.0
        } else {
            self.window
        };
        self.window = (self.window * BETA).max(2.0);
        self.threshold = self.window;
        self.epoch = None;
    }

    fn grow(&mut self, now: Time) {
        if self.window < self.threshold {
            self.window += 1.0;
            return;
        }
        let begins = self.epoch.is_none();
        let epoch = *self.epoch.get_or_insert(now);
        if begins {
            self.friendly = self.window;
            self.most = self.most.max(self.window);
        }
        let time = (now - epoch + self.rtt.unwrap_or_default()).as_secs_f64();
        let k = ((self.most - self.window_at_epoch()) / C).max(0.0).cbrt();
        let target = C * (time - k).powi(3) + self.most;
        self.friendly += 3.0 * (1.0 - BETA) / (1.0 + BETA) / self.window;
        let step = ((target - self.window) / self.window).clamp(0.0, 0.5);
        self.window = (self.window + step).max(self.friendly);
    }

    fn window_at_epoch(&self) -> f64 {
        self.threshold.min(self.most)
    }
}
