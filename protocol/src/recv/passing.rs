//! When the packets of a tensor have passed: how late reordered packets come, and how far apart
//! packets are (wire-format.md, section 8.4).

use std::time::Duration;

use super::PacketArrivals;
use crate::time::{Time, micros};
use crate::windowed_min::WindowedMin;

/// How long an observed lateness counts.
const WINDOW: Duration = Duration::from_secs(10);
/// The reordering window where nothing was reordered.
const LEAST: Duration = Duration::from_millis(1);
/// The most that it becomes: packets that come later than that are taken for lost.
const MOST: Duration = Duration::from_millis(25);
/// The spacing of packets before two have arrived: 1,200 bytes at 1 Mbit/s.
const SPACING: Duration = Duration::from_millis(10);
/// Longest gap between two packets of one tensor that tells of the path's spacing.
const LONGEST_GAP: Duration = Duration::from_millis(100);

/// What the arrival of earlier packets tells of that of later ones.
#[derive(Debug)]
pub(crate) struct Passing {
    /// Lateness of reordered packets, microseconds below zero: the least is the latest.
    lateness: WindowedMin,
    /// Mean time from packet to packet of one tensor, and mean deviation from it, microseconds.
    spacing: Option<(f64, f64)>,
    /// The longest stall of the last ten seconds, microseconds below zero.
    longest: WindowedMin,
    /// The newest arrival of a packet of a tensor.
    last: Option<Arrival>,
    /// REPAIR packets to expect ahead of losses, and whether the newest tensor had any.
    repairs: u32,
    repaired: bool,
}

/// The arrival of a source packet, or of a REPAIR packet, which has no index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) tensor: u64,
    pub(crate) index: Option<u16>,
    /// Packet number.
    pub(crate) number: u64,
    pub(crate) at: Time,
}

impl Arrival {
    /// Microseconds from an earlier arrival to this, and the packets from one to the other; none if other
    /// packets were sent between the two, so that it says nothing of the path: one that is sent again
    /// comes when it was asked for.
    fn spacing(&self, before: &Self) -> Option<(f64, f64)> {
        let packets = self.number.checked_sub(before.number)?;
        let sources = u64::from(self.index?.checked_sub(before.index?)?);
        let follows = self.tensor == before.tensor && sources == packets && packets > 0;
        let apart = self.at - before.at;
        (follows && apart < LONGEST_GAP).then(|| (micros(apart) as f64, packets as f64))
    }
}

impl Default for Passing {
    fn default() -> Self {
        Self {
            lateness: WindowedMin::new(WINDOW),
            spacing: None,
            longest: WindowedMin::new(WINDOW),
            last: None,
            repairs: 0,
            repaired: false,
        }
    }
}

impl Passing {
    /// A packet with this number has arrived and been recorded; greater ones may have before it.
    pub(crate) fn arrived(&mut self, now: Time, number: u64, arrivals: &PacketArrivals) {
        let later = number + 1..arrivals.end();
        if let Some(overtaken) = later.filter_map(|n| arrivals.arrival(n)).min() {
            let late = i64::try_from(micros(now - overtaken)).unwrap_or(i64::MAX);
            self.lateness.push(now, -late);
        }
    }

    /// The packet that has arrived is one of a tensor.
    pub(crate) fn of_tensor(&mut self, arrival: Arrival) {
        if let Some((apart, packets)) = self.last.and_then(|before| arrival.spacing(&before)) {
            let sample = apart / packets;
            let (mean, deviation) = match self.spacing {
                None => (sample, sample / 2.0),
                Some((mean, deviation)) => (
                    mean + (sample - mean) / 16.0,
                    deviation + ((sample - mean).abs() - deviation) / 16.0,
                ),
            };
            self.spacing = Some((mean, deviation));
            // One of them was waited for; the lost ones before it came in step.
            let stall = (apart - (packets - 1.0) * mean).max(sample);
            #[expect(clippy::cast_possible_truncation, reason = "at most 100 ms")]
            self.longest.push(arrival.at, -(stall as i64));
        }
        let another = self
            .last
            .is_none_or(|before| before.tensor != arrival.tensor);
        if another && !std::mem::take(&mut self.repaired) {
            // Either all of them were lost or there are fewer now.
            self.repairs = self.repairs.saturating_sub(1);
        }
        self.last = Some(arrival);
    }

    /// A packet has arrived of a tensor that had met its end: those to come are given the time that this
    /// one would have needed.
    pub(crate) fn too_late(&mut self, arrival: Arrival) {
        if (self.last).is_some_and(|before| before.tensor == arrival.tensor) {
            self.of_tensor(arrival);
        }
    }

    /// So many REPAIR packets are sent ahead with the newest tensor.
    pub(crate) const fn with_repairs(&mut self, repairs: u32) {
        (self.repairs, self.repaired) = (repairs, true);
    }

