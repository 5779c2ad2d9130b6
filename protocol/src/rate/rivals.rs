//! Whether flows that fill the queue share the bottleneck, and how hard to hold one's own against them.

use std::mem::take;
use std::time::Duration;

use super::window::Round;
use crate::time::Time;

/// 1/δ: packets that a sender keeps in the queue (Copa's default, δ = 0.5).
const POLITE: f64 = 2.0;
/// The most of it beside rivals.
const MOST: f64 = 500.0;
/// In how many rounds 1/δ doubles where it is large, times log₂ e: as CUBIC does, it grows faster than by a
/// packet a round trip on a path that holds many.
const PROPORTION: f64 = 32.0;
/// Time without the path nearly empty after which the queue is drained: less than half of the memory of
/// the empty path.
const DRAIN_AFTER: Duration = Duration::from_secs(3);
/// It takes so long at most, whatever the queue seems to be: a clock that jumped looks like one.
const LONGEST_DRAIN: Duration = Duration::from_secs(3);
/// Rivals are believed in for so long after the queue was drained in vain.
const MEMORY: Duration = Duration::from_secs(15);
/// Round trips without the queue nearly empty in which rivals are met (Copa, section 2.2) …
const ROUNDS: u32 = 5;
/// … but not before so long.
const SPAN: Duration = Duration::from_millis(500);
/// A queue whose greatest length was less is not full when a packet is lost.
const FULL: Duration = Duration::from_millis(10);
/// A queue is nearly empty below this share of its greatest length, too.
const NEARLY_EMPTY: f64 = 0.1;

/// Finds rivals, and competes with them.
#[derive(Clone, Debug)]
pub(super) struct Rivals {
    /// 1/δ.
    queued: f64,
    competing: bool,
    /// When the queue was drained in vain last.
    found: Option<Time>,
    /// When draining began last, and until when it goes on, if it does.
    drained: Time,
    draining: Option<Time>,
    /// Until when this sender gives way, to see whether the queue empties, and 1/δ after that.
    truce: Time,
    after_truce: f64,
}

impl Default for Rivals {
    fn default() -> Self {
        Self {
            queued: POLITE,
            competing: false,
            found: None,
            drained: Time::ZERO,
            draining: None,
            truce: Time::ZERO,
            after_truce: POLITE,
        }
    }
}

impl Rivals {
    /// 1/δ: packets to keep in the queue.
    pub(super) const fn queued(&self) -> f64 {
        self.queued
    }

    /// The same as a step of a window of so many packets: no more than a quarter of it.
    pub(super) const fn step(&self, window: f64) -> f64 {
        self.queued.min((window / 4.0).max(POLITE))
    }

    /// Whether rivals fill the queue now.
    pub(super) const fn is_competing(&self) -> bool {
        self.competing
    }

    /// Whether the queue is being drained at `now`.
    pub(super) fn is_draining(&self, now: Time) -> bool {
        self.draining.is_some_and(|until| now < until)
    }

    /// Whether the window is being filled again after that.
    pub(super) fn is_refilling(&self, now: Time, time: Duration) -> bool {
        self.draining.is_some_and(|until| now < until + time)
    }

    /// How far back the queue decides whether rivals fill it, a round trip taking `time`.
    pub(super) fn span(time: Duration) -> Duration {
        (time * ROUNDS).max(SPAN)
    }

    /// The queue was nearly empty at `emptied` last. Where that is long ago it is drained for a round trip
    /// and a half, so that it is not taken for the path (as ProbeRTT of BBR does). Those that share the
    /// queue have seen it empty at the same time, and so do this at the same time.
    pub(super) fn drain(&mut self, round: &Round, emptied: Time, filled: bool) {
        if self
            .draining
            .is_some_and(|until| until + round.base <= round.now)
        {
            self.draining = None;
            if emptied < self.drained {
                self.found = Some(round.now);
            }
        }
        let due = emptied.max(self.drained) + DRAIN_AFTER;
        if filled && self.draining.is_none() && due <= round.now {
            self.drained = round.now;
            self.draining = Some(round.now + (round.time() * 3 / 2).min(LONGEST_DRAIN));
        }
    }

