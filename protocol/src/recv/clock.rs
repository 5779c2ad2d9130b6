//! Mapping the peer's clock to ours (wire-format.md, section 8.3).

use std::time::Duration;

use crate::time::Time;
use crate::windowed_min::WindowedMin;

/// How far back the least offset is taken. Clocks 100 ppm apart drift 0.5 ms in it.
const WINDOW: Duration = Duration::from_secs(5);

/// The offset between the peer's clock and ours, from the times at which its messages were sent.
///
/// The least (arrival − time of sending) over the last five seconds is the offset plus the least
/// one-way delay; half the least round-trip time is taken for that delay. The error is at most half
/// the round-trip time (if the path is wholly asymmetric), plus the least queueing delay of the
/// window, plus the drift within it. Wall clocks play no part.
#[derive(Clone, Debug)]
pub struct ClockMap {
    /// Arrival − time of sending, microseconds.
    offsets: WindowedMin,
    /// The least arrival − capture time, until a message tells its time of sending.
    provisional: Option<i64>,
}

impl Default for ClockMap {
    fn default() -> Self {
        Self {
            offsets: WindowedMin::new(WINDOW),
            provisional: None,
        }
    }
}

impl ClockMap {
    /// Takes the sending time of a message that arrived at `now`.
    pub fn observe(&mut self, now: Time, report_timestamp: u32) {
        let offset = signed(now) - self.extended(report_timestamp, now);
        self.offsets.push(now, offset);
    }

    /// Takes the capture time of a DATA packet that arrived at `now`: counts only as long as no
    /// message has told its time of sending.
    pub fn observe_capture(&mut self, now: Time, capture_timestamp: u32) {
        if self.offsets.get().is_none() {
            let offset = signed(now) - self.extended(capture_timestamp, now);
            self.provisional = Some(self.provisional.map_or(offset, |least| least.min(offset)));
        }
    }

    /// The moment `timestamp` of the peer's clock on ours, at most `now`, given the least round-trip
    /// time. Without any observation: `now`.
    pub fn map(&self, timestamp: u32, now: Time, least_rtt: Option<Duration>) -> Time {
        let delay = match self.offsets.at(now) {
            Some(_) => least_rtt.map_or(0, |rtt| (crate::time::micros(rtt) / 2).cast_signed()),
            None => 0,
        };
        let Some(offset) = self.offset(now) else {
            return now;
        };
        let mapped = self
            .extended(timestamp, now)
            .saturating_add(offset)
            .saturating_sub(delay);
        Time::from_micros(mapped.max(0).cast_unsigned()).min(now)
    }

    fn offset(&self, now: Time) -> Option<i64> {
        self.offsets.at(now).or(self.provisional)
    }

    /// The peer's time whose low bits are `timestamp`, nearest to what its clock shows now. Below
    /// zero for what happened before the wrap that preceded the first observation.
    fn extended(&self, timestamp: u32, now: Time) -> i64 {
        let Some(offset) = self.offset(now) else {
            return i64::from(timestamp);
        };
        let peer_now = signed(now).saturating_sub(offset);
        let ahead = (i64::from(timestamp) - peer_now).rem_euclid(1 << 32);
        let step = if ahead > 1 << 31 {
            ahead - (1 << 32)
        } else {
            ahead
        };
        peer_now.saturating_add(step)
    }
}

fn signed(time: Time) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RTT: Duration = Duration::from_millis(40);

    proptest! {
        /// A peer whose clock is up to a day off and up to 100 ppm fast or slow, over a symmetric
        /// path of 20 ms with up to 15 ms of jitter, for a minute.
        #[test]
        fn the_error_is_the_least_jitter_and_the_drift_of_the_window(
            offset in 0_u64..86_400_000_000,
            ppm in -100_i64..=100,
            jitter in prop::collection::vec(0_u64..15_000, 600),
        ) {
            let peer = |us: u64| {
                let drift = us.cast_signed() * ppm / 1_000_000;
                Time::from_micros(offset + us.saturating_add_signed(drift)).wire()
            };
            let mut clock = ClockMap::default();
            for (i, late) in jitter.iter().enumerate() {
                let sent = 100_000 * i as u64 + 1_000_000;
                let arrived = Time::from_micros(sent + 20_000 + late);
                clock.observe(arrived, peer(sent));
                let captured = sent - 30_000;
                let mapped = clock.map(peer(captured), arrived, Some(RTT)).as_micros();
                let least = jitter[i.saturating_sub(44)..=i].iter().min().unwrap();
                prop_assert!(mapped + 600 >= captured, "{mapped} {captured}");
                prop_assert!(mapped <= captured + least + 600, "{mapped} {captured} {least}");
            }
        }
    }

    #[test]
    fn without_jitter_the_error_is_the_drift_of_the_window() {
        let mut clock = ClockMap::default();
        for second in 0..60_u64 {
            let sent = second * 1_000_000;
            let slow = sent - sent / 10_000;
            clock.observe(
                Time::from_micros(3_600_000_000 + sent + 20_000),
                Time::from_micros(slow).wire(),
            );
        }
        let now = Time::from_micros(3_600_000_000 + 59_100_000);
        let captured = 59_000_000_u64;
        let mapped = clock.map(
            Time::from_micros(captured - captured / 10_000).wire(),
            now,
            Some(RTT),
        );
        let error = mapped.as_micros().abs_diff(3_600_000_000 + captured);
        assert!(error <= 550, "{error} µs");
    }

    #[test]
    fn capture_times_serve_until_a_time_of_sending_is_known() {
        let mut clock = ClockMap::default();
        let now = Time::from_millis(1_000);
        assert_eq!(clock.map(5, now, None), now);
        clock.observe_capture(now, 400_000);
        assert_eq!(
            clock.map(400_000, now, Some(RTT)),
            now,
            "counts from arrival"
        );
        clock.observe(now, 990_000);
        assert_eq!(clock.map(400_000, now, None), Time::from_micros(410_000));
        clock.observe_capture(now, 999_999);
        assert_eq!(clock.map(400_000, now, None), Time::from_micros(410_000));
    }

    #[test]
    fn a_capture_before_the_wrap_of_the_first_timestamps_is_not_taken_for_a_later_one() {
        let mut clock = ClockMap::default();
        let now = Time::from_millis(1_000);
        clock.observe(now, 10_000);
        let mapped = clock.map(5_000_u32.wrapping_sub(25_000), now, None);
        assert_eq!(mapped, Time::from_micros(1_000_000 - 30_000));
    }

    #[test]
    fn nothing_is_captured_after_it_arrived() {
        let mut clock = ClockMap::default();
        let now = Time::from_millis(1_000);
        clock.observe(now, 0);
        assert_eq!(clock.map(70_000_000, now, None), now);
    }
}
