//! Which packet numbers have arrived, and when (wire-format.md, sections 2.4.1 and 8.1).

use crate::time::Time;
use crate::wire::{Ecn, Refusal, extend};

/// Packet numbers remembered: older ones are refused.
const SLOTS: usize = 1_024;
const WINDOW: u64 = SLOTS as u64;

/// The newest packet numbers of one direction, their times of arrival and how they were marked.
#[derive(Debug)]
pub(crate) struct PacketArrivals {
    /// One more than the greatest number received.
    end: u64,
    slots: Box<[Option<(Time, Ecn)>; SLOTS]>,
}

impl Default for PacketArrivals {
    fn default() -> Self {
        Self {
            end: 0,
            slots: Box::new([None; SLOTS]),
        }
    }
}

impl PacketArrivals {
    /// One more than the greatest number received.
    pub(crate) const fn end(&self) -> u64 {
        self.end
    }

    /// The full number whose low 32 bits are `low`, if it is new.
    pub(crate) fn check(&self, low: u32) -> Result<u64, Refusal> {
        let number = extend(u64::from(low), 32, self.end);
        let known = number + WINDOW < self.end || self.arrival(number).is_some();
        if known {
            Err(Refusal::Replay)
        } else {
            Ok(number)
        }
    }

    /// The least number that passes the check once `number` is recorded.
    pub(crate) fn oldest_after(&self, number: u64) -> u64 {
        self.end.max(number + 1).saturating_sub(WINDOW)
    }

    /// Records the arrival of a number that passed the check.
    pub(crate) fn record(&mut self, number: u64, now: Time, ecn: Ecn) {
        if number >= self.end {
            let skipped = (number - self.end).min(WINDOW);
            for skipped in number - skipped..number {
                *self.slot(skipped) = None;
            }
            self.end = number + 1;
        }
        *self.slot(number) = Some((now, ecn));
    }

    /// When the packet with this number arrived; none if it did not, or is older than the window.
    pub(crate) fn arrival(&self, number: u64) -> Option<Time> {
        self.marked_arrival(number).map(|(at, _)| at)
    }

    /// The same with the ECN codepoint that it arrived with.
    pub(crate) fn marked_arrival(&self, number: u64) -> Option<(Time, Ecn)> {
        if number >= self.end || number + WINDOW < self.end {
            return None;
        }
        self.slots
            .get((number % WINDOW) as usize)
            .copied()
            .flatten()
    }

    fn slot(&mut self, number: u64) -> &mut Option<(Time, Ecn)> {
        &mut self.slots[(number % WINDOW) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_passes_once_in_any_order() {
        let mut arrivals = PacketArrivals::default();
        for low in [5, 3, 9, 4] {
            let number = arrivals.check(low).unwrap();
            arrivals.record(number, Time::from_millis(number), Ecn::NotEct);
            assert_eq!(arrivals.check(low), Err(Refusal::Replay));
        }
        assert_eq!(arrivals.end(), 10);
        assert_eq!(arrivals.arrival(9), Some(Time::from_millis(9)));
        assert_eq!(arrivals.arrival(8), None);
        assert_eq!(arrivals.check(8), Ok(8));
    }

    #[test]
    fn numbers_older_than_the_window_are_refused() {
        let mut arrivals = PacketArrivals::default();
        arrivals.record(2_000, Time::ZERO, Ecn::NotEct);
        assert_eq!(arrivals.check(976), Err(Refusal::Replay));
        assert_eq!(arrivals.check(977), Ok(977));
        arrivals.record(3_100, Time::ZERO, Ecn::NotEct);
        assert_eq!(arrivals.arrival(2_000), None);
        assert_eq!(arrivals.check(3_024), Ok(3_024), "same slot as 2,000");
    }

    #[test]
    fn numbers_wrap_at_32_bits() {
        let mut arrivals = PacketArrivals::default();
        arrivals.record(0xFFFF_FFFE, Time::ZERO, Ecn::NotEct);
        assert_eq!(arrivals.check(1), Ok(0x1_0000_0001));
    }
}