    /// Decides whether to compete, the queue's least and greatest length of the last [`span`](Self::span)
    /// being these and `window` being in flight. Streams like this one keep the queue short, and drain it
    /// together where it never empties: only where that was in vain there are rivals.
    pub(super) fn watch(&mut self, round: &Round, [least, most]: [Duration; 2], window: f64) {
        let empty = round.nearly_empty().max(most.mul_f64(NEARLY_EMPTY));
        let exist = self.found.is_some_and(|at| round.now - at < MEMORY);
        if !exist {
            self.after_truce = POLITE;
        }
        let competing = exist && least > empty && round.now >= self.truce;
        if !competing {
            self.queued = POLITE;
        } else if !self.competing {
            // From the share that it has now, or had before the truce.
            let share = round.queue.as_secs_f64() / round.time().as_secs_f64();
            let queued = window / round.packet * share;
            self.queued = queued.max(self.after_truce).clamp(POLITE, MOST);
        }
        self.competing = competing;
    }

    /// A round trip has passed in which the window was used: more is claimed (Copa, section 2.2).
    pub(super) fn claim(&mut self) {
        if self.competing {
            self.queued = (self.queued + 1.0 + self.queued / PROPORTION).min(MOST);
        }
    }

    /// A packet was lost at `now` while the queue was long, its greatest length of the last
    /// [`span`](Self::span) being `most` and a round trip taking `time`.
    pub(super) fn lost_in_queue(&mut self, now: Time, time: Duration, most: Duration) {
        if most >= FULL && take(&mut self.competing) {
            // All that share the queue lose packets when it is full. If all give way then, and none fills
            // it, it empties. Else half of 1/δ goes on (Copa, section 2.2).
            self.after_truce = (self.queued / 2.0).max(POLITE);
            self.queued = POLITE;
            self.truce = now + time * 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn round(millis: u64, queue: u32) -> Round {
        Round {
            now: Time::from_millis(millis),
            acked: 0,
            in_flight: 0,
            base: 50 * MS,
            queue: queue * MS,
            bottleneck: Some(10e6),
            packet: 1_250.0,
        }
    }

    /// Rivals that were found out: the queue was 30 ms long and more since the first second, and drained in
    /// vain.
    fn found() -> Rivals {
        let mut rivals = Rivals::default();
        let emptied = Time::from_millis(1_000);
        for millis in (1_000..4_400).step_by(10) {
            let round = round(millis, 30);
            rivals.drain(&round, emptied, true);
            let draining = (4_000..4_120).contains(&millis);
            assert_eq!(rivals.is_draining(round.now), draining, "at {millis} ms");
            assert!(rivals.found.is_none() || millis >= 4_170);
        }
        rivals
    }

    #[test]
    fn a_queue_that_draining_does_not_empty_has_rivals() {
        let mut rivals = found();
        rivals.watch(&round(4_500, 30), [20 * MS, 40 * MS], 100_000.0);
        assert!(rivals.is_competing());
        // 80 packets, three of eight parts of whose round trip are queue.
        assert!((rivals.queued() - 30.0).abs() < 1e-9);
        rivals.claim();
        assert!(rivals.queued() > 31.0);
        rivals.watch(&round(4_600, 3), [3 * MS, 40 * MS], 100_000.0);
        assert!(!rivals.is_competing(), "nearly empty");
        assert!(rivals.queued() == POLITE);
    }

    #[test]
    fn a_queue_that_draining_empties_has_none() {
        let mut rivals = Rivals::default();
        for millis in (1_000..9_000).step_by(10) {
            let seen = if millis < 4_150 { 1_000 } else { 4_100 };
            let round = round(millis, 30);
            rivals.drain(&round, Time::from_millis(seen), true);
            rivals.watch(&round, [20 * MS, 40 * MS], 100_000.0);
            assert!(!rivals.is_competing() || millis > 7_100, "at {millis} ms");
        }
    }

    #[test]
    fn a_window_that_is_not_used_drains_nothing() {
        let mut rivals = Rivals::default();
        rivals.drain(&round(9_000, 30), Time::from_millis(1_000), false);
        assert!(!rivals.is_draining(Time::from_millis(9_001)));
    }

    #[test]
    fn a_loss_in_a_full_queue_is_a_truce() {
        let mut rivals = found();
        let watch = |rivals: &mut Rivals, millis| {
            rivals.watch(&round(millis, 30), [20 * MS, 40 * MS], 100_000.0);
            rivals.is_competing()
        };
        assert!(watch(&mut rivals, 4_500));
        rivals.lost_in_queue(Time::from_millis(4_510), 80 * MS, 9 * MS);
        assert!(rivals.is_competing(), "that queue was not full");
        rivals.lost_in_queue(Time::from_millis(4_510), 80 * MS, 40 * MS);
        assert!(!watch(&mut rivals, 4_660));
        assert!(watch(&mut rivals, 4_680));
        assert!(!watch(&mut rivals, 19_900), "forgotten");
    }
}