    /// How many REPAIR packets to expect with a tensor of which none has arrived.
    pub(crate) const fn repairs(&self) -> u32 {
        self.repairs
    }

    /// How long after it was overtaken a packet may still come: a quarter more than the latest of the
    /// last ten seconds, 1 to 25 ms.
    pub(crate) fn window(&self, now: Time) -> Duration {
        let latest = self
            .lateness
            .within(now)
            .map_or(0, |late| late.unsigned_abs());
        Duration::from_micros(latest + latest / 4).clamp(LEAST, MOST)
    }

    /// How long after its newest packet the `remaining` last packets of a tensor are overdue, the
    /// reordering window aside: one of them may be as late as the latest of the last ten seconds, within
    /// 25 ms, since a machine that is busy stalls now and then.
    pub(crate) fn tail(&self, now: Time, remaining: u32) -> Duration {
        if remaining == 0 {
            return Duration::ZERO;
        }
        self.spacing.map_or(SPACING, |(mean, deviation)| {
            let longest = self.longest.within(now).map_or(0, i64::unsigned_abs);
            let stall = Duration::from_micros(longest).min(MOST).as_secs_f64();
            let late = (f64::from(remaining) * mean + 4.0 * deviation) / 1e6;
            Duration::try_from_secs_f64(late.max(stall)).unwrap_or(SPACING)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Ecn;

    fn after(order: &[(u64, u64)]) -> Passing {
        let (mut passing, mut arrivals) = (Passing::default(), PacketArrivals::default());
        for (number, micros) in order {
            let now = Time::from_micros(*micros);
            arrivals.record(*number, now, Ecn::NotEct);
            passing.arrived(now, *number, &arrivals);
            passing.of_tensor(Arrival {
                tensor: 0,
                index: u16::try_from(*number).ok(),
                number: *number,
                at: now,
            });
        }
        passing
    }

    #[test]
    fn the_window_is_a_quarter_more_than_the_latest_packet() {
        let now = Time::from_millis(20);
        assert_eq!(after(&[(0, 0), (1, 500)]).window(now), LEAST);
        let reordered = after(&[(0, 0), (2, 1_000), (3, 1_500), (1, 5_000)]);
        assert_eq!(reordered.window(now), Duration::from_millis(5));
        assert_eq!(
            reordered.window(Time::from_millis(90_000)),
            LEAST,
            "ten seconds later"
        );
        let late = after(&[(1, 0), (0, 90_000)]);
        assert_eq!(late.window(Time::from_millis(90)), MOST);
    }

    #[test]
    fn the_tail_follows_the_spacing() {
        let steady: Vec<_> = (0..200).map(|n| (n, n * 500)).collect();
        let tail = after(&steady).tail(Time::from_millis(200), 3);
        assert!(tail >= Duration::from_micros(1_500), "{tail:?}");
        assert!(tail < Duration::from_micros(1_700), "{tail:?}");
        assert_eq!(
            after(&steady).tail(Time::from_millis(200), 0),
            Duration::ZERO
        );
        assert_eq!(after(&[(0, 0)]).tail(Time::from_millis(200), 1), SPACING);
    }

    #[test]
    fn lost_packets_do_not_widen_the_spacing() {
        let lossy: Vec<_> = (0..400)
            .filter(|n| n % 3 != 1)
            .map(|n| (n, n * 500))
            .collect();
        let tail = after(&lossy).tail(Time::from_millis(200), 1);
        assert!(tail < Duration::from_micros(600), "{tail:?}");
    }

    fn arrival(tensor: u64, number: u64, micros: u64) -> Arrival {
        Arrival {
            tensor,
            index: u16::try_from(number).ok(),
            number,
            at: Time::from_micros(micros),
        }
    }

    #[test]
    fn a_stall_is_waited_out_from_then_on_whenever_its_packet_comes() {
        let steady: Vec<_> = (0..8).map(|n| (n, n * 500)).collect();
        let now = Time::from_millis(20);
        let mut passing = after(&steady);
        passing.too_late(arrival(0, 8, 9_500));
        assert_eq!(passing.tail(now, 1), Duration::from_millis(6));

        let mut passing = after(&steady);
        passing.too_late(arrival(0, 10, 10_000));
        let lost_in_step = passing.tail(now, 1);
        assert!(
            lost_in_step >= Duration::from_millis(5),
            "the two lost ones take no share of it: {lost_in_step:?}"
        );

        let mut passing = after(&steady);
        passing.of_tensor(arrival(1, 8, 9_500));
        passing.too_late(arrival(0, 8, 10_000));
        assert!(
            passing.tail(now, 1) < Duration::from_millis(2),
            "a newer tensor came between"
        );
    }
}
