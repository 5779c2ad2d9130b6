//! When the next packet may leave.

use std::time::Duration;

use crate::time::Time;

/// A sender that comes late, or begins after a pause, may send at once what this time would have taken:
/// the timers of operating systems are a millisecond coarse, and packets that leave back to back tell
/// what the bottleneck takes.
const CREDIT: Duration = Duration::from_millis(2);

/// While packets wait for their time, a sender that is woken late makes up for so much: a busy machine
/// must not stretch a tensor.
const LATENESS: Duration = Duration::from_millis(25);

/// Time of packets that are not held back which the next one waits for at most.
const MOST_DEBT: Duration = Duration::from_millis(50);

/// Spaces packets by a rate.
#[derive(Debug, Default)]
pub(super) struct Pacer {
    /// Nanoseconds since the epoch at which the next packet may leave.
    next: u64,
    /// Whether packets have been waiting for that.
    holds: bool,
}

impl Pacer {
    /// A packet of `bytes` left at `now`, the rate being `rate` bits a second; `burst` bytes may leave at
    /// once in any case.
    pub(super) fn sent(&mut self, now: Time, bytes: usize, rate: u64, burst: usize) {
        let time = time_of(bytes, rate);
        let credit = if self.holds { LATENESS } else { CREDIT };
        let credit = nanos(Time::ZERO + credit).max(time_of(burst, rate));
        let earliest = nanos(now).saturating_sub(credit);
        self.next = self.next.max(earliest).saturating_add(time);
    }

    /// A packet left that is not held back. However many do, whoever makes us send them, the next tensor
    /// waits for them no longer than this.
    pub(super) fn forgive(&mut self, now: Time) {
        self.next = self.next.min(nanos(now + MOST_DEBT));
    }

    /// Another `bytes` beyond a first packet may leave at `now`, whatever left before.
    pub(super) fn allow(&mut self, now: Time, bytes: usize, rate: u64) {
        let earliest = nanos(now).saturating_sub(time_of(bytes, rate));
        self.next = self.next.min(earliest);
    }

    /// Whether packets wait for their time now: nothing else keeps them.
    pub(super) const fn hold(&mut self, holds: bool) {
        self.holds = holds;
    }

    /// When the next packet may leave: rounded up, so that it may then.
    pub(super) const fn next(&self) -> Time {
        Time::from_micros(self.next.div_ceil(1_000))
    }
}

/// Nanoseconds that so many bytes take.
const fn time_of(bytes: usize, rate: u64) -> u64 {
    let rate = if rate == 0 { 1 } else { rate };
    (bytes as u64).saturating_mul(8_000_000_000) / rate
}

const fn nanos(time: Time) -> u64 {
    time.as_micros().saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_leave_at_the_rate_after_a_short_burst() {
        let mut pacer = Pacer::default();
        let start = Time::from_millis(500);
        let mut now = start;
        let mut at_once = 0;
        for _ in 0..1_000 {
            at_once += u32::from(now == start);
            pacer.sent(now, 1_250, 10_000_000, 0);
            now = now.max(pacer.next());
        }
        assert_eq!(at_once, 3, "two milliseconds' worth and one");
        assert_eq!(now - start, Duration::from_millis(998));
    }

    #[test]
    fn a_long_pause_earns_no_more_than_a_short_one() {
        let mut pacer = Pacer::default();
        pacer.sent(Time::from_millis(10), 1_250, 10_000_000, 0);
        let later = Time::from_millis(9_000);
        (0..3).for_each(|_| pacer.sent(later, 1_250, 10_000_000, 0));
        assert_eq!(pacer.next(), later + Duration::from_millis(1));
    }

    #[test]
    fn packets_that_wait_do_not_pay_for_a_late_timer() {
        let mut pacer = Pacer::default();
        let start = Time::from_millis(500);
        (0..3).for_each(|_| pacer.sent(start, 1_250, 10_000_000, 0));
        pacer.hold(true);
        let late = start + Duration::from_millis(9);
        let at_once = (0..20).take_while(|_| {
            let ready = pacer.next() <= late;
            pacer.sent(late, 1_250, 10_000_000, 0);
            ready
        });
        assert_eq!(
            at_once.count(),
            9,
            "one a millisecond, as if it had been on time"
        );
    }

    #[test]
    fn a_burst_may_be_longer() {
        let mut pacer = Pacer::default();
        let now = Time::from_millis(500);
        let at_once = (0..20).take_while(|_| {
            let ready = pacer.next() <= now;
            pacer.sent(now, 1_250, 1_000_000, 3 * 1_250);
            ready
        });
        assert_eq!(at_once.count(), 4);
    }
}
