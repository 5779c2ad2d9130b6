//! One attempt to validate a path.

use std::time::Duration;

use super::PathId;
use crate::protection::Entropy;
use crate::time::Time;
use crate::wire::PathData;

/// Bytes that may go to a path for each that came from it, until it is validated (RFC 9000, section 8).
const AMPLIFICATION: u64 = 3;
/// Challenges that may still be answered.
const REMEMBERED: usize = 4;
/// The least time after which a probe timeout may pass for that of the new path (RFC 9000, section 8.2.4: that of
/// a path of which nothing is known).
const LEAST: Duration = Duration::from_secs(1);
/// The time between challenges does not grow beyond this.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// A path that is being validated.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) path: PathId,
    /// Bytes that came from it and went to it.
    received: u64,
    sent: u64,
    challenges: [Option<PathData>; REMEMBERED],
    /// Time between challenges, doubled with each while it is short, and when the next is due.
    pause: Duration,
    next: Time,
    until: Time,
}

impl Probe {
    pub(super) fn new(now: Time, path: PathId, received: usize, timeout: Duration) -> Self {
        Self {
            path,
            received: received as u64,
            sent: 0,
            challenges: [None; REMEMBERED],
            pause: timeout,
            next: now,
            until: now + timeout.max(LEAST) * 3,
        }
    }

    pub(super) const fn received(&mut self, bytes: usize) {
        self.received = self.received.saturating_add(bytes as u64);
    }

    pub(super) const fn sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes as u64);
    }

    /// Whether so many bytes more may go to the path.
    pub(super) const fn allows(&self, bytes: usize) -> bool {
        let most = self.received.saturating_mul(AMPLIFICATION);
        self.sent.saturating_add(bytes as u64) <= most
    }

    /// When a challenge of so many bytes is due; never while it may not be sent.
    pub(super) fn due(&self, bytes: usize) -> Option<Time> {
        self.allows(bytes).then_some(self.next)
    }

    /// When the attempt has failed.
    pub(super) const fn until(&self) -> Time {
        self.until
    }

    /// The next challenge, made of `entropy` and a number that was never used with it.
    pub(super) fn challenge(&mut self, now: Time, entropy: &Entropy, number: u64) -> PathData {
        let data = PathData(entropy.challenge(number));
        self.challenges.rotate_right(1);
        self.challenges[0] = Some(data);
        self.next = now + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE.max(self.pause));
        data
    }

    /// Whether a response is to one of the challenges.
    pub(super) fn is_answer(&self, data: PathData) -> bool {
        self.challenges.contains(&Some(data))
    }
}
