//! How long packets queue, from their one-way delays.

use std::collections::VecDeque;
use std::time::Duration;

use super::Arrived;
use crate::time::Time;
use crate::windowed_min::WindowedMin;

/// How long the empty path is remembered. Clocks 100 ppm apart drift a millisecond in it.
const BASE_WINDOW: Duration = Duration::from_secs(10);
/// Reports are remembered in parts of this length …
const PART: Duration = Duration::from_millis(5);
/// … and as many of them: four seconds at least.
const PARTS: usize = 800;

/// The queue that the packets of reports have seen, microseconds of one-way delay.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// When the first of them came.
    since: Time,
    least: i64,
    most: i64,
}

/// One-way delays of packets, up to a constant: the two clocks have nothing in common.
#[derive(Clone, Debug)]
pub(super) struct Delay {
    base: WindowedMin,
    recent: VecDeque<Seen>,
    /// The least of the newest report.
    newest: i64,
    /// The peer's clock at its newest report, extended.
    peer: Option<i64>,
}

impl Default for Delay {
    fn default() -> Self {
        Self {
            base: WindowedMin::new(BASE_WINDOW),
            recent: VecDeque::new(),
            newest: 0,
            peer: None,
        }
    }
}

impl Delay {
    /// The peer's time whose low bits are `timestamp`, microseconds: nearest to the one before.
    pub(super) fn peer_time(&mut self, timestamp: u32) -> i64 {
        let before = self.peer.unwrap_or_else(|| i64::from(timestamp));
        let ahead = (i64::from(timestamp) - before).rem_euclid(1 << 32);
        let step = if ahead > 1 << 31 {
            ahead - (1 << 32)
        } else {
            ahead
        };
        let time = before.saturating_add(step);
        self.peer = Some(time);
        time
    }

    /// The packets that a report at `now` told of for the first time.
    pub(super) fn observe(&mut self, now: Time, arrived: &[Arrived]) {
        let mut seen: Option<Seen> = None;
        for packet in arrived {
            let Some(arrival) = packet.arrival else {
                continue;
            };
            let sent = i64::try_from(packet.sent.as_micros()).unwrap_or(i64::MAX);
            let delay = arrival.saturating_sub(sent);
            let (least, most) =
                seen.map_or((delay, delay), |s| (s.least.min(delay), s.most.max(delay)));
            let since = now;
            seen = Some(Seen { since, least, most });
        }
        let Some(seen) = seen else { return };
        self.base.push(now, seen.least);
        self.newest = seen.least;
        match self.recent.back_mut() {
            Some(last) if now - last.since < PART => {
                last.least = last.least.min(seen.least);
                last.most = last.most.max(seen.most);
            }
            _ => {
                if self.recent.len() == PARTS {
                    self.recent.pop_front();
                }
                self.recent.push_back(seen);
            }
        }
    }

    /// The least queue of the newest report.
    pub(super) fn newest(&self) -> Duration {
        self.over(Some(self.newest))
    }

    /// The least queue of the reports of the `span` before `now`, the newest report's at least.
    pub(super) fn least(&self, now: Time, span: Duration) -> Duration {
        self.over(self.within(now, span).map(|seen| seen.least).min())
    }

    /// The greatest queue of those reports.
    pub(super) fn most(&self, now: Time, span: Duration) -> Duration {
        self.over(self.within(now, span).map(|seen| seen.most).max())
    }

    fn within(&self, now: Time, span: Duration) -> impl Iterator<Item = Seen> {
        let newest = self.recent.back().map_or(now, |seen| seen.since);
        let from = newest.min(now - span);
        let recent = self.recent.iter().rev().copied();
        recent.take_while(move |seen| seen.since >= from)
    }

    fn over(&self, delay: Option<i64>) -> Duration {
        match (delay, self.base.get()) {
            (Some(delay), Some(base)) => {
                Duration::from_micros(delay.saturating_sub(base).max(0).unsigned_abs())
            }
            _ => Duration::ZERO,
        }
    }

    /// How long reports have been remembered for.
    pub(super) fn since(&self, now: Time) -> Duration {
        self.recent
            .front()
            .map_or(Duration::ZERO, |seen| now - seen.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::micros;
    use crate::wire::Ecn;

    fn report(delay: &mut Delay, ms: u64, owds: &[i64]) {
        let arrived: Vec<Arrived> = (0..)
            .zip(owds)
            .map(|(number, owd)| Arrived {
                number,
                sent: Time::from_millis(ms),
                size: 1_228,
                arrival: Some(ms.cast_signed() * 1_000 + owd),
                ecn: Ecn::NotEct,
            })
            .collect();
        delay.observe(Time::from_millis(ms), &arrived);
    }

    #[test]
    fn the_queue_is_what_exceeds_the_least_whatever_the_clocks_show() {
        let mut delay = Delay::default();
        let far = -77_000_000_000;
        report(&mut delay, 0, &[far + 20_000, far + 25_000]);
        report(&mut delay, 10, &[far + 28_000, far + 31_000]);
        let now = Time::from_millis(10);
        assert_eq!(delay.least(now, Duration::ZERO), Duration::from_millis(8));
        assert_eq!(delay.most(now, Duration::ZERO), Duration::from_millis(11));
        let both = Duration::from_millis(10);
        assert_eq!(delay.least(now, both), Duration::ZERO);
        assert_eq!(micros(delay.most(now, both)), 11_000);
    }

    #[test]
    fn a_wrap_of_the_peers_clock_is_no_step() {
        let mut delay = Delay::default();
        let before = delay.peer_time(u32::MAX - 9);
        assert_eq!(delay.peer_time(990), before + 1_000);
        assert_eq!(delay.peer_time(u32::MAX), before + 9, "reports overtake");
    }
}
