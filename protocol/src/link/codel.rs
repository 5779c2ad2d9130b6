//! CoDel (RFC 8289): an active queue that drops or marks by how long packets have waited.

use std::mem::take;
use std::time::Duration;

use crate::time::Time;
use crate::wire::Ecn;

/// Bytes of a packet and a header: a queue of less is never too long (RFC 8289, section 5.4).
const FULL_PACKET: usize = 1_514;

/// The parameters of CoDel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by the caller, field by field"
)]
pub struct CoDel {
    /// The standing wait that is acceptable; default 5 ms.
    pub target: Duration,
    /// How long it may be exceeded; default 100 ms.
    pub interval: Duration,
    /// Whether packets that are ECN-capable are marked rather than dropped; default true.
    pub ecn: bool,
}

impl Default for CoDel {
    fn default() -> Self {
        Self {
            target: Duration::from_millis(5),
            interval: Duration::from_millis(100),
            ecn: true,
        }
    }
}

/// What becomes of a packet at the head of the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Pass,
    Mark,
    Drop,
}

#[derive(Debug)]
pub(super) struct CoDelState {
    config: CoDel,
    first_above: Option<Time>,
    next: Time,
    count: u32,
    last_count: u32,
    dropping: bool,
    marked: u64,
    dropped: u64,
}

impl CoDelState {
    pub(super) const fn new(config: CoDel) -> Self {
        Self {
            config,
            first_above: None,
            next: Time::ZERO,
            count: 0,
            last_count: 0,
            dropping: false,
            marked: 0,
            dropped: 0,
        }
    }

    /// Packets marked and dropped since this was asked last.
    pub(super) fn take_counts(&mut self) -> (u64, u64) {
        (take(&mut self.marked), take(&mut self.dropped))
    }

    /// A packet that has waited `sojourn` leaves the queue at `now`, `left` bytes staying behind it.
    pub(super) fn dequeue(
        &mut self,
        now: Time,
        sojourn: Duration,
        left: usize,
        ecn: Ecn,
    ) -> Verdict {
        let too_long = self.too_long(now, sojourn, left);
        let hit = if self.dropping {
            self.dropping = too_long;
            let due = too_long && now >= self.next;
            if due {
                self.count += 1;
                self.next = self.control(self.next);
            }
            due
        } else if too_long {
            self.dropping = true;
            // A new bout shortly after one begins near its rate (RFC 8289, section 5.5).
            let recent = self.count - self.last_count;
            let soon = now - self.next < self.config.interval * 16;
            self.count = if soon && recent > 1 { recent } else { 1 };
            self.last_count = self.count;
            self.next = self.control(now);
            true
        } else {
            false
        };
        match (hit, self.config.ecn && ecn != Ecn::NotEct) {
            (false, _) => Verdict::Pass,
            (true, true) => {
                self.marked += 1;
                Verdict::Mark
            }
            (true, false) => {
                self.dropped += 1;
                Verdict::Drop
            }
        }
    }

    fn too_long(&mut self, now: Time, sojourn: Duration, left: usize) -> bool {
        if sojourn < self.config.target || left <= FULL_PACKET {
            self.first_above = None;
            return false;
        }
        let since = *self.first_above.get_or_insert(now + self.config.interval);
        now >= since
    }

    fn control(&self, from: Time) -> Time {
        from + self.config.interval.div_f64(f64::from(self.count).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn verdicts(sojourn: Duration, ecn: Ecn) -> Vec<(u64, Verdict)> {
        let mut codel = CoDelState::new(CoDel::default());
        (0..400)
            .map(|ms| {
                let verdict = codel.dequeue(Time::from_millis(ms), sojourn, 10_000, ecn);
                (ms, verdict)
            })
            .filter(|(_, verdict)| *verdict != Verdict::Pass)
            .collect()
    }

    #[test]
    fn a_short_wait_is_left_alone() {
        assert_eq!(verdicts(4 * MS, Ecn::NotEct), []);
    }

    #[test]
    fn a_standing_wait_is_answered_at_a_growing_rate() {
        let at: Vec<u64> = verdicts(6 * MS, Ecn::NotEct).iter().map(|v| v.0).collect();
        assert_eq!(at, [100, 200, 271, 329, 379]);
        assert!(
            verdicts(6 * MS, Ecn::Ect0)
                .iter()
                .all(|v| v.1 == Verdict::Mark)
        );
    }
}
